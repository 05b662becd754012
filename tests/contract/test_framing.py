"""The socket as bytes: lines, limits, connections, and who may have it."""

import json
import os
import signal
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contract import serving
from tests.harness import Tower, eventually, read_line
from tower.client import Client, Refused, ServerUnreachable

LIST = b'{"method": "managed.layout.list"}\n'
LIMIT = 65_536


@pytest.fixture(scope="module")
def tower() -> Iterator[Tower]:
    """A tower with its server only."""
    made = Tower()
    try:
        with serving.serving(made):
            yield made
    finally:
        made.close()


@pytest.fixture
def own() -> Iterator[Tower]:
    """A tower that the test starts itself."""
    made = Tower()
    try:
        yield made
    finally:
        made.close()


def everything(tower: Tower, data: bytes) -> list[Any]:
    """Send, close the writing half, and read all answers to the end."""
    with tower.connect() as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    return [json.loads(line) for line in answers.splitlines()]


def padded(size: int) -> bytes:
    """A good request of exactly so many bytes with its newline."""
    return b" " * (size - len(LIST)) + LIST


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "empty"),
        (b" \n", "not JSON"),
        (b"nonsense\n", "not JSON"),
        (b'{"method": "managed.layout.list"} more\n', "trailing"),
        (b'{"method": "managed.layout.list"}{}\n', "trailing"),
        (b'{"method": 3, nonsense\n', "not JSON"),
        (b'{"method": "managed.layout.list", "params": {"limit": 1,}}\n', "not JSON"),
        (b"[]\n", "no object"),
        (b'"managed.layout.list"\n', "no object"),
        (b"null\n", "no object"),
        (b'{"method": "managed.layout.list\xff"}\n', "UTF-8"),
        (b'{"method": "managed.layout.list"}\r\n', "carriage return"),
        (b'{"method":\r"managed.layout.list"}\n', "carriage return"),
        (b'{"method": "managed.layout.list"}\0\n', "NUL"),
        (b"\xef\xbb\xbf" + LIST, "not JSON"),
        (b'{"params": ' + b"[" * 60_000 + b"\n", "nested"),
        (b'{"method": "managed.layout.list", "params": {"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}\n", "nested"),
        (b'{"stranger": 1, "method": "app.preflight", "a": ' + b"[" * 990 + b"]" * 990 + b"}\n", "nested"),
        (b'{"method": 5, "a": ' + b"[" * 990 + b"]" * 990 + b"}\n", "nested"),
    ],
)
def test_what_is_not_one_object_on_a_line_is_malformed(tower: Tower, line: bytes, reason: str) -> None:
    refused, listed = everything(tower, line + LIST)
    assert refused["error"]["code"] == "malformed_request"
    assert reason in refused["error"]["details"]["reason"]
    assert listed["ok"]


@pytest.mark.parametrize("data", [LIST[:-1], b"{", b"x"])
def test_a_line_that_does_not_end_is_malformed(tower: Tower, data: bytes) -> None:
    listed, refused = everything(tower, LIST + data)
    assert listed["ok"]
    assert refused["error"]["code"] == "malformed_request"
    assert "newline" in refused["error"]["details"]["reason"]


def test_a_line_may_fill_the_limit(tower: Tower) -> None:
    assert everything(tower, padded(LIMIT))[0]["ok"]


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 2, 1_000_003])
def test_a_longer_line_is_refused_with_its_size_and_the_next_is_served(tower: Tower, size: int) -> None:
    refused, listed = everything(tower, padded(size) + LIST)
    assert refused["error"]["code"] == "payload_too_large"
    assert refused["error"]["details"] == {"size_limit_bytes": LIMIT, "actual_size_bytes": size}
    assert listed["ok"]


def test_a_longer_line_without_end_is_refused_with_its_size(tower: Tower) -> None:
    (refused,) = everything(tower, b"x" * 70_000)
    assert refused["error"]["details"]["actual_size_bytes"] == 70_000


def test_a_line_that_never_ends_costs_no_memory(own: Tower) -> None:
    with serving.serving(own) as process:
        before = psutil.Process(process.pid).memory_info().rss
        with own.connect() as client:
            block = b"x" * 1_000_000
            for _ in range(40):
                client.sendall(block)
            grown = psutil.Process(process.pid).memory_info().rss - before
        assert grown < 4_000_000
        assert serving.answers(own)


def test_one_request_and_one_line_as_other_clients_do(tower: Tower) -> None:
    assert tower.raw(LIST)["ok"]


