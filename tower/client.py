"""The socket client: a request, and its result or its error.

Imports little, because the command line's start is part of every command.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

_PATH_LIMIT: Final = 107
"""Bytes that a socket address holds without its final NUL (unix(7))."""

_CHUNK: Final = 65_536


class ServerUnreachable(Exception):
    """Nobody answers at the socket, or the answer broke off or did not come in time."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details)


@contextmanager
def address(path: Path) -> Iterator[str]:
    """What to connect to for a socket at this path: itself, or for one that is too long its descriptor in /proc.

    Raises OSError when there is no such file and the path is too long.
    """
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield str(path)
        return
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


class Client:
    """A connection that is opened when it is first needed, kept, and opened anew after it broke."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def call(self, method: str, params: Mapping[str, Any] | None = None, timeout: float = 90.0) -> Any:
        """The result of a method; `timeout` seconds are for everything together.

        Raises Refused with the server's error, ServerUnreachable when there was no answer. A request is sent once:
        when its answer did not come it may have been carried out.
        """
        deadline = time.monotonic() + timeout
        request = json.dumps({"method": method, "params": params or {}}, ensure_ascii=False).encode() + b"\n"
        try:
            answer = json.loads(self._exchange(request, deadline))
        except (OSError, ValueError) as error:
            self.close()
            raise ServerUnreachable(f"{self._path}: {_why(error)}") from error
        if answer["ok"]:
            return answer["result"]
        refusal = answer["error"]
        raise Refused(refusal["code"], refusal["message"], refusal["details"])

    def close(self) -> None:
        """Drop the connection; the next call makes another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if self._socket is None or _has_ended(self._socket):
            self.close()
            self._socket = self._connect(deadline)
        connection = self._socket
        connection.settimeout(_left(deadline))
        connection.sendall(request)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            connection.settimeout(_left(deadline))
            data = connection.recv(_CHUNK)
            if not data:
                raise ConnectionError("the server closed the connection before it had answered")
            answer += data
        return bytes(answer)

    def _connect(self, deadline: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            with address(self._path) as reachable:
                connection.connect(reachable)
        except BaseException:
            connection.close()
            raise
        return connection


def _has_ended(connection: socket.socket) -> bool:
    """Whether the server has closed a connection that was kept; nothing else can have come on it.

    A socket with a timeout waits for it whatever the flags say, so it is made non-blocking for the look.
    """
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) is not None
    except BlockingIOError:
        return False
    except OSError:
        return True


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error)
