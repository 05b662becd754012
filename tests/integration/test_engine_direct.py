"""The Engine API, the registry and peers against a real engine, and containers that go away meanwhile."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.yard import Plan, Yard, python_mounts
from tower import config, models
from tower.benches import LOCAL, peers, registry
from tower.benches.docker import DockerBench
from tower.benches.engine import Execution
from tower.config import Settings
from tower.errors import (
    BenchTimeout,
    ContainerInactive,
    ContainerNotFound,
    DockerUnavailable,
    HostOnly,
    PermissionDenied,
    TmuxUnavailable,
    TowerError,
    WireError,
)
from tower.work import container_gone

pytestmark = pytest.mark.docker


def soon(seconds: float = 15.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def settings(tmp_path: Path, engine_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("DOCKER_HOST", engine_host)
    made = config.load({"HOME": str(tmp_path), "TOWER_STATE_DIR": str(tmp_path / "s")})
    config.make_state_dirs(made)
    models.use(made)
    try:
        yield made
    finally:
        models.db.close()


@pytest.fixture
def bench(yard: Yard, settings: Settings) -> DockerBench:
    return DockerBench(yard.start(), "bench", settings)


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


# exec


def test_input_beyond_every_buffer_passes_while_output_comes_back(bench: DockerBench) -> None:
    sent = os.urandom(3_000_000)
    assert bench.run(["cat"], stdin=sent, deadline=soon()).stdout == sent


def test_a_command_that_reads_nothing_does_not_hold_its_input_up(bench: DockerBench) -> None:
    assert bench.run(["true"], stdin=b"x" * 2_000_000, deadline=soon()).status == 0


def test_both_outputs_and_the_status_come_apart(bench: DockerBench) -> None:
    done = bench.run(sh("echo out; echo err >&2; exit 42"), deadline=soon())
    assert done == (42, b"out\n", b"err\n")


def test_a_signal_is_a_status_above_128(bench: DockerBench) -> None:
    assert bench.run(sh("kill -TERM $$"), deadline=soon()).status == 143
    assert bench.run(sh("kill -KILL $$"), deadline=soon()).status == 137


def test_every_byte_of_argv_and_output_is_kept(bench: DockerBench) -> None:
    word = "".join(chr(code) for code in range(1, 256)) + "é 漢"
    assert bench.run(["printf", "%s", word], deadline=soon()).stdout == word.encode()


def test_more_output_than_the_limit_ends_it_at_once(bench: DockerBench) -> None:
    with pytest.raises(TmuxUnavailable, match="more output"):
        bench.run(["yes"], deadline=soon(), limit=100_000)


def test_the_deadline_is_kept(bench: DockerBench) -> None:
    bench.facts(soon())
    begun = time.monotonic()
    with pytest.raises(BenchTimeout, match="bench") as caught:
        bench.run(["sleep", "60"], deadline=begun + 1.3)
    assert caught.value.engine
    assert time.monotonic() - begun < 2.5


def test_what_goes_on_in_the_background_does_not_keep_a_command(bench: DockerBench) -> None:
    """The stream stays open with the child; the engine is asked in the silence, and knows better."""
    begun = time.monotonic()
    assert bench.run(sh("sleep 60 & echo done"), deadline=soon()).stdout == b"done\n"
    assert time.monotonic() - begun < 5


def test_a_silent_command_is_waited_for(bench: DockerBench) -> None:
    assert bench.run(sh("exec 2>&-; sleep 2.5; echo late"), deadline=soon()).stdout == b"late\n"


def test_a_program_that_is_not_there_is_named(bench: DockerBench) -> None:
    bench.facts(soon())
    with pytest.raises(TmuxUnavailable, match="has no /usr/bin/nonesuch"):
        bench.run(["/usr/bin/nonesuch"], deadline=soon())


def test_ten_benches_answer_at_once(yard: Yard, settings: Settings) -> None:
    with ThreadPoolExecutor(10) as pool:
        benches = list(pool.map(lambda n: DockerBench(yard.start(), f"b{n}", settings), range(10)))
        answers = pool.map(lambda one: one.run(["cat", "/etc/hostname"], deadline=soon()).stdout, benches)
        assert [answer.decode().strip() for answer in answers] == [one.container_id[:12] for one in benches]


# a container that goes away


@pytest.mark.parametrize(
    ("verb", "state"), [("pause", "paused"), ("stop", "exited"), ("kill", "exited"), ("remove", None)]
)
def test_a_container_that_does_not_run_is_told_at_once(
    yard: Yard, settings: Settings, verb: str, state: str | None
) -> None:
    container_id = yard.start()
    known = DockerBench(container_id, "bench", settings)
    known.facts(soon())
    yard.remove(container_id) if verb == "remove" else yard.act(container_id, verb)
    begun = time.monotonic()
    for one in (known, DockerBench(container_id, "bench", settings)):
        with pytest.raises((ContainerInactive, ContainerNotFound)) as caught:
            one.run(["true"], deadline=soon())
        assert caught.value.details.get("container_state") == state
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("stop", ContainerInactive),
        ("kill", ContainerInactive),
        ("remove", (ContainerNotFound, ContainerInactive)),
        ("pause", BenchTimeout),
    ],
)
def test_a_container_that_goes_away_under_a_command(
    yard: Yard, bench: DockerBench, verb: str, expected: type[Exception] | tuple[type[Exception], ...]
) -> None:
    bench.facts(soon())

    def strike() -> None:
        time.sleep(0.5)
        yard.remove(bench.container_id) if verb == "remove" else yard.act(bench.container_id, verb)

    striker = threading.Thread(target=strike)
    striker.start()
    begun = time.monotonic()
    with pytest.raises(expected):
        bench.run(sh("sleep 60"), deadline=begun + 4)
    striker.join()
    assert time.monotonic() - begun < 6


def test_a_restarted_container_is_fine_again(yard: Yard, settings: Settings) -> None:
    container_id = yard.start()
    yard.act(container_id, "restart")
    assert DockerBench(container_id, "bench", settings).run(["true"], deadline=soon()).status == 0


def test_a_command_that_died_with_the_containers_former_life_is_told_of(yard: Yard, bench: DockerBench) -> None:
    """Even where the container runs again by the time that the engine is asked."""
    bench.facts(soon())
    yard.act(bench.container_id, "restart")
    for signal in ("KILL", "TERM"):
        with pytest.raises(ContainerInactive) as caught:
            bench.run(sh(f"kill -{signal} $$"), deadline=soon())
        assert container_gone(caught.value)
    again = DockerBench(bench.container_id, "bench", bench.settings)
    assert again.run(sh("kill -KILL $$"), deadline=soon()).status == 137


def test_a_restart_under_a_command_is_an_end_of_the_container(yard: Yard, bench: DockerBench) -> None:
    bench.facts(soon())
    for _ in range(3):
        with ThreadPoolExecutor(8) as at_once:
            ends = [at_once.submit(bench.run, sh("sleep 60"), deadline=soon()) for _ in range(8)]
            time.sleep(0.5)
            yard.act(bench.container_id, "restart")
        assert all(isinstance(error := end.exception(), WireError) and container_gone(error) for end in ends)
        bench = DockerBench(bench.container_id, "bench", bench.settings)


def thaw(container_id: str) -> None:
    """Let a frozen container go on without the engine, which does not move for it any more."""
    for state in Path("/sys/fs/cgroup").glob(f"**/*{container_id}*/freezer.state"):
        state.write_text("THAWED")
    for state in Path("/sys/fs/cgroup").glob(f"**/*{container_id}*/cgroup.freeze"):
        state.write_text("0")


@pytest.fixture
def silent(yard: Yard, settings: Settings) -> Iterator[DockerBench]:
    """A bench that was looked at, then paused as an exec began; the engine says nothing about it but in its list."""
    for delay in range(40):
        bench = DockerBench(yard.start(), "bench", settings)
        try:
            bench.facts(soon())
            if pause_under_an_exec(yard, bench, 0.004 + delay % 8 / 1000):
                yield bench
                return
        finally:
            thaw(bench.container_id)
        yard.remove(bench.container_id)
    pytest.fail("no container fell silent")


def pause_under_an_exec(yard: Yard, bench: DockerBench, delay: float) -> bool:
    """Whether the engine is silent about the container from then on."""
    threads = [threading.Thread(target=nobody_waits, args=(bench,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(delay)
    try:
        yard.act(bench.container_id, "pause")
        yard.engine.ask("GET", f"/containers/{bench.container_id}/json", deadline=soon(1))
    except BenchTimeout:
        return True
    finally:
        for thread in threads:
            thread.join()
    return False


def nobody_waits(bench: DockerBench) -> None:
    try:
        bench.run(["true"], deadline=soon(0.5))
    except TowerError:
        return


def test_a_container_about_which_the_engine_is_silent_is_known_to_be_paused(
    silent: DockerBench, settings: Settings
) -> None:
    registry.refresh(settings, soon())
    row = models.Bench.get_by_id(silent.container_id)
    assert (row.state, row.container_state) == ("active", "paused")
    begun = time.monotonic()
    assert registry.resolve(settings, row.name, may_refresh=True).container_id == silent.container_id
    assert time.monotonic() - begun < 1
    fresh = DockerBench(silent.container_id, "bench", settings)
    asked: list[Callable[[], object]] = [
        lambda: registry.require_active(settings, row),
        lambda: fresh.run(["true"], deadline=soon()),
        lambda: silent.run(["true"], deadline=soon()),
    ]
    for ask in asked:
        begun = time.monotonic()
        with pytest.raises(ContainerInactive) as caught:
            ask()
        assert caught.value.container_state == "paused"
        assert time.monotonic() - begun < 2


# the registry


def ids(settings: Settings) -> set[str]:
    registry.refresh(settings, soon())
    return {row.container_id for row in models.Bench.select().where(models.Bench.state == "active")}


def test_a_bench_is_known_by_label_or_by_name(yard: Yard, settings: Settings) -> None:
    labelled = yard.start(Plan(name=f"other-{yard.name}"))
    named = yard.start(Plan(name=f"my-bench-{yard.name}", labels={}))
    plain = yard.start(Plan(name=f"plain-{yard.name}", labels={}))
    unlabelled = yard.start(Plan(name=f"not-{yard.name}", labels={"tower.bench": "false"}))
    found = ids(settings)
    assert {LOCAL, labelled, named} <= found
    assert not {plain, unlabelled} & found


def test_a_container_that_never_ran_is_no_bench(yard: Yard, settings: Settings) -> None:
    assert yard.create(Plan()) not in ids(settings)


def test_every_way_to_name_a_bench(yard: Yard, settings: Settings) -> None:
    name = f"bench-{yard.name}"
    container_id = yard.start(Plan(name=name))

    def resolved(text: str, may_refresh: bool = False) -> str:
        return str(registry.resolve(settings, text, may_refresh=may_refresh).container_id)

    with pytest.raises(ContainerNotFound):
        resolved(name)
    assert resolved(name, may_refresh=True) == container_id
    assert resolved(container_id) == resolved(container_id[:12]) == resolved(container_id[:30]) == container_id
    assert resolved("local") == LOCAL
    for wrong in (container_id[:11], name[:-1], "", "x" * 64, "%", "_" * 12):
        with pytest.raises(ContainerNotFound):
            resolved(wrong, may_refresh=True)


def test_a_container_called_local_is_not_the_host(yard: Yard, settings: Settings) -> None:
    container_id = yard.start(Plan(name="local"))
    registry.refresh(settings, soon())
    assert registry.resolve(settings, "local", may_refresh=True).runtime == "local"
    assert registry.resolve(settings, container_id[:12], may_refresh=True).name == "local"


def test_what_happens_to_a_bench_is_told_once(yard: Yard, settings: Settings) -> None:
    container_id = yard.start()

    def look() -> dict[str, list[str]]:
        found = registry.refresh(settings, soon())
        told = {"appeared": found.appeared, "returned": found.returned, "lost": found.lost}
        return {what: names for what, names in told.items() if container_id in names}

    def row() -> tuple[str, str | None, int]:
        found = models.Bench.get_by_id(container_id)
        return found.state, found.container_state, found.epoch

    assert (set(look()), set(look()), row()) == ({"appeared"}, set(), ("active", "running", 0))
    yard.act(container_id, "pause")
    assert (set(look()), row()) == (set(), ("active", "paused", 0))
    yard.act(container_id, "unpause")
    assert (set(look()), row()) == (set(), ("active", "running", 0))
    yard.act(container_id, "stop")
    assert (set(look()), set(look()), row()) == ({"lost"}, set(), ("inactive", "exited", 0))
    yard.act(container_id, "start")
    assert (set(look()), set(look()), row()) == ({"returned"}, set(), ("active", "running", 1))
    yard.act(container_id, "restart")
    assert (set(look()), row()) == ({"returned"}, ("active", "running", 2))
    yard.remove(container_id)
    assert (set(look()), set(look()), row()) == ({"lost"}, set(), ("inactive", "removed", 2))


def test_a_container_built_anew_under_its_name_is_another_bench(yard: Yard, settings: Settings) -> None:
    name = f"bench-{yard.name}"
    old = yard.start(Plan(name=name))
    assert registry.resolve(settings, name, may_refresh=True).container_id == old
    yard.remove(old)
    new = yard.start(Plan(name=name))
    assert registry.resolve(settings, name, may_refresh=True).container_id == new
    assert registry.resolve(settings, old, may_refresh=True).state == "inactive"


def test_a_name_is_never_that_of_the_container_that_used_to_bear_it(yard: Yard, settings: Settings) -> None:
    one, other = f"bench-one-{yard.name}", f"bench-other-{yard.name}"

    def resolved(name: str) -> str:
        return str(registry.resolve(settings, name, may_refresh=True).container_id)

    old = yard.start(Plan(name=one))
    assert resolved(one) == old
    yard.rename(old, other)
    with pytest.raises(ContainerNotFound):
        resolved(one)
    yard.rename(old, one)
    assert resolved(one) == old
    yard.rename(old, other)
    new = yard.start(Plan(name=one))
    assert (resolved(one), resolved(other)) == (new, old)
    yard.rename(old, f"bench-third-{yard.name}")
    yard.rename(new, other)
    yard.rename(old, one)
    assert (resolved(one), resolved(other)) == (old, new)


def test_a_stopped_bench_that_runs_again_is_seen_at_once(yard: Yard, settings: Settings) -> None:
    container_id = yard.start()
    registry.refresh(settings, soon())
    yard.act(container_id, "stop")
    registry.refresh(settings, soon())
    yard.act(container_id, "start")
    row = registry.resolve(settings, container_id, may_refresh=True)
    assert row.state == "active"
    registry.require_active(settings, row)


@pytest.mark.parametrize(
    ("verb", "state"), [("pause", "paused"), ("stop", "exited"), ("kill", "exited"), ("remove", "removed")]
)
def test_require_active_names_the_state(yard: Yard, settings: Settings, verb: str, state: str) -> None:
    container_id = yard.start()
    row = registry.resolve(settings, container_id, may_refresh=True)
    registry.require_active(settings, row)
    yard.remove(container_id) if verb == "remove" else yard.act(container_id, verb)
    with pytest.raises(ContainerInactive) as caught:
        registry.require_active(settings, row)
    assert caught.value.container_state == state


def test_a_silent_engine_changes_nothing(yard: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    container_id = yard.start()
    registry.refresh(settings, soon())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{settings.state_dir}/none.sock")
    found = registry.refresh(settings, soon())
    assert isinstance(found.problem, DockerUnavailable)
    assert not found.changed
    assert registry.resolve(settings, container_id, may_refresh=True).state == "active"
    with pytest.raises(DockerUnavailable):
        registry.resolve(settings, "bench-unknown", may_refresh=True)
    assert registry.resolve(settings, LOCAL, may_refresh=True).state == "active"


# peers

CALL = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
if len(sys.argv) > 2:
    time.sleep(60)
"""


