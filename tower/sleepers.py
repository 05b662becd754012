"""Processes of the tower's that were stopped (SIGSTOP) while they hold a lock that every other one needs.

Such a one would hold up all writes, of all benches, for as long as it sleeps. It is killed: SQLite rolls back what it
had not committed, its job is another's at once, and supervisord starts it anew. Who sleeps without such a lock is let
sleep, and so is any program that is not of this tower, or that a debugger holds.
"""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tower import locks
from tower.config import Settings
from tower.jobs import Holders

log = logging.getLogger(__name__)

_LOCKS: Final = Path("/proc/locks")
"""`N: FLOCK|POSIX ADVISORY READ|WRITE PID MAJOR:MINOR:INODE START END` a lock; one waited for has `->` (proc(5))."""

_DATABASE: Final = ("", "-shm")
"""The files of a database that SQLite locks, in WAL mode mostly the second (sqlite.org/walformat, WAL Locks)."""


class Sleepers:
    """Looks for them, time after time."""

    def __init__(self, settings: Settings, holders: Holders) -> None:
        self._settings = settings
        self._holders = holders
        self._seen: set[int] = set()

    def end(self) -> None:
        """Kill those that stood still with a lock at the last look, too."""
        sleeping = {pid for pid in self._exclusive() if _stopped(pid)}
        if sleeping:
            sleeping &= self._ours()
        for pid in sleeping & self._seen:
            log.warning("process %d stands still (SIGSTOP) with a lock that all others need: it is killed", pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._seen = sleeping

    def _exclusive(self) -> Iterator[int]:
        """The processes that keep all others from these files. By inode: a file system may show another device."""
        inodes = set(map(str, self._inodes()))
        for line in _read(_LOCKS).splitlines():
            words = line.split()
            if words[1:2] != ["->"] and words[3:4] == ["WRITE"] and words[5].rpartition(":")[2] in inodes:
                yield int(words[4])

    def _inodes(self) -> Iterator[int]:
        settings = self._settings
        databases = (settings.database_path, settings.queue_path)
        files = [Path(f"{database}{suffix}") for database in databases for suffix in _DATABASE]
        for file in (*files, *(settings.run_dir / f"{name}.lock" for name in ("events", "queue", "migrate"))):
            with suppress(FileNotFoundError):
                yield file.stat().st_ino

    def _ours(self) -> set[int]:
        """The server and the workers."""
        server = locks.holder(self._settings.run_dir / "serve.lock")
        return self._holders.pids() | ({server} if server else set())


def _stopped(pid: int) -> bool:
    """Whether a process stands still by a signal; one that a debugger holds is in state `t` (proc(5))."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1] == ["T"]


def _read(file: Path) -> str:
    """What the kernel tells there; nothing where it tells nothing."""
    try:
        return file.read_text()
    except OSError:
        return ""
