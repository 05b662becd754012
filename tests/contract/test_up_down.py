"""`tower up`, `down` and `status` on the real supervisord."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import Place, Tower, eventually
from tests.spots import quick_tower


@pytest.fixture
def idle() -> Iterator[Tower]:
    """A tower that was never started."""
    made = quick_tower()
    try:
        yield made
    finally:
        made.close()


def pids(tower: Tower) -> list[int]:
    return [process["pid"] for process in tower.json("status")["processes"]]


def test_up_and_down_again_and_again(idle: Tower) -> None:
    assert idle.json("up")["started"] is True
    before = pids(idle)
    assert idle.json("up")["started"] is False
    assert pids(idle) == before
    idle.ready(idle.create("local"))
    assert idle.json("down")["stopped"] is True
    assert idle.json("down")["stopped"] is False
    assert idle.processes() == []
    assert len(Place(idle).panes()) == 3
    idle.up()
    assert idle.json("layout", "show", "alpha")["state"] == "ready"


def test_two_at_the_same_moment_start_one(idle: Tower) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: idle.json("up")["started"], range(4)))
    assert sorted(started) == [False, False, False, True]
    assert len(idle.processes("supervisord")) == 1
    assert len(idle.processes("serve")) == 1
    assert len(idle.processes("work")) == 2


def test_up_while_it_goes_down_starts_it_anew(idle: Tower) -> None:
    idle.up()
    (before,) = idle.processes("supervisord")
    with ThreadPoolExecutor(2) as pool:
        down = pool.submit(idle.cli, "down")
        eventually(lambda: not idle.processes("serve"), every=0.005, what="the tower goes down")
        up = pool.submit(idle.cli, "up")
    assert (down.result().returncode, up.result().returncode) == (0, 0), up.result().stderr
    (after,) = idle.processes("supervisord")
    assert after.pid != before.pid
    assert idle.call("app.preflight")["code"] == "ok"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("limits: {layuts: 3}", "config.yaml:1: limits.layuts: no such field; there are: layouts"),
        ("limits: {layouts: many}", "limits.layouts: expected int"),
        ("limitz: {}", "limitz: no such field; there are: benches"),
        ("limits: [", "not YAML"),
    ],
)
def test_a_wrong_configuration_touches_nothing(idle: Tower, text: str, told: str) -> None:
    idle.write("config.yaml", text)
    done = idle.cli("up")
    assert done.returncode == 2
    assert told in done.stderr
    assert str(idle.config / "config.yaml") in done.stderr
    assert not idle.state.exists()


def test_what_runs_goes_on_with_a_configuration_that_broke(idle: Tower) -> None:
    idle.up()
    idle.write("config.yaml", "limitz: {}")
    assert idle.cli("up").returncode == 2
    listed = idle.cli("layout", "list")
    assert listed.returncode == 0
    assert "last good values" in listed.stderr
    assert idle.cli("doctor").returncode == 1
    assert idle.cli("down").returncode == 0


def test_a_configuration_that_was_edited_since_the_start_is_told_of(idle: Tower) -> None:
    told = "config.yaml was changed since the start; it counts after `tower down`, then `tower up`"
    idle.write("config.yaml", "workers: {processes: 1}")
    idle.up()
    assert idle.json("status")["difference"] is None
    idle.write("config.yaml", "workers: {processes: 2}")
    assert told in idle.cli("up").stdout
    assert idle.json("up")["difference"] == told
    assert told in idle.cli("status").stdout
    assert told in idle.cli("doctor").stdout
    idle.write("config.yaml", "limitz: {}")
    assert idle.cli("status").stderr.count("last good values") == 1
    assert (idle.state / "run/config.last-good.yaml").read_text() == "workers: {processes: 1}"
    idle.write("config.yaml", "workers: {processes: 2}")
    idle.cli("down", check=True)
    idle.up()
    assert idle.json("status")["difference"] is None
    assert len(idle.processes("work")) == 2


def test_a_process_that_cannot_even_be_started_is_told_of_by_supervisords_words(idle: Tower) -> None:
    (idle.state / "log").mkdir(parents=True)
    (idle.state / "log/serve.log").symlink_to("/nonexistent/folder/serve.log")
    done = idle.cli("up")
    assert done.returncode == 1
    assert "serve: unknown error making dispatchers" in done.stderr
    assert "supervisord.log" in done.stderr


@pytest.mark.parametrize("name", ["supervisord", ""])
def test_up_after_a_kill(idle: Tower, name: str) -> None:
    idle.up()
    idle.ready(idle.create("local"))
    idle.kill(name)
    assert idle.json("up")["started"] is True
    eventually(lambda: len(idle.processes("work")) == 2)
    assert len(idle.processes("serve")) == 1
    assert idle.json("layout", "show", "alpha")["state"] == "ready"
    looked = idle.cli("doctor")
    assert looked.returncode == 0, looked.stdout


def test_down_ends_orphans_too(idle: Tower) -> None:
    idle.up()
    idle.kill("supervisord")
    assert idle.json("down")["stopped"] is True
    eventually(lambda: not idle.processes())


def test_a_stopped_supervisord_hangs_no_status(idle: Tower) -> None:
    idle.up()
    idle.kill("supervisord", signal.SIGSTOP)
    assert idle.json("status")["processes"] == []
    assert idle.cli("down").returncode == 0


def test_a_socket_that_another_tower_has_is_told_of_and_nothing_is_started(idle: Tower) -> None:
    other = quick_tower()
    try:
        other.up()
        idle.environ["TOWER_SOCKET"] = str(other.socket_path)
        refused = idle.cli("up")
        assert refused.returncode == 1
        assert "Another tower answers" in refused.stderr
        assert not idle.processes()
        assert not idle.state.exists()
    finally:
        other.close()


def test_another_socket_or_engine_than_that_of_the_running_tower_is_told_of(idle: Tower) -> None:
    idle.up()
    old, idle.environ["DOCKER_HOST"] = idle.environ["DOCKER_HOST"], "unix:///elsewhere/docker.sock"
    assert old in idle.json("up")["difference"]
    mine = idle.socket_path
    idle.environ["TOWER_SOCKET"] = str(idle.root / "other.sock")
    refused = idle.cli("up")
    assert refused.returncode == 1
    assert str(mine) in refused.stderr


def test_a_full_standard_output_is_told_of(idle: Tower) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "tower", "completion", "bash"]
        done = subprocess.run(words, env=idle.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_the_foreground_until_down(idle: Tower) -> None:
    words = [sys.executable, "-m", "tower", "up", "--foreground"]
    process = subprocess.Popen(words, env=idle.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: idle.cli("layout", "list").returncode == 0)
    assert idle.cli("up", "--foreground").returncode == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert idle.processes() == []


def test_any_state_directory_will_do() -> None:
    made = quick_tower()
    try:
        made.state = made.root / "spa ce" / "100%d%(x)s" / "é'\"$x" / ("long" * 40)
        made.environ["TOWER_STATE_DIR"] = str(made.state)
        assert made.json("up")["started"] is True
        made.cli("layout", "create", "-t", "1m+2s", "-s", "deep", check=True)
        assert len(made.json("status")["processes"]) == 3
        assert Path(made.state, "log", "serve.log").exists()
        assert made.json("down")["stopped"] is True
    finally:
        made.close()


def test_secrets_are_in_no_command_line(idle: Tower) -> None:
    idle.environ["MY_SECRET"] = "s3cr3t-value"
    idle.up()
    assert all("s3cr3t-value" not in " ".join(process.cmdline()) for process in idle.processes())
    assert all(process.environ()["MY_SECRET"] == "s3cr3t-value" for process in idle.processes("work"))