@pytest.fixture
def door(settings: Settings) -> Iterator[socket.socket]:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(settings.run_dir / "door"))
    made.listen()
    made.settimeout(20)
    with made:
        yield made


def caller(yard: Yard, settings: Settings, **plan: object) -> str:
    """A container with the socket mounted and a Python to call with."""
    mounts: dict[Path | str, str] = {settings.run_dir: "/run/tower", **python_mounts()}
    return yard.start(Plan(mounts=mounts, **plan))  # type: ignore[arg-type]  # by field name


def calling(yard: Yard, container_id: str, *stay: str, script: str = CALL) -> Callable[[], None]:
    """Connect from inside a container; the returned function waits for the end of that."""
    words = (sys.executable, "-c", script, "/run/tower/door", *stay)
    execution = Execution(container_id, "test", words, "root", {}, b"", 1 << 16)

    def call() -> None:
        try:
            yard.engine.run(execution, soon(10))
        except (ContainerInactive, ContainerNotFound, DockerUnavailable):
            return

    thread = threading.Thread(target=call)
    thread.start()
    return thread.join


def test_a_process_in_a_bench_is_that_benchs(yard: Yard, settings: Settings, door: socket.socket) -> None:
    other = yard.start()
    lies = [f"HOSTNAME={other[:12]}", f"TOWER_CONTAINER_ID={other}"]
    container_id = caller(yard, settings, hostname=other[:12], env=lies)
    registry.refresh(settings, soon())
    wait = calling(yard, container_id, "stay")
    connection, _ = door.accept()
    with connection:
        assert peers.identify(connection) == peers.BenchPeer(peers._credentials(connection)[0], container_id)
    yard.act(container_id, "kill")
    wait()


