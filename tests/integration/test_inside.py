"""The command line inside a bench: a thin client of the real socket, mounted into a real container."""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tower as product
from tests.harness import Container, Tower, eventually
from tests.yard import Yard, python_mounts

pytestmark = pytest.mark.docker

SOURCE = Path(product.__file__).parent
LEAVING = """
import array, os, socket, sys, time
near, far = socket.socketpair()
if os.fork() == 0:
    client = socket.socket(socket.AF_UNIX)
    client.connect("/run/tower/agenttowerd.sock")
    far.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [client.fileno()]))])
    os._exit(0)
_, passed, _, _ = near.recvmsg(1, socket.CMSG_SPACE(4))
os.wait()
client = socket.socket(fileno=array.array("i", passed[0][2])[0])
client.sendall(b'{"method": "managed.layout.list"}\\n')
open(sys.argv[1], "w").close()
print(client.makefile().readline())
"""
"""Connects in a child that exits, and asks over its connection; makes a file as soon as the child is gone."""


@pytest.fixture(scope="module")
def yard(engine_host: str) -> Iterator[Yard]:
    made = Yard(engine_host)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def tower(engine_host: str) -> Iterator[Tower]:
    made = Tower(docker_host=engine_host, environ={"TOWER_TIMES_SETTLE": "0.3"})
    try:
        yield made.up()
    finally:
        made.close()


class Inside(Container):
    """A bench with this Python, the tower's code and the socket."""

    def __init__(self, tower: Tower, yard: Yard, **plan: Any) -> None:
        parts = python_mounts(SOURCE, SOURCE.parent / "tasks")
        super().__init__(tower, yard, user="root", mounts={tower.state: "/run/tower", **parts}, **plan)

    def cli(self, *words: str) -> Any:
        """Run `tower` in the bench."""
        places = [f"PYTHONPATH={SOURCE.parent}", "TOWER_SOCKET=/run/tower/agenttowerd.sock", "HOME=/root"]
        return self.run("env", *places, sys.executable, "-m", "tower", *words)

    def json(self, *words: str) -> Any:
        """What `tower … --json` prints, for a command that must succeed."""
        done = self.cli(*words, "--json")
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def other(tower: Tower, yard: Yard) -> Any:
    """A layout of another bench."""
    bench = Container(tower, yard)
    return tower.ready(tower.create(bench.container_id, "1m+2s", "foreign"))


@pytest.fixture(scope="module")
def bench(tower: Tower, yard: Yard, other: Any) -> Inside:
    """A bench that says that it is the other one, in every way that a container can."""
    name = other["container_id"]
    made = Inside(tower, yard, hostname=name[:12], env=[f"HOSTNAME={name[:12]}", f"TOWER_CONTAINER_ID={name}"])
    tower.call("app.scan.containers")
    return made


def test_a_life_inside_without_naming_the_bench(tower: Tower, bench: Inside) -> None:
    made = bench.json("layout", "create", "-t", "1m+2s", "-s", "mine")
    assert (made["state"], made["container_id"]) == ("ready", bench.container_id)
    assert [row["layout_id"] for row in bench.json("layout", "list")["items"]] == [made["layout_id"]]
    assert {row["container_id"] for row in bench.json("pane", "list")["items"]} == {bench.container_id}
    assert bench.json("layout", "show", "mine")["layout_id"] == made["layout_id"]
    bench.json("pane", "remove", "mine/s2", "--yes")
    assert bench.json("pane", "recreate", "mine/s2")["state"] == "ready"
    assert bench.json("layout", "remove", "mine", "--yes")["state"] == "removed"
    assert bench.panes() == {}


def test_it_says_plainly_why_it_may_not_touch_others(tower: Tower, bench: Inside, other: Any) -> None:
    pane_id = other["panes"][0]["pane_id"]
    for words in (
        ("layout", "create", "local", "-t", "1m+2s", "-s", "beta"),
        ("layout", "create", other["container_id"], "-t", "1m+2s", "-s", "beta"),
        ("layout", "list", "--bench", other["container_id"]),
        ("layout", "show", other["layout_id"]),
        ("layout", "remove", other["layout_id"], "--yes"),
        ("pane", "remove", pane_id, "--yes"),
        ("pane", "recreate", pane_id),
        ("container", "list"),
        ("container", "scan"),
        ("events",),
        ("job", "list"),
    ):
        done = bench.cli(*words)
        said = done.stderr.decode()
        assert done.returncode == 1, (words, done)
        assert "host_only" in said, (words, said)
        assert "own bench" in said or "on the host" in said, (words, said)
        assert "Traceback" not in said
    assert tower.layout(other["layout_id"])["state"] == "ready"


def test_doctor_inside_says_where_it_is(bench: Inside) -> None:
    done = bench.cli("doctor")
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "this bench's own layouts" in said


def test_no_server_is_said_with_what_to_do(bench: Inside) -> None:
    places = [f"PYTHONPATH={SOURCE.parent}", "TOWER_SOCKET=/run/tower/none.sock", "HOME=/root"]
    done = bench.run("env", *places, sys.executable, "-m", "tower", "layout", "list")
    assert done.returncode == 6
    assert b"tower up" in done.stderr


def test_a_client_that_exits_between_connect_and_request_is_refused(tower: Tower, bench: Inside) -> None:
    """The server is halted while the client connects, so that it cannot be asked who it is in time."""
    told: list[bytes] = []
    gone = bench.path("gone")
    tower.kill("serve", signal.SIGSTOP)
    try:
        asking = threading.Thread(
            target=lambda: told.append(bench.run(sys.executable, "-c", LEAVING, str(gone)).stdout)
        )
        asking.start()
        eventually(gone.exists, what="the connecting process has exited")
    finally:
        tower.kill("serve", signal.SIGCONT)
    asking.join(60)
    answer = json.loads(told[0])
    assert not answer["ok"]
    assert answer["error"]["code"] == "permission_denied"
    assert "exited" in answer["error"]["message"]
