"""`tower container`."""

from collections.abc import Iterator

import click

from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console
from tower.cli.output import Row

COLUMNS = {
    "BENCH": "short",
    "NAME": "name",
    "STATE": "state",
    "IMAGE": "image",
    "PANES": "pane_count",
    "AGENTS": "registered_agent_count",
    "SCANNED": "age",
}


@click.group(cls=TowerGroup)
def container() -> None:
    """Benches: the host itself, and running containers."""


@container.command("list", example="tower container list")
@pass_console
def list_containers(console: Console) -> None:
    """List the benches that are known."""
    rows = list(console.rows("app.container.list"))
    shown = [
        {**row, "short": output.short(row["container_id"]), "age": output.age(row["last_scanned_at"])} for row in rows
    ]
    console.result({"rows": rows}, output.table(COLUMNS, shown, "no benches"))


@container.command("scan", example="tower container scan")
@pass_console
def scan(console: Console) -> None:
    """Look for benches, and at what lives in the tmux of each, now.

    A pane that was killed by hand shows as failed afterwards, one whose command has exited as degraded.
    """
    containers = console.call("app.scan.containers")
    panes = console.call("app.scan.panes")
    found = list(console.rows("app.container.list"))
    active = sum(row["state"] == "active" for row in found)
    seen = sum(row["pane_count"] for row in found)
    if not console.as_json:
        for problem in _problems(containers["result"], panes["result"]):
            click.echo(f"{click.style('warning:', fg='yellow')} {problem}", err=True)
    text = f"{output.count(len(found), 'bench', 'benches')}, {active} active, {output.count(seen, 'tmux pane')}"
    console.result({"containers": containers, "panes": panes}, text)


def _problems(containers: Row, panes: Row) -> Iterator[str]:
    """What a scan could not look at, and why a scan failed."""
    for result in (containers, panes):
        if reason := result.get("reason"):
            yield f"the scan failed: {reason}"
    if problem := containers.get("problem"):
        yield problem
    for bench in panes.get("benches", ()):
        if bench["problem"]:
            yield f"{bench['container_name']}: {bench['problem']}"
