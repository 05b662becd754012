"""Which engine is meant, and how the tower reads its HTTP and its stream."""

import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tower.benches.engine import Engine, engine
from tower.benches.stream import Stream
from tower.benches.wire import Address, Connection
from tower.errors import BenchTimeout, ContainerInactive, ContainerNotFound, DockerUnavailable, TmuxUnavailable


def context(folder: Path, name: str, host: str) -> None:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def test_docker_host_then_context_then_the_default(tmp_path: Path) -> None:
    env = {"DOCKER_CONFIG": str(tmp_path), "HOME": "/nonexistent"}
    assert engine(env).host == "unix:///var/run/docker.sock"
    context(tmp_path, "remote", "tcp://10.0.0.1:2375")
    context(tmp_path, "podman", "unix:///run/podman.sock")
    (tmp_path / "config.json").write_text('{"currentContext": "remote"}')
    assert engine(env).host == "tcp://10.0.0.1:2375"
    assert engine({**env, "DOCKER_CONTEXT": "podman"}).host == "unix:///run/podman.sock"
    assert engine({**env, "DOCKER_CONTEXT": "default"}).host == "unix:///var/run/docker.sock"
    assert engine({**env, "DOCKER_HOST": "unix:///x"}).host == "unix:///x"
    assert engine({**env, "DOCKER_HOST": "unix:///x", "TOWER_ENGINE": "unix:///of-up"}).host == "unix:///of-up"
    (tmp_path / "config.json").write_text("broken")
    assert engine(env).host == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    "meta",
    [
        None,
        "broken",
        "[]",
        "{}",
        '{"Endpoints": []}',
        '{"Endpoints": null}',
        '{"Endpoints": {"docker": null}}',
        '{"Endpoints": {"docker": {}}}',
        '{"Endpoints": {"docker": {"Host": 7}}}',
        '{"Endpoints": {"docker": {"Host": ""}}}',
    ],
)
def test_a_context_that_is_named_and_broken_is_no_other_engine(tmp_path: Path, meta: str | None) -> None:
    context(tmp_path, "mine", "unix:///x")
    if meta is None:
        (tmp_path / "contexts").rename(tmp_path / "gone")
    else:
        next(tmp_path.rglob("meta.json")).write_text(meta)
    (tmp_path / "config.json").write_text('{"currentContext": "mine"}')
    for env in ({"DOCKER_CONFIG": str(tmp_path)}, {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "mine"}):
        with pytest.raises(DockerUnavailable, match=r"docker context mine: .*meta\.json.*`docker context use`"):
            engine(env)
        assert engine({**env, "DOCKER_HOST": "unix:///y"}).host == "unix:///y"


def test_an_address_is_a_socket_path_or_a_port() -> None:
    assert Engine("unix:///run/d.sock").address == Address("/run/d.sock")
    assert Engine("tcp://box:99").address == Address(None, "box", 99)
    with pytest.raises(DockerUnavailable, match="ssh://"):
        Engine("ssh://box").address  # noqa: B018 - it is the reading that raises


@pytest.mark.parametrize(
    "host",
    ["tcp://box:port", "tcp://box:99999", "tcp://[::1", "tcp://:2375", "tcp://a..b:1", "/run/d.sock", "box:1", "x"],
)
def test_what_is_no_address_says_what_one_is(host: str) -> None:
    with pytest.raises(DockerUnavailable) as caught:
        Engine(host).ask("GET", "/x", deadline=soon())
    assert host in caught.value.message
    assert "correct it to unix:///PATH" in caught.value.message


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def said(tmp_path: Path) -> Iterator["Listener"]:
    listener = Listener(tmp_path / "s")
    yield listener
    listener.close()


