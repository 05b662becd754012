"""Bytes to lines: a request is one line of at most 65,536 bytes with its newline.

A longer line is dropped as it comes, so that a client can never make the server hold more than a line and a read. Its
size is told once its end has come, or so far as it is known once `give_up` says that no end is to be waited for.
"""

from typing import Final, NamedTuple

LINE_LIMIT: Final = 65_536


class TooLong(NamedTuple):
    """A line over the limit, with its size, or what of it had come when it was given up."""

    size: int


class Unterminated(NamedTuple):
    """The stream ended inside a line."""

    size: int


class Lines:
    """Cuts a stream of bytes into lines, without their newlines."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._dropped = 0
        self._given_up = False

    def __bool__(self) -> bool:
        """Whether anything of the stream is left here."""
        return bool(self._buffer) or bool(self._dropped)

    @property
    def ready(self) -> bool:
        """Whether there is a whole line."""
        return self._buffer.find(b"\n", self._searched) >= 0

    @property
    def overlong(self) -> bool:
        """Whether the present line is over the limit, its end has not come, and nobody has been told of it."""
        return self._dropped > LINE_LIMIT and not self._given_up

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        self._buffer += data

    def take(self) -> bytes | TooLong | None:
        """The next line, None when its end has not come yet."""
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            size = self._dropped + end + 1
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            told, self._given_up = self._given_up, False
            self._searched = self._dropped = 0
            if not told:
                return line if size <= LINE_LIMIT else TooLong(size)
        self._hold()
        return None

    def _hold(self) -> None:
        self._searched = len(self._buffer)
        if self._dropped + self._searched >= LINE_LIMIT:
            self._dropped += self._searched
            self._searched = 0
            self._buffer.clear()

    def give_up(self) -> TooLong:
        """The overlong line, as long as it is by now; what is still to come of it is dropped in silence."""
        self._given_up = True
        return TooLong(self._dropped)

    def rest(self) -> TooLong | Unterminated | None:
        """What the end of the stream has cut; to be asked when `take` gives nothing more."""
        size = 0 if self._given_up else self._dropped + len(self._buffer)
        self._dropped = self._searched = 0
        self._given_up = False
        self._buffer.clear()
        if size > LINE_LIMIT:
            return TooLong(size)
        return Unterminated(size) if size else None