def test_a_connection_serves_many_requests_in_order(tower: Tower) -> None:
    lines = [b'{"method": "managed.layout.detail", "params": {"layout_id": "n%d"}}\n' % number for number in range(500)]
    answers = everything(tower, b"".join(lines))
    assert [answer["error"]["details"]["layout_id"] for answer in answers] == [f"n{number}" for number in range(500)]


def test_requests_that_wait_are_answered_in_order_too(tower: Tower) -> None:
    create = b'{"method": "managed.layout.create", "params": {"template_name": "no", "tmux_session_name": "a",'
    data = (create + b' "container_id": "local"}}\n' + LIST) * 5
    answers = everything(tower, data)
    assert [answer["ok"] for answer in answers] == [False, True] * 5


def test_bytes_may_come_one_by_one(tower: Tower) -> None:
    with tower.connect() as client:
        for byte in LIST:
            client.send(bytes([byte]))
        assert read_line(client)["ok"]


def test_slow_and_idle_clients_keep_nobody_waiting(tower: Tower) -> None:
    idle = [tower.connect() for _ in range(300)]
    try:
        for number, client in enumerate(idle):
            if number % 2:
                client.send(LIST[:5])
        began = time.monotonic()
        assert tower.raw(LIST)["ok"]
        assert time.monotonic() - began < 5
        client = idle[1]
        client.send(LIST[5:])
        assert read_line(client)["ok"]
    finally:
        for client in idle:
            client.close()


def test_a_client_that_does_not_read_is_not_answered_for_ever(own: Tower) -> None:
    request = b'{"method": "%s"}\n' % (b"x" * 150)
    with serving.serving(own) as process, own.connect(timeout=2) as client:
        before = psutil.Process(process.pid).memory_info().rss
        with pytest.raises(TimeoutError):
            client.sendall(request * 200_000)
        assert psutil.Process(process.pid).memory_info().rss - before < 4_000_000
        assert serving.answers(own)


def test_clients_that_go_away_harm_nothing(tower: Tower) -> None:
    create = b'{"method": "managed.layout.create", "params": {"container_id": "local", "template_name": "no"}}\n'
    for data in (b"", LIST[:7], LIST, LIST * 400, create, create + LIST):
        for _ in range(5):
            with tower.connect() as client:
                client.sendall(data)
    assert tower.raw(LIST)["ok"]


