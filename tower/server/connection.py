"""One client: its requests are answered one after another, in the order in which they came.

While one is being answered nothing more is read, so a client costs a line and an answer at most, however much it sends
and however slowly it reads. One that has gone away is noticed when its answer is written.
"""

import socket
from collections.abc import Callable
from typing import Final

from tower.errors import WireError
from tower.server.dispatch import Dispatcher
from tower.server.framing import Lines, TooLong, Unterminated
from tower.server.loop import READ, WRITE, Loop
from tower.server.methods import Caller

_CHUNK: Final = 65_536
_TURN: Final = 16
"""So many lines of one client are answered before the others have their turn."""

_OVERLONG: Final = 1.0
"""Seconds that the end of a line over the limit may take; a client that awaits its answer sends none."""


class Connection:
    """A client and what is half-way between it and the server."""

    def __init__(
        self,
        client: socket.socket,
        caller: Caller | WireError,
        loop: Loop,
        dispatcher: Dispatcher,
        gone: Callable[["Connection"], None],
    ) -> None:
        self._client = client
        self._caller = caller
        self._loop = loop
        self._dispatcher = dispatcher
        self._gone = gone
        self._lines = Lines()
        self._answer = memoryview(b"")
        self._busy = False
        self._ended = False
        self._turning = False
        self._overlong = False
        self._open = True

    @property
    def idle(self) -> bool:
        """Whether nothing of it is being answered."""
        return not self._busy and not self._answer

    def ready(self, events: int) -> None:
        """The descriptor can be read or written."""
        if self._open and events & WRITE and self._answer:
            self._write()
        if self._open and events & READ and self.idle:
            self._read()
        self._proceed()

    def _read(self) -> None:
        try:
            data = self._client.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._ended = not data
        self._lines.feed(data)

    def _await_end(self) -> None:
        """Look whether a line over the limit has begun, whose end may never come."""
        if self._lines.overlong and not self._overlong:
            self._overlong = True
            self._loop.later(_OVERLONG, self._give_up)

    def _give_up(self) -> None:
        self._overlong = False
        if self._open and self.idle and self._lines.overlong:
            self._busy = True
            self._dispatcher.begin(self._lines.give_up(), self._caller, self._reply)

    def _write(self) -> None:
        try:
            self._answer = self._answer[self._client.send(self._answer) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _proceed(self) -> None:
        """Answer what has come, as far as that goes, then wait for what must come next."""
        self._turning = True
        for _ in range(_TURN):
            line = self._next() if self._open and self.idle else None
            if line is None:
                break
            self._busy = True
            self._dispatcher.begin(line, self._caller, self._reply)
        else:
            self._loop.soon(self._proceed)
        self._turning = False
        self._await_end()
        self._wait()

    def _next(self) -> bytes | TooLong | Unterminated | None:
        line = self._lines.take()
        return self._lines.rest() if line is None and self._ended else line

    def _reply(self, answer: bytes) -> None:
        """The answer of the present request has been made, at once or later."""
        self._busy = False
        self._answer = memoryview(answer)
        if self._open:
            self._write()
        if not self._turning:
            self._proceed()

    def _wait(self) -> None:
        """Watch for what must come next: room for the answer, or a line when there is none to be answered."""
        if not self._open:
            return
        if self._ended and self.idle and not self._lines:
            self.close()
            return
        reading = READ if self.idle and not self._lines.ready and not self._ended else 0
        self._loop.watch(self._client.fileno(), WRITE if self._answer else reading, self.ready)

    def close(self) -> None:
        """End it; an answer that is still being made is dropped."""
        if self._open:
            self._open = False
            self._loop.watch(self._client.fileno(), 0, self.ready)
            self._client.close()
            self._gone(self)
