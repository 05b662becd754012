"""The host's own bench: a clean environment, real deadlines, nothing left behind."""

import os
import time
from pathlib import Path

import psutil
import pytest

from tower import config
from tower.benches import facts as facts_of
from tower.benches.local import LocalBench
from tower.config import Settings
from tower.errors import BenchTimeout, TmuxUnavailable


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = config.load({"HOME": str(tmp_path), "TOWER_STATE_DIR": str(tmp_path / "s")})
    config.make_state_dirs(made)
    return made


@pytest.fixture
def bench(settings: Settings) -> LocalBench:
    return LocalBench(settings)


def soon(seconds: float = 15.0) -> float:
    return time.monotonic() + seconds


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_nothing_of_the_towers_environment_passes_but_tmux_tmpdir(
    bench: LocalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cret")
    monkeypatch.setenv("TMUX_TMPDIR", "/tmp/some")
    monkeypatch.setenv("TMUX", "/tmp/outer,1,0")
    for _ in range(2):  # the first command tells the facts, the second has them
        said = bench.run(["env", "-0"], deadline=soon()).stdout.decode().split("\0")
        names = {line.partition("=")[0] for line in said if line}
        assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {
            *facts_of.environment_of(bench.facts(soon())),
            "TMUX_TMPDIR",
        }


def test_commands_start_in_the_users_home(bench: LocalBench) -> None:
    bench.facts(soon())
    where = bench.run(["pwd", "-P"], deadline=soon()).stdout.decode().strip()
    assert where == os.path.realpath(bench.facts(soon()).home)


def test_the_facts_are_this_users(bench: LocalBench) -> None:
    facts = bench.facts(soon())
    assert (facts.uid, facts.gid, dict(facts.environment)) == (os.getuid(), os.getgid(), {})
    assert Path(facts.tmux).is_absolute()
    assert bench.run([*bench.tmux_command(), "-V"], deadline=soon()).stdout.startswith(b"tmux ")


def test_tmux_may_have_a_socket_name(settings: Settings) -> None:
    named = config.load({"HOME": "/x", "TOWER_STATE_DIR": str(settings.state_dir), "TOWER_TMUX_SOCKET_NAME": "agents"})
    assert LocalBench(named).tmux_command() == ["tmux", "-u", "-L", "agents"]


def test_input_output_and_status(bench: LocalBench) -> None:
    sent = os.urandom(3_000_000)
    assert bench.run(["cat"], stdin=sent, deadline=soon()) == (0, sent, b"")
    assert bench.run(["true"], stdin=sent, deadline=soon()).status == 0
    assert bench.run(sh("echo out; echo err >&2; exit 42"), deadline=soon()) == (42, b"out\n", b"err\n")
    assert bench.run(sh("kill -9 $$"), deadline=soon()).status == 137
    assert bench.run(sh("exec >&- 2>&-; sleep 0.3; exit 4"), deadline=soon()).status == 4


def test_the_deadline_ends_the_whole_group(bench: LocalBench) -> None:
    bench.facts(soon())
    begun = time.monotonic()
    with pytest.raises(BenchTimeout):
        bench.run(sh("sleep 61.5 & sleep 61.5"), deadline=begun + 0.5)
    assert time.monotonic() - begun < 2
    time.sleep(0.1)
    left = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "61.5"]]
    assert not left


def test_a_child_in_the_background_does_not_keep_a_command(bench: LocalBench) -> None:
    bench.facts(soon())
    begun = time.monotonic()
    assert bench.run(sh("sleep 7 & echo done"), deadline=soon()).stdout == b"done\n"
    assert time.monotonic() - begun < 3


def test_too_much_output_and_no_such_program(bench: LocalBench) -> None:
    with pytest.raises(TmuxUnavailable, match="more output"):
        bench.run(["yes"], deadline=soon(), limit=100_000)
    bench.facts(soon())
    with pytest.raises(TmuxUnavailable, match="nonesuch cannot be started"):
        bench.run(["nonesuch"], deadline=soon())


def test_no_descriptor_is_left_open(bench: LocalBench) -> None:
    bench.facts(soon())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        bench.run(["cat"], stdin=b"x", deadline=soon())
    with pytest.raises(BenchTimeout):
        bench.run(["sleep", "5"], stdin=b"x", deadline=soon(0.05))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_log_is_the_same_file_on_both_sides(bench: LocalBench, settings: Settings) -> None:
    target = bench.log_target("p1")
    assert target.host_path == settings.state_dir / "logs/local/p1.log"
    assert (target.bench_path, target.problem) == (str(target.host_path), None)
    assert target.host_path.parent.stat().st_mode & 0o777 == 0o700
