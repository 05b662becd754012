"""Requests whose work goes on after their answer: ask, follow, print, and give the exit status."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click

from tower import states
from tower.cli import follow, output, views
from tower.cli.console import PATIENCE, Console
from tower.cli.output import Row
from tower.client import Client, Refused, ServerUnreachable

TIMEOUT: Final = 300.0

timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0), default=TIMEOUT, show_default=True, help="Seconds to wait at most."
)
no_wait_option = click.option("--no-wait", is_flag=True, help="Return as soon as the request is accepted.")
yes_option = click.option(
    "--yes", "-y", is_flag=True, help="Do not ask, on a terminal, before something running is killed."
)


def detail(console: Console, layout_id: str, everything: bool = False) -> dict[str, Any]:
    """A layout with its panes; with removed and superseded ones where everything is wanted."""
    return console.call("managed.layout.detail", layout_id=layout_id, include_terminal_panes=everything)


def settle_layout(console: Console, layout_id: str, seconds: float, extra: Row | None = None) -> int:
    """Follow a layout until nothing is under way in it, print it, and give the exit status for its state."""
    row, status = followed(console, layout_id, follow.settled, seconds)
    console.result({**row, **(extra or {})}, "\n" + views.layout(row))
    return status if status == output.TIMED_OUT else output.STATUS_OF[row["state"]]


def settle_panes(console: Console, layout_id: str, pane_ids: Iterable[str], seconds: float) -> tuple[list[Row], int]:
    """Follow some panes of a layout until none of them is creating; their rows and the exit status for the worst."""
    wanted = set(pane_ids)

    def mine(row: Row) -> list[Row]:
        return [pane for pane in row["panes"] if pane["pane_id"] in wanted]

    def done(row: Row) -> bool:
        return all(pane["state"] != states.CREATING for pane in mine(row))

    row, status = followed(console, layout_id, done, seconds, only=wanted)
    panes = mine(row)
    worst = max((output.STATUS_OF[pane["state"]] for pane in panes), default=output.DONE)
    return panes, status if status == output.TIMED_OUT else worst


def followed(
    console: Console,
    layout_id: str,
    done: Callable[[Row], bool],
    seconds: float,
    only: Iterable[str] = (),
) -> tuple[Row, int]:
    """Follow a layout, or only some panes of it, until it is done; its row and 0, or 5 when the time was up first.

    Raises click.Abort, with the layout's id, on Ctrl-C.
    """
    wanted = set(only)
    try:
        row = follow.follow(
            console,
            lambda: detail(console, layout_id, everything=bool(wanted)),
            done,
            seconds,
            wanted,
        )
    except follow.TimedOut as late:
        if not console.as_json:
            click.echo(f"timed out after {seconds:g} s; what was accepted goes on", err=True)
        return late.seen, output.TIMED_OUT
    except KeyboardInterrupt:
        click.echo(err=True)
        again = f"`tower layout wait {output.short(layout_id)}` looks again"
        raise click.Abort(f"Aborted; what was accepted goes on, and {again}.") from None
    return row, output.DONE


def accepted(console: Console, answer: Row, text: str) -> int:
    """Print what was accepted, and that nobody is there to do it where that is so."""
    console.result(answer, text)
    if not console.as_json and follow.no_worker(console):
        console.say(follow.NO_WORKER)
    return output.DONE


def ask_to_kill(panes: Sequence[Row], yes: bool) -> None:
    """Ask on a terminal before running panes are killed; raises click.Abort on a no."""
    running = [pane["label"] for pane in panes if _runs(pane)]
    if not running or yes or not sys.stdin.isatty():
        return
    try:
        agreed = click.confirm(f"kill what runs in {', '.join(running)}?", err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise click.Abort("Nothing was done.")


def _runs(pane: Row) -> bool:
    """Whether something may run in it: a degraded pane whose command has not exited lacks its log alone."""
    return pane["state"] in states.LIVE and (pane["state"] != states.DEGRADED or pane["exited_at"] is None)


def remove(  # noqa: PLR0913 - whose panes, and the request
    console: Console, layout_id: str, pane_ids: set[str], seconds: float, method: str, params: dict[str, Any]
) -> tuple[Row, int]:
    """Ask for a removal and follow it until these panes are removed; the layout's row and 0, or 5 when time was up.

    Raises Refused when the removal was refused or its job failed.
    """
    request = _Removal(console, method, params)

    def over(row: Row) -> bool:
        gone = all(pane["state"] == states.REMOVED for pane in row["panes"] if pane["pane_id"] in pane_ids)
        return gone or request.failed()

    row, status = followed(console, layout_id, over, seconds, only=pane_ids)
    request.require()
    return row, status


class _Removal:
    """A request that waits for its job in a thread of its own, while the panes are watched.

    The server answers after a minute though the job is not done; from then on the job itself is asked for.
    """

    def __init__(self, console: Console, method: str, params: dict[str, Any]) -> None:
        self._console = console
        self._client = Client(console.settings.socket_path)
        self._error: Refused | None = None
        self._job_id: int | None = None
        threading.Thread(target=self._ask, args=(method, params), daemon=True).start()

    def _ask(self, method: str, params: dict[str, Any]) -> None:
        until = time.monotonic() + follow.UNREACHABLE_FOR
        while time.monotonic() < until:
            try:
                self._job_id = self._client.call(method, params, PATIENCE).get("job_id")
            except Refused as error:
                self._error = error
            except ServerUnreachable:
                time.sleep(0.2)
                continue
            return

    def failed(self) -> bool:
        """Whether it was refused, or its job failed."""
        if self._error is None and self._job_id is not None and not self._console.inside:
            job = self._console.call("app.job.detail", job_id=self._job_id)["row"]
            if job["state"] == "failed":
                error = {"code": None, "message": "the job failed", "details": {}} | (job["error"] or {})
                self._error = Refused(error["code"] or "internal_error", error["message"], error["details"])
        return self._error is not None

    def require(self) -> None:
        """Raise the error, where there is one."""
        if self._error is not None:
            raise self._error
