"""Whose tmux, with which PATH and locale: every kind of container that people have, on a real engine."""

import dataclasses
import time
from pathlib import Path

import msgspec
import pytest

from tests.yard import Plan, Yard
from tower import config
from tower.benches.docker import DockerBench
from tower.config import Settings
from tower.errors import TmuxUnavailable

pytestmark = pytest.mark.docker

BENCH = {"tower.bench": "true"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def settings(tmp_path: Path, engine_host: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DOCKER_HOST", engine_host)
    made = config.load({"HOME": str(tmp_path), "TOWER_STATE_DIR": str(tmp_path / "s")})
    config.make_state_dirs(made)
    return made


def soon(seconds: float = 15.0) -> float:
    return time.monotonic() + seconds


def opened(yard: Yard, settings: Settings, **plan: object) -> DockerBench:
    """A bench that nobody has looked at yet."""
    container_id = yard.start(dataclasses.replace(Plan(), **plan))  # type: ignore[arg-type]  # by field name
    return DockerBench(container_id, "bench", settings)


def ask(bench: DockerBench, script: str) -> str:
    done = bench.run(["/bin/sh", "-c", script], deadline=soon())
    assert done.status == 0, done
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("plan", "user", "uid", "home"),
    [
        ({}, "root", 0, "/root"),
        ({"user": "0"}, "root", 0, "/root"),
        ({"user": "1000"}, "dev", 1000, "/home/dev"),
        ({"user": "1000:1000"}, "dev", 1000, "/home/dev"),
        ({"user": "dev"}, "dev", 1000, "/home/dev"),
        ({"user": "4321"}, "4321", 4321, "/"),
        ({"user": "4321", "env": ["HOME=/opt"]}, "4321", 4321, "/opt"),
        ({"user": "dev", "env": ["HOME=/elsewhere"]}, "dev", 1000, "/home/dev"),
        ({"user": "root", "labels": {**BENCH, "tower.user": "dev"}}, "dev", 1000, "/home/dev"),
        (
            {"labels": {**BENCH, "devcontainer.metadata": '[{"remoteUser":"root"},{"remoteUser":"dev"}]'}},
            "dev",
            1000,
            "/home/dev",
        ),
        ({"entrypoint": ["/usr/bin/tail"], "command": ["-f", "/dev/null"], "user": "dev"}, "dev", 1000, "/home/dev"),
        ({"read_only": True, "user": "dev"}, "dev", 1000, "/home/dev"),
        ({"init": True, "user": "dev"}, "dev", 1000, "/home/dev"),
    ],
)
def test_the_facts_are_the_bench_users(
    yard: Yard, settings: Settings, plan: dict[str, object], user: str, uid: int, home: str
) -> None:
    bench = opened(yard, settings, **plan)
    facts = bench.facts(soon())
    assert (facts.user, facts.uid, facts.home, facts.shell) == (user, uid, home, "/bin/bash")
    assert (facts.path, facts.locale, facts.tmux) == (SYSTEM_PATH, "C.UTF-8", "/usr/bin/tmux")
    says = ask(bench, 'echo "$(id -u) $HOME $USER $LOGNAME $SHELL $LANG $PATH"').split()
    assert says == [str(uid), home, user, user, "/bin/bash", "C.UTF-8", SYSTEM_PATH]


def test_config_names_a_user_before_the_container_does(yard: Yard, settings: Settings) -> None:
    configured = msgspec.structs.replace(settings, benches=config.Benches(user="dev"))
    assert opened(yard, configured, user="root").facts(soon()).user == "dev"


def test_a_user_that_the_container_does_not_know_is_named(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, labels={**BENCH, "tower.user": "nobody-here"})
    with pytest.raises(TmuxUnavailable, match=r"bench bench has no user nobody-here.*tower\.user"):
        bench.facts(soon())


def test_the_containers_own_variables_stay_and_its_utf8_locale_too(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, env=["PROJECT=x y", "LANG=de_DE.UTF-8", "LC_ALL="])
    assert bench.facts(soon()).environment["PROJECT"] == "x y"
    assert ask(bench, 'echo "$PROJECT|$LANG"') == "x y|de_DE.UTF-8\n"


def test_a_locale_that_is_not_utf8_is_replaced(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, env=["LANG=C", "LC_ALL=POSIX"])
    bench.facts(soon())
    assert ask(bench, 'echo "$LANG $LC_ALL"') == "C.UTF-8 C.UTF-8\n"


def test_the_hosts_variables_never_reach_a_bench(
    yard: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWER_LEAK", "host")
    assert "TOWER_LEAK" not in ask(opened(yard, settings, user="dev"), "env")


def test_a_bench_never_seen_costs_one_exec(yard: Yard, settings: Settings) -> None:
    since = time.time()
    bench = opened(yard, settings, user="dev")
    first = bench.run([*bench.tmux_command(), "-V"], deadline=soon())
    assert first.stdout.startswith(b"tmux ")
    assert len(yard.execs_since(since, bench.container_id)) == 1
    again = DockerBench(bench.container_id, "bench", settings)
    assert again.run([*again.tmux_command(), "-V"], deadline=soon()) == first
    assert again.facts(soon()).tmux == "/usr/bin/tmux"
    assert len(yard.execs_since(since, bench.container_id)) == 2


def test_the_first_command_gets_its_input_and_tells_its_status(yard: Yard, settings: Settings) -> None:
    words = ["/bin/sh", "-c", "cat; echo err >&2; exit 5"]
    done = opened(yard, settings).run(words, stdin=b"x" * 300_000, deadline=soon())
    assert (done.status, len(done.stdout), done.stderr) == (5, 300_000, b"err\n")


def test_facts_are_read_again_after_a_restart(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, user="dev")
    assert bench.facts(soon()).path == SYSTEM_PATH
    yard.write(bench.container_id, "/etc/profile", "PATH=/new:/usr/bin:/bin\n")
    assert bench.facts(soon()).path == SYSTEM_PATH
    yard.act(bench.container_id, "restart")
    assert DockerBench(bench.container_id, "bench", settings).facts(soon()).path == "/new:/usr/bin:/bin"


@pytest.mark.parametrize("file", [".profile", ".bashrc"])
def test_agents_in_the_users_own_folder_are_found(yard: Yard, settings: Settings, file: str) -> None:
    bench = opened(yard, settings, user="dev")
    only_interactive = "case $- in *i*) ;; *) return ;; esac\n" if file == ".bashrc" else ""
    text = f'{only_interactive}echo welcome\nPATH="$HOME/.local/bin:$PATH"\n'
    yard.write(bench.container_id, f"/home/dev/{file}", text)
    if file == ".bashrc":
        yard.write(bench.container_id, "/home/dev/.profile", ". ~/.bashrc\n")
    yard.write(bench.container_id, "/home/dev/.local/bin/my-agent", "#!/bin/sh\necho I am\n")
    assert bench.run(["/bin/sh", "-c", "my-agent"], deadline=soon()).stdout == b"I am\n"
    assert ask(bench, "my-agent") == "I am\n"


@pytest.mark.parametrize(
    "profile",
    [
        "sleep 60\n",
        "sleep 60 &\nsleep 60\n",
        "exec sleep 60\n",
        "read answer; read answer; sleep 60\n",
        "exit 3\n",
        "kill -9 $$\n",
        "exec /nonexistent\n",
        "( sleep 60 & )\nkill -9 $$\n",
    ],
)
def test_a_login_shell_that_fails_leaves_the_containers_path(yard: Yard, settings: Settings, profile: str) -> None:
    quick = msgspec.structs.replace(settings, times=config.Times(login_path=0.5))
    bench = opened(yard, quick, user="dev", env=["PATH=/own:/usr/bin:/bin"])
    yard.write(bench.container_id, "/home/dev/.profile", profile)
    begun = time.monotonic()
    assert bench.facts(soon()).path == "/own:/usr/bin:/bin"
    assert time.monotonic() - begun < 5


def test_a_login_shell_that_leaves_something_running_still_tells_its_path(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, user="dev")
    yard.write(bench.container_id, "/home/dev/.profile", "sleep 60 &\nPATH=/mine:$PATH\n")
    begun = time.monotonic()
    assert bench.facts(soon()).path == f"/mine:{SYSTEM_PATH}"
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("place", ["/opt/tools/bin", "/home/dev/.local/bin", "/usr/local/bin"])
def test_tmux_is_found_elsewhere(yard: Yard, settings: Settings, place: str) -> None:
    bench = opened(yard, settings, user="dev")
    yard.sh(bench.container_id, f"mkdir -p {place} && mv /usr/bin/tmux {place}/tmux")
    done = bench.run([*bench.tmux_command(), "-V"], deadline=soon())
    assert done.stdout.startswith(b"tmux ")
    assert bench.facts(soon()).tmux == f"{place}/tmux"
    assert bench.run([*bench.tmux_command(), "-V"], deadline=soon()) == done


def test_tmux_that_moves_while_the_bench_runs_is_found_again(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, user="dev")
    bench.facts(soon())
    yard.sh(bench.container_id, "mkdir -p /usr/local/bin && mv /usr/bin/tmux /usr/local/bin/tmux")
    with pytest.raises(TmuxUnavailable, match="has no /usr/bin/tmux"):
        bench.run([*bench.tmux_command(), "-V"], deadline=soon())
    assert bench.run([*bench.tmux_command(), "-V"], deadline=soon()).status == 0


def test_without_tmux_one_sentence_says_so(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, user="dev")
    yard.sh(bench.container_id, "rm /usr/bin/tmux")
    for _ in range(2):
        with pytest.raises(TmuxUnavailable, match=r"no tmux in bench bench.*put that right"):
            bench.run([*bench.tmux_command(), "-V"], deadline=soon())


def test_without_sh_one_sentence_says_so(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, user="dev")
    yard.sh(bench.container_id, "rm /bin/sh")
    with pytest.raises(TmuxUnavailable, match="bench bench has no /bin/sh, which the tower needs there"):
        bench.run([*bench.tmux_command(), "-V"], deadline=soon())


def test_tmux_itself_runs_as_the_bench_user_with_a_read_only_root(yard: Yard, settings: Settings) -> None:
    bench = opened(yard, settings, user="dev", read_only=True, tmpfs={"/tmp": ""})
    tmux = bench.tmux_command()
    made = bench.run([*tmux, "new-session", "-d", "-s", "ü", "sleep 60"], deadline=soon())
    assert made.status == 0, made
    listed = bench.run([*tmux, "list-sessions", "-F", "#{session_name} #{socket_path}"], deadline=soon())
    assert listed.stdout.decode() == "ü /tmp/tmux-1000/default\n"


def log_bench(yard: Yard, settings: Settings, inside: str = "/logs", **plan: object) -> DockerBench:
    return opened(yard, settings, mounts={settings.pane_logs_dir: inside}, **plan)


@pytest.mark.parametrize("user", ["root", "dev", "4321"])
def test_a_log_written_in_the_bench_is_read_on_the_host(yard: Yard, settings: Settings, user: str) -> None:
    bench = log_bench(yard, settings, user=user)
    target = bench.log_target("p1")
    assert target.problem is None
    assert target.host_path == settings.pane_logs_dir / "bench" / "p1.log"
    assert target.bench_path == "/logs/bench/p1.log"
    ask(bench, f"umask 077; printf 'first byte' >{target.bench_path}")
    assert target.host_path.read_text() == "first byte"
    assert target.host_path.parent.stat().st_mode & 0o777 == 0o700


def test_a_bench_cannot_read_the_logs_of_another_user(yard: Yard, settings: Settings) -> None:
    log_bench(yard, settings, user="4321").log_target("p1")
    other = log_bench(yard, settings, user="dev")
    assert other.run(["/bin/sh", "-c", "ls /logs/bench"], deadline=soon()).status != 0


def test_without_the_mount_the_problem_names_it(yard: Yard, settings: Settings) -> None:
    target = opened(yard, settings).log_target("p1")
    assert target.bench_path is None
    assert target.problem is not None
    assert f"mount {settings.pane_logs_dir}/bench into the container at any path" in target.problem


def test_the_folder_that_the_problem_names_is_enough(yard: Yard, settings: Settings) -> None:
    opened(yard, settings, user="dev").log_target("p1")
    target = opened(yard, settings, user="dev", mounts={settings.pane_logs_dir / "bench": "/own"})
    found = target.log_target("p1")
    assert (found.problem, found.bench_path) == (None, "/own/p1.log")
    ask(target, "printf 'first byte' >/own/p1.log")
    assert (settings.pane_logs_dir / "bench/p1.log").read_text() == "first byte"


def test_a_read_only_mount_is_named(yard: Yard, settings: Settings) -> None:
    target = log_bench(yard, settings, inside="/logs:ro").log_target("p1")
    assert target.bench_path is None
    assert target.problem is not None
    assert "/logs in bench is read-only" in target.problem


def test_without_the_mount_config_may_allow_a_log_inside(yard: Yard, settings: Settings) -> None:
    inside = msgspec.structs.replace(settings, logs=config.Logs(require_host_path=False))
    target = opened(yard, inside, user="dev").log_target("p1")
    assert (target.host_path, target.problem) == (None, None)
    assert target.bench_path == "/home/dev/.local/state/opensoft/agenttower/logs/p1.log"
    mounted = log_bench(yard, inside).log_target("p1")
    assert mounted.bench_path == "/logs/bench/p1.log"
