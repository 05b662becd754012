"""A pane's log: the file that is written and the older ones beside it, on the host or inside the bench.

The writer in the bench renames FILE to FILE.1, FILE.1 to FILE.2 and so on when FILE is full.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final

from tower.benches import Bench
from tower.config import Settings
from tower.errors import TowerError

PAUSE: Final = 0.2
"""Seconds between two looks when a log is followed."""

PAUSE_INSIDE: Final = 1.0
"""The same where each look is a command in a bench."""

PATIENCE: Final = 30.0

_BLOCK: Final = 1 << 16
_MOST_INSIDE: Final = 256 * 1024 * 1024


class LogUnreadable(TowerError):
    """The log cannot be read; says why."""


class PaneLog:
    """The log of one pane."""

    def __init__(self, settings: Settings, bench: Bench, path: str) -> None:
        self._bench = bench
        self._path = Path(path)
        self._keep = settings.logs.keep
        self._on_host = self._path.is_relative_to(settings.pane_logs_dir) or self._path.exists()

    def text(self, lines: int | None) -> str:
        """What there is, or its last lines."""
        return b"".join(self.chunks(lines, follow=False)).decode("utf-8", "replace")

    def chunks(self, lines: int | None, follow: bool) -> Iterator[bytes]:
        """What there is, or its last lines, the oldest first; and with `follow` what comes later, for ever.

        Raises LogUnreadable.
        """
        if not self._on_host:
            yield from self._chunks_inside(lines, follow)
            return
        with self._open() as live:
            whole = self._whole(live)
            yield from whole if lines is None else _last(whole, lines)
            if follow:
                yield from self._later(live)

    def _chunks_inside(self, lines: int | None, follow: bool) -> Iterator[bytes]:
        text = self._inside()
        yield from [text] if lines is None else _last(iter([text]), lines)
        if follow:
            yield from self._later_inside(len(text))

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            raise LogUnreadable(f"There is no log at {self._path}; inside a bench, read it on the host.") from None
        except OSError as error:
            raise LogUnreadable(f"{self._path}: {error.strerror}") from error

    def _whole(self, live: BinaryIO) -> Iterator[bytes]:
        """The older files, then the one that is written; that one was opened first, so nothing is missed."""
        for number in range(self._keep, 0, -1):
            with suppress(FileNotFoundError), self._path.with_name(f"{self._path.name}.{number}").open("rb") as older:
                if not _same(older, live):
                    yield from _blocks(older)
        yield from _blocks(live)

    def _later(self, live: BinaryIO) -> Iterator[bytes]:
        """What is appended; a file that was renamed is read to its end before the new one."""
        while True:
            yield from _blocks(live)
            if self._renamed(live):
                yield from _blocks(live)
                live = self._open()
                continue
            time.sleep(PAUSE)

    def _renamed(self, live: BinaryIO) -> bool:
        """Whether another file stands at the path by now."""
        try:
            return self._path.stat().st_ino != os.fstat(live.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _inside(self) -> bytes:
        numbers = range(self._keep, 0, -1)
        names = [*(f"{self._path}.{number}" for number in numbers), str(self._path)]
        script = 'for f; do [ ! -e "$f" ] || cat -- "$f"; done'
        return self._run(["/bin/sh", "-c", script, "tower", *names])

    def _later_inside(self, known: int) -> Iterator[bytes]:
        while True:
            time.sleep(PAUSE_INSIDE)
            text = self._inside()
            if len(text) < known:
                known = 0
            yield text[known:]
            known = len(text)

    def _run(self, argv: list[str]) -> bytes:
        done = self._bench.run(argv, deadline=monotonic() + PATIENCE, limit=_MOST_INSIDE)
        if done.status != 0:
            raise LogUnreadable(f"{self._path} in bench {self._bench.name}: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def _last(blocks: Iterator[bytes], lines: int) -> Iterator[bytes]:
    kept: deque[bytes] = deque(maxlen=lines)
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        kept.extend(line + b"\n" for line in whole)
    if rest:
        kept.append(rest)
    yield from kept
