"""Layouts in real containers: where their logs are, and what becomes of them when the container does something else."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Container, Refused, Tower, eventually, pane
from tests.yard import Plan, Yard

pytestmark = pytest.mark.docker

SETTLE = 3.0
"""Seconds: long enough for a container to be struck while its layout settles."""

STEADY = {"master": "31", "slave": "32"}


def prepare(tower: Tower) -> Tower:
    """Profiles whose command lines can be told apart; each says something at once."""
    for role, number in STEADY.items():
        tower.profile(role, ["/bin/sh", "-c", 'printf first; exec sleep "$0"', f"{number}000000"])
    tower.template("one", [pane("p", "slave")])
    return tower.up()


@pytest.fixture(scope="module")
def tower(engine_host: str) -> Iterator[Tower]:
    made = Tower(docker_host=engine_host, environ={"TOWER_TIMES_SETTLE": "0.3"})
    try:
        yield prepare(made)
    finally:
        made.close()


@pytest.fixture(scope="module")
def slow(engine_host: str) -> Iterator[Tower]:
    """A tower whose layouts stay creating for a while."""
    made = Tower(docker_host=engine_host, environ={"TOWER_TIMES_SETTLE": str(SETTLE)})
    try:
        yield prepare(made)
    finally:
        made.close()


def overrides() -> dict[str, str]:
    return {"master:m1": "master", "slave:s1": "slave", "slave:s2": "slave"}


def commands_inside(bench: Container, session: str) -> dict[str, str]:
    """What runs in each pane of a session, by its title, as the container's own /proc has it."""
    lines = bench.tmux("list-panes", "-s", "-t", f"={session}", "-F", "#{pane_title} #{pane_pid}").splitlines()
    pids = dict(line.split() for line in lines)
    return {
        title: bench.run("cat", f"/proc/{pid}/cmdline").stdout.decode().replace("\0", " ").strip()
        for title, pid in pids.items()
    }


def test_a_layout_comes_up_and_its_logs_are_on_the_host(tower: Tower, yard: Yard) -> None:
    bench = Container(tower, yard)
    words = ["layout", "create", bench.container_id, "-t", "1m+2s", "-s", "alpha"]
    made = tower.json(*words, "-l", "master=master", "-l", "slave=slave")
    assert made["state"] == "ready"
    assert commands_inside(bench, "alpha") == {
        "m1": "sleep 31000000",
        "s1": "sleep 32000000",
        "s2": "sleep 32000000",
    }
    for row in made["panes"]:
        log = tower.state / "logs" / bench_name(tower, bench) / f"{row['pane_id']}.log"
        assert row["log_path"] == str(log)
        eventually(partial(starts_with_first, log), what=f"the first byte in {log}")


def starts_with_first(log: Path) -> bool:
    return log.read_bytes().startswith(b"first")


def bench_name(tower: Tower, bench: Container) -> str:
    rows = tower.rows("SELECT name FROM bench WHERE container_id = ?", bench.container_id)
    return str(rows[0][0])


def test_without_the_mount_it_ends_degraded_and_names_the_mount(tower: Tower, yard: Yard) -> None:
    bench = Container(tower, yard, logs=False)
    done = tower.cli("layout", "create", bench.container_id, "-t", "1m+2s", "-s", "alpha")
    assert done.returncode == 3, done.stdout + done.stderr
    assert str(tower.state / "logs") in done.stdout
    [layout] = tower.call("managed.layout.list", container_id=bench.container_id)["items"]
    assert (layout["state"], layout["failed_stage"]) == ("degraded", "log_attach")
    for row in tower.layout(layout["layout_id"])["panes"]:
        folder = tower.state / "logs" / bench_name(tower, bench)
        assert f"mount {folder} into the container" in row["reason"]
        assert (row["state"], row["log_attached"]) == ("degraded", False)
    assert len(commands_inside(bench, "alpha")) == 3


def test_a_mount_that_is_read_only_or_anothers_is_named(tower: Tower, yard: Yard) -> None:
    mounts = {tower.state / "logs": "/var/log/tower:ro"}
    bench = Container(tower, yard, logs=False, mounts=mounts)
    layout = tower.settled(tower.create(bench.container_id, "one"))
    assert (layout["state"], layout["failed_stage"]) == ("degraded", "log_attach")
    assert "/var/log/tower" in layout["panes"][0]["reason"]


