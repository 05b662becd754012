"""Bytes to lines: a request is one line of at most 65,536 bytes with its newline.

A longer line is dropped as it comes, so that a client can never make the server hold more than a line and a read;
its size is told once its end has come, or once so much has been dropped that no end is to be expected.
"""

from typing import Final, NamedTuple

LINE_LIMIT: Final = 65_536
DROP_LIMIT: Final = 64 * 1024 * 1024


class TooLong(NamedTuple):
    """A line over the limit, with its size; `endless` when it was given up before its end."""

    size: int
    endless: bool = False


class Unterminated(NamedTuple):
    """The stream ended inside a line."""

    size: int


class Lines:
    """Cuts a stream of bytes into lines, without their newlines."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._dropped = 0

    def __bool__(self) -> bool:
        """Whether anything of the stream is left here."""
        return bool(self._buffer) or bool(self._dropped)

    @property
    def ready(self) -> bool:
        """Whether there is a whole line."""
        return self._buffer.find(b"\n", self._searched) >= 0

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        self._buffer += data

    def take(self) -> bytes | TooLong | None:
        """The next line, None when its end has not come yet."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            return self._hold()
        size = self._dropped + end + 1
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = self._dropped = 0
        return line if size <= LINE_LIMIT else TooLong(size)

    def _hold(self) -> TooLong | None:
        self._searched = len(self._buffer)
        if self._dropped + self._searched < LINE_LIMIT:
            return None
        self._dropped += self._searched
        self._searched = 0
        self._buffer.clear()
        if self._dropped <= DROP_LIMIT:
            return None
        size, self._dropped = self._dropped, 0
        return TooLong(size, endless=True)

    def rest(self) -> TooLong | Unterminated | None:
        """What the end of the stream has cut; to be asked when `take` gives nothing more."""
        size = self._dropped + len(self._buffer)
        self._dropped = self._searched = 0
        self._buffer.clear()
        if size >= LINE_LIMIT:
            return TooLong(size)
        return Unterminated(size) if size else None