LEAVE = """
import pathlib
for file in [*pathlib.Path("/cgroups").glob("*/cgroup.procs"), pathlib.Path("/cgroups/cgroup.procs")]:
    if file.exists():
        file.write_text("0")
"""


def test_a_process_that_left_its_containers_cgroups_is_not_the_hosts(
    yard: Yard, settings: Settings, door: socket.socket
) -> None:
    mounts: dict[Path | str, str] = {settings.run_dir: "/run/tower", "/sys/fs/cgroup": "/cgroups", **python_mounts()}
    container_id = yard.start(Plan(mounts=mounts))
    registry.refresh(settings, soon())
    wait = calling(yard, container_id, "stay", script=LEAVE + CALL)
    connection, _ = door.accept()
    with connection:
        cgroup = Path(f"/proc/{peers._credentials(connection)[0]}/cgroup").read_text()
        assert peers.containers_in(cgroup, "") == frozenset()
        with pytest.raises(HostOnly):
            peers.identify(connection)
    yard.act(container_id, "kill")
    wait()


SERVE = """
import socket
from tower.benches import peers
door, mine = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
door.bind("/tmp/door"), door.listen(), mine.connect("/tmp/door")
print(type(peers.identify(door.accept()[0])).__name__)
"""


def test_in_the_servers_own_container_a_process_is_the_hosts(yard: Yard) -> None:
    source = Path(peers.__file__).parents[1]
    container_id = yard.start(Plan(mounts=python_mounts(source)))
    words = ("env", f"PYTHONPATH={source.parent}", sys.executable, "-c", SERVE)
    done = yard.engine.run(Execution(container_id, "test", words, "root", {}, b"", 1 << 16), soon())
    assert done.stdout == b"HostPeer\n", done