class Listener:
    """A Unix socket that answers whoever connects with given bytes, in pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread: threading.Thread | None = None

    def answer(self, *pieces: bytes, hang: bool = False) -> Engine:
        self.thread = threading.Thread(target=self._serve, args=(pieces, hang))
        self.thread.start()
        return Engine(f"unix://{self.path}")

    def _serve(self, pieces: tuple[bytes, ...], hang: bool) -> None:
        taken, _ = self.socket.accept()
        with taken:
            taken.recv(65536)
            for piece in pieces:
                taken.sendall(piece)
                time.sleep(0.005)
            if hang:
                taken.recv(1)

    def close(self) -> None:
        if self.thread:
            self.thread.join(10)
        self.socket.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"Content-Length: 9\r\n\r\n" + b'{"a": 1}\n',),
        (OK[:20], OK[20:] + b"Content-Length: 9\r\n", b'\r\n{"a"', b": 1}\n"),
        (OK + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n', b'5;x=y\r\n": 1}\r\n0\r\n\r\n'),
        (OK + b"Connection: close\r\n\r\n", b'{"a": 1}'),
    ],
)
def test_an_answer_is_read_however_it_comes(said: Listener, pieces: tuple[bytes, ...]) -> None:
    assert said.answer(*pieces).ask("GET", "/x", deadline=soon()) == {"a": 1}


def error(status: int, message: str) -> bytes:
    body = json.dumps({"message": message}).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_the_engines_refusals_become_the_towers(said: Listener) -> None:
    with pytest.raises(ContainerNotFound, match="abc"):
        said.answer(error(404, "No such container: abc")).inspect("abc", soon())


@pytest.mark.parametrize(
    ("message", "state"),
    [("Container abc is paused", "paused"), ("Container abc is not running", "exited")],
)
def test_a_conflict_says_what_the_container_is(said: Listener, message: str, state: str) -> None:
    with pytest.raises(ContainerInactive) as caught:
        said.answer(error(409, message)).ask("POST", "/containers/abc/exec", {}, deadline=soon())
    assert caught.value.details == {"container_id": "abc", "container_state": state}


@pytest.mark.parametrize(
    "pieces",
    [
        (b"SSH-2.0-OpenSSH\r\n",),
        (OK + b"Content-Length: 99\r\n\r\n{",),
        (b"",),
        (OK + b"Content-Length: many\r\n\r\nabc",),
        (OK + b"Content-Length: -3\r\n\r\nabc",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\nabc",),
        (OK + b"Content-Length: 3\r\n\r\nabc",),
        (error(500, "server on fire"),),
    ],
)
def test_what_is_no_sound_answer_is_an_unavailable_engine(said: Listener, pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(DockerUnavailable):
        said.answer(*pieces).ask("GET", "/x", deadline=soon())


def test_a_silent_engine_ends_at_the_deadline(said: Listener) -> None:
    begun = time.monotonic()
    with pytest.raises(BenchTimeout):
        said.answer(OK, hang=True).ask("GET", "/x", deadline=soon(0.2))
    assert time.monotonic() - begun < 1.0


def test_no_engine_is_unavailable_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(DockerUnavailable, match="No such file"):
        Engine(f"unix://{tmp_path}/none").ask("GET", "/x", deadline=soon())


def stream(*pieces: bytes, limit: int = 1000) -> Stream:
    """A stream that has read these pieces, until the other side closed it."""
    ours, theirs = socket.socketpair()
    connection = Connection.__new__(Connection)
    connection.socket, connection.buffer = ours, bytearray(pieces[0])
    with ours, theirs:
        made = Stream(connection, b"", limit)
        for piece in pieces[1:]:
            theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)
        made.until_end(soon(), lambda: True)
    return made


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(data)) + data


def test_frames_are_sorted_wherever_they_are_cut() -> None:
    whole = frame(1, b"out 1 ") + frame(2, b"err 1 ") + frame(1, b"") + frame(1, b"out 2")
    for cut in range(len(whole)):
        made = stream(whole[:cut], whole[cut:])
        assert (bytes(made.stdout), bytes(made.stderr)) == (b"out 1 out 2", b"err 1 ")


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(TmuxUnavailable, match="more output"):
        stream(b"", frame(1, b"x" * 2000), limit=1000)


def test_a_stream_that_nobody_closes_ends_with_its_command() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection.__new__(Connection)
    connection.socket, connection.buffer = ours, bytearray(frame(1, b"all of it"))
    answers = iter([True, False])
    begun = time.monotonic()
    with ours, theirs:
        made = Stream(connection, b"", 1000)
        made.until_end(soon(30), lambda: next(answers))
    assert bytes(made.stdout) == b"all of it"
    assert 2 <= time.monotonic() - begun < 10


def test_a_silent_stream_ends_at_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection.__new__(Connection)
    connection.socket, connection.buffer = ours, bytearray()
    with ours, theirs, pytest.raises(TimeoutError):
        Stream(connection, b"", 1000).until_end(soon(1.5), lambda: True)
