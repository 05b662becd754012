"""The raw stream of an exec: input one way, both outputs the other way, in frames.

A frame is a byte for the kind (1 output, 2 error), three zero bytes, a length of 4 bytes, and the data
(Engine API, "Attach to a container", stream format).
"""

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from tower.benches.wire import Connection
from tower.errors import TmuxUnavailable

_CHUNK: Final = 65536
_HEAD: Final = struct.Struct(">BxxxI")
_SILENCE: Final = 1.0
"""Seconds without a byte after which the engine is asked whether the command still runs."""
_GRACE: Final = 0.2
"""Seconds for what is still on its way after the command ended."""


class Stream:
    """Takes over an upgraded connection; what arrived is in ``stdout`` and ``stderr``."""

    def __init__(self, connection: Connection, stdin: bytes, limit: int) -> None:
        self.socket = connection.socket
        self.rest, self.feeding = memoryview(stdin), bool(stdin)
        self.stdout, self.stderr = bytearray(), bytearray()
        self.pending, self.room = bytearray(), limit
        self.ended = False
        self._take(bytes(connection.buffer))

    def hold(self, until: float) -> None:
        """Give no input before that time; take what comes. Returns at once when the stream has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            while not self.ended and (left := until - time.monotonic()) > 0:
                if selector.select(left):
                    self._receive()

    def until_end(self, deadline: float, running: Callable[[], bool]) -> None:
        """Write and read until the engine closes the stream, or says of a silent one that nothing runs.

        Raises TimeoutError at the deadline, TmuxUnavailable when the command gives more than its limit.
        """
        self.socket.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            wait = _SILENCE
            while not self.ended:
                served = self._serve(selector, min(wait, deadline - time.monotonic()))
                if not served and time.monotonic() < deadline:
                    if wait == _GRACE:
                        return
                    wait = _SILENCE if running() else _GRACE

    def _serve(self, selector: selectors.BaseSelector, wait: float) -> bool:
        """Move what can be moved now; false after ``wait`` seconds of silence."""
        if wait <= 0:
            raise TimeoutError
        writing = selectors.EVENT_WRITE if self.feeding else 0
        selector.modify(self.socket, selectors.EVENT_READ | writing)
        ready = selector.select(wait)
        if ready and ready[0][1] & selectors.EVENT_WRITE:
            self._feed()
        if ready and ready[0][1] & selectors.EVENT_READ:
            self._receive()
        return bool(ready)

    def _feed(self) -> None:
        """Write some input, and the end of input after the last of it."""
        try:
            self.rest = self.rest[self.socket.send(self.rest[:_CHUNK]) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self.rest = self.rest[:0]
        if not self.rest:
            self.feeding = False
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self._take(data)
        self.ended = not data

    def _take(self, data: bytes) -> None:
        """Sort what arrived into the two outputs."""
        self.pending += data
        self.room -= len(data)
        if self.room < 0:
            raise TmuxUnavailable(reason="a command in the bench gave more output than it may")
        while len(self.pending) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self.pending)
            end = _HEAD.size + size
            if len(self.pending) < end:
                return
            (self.stderr if kind == 2 else self.stdout).extend(self.pending[_HEAD.size : end])
            del self.pending[:end]
