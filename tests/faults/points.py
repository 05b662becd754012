"""Arming the named points of tower.faults from a test."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import Tower, eventually


class Points:
    """The points of one tower; make it before the tower starts."""

    def __init__(self, tower: Tower) -> None:
        self.folder = tower.root / "points"
        self.folder.mkdir(exist_ok=True)
        tower.environ["TOWER_FAULTS"] = str(self.folder)

    def arm(self, point: str, signame: str) -> None:
        """The next process that passes the point gets that signal."""
        (self.folder / f"{point}.{signame}.1").touch()

    def fired(self, point: str) -> int:
        """Wait until a process was hit at the point; returns its pid."""
        found = eventually(lambda: list(self.folder.glob(f"fired-*-{point}.*")), what=f"a process passes {point}")
        pid = int(found[0].name.split("-")[1])
        found[0].unlink()
        return pid

    @contextmanager
    def stopped_at(self, point: str) -> Iterator[int]:
        """Whoever passes the point next stands still there until the end of the block; `enter` waits for it."""
        pid = self.fired(point)
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill_at(self, point: str) -> None:
        """Arm the point with SIGKILL."""
        self.arm(point, "KILL")