def test_logs_inside_the_container_where_config_allows_it(engine_host: str, yard: Yard) -> None:
    tower = Tower(docker_host=engine_host)
    tower.write("config.yaml", "logs: {require_host_path: false}\ntimes: {settle: 0.3}\n")
    try:
        prepare(tower)
        bench = Container(tower, yard, logs=False)
        layout = tower.ready(tower.create(bench.container_id, "one"))
        path = layout["panes"][0]["log_path"]
        eventually(lambda: bench.run("cat", path).stdout.startswith(b"first"), what=f"the first byte in {path}")
        told = tower.cli("pane", "logs", layout["panes"][0]["pane_id"], check=True).stdout
        assert told.startswith("first")
    finally:
        tower.close()


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("stop", "exited"), ("kill", "exited")])
def test_a_bench_that_does_not_run_is_refused(tower: Tower, yard: Yard, verb: str, state: str) -> None:
    container_id = yard.start(Plan(user="1000"))
    tower.cli("container", "scan", check=True)
    yard.act(container_id, verb)
    with pytest.raises(Refused) as caught:
        tower.create(container_id, "one")
    assert (caught.value.code, caught.value.details["container_state"]) == ("container_inactive", state)
    assert not tower.rows("SELECT 1 FROM layout WHERE container_id = ?", container_id)


def test_a_container_that_never_ran_is_no_bench(tower: Tower, yard: Yard) -> None:
    container_id = yard.create(Plan(user="1000"))
    with pytest.raises(Refused, match="container_not_found"):
        tower.create(container_id, "one")
    yard.act(container_id, "start")
    tower.settled(tower.create(container_id, "one"))


def test_a_container_that_is_gone_is_refused(tower: Tower, yard: Yard) -> None:
    bench = Container(tower, yard)
    tower.ready(tower.create(bench.container_id, "one"))
    yard.remove(bench.container_id)
    with pytest.raises(Refused) as caught:
        tower.create(bench.container_id, "one", "beta", label_prefix="b-")
    assert caught.value.code in ("container_inactive", "container_not_found")
    with pytest.raises(Refused, match="container_not_found"):
        tower.create("none-of-this-name", "one")


GONE = ("failed", "recovery_reattach")
UNMADE = ("failed", "pane_create")


@pytest.mark.parametrize(
    ("verb", "settling", "waiting"),
    [
        ("pause", ("degraded", "launch_command"), UNMADE),
        ("stop", GONE, UNMADE),
        ("kill", GONE, UNMADE),
        ("remove", GONE, UNMADE),
        ("restart", GONE, ("ready", None)),
    ],
)
def test_a_container_that_is_struck_while_a_create_is_on_its_way(
    slow: Tower, yard: Yard, verb: str, settling: tuple[str, str], waiting: tuple[str, str | None]
) -> None:
    """One layout settles, the next waits for its turn; both learn of it from the engine, not by running out of time."""
    bench = Container(slow, yard)
    first = slow.create(bench.container_id, "one")
    second = slow.create(bench.container_id, "one", "beta", label_prefix="b-")
    eventually(lambda: stage_of(slow, first) == "launch_command", every=0.01, what="the first layout settles")
    if verb == "pause":
        eventually(lambda: runs_something(yard, bench), what="an exec runs")
    yard.remove(bench.container_id) if verb == "remove" else bench.act(verb)
    for layout_id, expected in ((first, settling), (second, waiting)):
        layout = slow.settled(layout_id)
        assert (layout["state"], layout["failed_stage"]) == expected, layout["panes"][0]["reason"]
        assert timeouts_of(slow, layout_id) == []
    if verb == "pause":
        bench.act("unpause")
        slow.call("managed.layout.remove", layout_id=first)
        assert bench.panes() == {}


def runs_something(yard: Yard, bench: Container) -> bool:
    """Whether an exec is past its start: an engine whose container is paused before says nothing more about it."""

    def ask(target: str) -> Any:
        return yard.engine.ask("GET", target, deadline=time.monotonic() + 20)

    execs = ask(f"/containers/{bench.container_id}/json")["ExecIDs"] or ()
    return any(found["Running"] and found["Pid"] for found in (ask(f"/exec/{number}/json") for number in execs))