def test_a_process_in_a_container_that_is_no_bench_is_refused(
    yard: Yard, settings: Settings, door: socket.socket
) -> None:
    container_id = caller(yard, settings, name=f"plain-{yard.name}", labels={})
    registry.refresh(settings, soon())
    wait = calling(yard, container_id, "stay")
    connection, _ = door.accept()
    with connection, pytest.raises(HostOnly):
        peers.identify(connection)
    yard.act(container_id, "kill")
    wait()


def test_a_caller_in_a_bench_that_has_gone_is_refused(yard: Yard, settings: Settings, door: socket.socket) -> None:
    container_id = caller(yard, settings)
    registry.refresh(settings, soon())
    wait = calling(yard, container_id)
    connection, _ = door.accept()
    wait()
    with connection, pytest.raises(PermissionDenied, match="exited"):
        peers.identify(connection)


def test_a_caller_in_a_bench_whose_child_holds_the_socket_is_refused(
    yard: Yard, settings: Settings, door: socket.socket
) -> None:
    container_id = caller(yard, settings)
    registry.refresh(settings, soon())
    forking = CALL.replace("if len", "import os\nif os.fork() == 0:\n    time.sleep(30)\nif len")
    words = (sys.executable, "-c", forking, "/run/tower/door")
    execution = Execution(container_id, "test", words, "root", {}, b"", 1 << 16)
    yard.engine.run(execution, soon())
    connection, _ = door.accept()
    with connection, pytest.raises(PermissionDenied, match="exited"):
        peers.identify(connection)


def test_a_process_of_the_host_is_the_hosts(settings: Settings, door: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(door.getsockname())
        connection, _ = door.accept()
        with connection:
            assert peers.identify(connection) == peers.HostPeer(os.getpid())


def test_a_zombie_of_the_host_is_refused(settings: Settings, door: socket.socket) -> None:
    child = subprocess.Popen([sys.executable, "-c", CALL, door.getsockname()])
    try:
        connection, _ = door.accept()
        time.sleep(0.3)
        with connection, pytest.raises(PermissionDenied, match="exited"):
            peers.identify(connection)
    finally:
        child.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_another_users_process_is_refused(settings: Settings, door: socket.socket) -> None:
    path = Path(door.getsockname())
    for folder in (path, *path.parents[:-2]):
        folder.chmod(0o777)
    child = subprocess.Popen(["/usr/bin/perl", "-MSocket", "-e", _PERL, str(path)], user=4711)
    try:
        connection, _ = door.accept()
        with connection, pytest.raises(PermissionDenied, match="4711"):
            peers.identify(connection)
    finally:
        child.kill()
        child.wait()


_PERL = "socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or die; sleep 60"
