"""Arming the named points of tower.faults from a test."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.harness import PATIENCE, Tower


class Points:
    """The points of one tower; make it before the tower starts."""

    def __init__(self, tower: Tower) -> None:
        self.folder = tower.root / "points"
        self.folder.mkdir(exist_ok=True)
        tower.environ["TOWER_FAULTS"] = str(self.folder)

    def arm(self, point: str, signame: str) -> None:
        """The next process that passes the point gets that signal."""
        (self.folder / f"{point}.{signame}.1").touch()

    def disarm(self, point: str) -> None:
        """Nobody gets a signal there any more."""
        for armed in self.folder.glob(f"{point}.*.1"):
            armed.unlink(missing_ok=True)

    def any_armed(self) -> bool:
        """Whether a point waits for somebody to pass."""
        return any(not path.name.startswith("fired-") for path in self.folder.iterdir())

    def fired_within(self, point: str, seconds: float) -> int | None:
        """The pid of the process that was hit at the point; None when there was none in that time."""
        until = time.monotonic() + seconds
        while not (found := list(self.folder.glob(f"fired-*-{point}.*"))):
            if time.monotonic() > until:
                return None
            time.sleep(0.01)
        pid = int(found[0].name.split("-")[1])
        if ".STOP." in found[0].name:
            _await_stop(pid)
        found[0].unlink()
        return pid

    def fired(self, point: str) -> int:
        """Wait until a process was hit at the point; returns its pid."""
        pid = self.fired_within(point, PATIENCE)
        assert pid is not None, f"nobody has passed {point}"
        return pid

    @contextmanager
    def stopped_at(self, point: str) -> Iterator[int]:
        """Whoever passes the point next stands still there until the end of the block, if it lives so long."""
        pid = self.fired(point)
        try:
            yield pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _await_stop(pid: int) -> None:
    """It says so before it stops: whoever had it go on too early would leave it standing for ever."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.002)
