"""Locks on files, which the kernel frees at any death of their holder (flock(2)).

Whoever looks at a lock shares it for an instant, so one that is wanted is tried for a moment and not only once.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MOMENT: Final = 1.0
"""Seconds within which those who only look are gone, and a holder has written its pid."""

_PAUSE: Final = 0.01


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on this file, waiting for whoever holds it."""
    handle = open_file(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_file(path: Path) -> int:
    """A descriptor of the file of a lock, made where it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(handle: int, seconds: float = MOMENT) -> bool:
    """Lock an open file for as long as it is open; False when others hold it for all these seconds."""
    deadline = time.monotonic() + seconds
    while not _try(handle, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def write_pid(handle: int) -> None:
    """Say in the locked file who holds it."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)


def held(path: Path) -> bool:
    """Whether somebody holds the lock on this file."""
    with _looked_at(path) as handle:
        return handle is not None


def holder(path: Path) -> int | None:
    """The pid of who holds the lock on this file, 0 of one that does not say it; None when nobody does."""
    with _looked_at(path) as handle:
        return None if handle is None else _pid(handle)


@contextmanager
def _looked_at(path: Path) -> Iterator[int | None]:
    """The open file of a lock that is held, None of one that is not."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield None if _try(handle, fcntl.LOCK_SH) else handle
    finally:
        os.close(handle)


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(handle: int) -> int:
    deadline = time.monotonic() + MOMENT
    while not (said := os.pread(handle, 32, 0)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return int(said or 0)
