"""A pane's log: the file that is written and the older ones beside it, on the host or inside the bench.

The writer in the bench renames FILE to FILE.1, FILE.1 to FILE.2 and so on when FILE is full, or empties FILE where no
older ones are kept. The files are opened from the newest to the oldest: what is renamed meanwhile is then met twice,
and never missed.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final, NamedTuple

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
_RENAMED: Final = 75

_READ_INSIDE: Final = f"""\
inode() {{
  set -- $(ls -i -- "$1" 2>/dev/null)
  echo "$1"
}}
inodes() {{
  for f; do inode "$f"; done
}}
known=$1 from=$2
shift 2
before=$(inodes "$@")
wanted=yes
for i in $before; do [ "$i" != "$known" ] || wanted=; done
for f; do
  i=$(inode "$f")
  [ -n "$i" ] || continue
  size=$(($(wc -c <"$f")))
  start=0
  if [ "$i" = "$known" ]; then
    wanted=yes
    [ "$from" -gt "$size" ] || start=$from
  fi
  [ -n "$wanted" ] || continue
  echo "$i $start $((size - start))"
  tail -c "+$((start + 1))" <"$f" | head -c "$((size - start))"
done
[ "$before" = "$(inodes "$@")" ] || exit {_RENAMED}
"""
"""What files $3, $4 … hold, the oldest first, from byte $2 of the one with inode $1 on, or all where that is gone.

Before each goes a line: its inode, the first byte, and how many follow.
"""


_ASK_EVERY: Final = 1.0


class _Place(NamedTuple):
    """How far a log inside a bench has been read: inode and byte of its newest file."""

    inode: int = 0
    offset: int = 0


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
        return b"".join(self.chunks(lines)).decode("utf-8", "replace")

    def chunks(self, lines: int | None, over: Callable[[], bool] | None = None) -> Iterator[bytes]:
        """What there is, or its last lines, the oldest first; with `over` what comes later, too, until that is true.

        Raises LogUnreadable.
        """
        ends = None if over is None else _Ends(over)
        if not self._on_host:
            yield from self._chunks_inside(lines, ends)
            return
        *older, live = self._files()
        whole = _read(older, live)
        yield from whole if lines is None else _last(whole, lines)
        if ends:
            yield from self._later(live, ends)
        else:
            live.close()

    def _files(self, than: BinaryIO | None = None) -> list[BinaryIO]:
        """The files, or only those that are newer than one, the oldest first."""
        while True:
            found = self._opened(than)
            if self._is_at(found[-1], 0) or self._is_at(found[-1], 1):
                return found
            for file in found:  # full files were renamed twice meanwhile, so that one may stand in the wrong place
                file.close()

    def _opened(self, than: BinaryIO | None) -> list[BinaryIO]:
        found: list[BinaryIO] = []
        for number in range(self._keep + 1):
            file = self._open(number)
            if file is None:
                continue
            if any(_same(file, other) for other in found):
                file.close()
                continue
            if than is not None and _same(file, than):
                file.close()
                break
            found.append(file)
        return found[::-1]

    def _open(self, number: int) -> BinaryIO | None:
        """The file that is written, or the older one of that number, which may be missing.

        Raises LogUnreadable.
        """
        path = self._numbered(number)
        try:
            return path.open("rb") if number else _written(path)
        except FileNotFoundError:
            if number:
                return None
            raise LogUnreadable(f"There is no log at {path}; inside a bench, read it on the host.") from None
        except OSError as error:
            raise LogUnreadable(f"{path}: {error.strerror}") from error

    def _later(self, live: BinaryIO, ends: "_Ends") -> Iterator[bytes]:
        """What is appended, and all that newer files hold, once the one that was written is read to its end."""
        try:
            while True:
                yield from _blocks(live)
                if os.fstat(live.fileno()).st_size < live.tell():
                    live.seek(0)
                elif self._path.exists() and not self._is_at(live, 0):
                    yield from _blocks(live)
                    *between, newest = self._files(than=live)
                    live.close()
                    live = newest
                    yield from _read(between, live)
                elif ends.seen:
                    return
                else:
                    time.sleep(PAUSE)
                    ends.look()
        finally:
            live.close()

    def _is_at(self, file: BinaryIO, number: int) -> bool:
        """Whether an open file is the one that is written, or the older one of that number."""
        try:
            return os.path.samestat(self._numbered(number).stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _chunks_inside(self, lines: int | None, ends: "_Ends | None") -> Iterator[bytes]:
        text, place = self._inside(_Place())
        yield from [text] if lines is None else _last(iter([text]), lines)
        while ends and not ends.seen:
            time.sleep(PAUSE_INSIDE)
            ends.look()
            text, place = self._inside(place)
            yield text

    def _inside(self, place: _Place) -> tuple[bytes, _Place]:
        """What was written since then, and how far that goes."""
        names = [*(f"{self._path}.{number}" for number in range(self._keep, 0, -1)), str(self._path)]
        words = ["/bin/sh", "-c", _READ_INSIDE, "tower", str(place.inode), str(place.offset), *names]
        until = monotonic() + PATIENCE
        while True:
            done = self._bench.run(words, deadline=until, limit=_MOST_INSIDE)
            if done.status == 0:
                return _parts(done.stdout, place)
            if done.status != _RENAMED:
                said = done.stderr.decode("utf-8", "replace")
                raise LogUnreadable(f"{self._path} in bench {self._bench.name}: {said}")


class _Ends:
    """Whether nothing more will come, asked once a second; what came before that was seen is read after it."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self.seen = False
        self._over = over
        self._asked = monotonic()

    def look(self) -> None:
        """Ask, unless that was just done."""
        if monotonic() - self._asked > _ASK_EVERY:
            self.seen = self._over()
            self._asked = monotonic()


def _read(older: list[BinaryIO], live: BinaryIO) -> Iterator[bytes]:
    """What these hold; the older ones are closed after it."""
    for file in older:
        with file:
            yield from _blocks(file)
    yield from _blocks(live)


def _parts(told: bytes, place: _Place) -> tuple[bytes, _Place]:
    """The text of what `_READ_INSIDE` prints, and how far it goes."""
    text = b""
    while told:
        head, _, rest = told.partition(b"\n")
        inode, start, count = map(int, head.split())
        part, told = rest[:count], rest[count:]
        text, place = text + part, _Place(inode, start + len(part))
    return text, place


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _written(path: Path) -> BinaryIO:
    """The file that is written, which is missing from the rename of a full one until the next is made."""
    for _ in range(10):
        with suppress(FileNotFoundError):
            return path.open("rb")
        time.sleep(PAUSE / 10)
    return path.open("rb")


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
