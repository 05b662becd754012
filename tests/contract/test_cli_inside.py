"""`tower` inside a bench: a real container with the real socket mounted, and the thin client in it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Container, Tower
from tests.yard import Yard, python_mounts

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]


class Client:
    """The command line in a container."""

    def __init__(self, tower: Tower, yard: Yard, *, socket: bool = True) -> None:
        mounts: dict[Path | str, str] = {tower.state: "/run/tower"} if socket else {}
        self.bench = Container(
            tower,
            yard,
            user="root",
            mounts=mounts | python_mounts(ROOT),
            env=["TOWER_SOCKET=/run/tower/agenttowerd.sock", "HOME=/root"],
        )

    def cli(self, *words: str) -> Any:
        """Run `tower` with these words."""
        return self.bench.run("/bin/sh", "-c", 'cd / && exec "$@"', "sh", sys.executable, "-m", "tower", *words)


@pytest.fixture(scope="module")
def yard(engine_host: str) -> Iterator[Yard]:
    """Containers that the tests of this module share."""
    made = Yard(engine_host)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def tower(engine_host: str) -> Iterator[Tower]:
    """A tower with a layout on the host."""
    made = Tower(docker_host=engine_host)
    try:
        made.up()
        made.ready(made.create("local", session="hosts"))
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def client(tower: Tower, yard: Yard) -> Client:
    """The client in a bench that is known."""
    made = Client(tower, yard)
    tower.call("app.scan.containers")
    return made


def error(done: Any) -> str:
    return str(json.loads(done.stderr)["code"])


def test_a_whole_life_without_naming_the_bench(client: Client) -> None:
    words = ["layout", "create", "-t", "1m+2s", "-s", "inner", "-l", "master=nothing"]
    assert error(client.cli(*words, "--json")) == "managed_launch_command_not_found"
    made = client.cli(*words[:-2])
    assert made.returncode == 0, made.stderr
    listed = json.loads(client.cli("layout", "list", "--json").stdout)["items"]
    assert [row["tmux_session_name"] for row in listed] == ["inner"]
    assert client.cli("pane", "restart", "inner/s2", "--yes").returncode == 0
    assert client.cli("layout", "wait", "inner", "--until", "ready").returncode == 0
    assert client.cli("layout", "remove", "inner", "--yes").returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("layout", "create", "local", "-t", "1m+2s", "-s", "x"),
        ("layout", "list", "--bench", "local"),
        ("agent", "list"),
        ("events",),
        ("template", "list"),
        ("container", "scan"),
    ],
)
def test_what_is_not_its_own_is_refused_plainly(client: Client, words: tuple[str, ...]) -> None:
    done = client.cli(*words, "--json")
    assert (done.returncode, error(done)) == (1, "host_only")
    assert b"on the host" in client.cli(*words).stderr


def test_a_foreign_layout_is_not_found_by_name(client: Client, tower: Tower) -> None:
    assert error(client.cli("layout", "show", "hosts", "--json")) == "managed_layout_not_found"
    foreign = tower.json("layout", "show", "hosts")["layout_id"]
    assert error(client.cli("layout", "show", foreign, "--json")) == "host_only"


def test_the_doctor_looks_at_what_is_here(client: Client) -> None:
    done = client.cli("doctor")
    assert done.returncode == 0, done.stdout
    assert b"tmux is here" in done.stdout
    assert b"tower up" not in done.stdout


def test_without_the_socket_the_doctor_says_what_to_mount(tower: Tower, yard: Yard) -> None:
    done = Client(tower, yard, socket=False).cli("doctor")
    assert done.returncode == 1
    assert b"mount the host's socket" in done.stdout
    assert b"tower up" not in done.stdout


def test_a_log_that_is_kept_inside_is_read_from_there(engine_host: str, yard: Yard) -> None:
    made = Tower(docker_host=engine_host, environ={"TOWER_LOGS_REQUIRE_HOST_PATH": "false"})
    try:
        made.up()
        bench = Container(made, yard, logs=False)
        made.profile("says", ["sh", "-c", "echo first words; exec sleep 1000"])
        words = ["-t", "1m+2s", "-s", "kept", "-l", "master=says"]
        done = made.cli("layout", "create", bench.container_id[:12], *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert made.cli("pane", "logs", "kept/m1").stdout == "first words\n"
        told = made.cli("layout", "attach", "kept").stderr
        assert "docker exec -it -u dev bench-" in told
        assert "attach-session -t =kept" in told
    finally:
        made.close()
