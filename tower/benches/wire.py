"""HTTP/1.1 as the Engine API speaks it, over a Unix or TCP socket, with absolute deadlines.

The standard library's client takes a timeout for each read only, and cannot hand over a connection that the
engine has upgraded to a raw stream. This is the little that is left without it.
"""

import socket
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

_CHUNK: Final = 65536
_HEAD_LIMIT: Final = 65536
BODY_LIMIT: Final = 64 * 1024 * 1024


class Address(NamedTuple):
    """Where an engine listens: the path of a Unix socket, or host and port."""

    path: str | None
    host: str = ""
    port: int = 0


class Answer(NamedTuple):
    """A status and a body; an upgraded connection has no body."""

    status: int
    body: bytes


class EngineFault(ConnectionError):
    """The engine broke off, or what answers is none."""


class Connection:
    """One connection; every wait ends at its deadline with TimeoutError, a cut one with EngineFault."""

    def __init__(self, address: Address, deadline: float) -> None:
        self.deadline = deadline
        self.buffer = bytearray()
        self.socket = self._connect(address)

    def request(self, method: str, target: str, body: bytes | None = None, upgrade: bool = False) -> Answer:
        """Send a request and read its answer; 101 or an upgraded 200 leaves the stream to the caller."""
        self._send(_head(method, target, body, upgrade) + (body or b""))
        status, fields = self._read_head()
        if upgrade and status in (101, 200):
            return Answer(status, b"")
        return Answer(status, self._read_body(method, status, fields))

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def _connect(self, address: Address) -> socket.socket:
        if address.path is None:
            return socket.create_connection((address.host, address.port), timeout=self._left())
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(self._left())
        try:
            made.connect(address.path)
        except OSError:
            made.close()
            raise
        return made

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _send(self, data: bytes) -> None:
        self.socket.settimeout(self._left())
        self.socket.sendall(data)

    def _fill(self) -> bool:
        self.socket.settimeout(self._left())
        data = self.socket.recv(_CHUNK)
        self.buffer += data
        return bool(data)

    def _line(self) -> bytes:
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > _HEAD_LIMIT or not self._fill():
                raise EngineFault("it cut its answer short")
        line = bytes(self.buffer[:end]).rstrip(b"\r")
        del self.buffer[: end + 1]
        return line

    def _read_head(self) -> tuple[int, Mapping[bytes, bytes]]:
        words = self._line().split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise EngineFault("what answers is no engine")
        fields = {}
        while line := self._line():
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        return int(words[1]), fields

    def _read_body(self, method: str, status: int, fields: Mapping[bytes, bytes]) -> bytes:
        if method == "HEAD" or status in (101, 204, 304):
            return b""
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return self._read_chunks()
        if b"content-length" in fields:
            return self._read_exactly(_number(fields[b"content-length"], 10))
        while self._fill():
            self._check(len(self.buffer))
        return bytes(self.buffer)

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := _number(self._line().split(b";")[0], 16):
            self._check(len(body) + size)
            body += self._read_exactly(size)
            self._line()
        self._line()
        return bytes(body)

    def _read_exactly(self, size: int) -> bytes:
        self._check(size)
        while len(self.buffer) < size:
            if not self._fill():
                raise EngineFault("it cut its answer short")
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    @staticmethod
    def _check(size: int) -> None:
        if size > BODY_LIMIT:
            raise EngineFault("its answer is too large")


def _number(text: bytes, base: int) -> int:
    try:
        found = int(text, base)
    except ValueError:
        found = -1
    if found < 0:
        raise EngineFault("what answers is no engine")
    return found


def _head(method: str, target: str, body: bytes | None, upgrade: bool) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: engine", "User-Agent: tower"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif method != "GET":
        lines += ["Content-Length: 0"]
    lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
    return "\r\n".join([*lines, "", ""]).encode()
