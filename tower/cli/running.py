"""`tower up`, `down` and `status`, and the processes that run under supervisord: `serve` and `work`."""

import logging
import sys
from typing import Any

import click

from tower import __version__, config
from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerCommand, pass_console
from tower.client import Refused, ServerUnreachable
from tower.config import Settings

PROCESS_COLUMNS = {"PROCESS": "name", "STATE": "state", "PID": "pid", "UP": "up", "": "detail"}


@click.command("up", cls=TowerCommand, example="tower up")
@click.option("--foreground", is_flag=True, help="Stay in the foreground, for containers and systemd.")
@pass_console
def up(console: Console, foreground: bool) -> None:
    """Start the server and the workers under supervisord, and wait until they serve.

    config.yaml is checked before anything is touched. Launch profiles take ${NAME} from this environment.
    """
    from tower import supervision  # noqa: PLC0415 - only where it is used

    settings = config.load()
    if foreground:
        supervision.foreground(settings)
    started = supervision.up(settings)
    difference = None if started else supervision.difference(settings)
    text = f"the tower is up; socket {settings.socket_path}" if started else "the tower is up already"
    result = {"started": started, "socket": str(settings.socket_path), "difference": difference}
    console.result(result, text + (f"\nnote: {difference}" if difference else ""))


@click.command("down", cls=TowerCommand, example="tower down")
@pass_console
def down(console: Console) -> None:
    """Stop everything of the tower; agents in their panes live on."""
    from tower import supervision  # noqa: PLC0415 - only where it is used

    stopped = supervision.down(console.settings)
    text = "the tower is down; panes live on" if stopped else "the tower is down already"
    console.result({"stopped": stopped}, text)


@click.command("status", cls=TowerCommand, example="tower status")
@pass_console
def status(console: Console) -> int:
    """Show each process, the socket, the queue and the benches. Exit status 6 when the server does not answer."""
    from tower import supervision  # noqa: PLC0415 - only where it is used

    settings = console.settings
    found: dict[str, Any] = {
        "version": __version__,
        "supervisord": supervision.running(settings),
        "processes": [_process(process) for process in supervision.processes(settings)],
        "socket": str(settings.socket_path),
        "state_dir": str(settings.state_dir),
        "config": settings.warning,
        "difference": supervision.difference(settings),
    }
    try:
        found |= _served(console)
    except ServerUnreachable as error:
        found |= {"answers": False, "reason": str(error)}
    console.result(found, _described(found))
    return output.DONE if found["answers"] else output.UNREACHABLE


def _process(process: Any) -> dict[str, Any]:
    return {
        "name": process.name,
        "state": process.state.lower(),
        "pid": process.pid,
        "uptime_seconds": process.uptime,
        "detail": process.detail,
    }


def _served(console: Console) -> dict[str, Any]:
    try:
        readiness = console.call("app.readiness")
    except Refused as error:
        return {"answers": True, "reason": error.message}
    unfinished = [
        job for state in ("queued", "running") for job in console.rows("app.job.list", filters={"state": state})
    ]
    benches = [
        {key: row[key] for key in ("container_id", "name", "state", "pane_count")}
        for row in console.rows("app.container.list")
    ]
    oldest = min(unfinished, key=lambda job: int(job["job_id"]), default=None)
    return {
        "answers": True,
        "reason": None,
        "readiness": readiness["state"],
        "hints": readiness["hints"],
        "queue_depth": len(unfinished),
        "oldest_job": oldest,
        "benches": benches,
    }


def _described(found: dict[str, Any]) -> str:
    lines = [_supervisord(found), ""]
    if found["processes"]:
        rows = [{**row, "up": _span(row["uptime_seconds"])} for row in found["processes"]]
        lines += [output.table(PROCESS_COLUMNS, rows, ""), ""]
    answer = "answers" if found["answers"] else f"does not answer ({found['reason']}); `tower up` starts it"
    lines.append(f"socket       {found['socket']} {answer}")
    if "readiness" in found:
        lines += _server_lines(found)
    for name in ("config", "difference"):
        if found[name]:
            lines.append(f"{click.style('note:', fg='yellow')} {found[name]}")
    return "\n".join(lines)


def _supervisord(found: dict[str, Any]) -> str:
    pid = found["supervisord"]
    running = f"runs, pid {pid}" if pid is not None else "does not run"
    return f"supervisord  {running}"


def _server_lines(found: dict[str, Any]) -> list[str]:
    oldest = found["oldest_job"]
    age = f", oldest job {oldest['job_id']} ({oldest['kind']}, {output.age(oldest['created_at'])})" if oldest else ""
    active = [bench["name"] for bench in found["benches"] if bench["state"] == "active"]
    lines = [
        f"readiness    {output.cell(found['readiness'])}",
        f"queue        {found['queue_depth']} unfinished{age}",
        f"benches      {len(found['benches'])} known, {len(active)} active: {' '.join(active) or '-'}",
    ]
    return lines + [f"{hint['severity']}: {hint['message']}" for hint in found["hints"]]


def _span(seconds: float | None) -> str | None:
    return None if seconds is None else output.span(seconds)


@click.command("serve", cls=TowerCommand, example="tower serve")
@pass_console
def serve(console: Console) -> None:
    """Run the server itself, as supervisord does."""
    settings = _process_settings(console)
    from tower.server import main  # noqa: PLC0415 - a process of its own

    main.run(settings)


@click.command("work", cls=TowerCommand, example="tower work")
@pass_console
def work(console: Console) -> None:
    """Run one worker process itself, as supervisord does."""
    _process_settings(console)
    from tasks import consumer  # noqa: PLC0415 - a process of its own

    consumer.run()


def _process_settings(console: Console) -> Settings:
    """Settings and a log on standard error, which supervisord writes to a file."""
    logging.getLogger("huey").setLevel(logging.WARNING)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return console.settings