def stage_of(tower: Tower, layout_id: str) -> str | None:
    rows = tower.rows("SELECT stage FROM job WHERE layout_id = ? AND state = 'running'", layout_id)
    return rows[0][0] if rows else None


def timeouts_of(tower: Tower, layout_id: str) -> list[Any]:
    """The errors of its jobs that only a clock told of."""
    rows = tower.rows("SELECT error FROM job WHERE layout_id = ? AND error LIKE '%in time%'", layout_id)
    return [row[0] for row in rows]


def test_a_container_started_a_moment_ago_is_found_by_its_name(tower: Tower, yard: Yard) -> None:
    name = f"bench-{yard.name}"
    bench = Container(tower, yard, name=name)
    layout = tower.ready(tower.create(name, "one"))
    assert (layout["container_id"], layout["container_name"]) == (bench.container_id, name)


def test_a_layout_never_comes_up_where_its_bench_used_to_be(tower: Tower, yard: Yard) -> None:
    name = f"bench-{yard.name}"
    old = Container(tower, yard, name=name)
    tower.ready(tower.create(name, "one"))
    yard.rename(old.container_id, f"{name}-old")
    with pytest.raises(Refused, match="container_not_found"):
        tower.create(name, "one", "beta", label_prefix="b-")
    new = Container(tower, yard, name=name)
    layout = tower.ready(tower.create(name, "one", "beta", label_prefix="b-"))
    assert (layout["container_id"], len(old.panes()), len(new.panes())) == (new.container_id, 1, 1)


@pytest.mark.parametrize("context", [False, True])
def test_an_engine_that_cannot_be_meant_takes_nothing_from_the_host(yard: Yard, context: bool) -> None:
    environ = {"DOCKER_HOST": "", "DOCKER_CONTEXT": "mine"} if context else {"DOCKER_HOST": "tcp://[::1"}
    tower = Tower(environ={"TOWER_TIMES_SETTLE": "0.3", **environ})
    try:
        prepare(tower)
        tower.ready(tower.create("local", "one"))
        with pytest.raises(Refused, match="docker_unavailable") as caught:
            tower.create(f"bench-{yard.name}", "one")
        assert ("docker context mine" if context else "tcp://[::1") in caught.value.message
        assert "Traceback" not in tower.cli("doctor").stderr
    finally:
        tower.close()


def test_benches_spawn_in_parallel(slow: Tower, yard: Yard) -> None:
    """Ten creates that were accepted while no worker could move begin together once they can."""
    with ThreadPoolExecutor(10) as at_once:
        benches = list(at_once.map(lambda _: Container(slow, yard), range(10)))
        slow.kill("work", signal.SIGSTOP)
        try:
            made = list(at_once.map(lambda bench: slow.create(bench.container_id, "one"), benches))
        finally:
            slow.kill("work", signal.SIGCONT)
    for layout_id in made:
        slow.ready(layout_id)
    rows = slow.rows(
        f"SELECT started_at, finished_at FROM job WHERE kind = 'spawn' AND layout_id IN ({','.join('?' * len(made))})",
        *made,
    )
    together = max(sum(row[0] <= other[0] < row[1] for row in rows) for other in rows)
    assert together >= 6, [tuple(row) for row in rows]


def test_nothing_of_it_needs_the_docker_command(yard: Yard, engine_host: str) -> None:
    tools = Tower(docker_host=engine_host, environ={"TOWER_TIMES_SETTLE": "0.3"})
    folder = tools.root / "bin"
    folder.mkdir()
    fake = folder / "docker"
    fake.write_text(f'#!/bin/sh\necho "$@" >>{tools.root}/asked\nexit 1\n')
    fake.chmod(0o755)
    tools.environ["PATH"] = f"{folder}:{tools.environ['PATH']}"
    try:
        prepare(tools)
        bench = Container(tools, yard)
        layout = tools.ready(tools.create(bench.container_id, "one"))
        tools.cli("doctor")
        tools.cli("container", "scan", check=True)
        tools.call("managed.layout.remove", layout_id=layout["layout_id"])
        assert not (tools.root / "asked").exists()
    finally:
        tools.close()
