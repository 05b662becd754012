"""Progress of panes until they are where they shall be: a table that changes on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Final, Protocol

from tower import states
from tower.cli.console import Console
from tower.cli.output import Row
from tower.client import Refused, ServerUnreachable

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between two looks: short at first, since most layouts settle within two seconds."""

QUIET: Final = 1.5
"""Seconds without a change after which it is worth saying what is waited for."""

UNREACHABLE_FOR: Final = 15.0
"""Seconds for which a server may be away, being restarted, while its work is followed."""

NO_WORKER: Final = "queued: no worker is running (tower up)"


class TimedOut(Exception):
    """The time is up; carries what was seen last."""

    def __init__(self, seen: Row) -> None:
        super().__init__("timed out")
        self.seen = seen


class View(Protocol):
    """Where progress shows."""

    def panes(self, panes: Sequence[Row]) -> None:
        """The panes as they are now."""

    def note(self, text: str) -> None:
        """What is waited for."""


class Lines:
    """A line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, str] = {}
        self._note = ""

    def panes(self, panes: Sequence[Row]) -> None:
        """As in View."""
        for pane in panes:
            text = f"{pane['label']}  {pane['state']}" + (f"  {stage(pane)}" if stage(pane) else "")
            if self._shown.get(pane["pane_id"]) != text:
                self._shown[pane["pane_id"]] = text
                self._console.say(text)

    def note(self, text: str) -> None:
        """As in View."""
        if text and text != self._note:
            self._console.say(text)
        self._note = text


class Table(AbstractContextManager["Table"]):
    """A table that changes in place."""

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - only where it is drawn

        self._live = Live(refresh_per_second=10)
        self._panes: Sequence[Row] = ()
        self._note = ""

    def __enter__(self) -> "Table":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note = ""
        self._draw()
        self._live.stop()

    def panes(self, panes: Sequence[Row]) -> None:
        """As in View."""
        self._panes = panes
        self._draw()

    def note(self, text: str) -> None:
        """As in View."""
        self._note = text
        self._draw()

    def _draw(self) -> None:
        from rich.table import Table as Drawing  # noqa: PLC0415 - only where it is drawn
        from rich.text import Text  # noqa: PLC0415

        table = Drawing(box=None, show_header=False, pad_edge=False, caption=self._note or None, caption_justify="left")
        for pane in self._panes:
            state = Text(pane["state"], style=_STYLES.get(pane["state"], ""))
            table.add_row(pane["label"], state, stage(pane), pane.get("reason") or "")
        self._live.update(table, refresh=True)


_STYLES: Final = {"ready": "green", "creating": "cyan", "degraded": "yellow", "failed": "red", "removed": "dim"}


def stage(pane: Row) -> str:
    """Where the pane is while it is created, and where it broke once it is not."""
    if pane["state"] != states.CREATING:
        return str(pane["failed_stage"] or "")
    if pane["tmux_pane_id"] is None:
        return states.PANE_CREATE
    return states.LOG_ATTACH if pane["agent_id"] else states.LAUNCH_COMMAND


def settled(row: Row) -> bool:
    """Whether nothing is under way in a layout any more."""
    return str(row["state"]) != states.CREATING


def follow(
    console: Console,
    look: Callable[[], Row],
    done: Callable[[Row], bool],
    seconds: float,
    only: Set[str],
) -> Row:
    """Look at a layout until it is done, showing these panes or, of none, all; returns it as it is then.

    Raises TimedOut, Refused, and ServerUnreachable once the server has been away for long.
    """
    with ExitStack() as stack:
        view = _view(console, stack)
        return _look_on(console, view, look, done, seconds, only)


def _view(console: Console, stack: ExitStack) -> View:
    drawn = sys.stdout.isatty() and not console.as_json
    return stack.enter_context(Table()) if drawn else Lines(console)


def _look_on(  # noqa: PLR0913 - one loop and what it needs
    console: Console,
    view: View,
    look: Callable[[], Row],
    done: Callable[[Row], bool],
    seconds: float,
    only: Set[str],
) -> Row:
    pause, quiet_since, before = FIRST_PAUSE, time.monotonic(), None
    deadline = time.monotonic() + seconds
    while True:
        row = _patiently(look, deadline)
        panes = [pane for pane in row["panes"] if not only or pane["pane_id"] in only]
        view.panes(panes)
        if done(row):
            return row
        if panes != before:
            before, quiet_since, pause = panes, time.monotonic(), FIRST_PAUSE
            view.note("")
        elif time.monotonic() - quiet_since > QUIET:
            quiet_since = time.monotonic()
            view.note(why_waiting(console, row) or "")
        if time.monotonic() > deadline:
            raise TimedOut(row)
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _patiently(look: Callable[[], Row], deadline: float) -> Row:
    until = min(deadline, time.monotonic() + UNREACHABLE_FOR)
    while True:
        try:
            return look()
        except ServerUnreachable:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def no_worker(console: Console) -> bool:
    """Whether there is no worker to do what was accepted; unknown inside a bench, so False there."""
    if console.inside:
        return False
    subsystems = console.call("app.readiness")["subsystems"]
    return any(one["name"] == "workers" and one["status"] == "unavailable" for one in subsystems)


def why_waiting(console: Console, layout: Row) -> str | None:
    """What a layout's work waits for: a worker, or another job of its bench."""
    try:
        if console.inside:
            return None
        if no_worker(console):
            return NO_WORKER
        return _behind(console, layout)
    except (Refused, ServerUnreachable):
        return None


def _behind(console: Console, layout: Row) -> str | None:
    filters = {"layout_id": layout["layout_id"], "state": "queued"}
    waiting = [job for job in console.rows("app.job.list", filters=filters) if job["waits_for"] is not None]
    if not waiting:
        return None
    first = console.call("app.job.detail", job_id=waiting[0]["waits_for"])["row"]
    return f"job {waiting[0]['job_id']} waits for job {first['job_id']} ({first['kind']}) on {layout['container_name']}"