def test_many_clients_at_once_each_get_their_own_answer(tower: Tower) -> None:
    wrong: list[str] = []

    def ask(number: int) -> None:
        for turn in range(20):
            name = f"n{number}-{turn}"
            if tower.ask("managed.pane.detail", {"pane_id": name})["error"]["details"]["pane_id"] != name:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_socket_is_closed_to_others(tower: Tower) -> None:
    assert stat.S_IMODE(tower.socket_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(tower.socket_path.parent.stat().st_mode) == 0o700


def test_a_second_server_is_refused_and_does_not_touch_the_first(own: Tower) -> None:
    with serving.serving(own):
        inode = own.socket_path.stat().st_ino
        second = own.cli("serve")
        assert second.returncode
        assert "running already" in second.stderr
        assert own.socket_path.stat().st_ino == inode
        assert serving.answers(own)


def test_the_socket_of_another_server_is_left_alone(own: Tower) -> None:
    with serving.serving(own):
        other = Tower(environ={"TOWER_SOCKET": str(own.socket_path)})
        try:
            done = other.cli("serve")
            assert done.returncode
            assert "TOWER_SOCKET" in done.stderr
        finally:
            other.close()
        assert serving.answers(own)


def test_a_stale_socket_is_replaced(own: Tower) -> None:
    with serving.serving(own) as process:
        process.kill()
        process.wait()
        assert own.socket_path.exists()
    with serving.serving(own):
        assert serving.answers(own)


def test_a_socket_file_that_is_deleted_comes_back(own: Tower) -> None:
    own.environ["TOWER_TIMES_LOOK"] = "0.2"
    with serving.serving(own) as process:
        with own.connect() as inside:
            for _ in range(3):
                own.socket_path.unlink()
                eventually(lambda: serving.answers(own), what="the server answers at a new file")
                inside.sendall(LIST)
                assert read_line(inside)["ok"], "who was inside is served as before"
        assert stat.S_IMODE(own.socket_path.stat().st_mode) == 0o600
        assert f"{own.socket_path} was deleted" in serving.log_of(own)
        assert psutil.Process(process.pid).num_fds() < 30, "what was bound before is closed"
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert not own.socket_path.exists()


def test_a_socket_file_that_another_server_has_put_there_is_left_alone(own: Tower) -> None:
    own.environ["TOWER_TIMES_LOOK"] = "0.2"
    with serving.serving(own) as process, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        theirs = own.root / "theirs"
        other.bind(str(theirs))
        other.listen()
        theirs.rename(own.socket_path)
        inode = own.socket_path.stat().st_ino
        eventually(lambda: "Another server answers" in serving.log_of(own), what="it is told of")
        time.sleep(0.5)
        assert serving.log_of(own).count("Another server answers") == 1
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert own.socket_path.stat().st_ino == inode


def test_what_is_no_socket_is_not_replaced(own: Tower) -> None:
    own.state.mkdir()
    own.socket_path.write_text("precious")
    assert own.cli("serve").returncode
    assert own.socket_path.read_text() == "precious"


@pytest.mark.parametrize("name", ["agenttowerd.sock", "n" * 200])
def test_a_path_longer_than_the_kernel_takes_works(own: Tower, name: str) -> None:
    path = own.root / ("d" * 120) / name
    own.environ["TOWER_SOCKET"] = str(path)
    process = serving.start(own)
    try:
        eventually(path.exists, what="the socket is there")
        with Client(path) as client:
            assert client.call("managed.layout.list") == {"items": [], "next": None}
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_graceful(own: Tower, number: signal.Signals) -> None:
    with serving.serving(own) as process, own.connect() as idle:
        idle.sendall(LIST)
        assert read_line(idle)["ok"], "the server has let this client in"
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert not own.socket_path.exists()
        assert idle.recv(1) == b""


def test_a_broken_configuration_does_not_keep_a_server_from_starting(own: Tower) -> None:
    own.write("config.yaml", "limits: {layuots: 3}\n")
    with serving.serving(own):
        assert "layuots" in serving.log_of(own)


def test_a_database_that_is_locked_or_read_only_says_what_to_do(own: Tower) -> None:
    own.environ["TOWER_TIMES_DATABASE"] = "1"
    request = {"container_id": "local", "template_name": "1m+2s", "tmux_session_name": "alpha"}
    with serving.serving(own):
        holder = sqlite3.connect(own.state / "state.sqlite3", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        locked = own.ask("managed.layout.create", request)["error"]
        assert own.raw(LIST)["ok"]
        holder.close()
        assert (locked["code"], locked["details"]) == ("internal_error", {})
        assert "locked" in locked["message"]
        assert own.ask("managed.layout.create", request)["ok"]


def test_the_client_tells_refusal_from_silence(tower: Tower, tmp_path: Path) -> None:
    with Client(tower.socket_path) as client:
        with pytest.raises(Refused) as refused:
            client.call("managed.layout.detail", {"layout_id": "none"})
        assert (refused.value.code, refused.value.details) == ("managed_layout_not_found", {"layout_id": "none"})
        assert client.call("managed.layout.list")["items"] == []
    with pytest.raises(ServerUnreachable), Client(tmp_path / "none.sock") as nobody:
        nobody.call("managed.layout.list")


def test_the_client_connects_anew_to_a_server_that_was_restarted(own: Tower) -> None:
    with Client(own.socket_path) as client:
        for _ in range(2):
            with serving.serving(own):
                assert client.call("managed.layout.list")["items"] == []


def test_the_client_gives_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(str(path))
        mute.listen()
        with Client(path) as client, pytest.raises(ServerUnreachable, match="in time"):
            client.call("managed.layout.list", timeout=0.2)


def test_nothing_is_left_in_the_folder_of_the_socket(tower: Tower) -> None:
    assert not [name for name in os.listdir(tower.state) if name.startswith(".tower")]  # noqa: PTH208 - names only


def test_a_client_that_awaits_the_answer_to_a_line_without_an_end_gets_it(tower: Tower) -> None:
    with tower.connect() as client:
        client.sendall(b"x" * 70_000)
        refused = read_line(client)
        assert refused["error"]["code"] == "payload_too_large"
        assert refused["error"]["details"] == {"size_limit_bytes": LIMIT, "actual_size_bytes": 70_000}
        client.sendall(b"x" * 70_000 + b"\n" + LIST)
        assert read_line(client)["ok"], "what was still to come of it is dropped in silence"


def test_a_full_line_that_lacks_only_its_newline_is_malformed(tower: Tower) -> None:
    (refused,) = everything(tower, b" " * LIMIT)
    assert refused["error"]["code"] == "malformed_request"
