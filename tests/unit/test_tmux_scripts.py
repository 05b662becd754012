"""Scripts and programs, as far as they can be judged without tmux."""

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tower.benches import Facts
from tower.config import Logs, load
from tower.tmux import Neighbour, NewPane, Spawn
from tower.tmux.launcher import command_line, environment, log_command
from tower.tmux.scripts import Spawning, fence_option
from tower.tmux.sending import arguments

FACTS = Facts("dev", 1000, 1000, "/home/dev", "/bin/bash", "/own:/bin", "C.UTF-8", "/usr/bin/tmux")


def pane(slot: int = 0, **more: Any) -> NewPane:
    values: dict[str, Any] = {"pane_id": f"p{slot}", "layout_id": "l", "slot": slot, "label": "s1", "role": "slave"}
    values |= {"marker": "m", "argv": ("cmd",), "env": {}, "working_dir": None, "log_path": None}
    return NewPane(**values | more)


def spawning(slots: list[int], live: list[int]) -> Spawning:
    neighbours = tuple(Neighbour(slot, f"p{slot}", f"%{slot}") for slot in live)
    plan = Spawn("l", "work", "tiled", tuple(map(pane, slots)), neighbours, ())
    return Spawning(plan, "instance", FACTS, load({"HOME": "/nowhere"}))


@pytest.mark.parametrize(
    ("slots", "live", "order"),
    [
        ([2, 0, 1], [], [0, 1, 2]),
        ([0, 1], [2], [0, 1]),
        ([1, 2], [0], [2, 1]),
        ([0, 1, 3, 5, 6], [2, 4], [0, 1, 3, 6, 5]),
    ],
)
def test_the_order_in_which_slots_are_made(slots: list[int], live: list[int], order: list[int]) -> None:
    assert [one.slot for one in spawning(slots, live)._in_order()] == order


def test_a_script_holds_no_value_of_env_in_a_repr() -> None:
    assert "secret" not in repr(pane(env={"KEY": "secret"}))


@pytest.mark.parametrize("instance", ["0123456789abcdef", "01234567-89ab-cdef"])
def test_the_fence_is_an_option_of_the_instance(instance: str) -> None:
    assert fence_option(instance) == "@tower_fence_0123456789ab"


def test_the_environment_says_who_wins() -> None:
    container = {
        "PATH": "/container",
        "TERM": "dumb",
        "HOME": "/root",
        "LC_ALL": "POSIX",
        "MINE": "container",
        "A": "1",
    }
    container |= {"TOWER_STATE_DIR": "/x", "PWD": "/"}
    facts = Facts(**{**FACTS.__dict__, "environment": container})
    env = environment(pane(env={"MINE": "profile", "USER": "other"}, working_dir="/w"), facts)
    assert env == {
        "TOWER_TMUX": "/usr/bin/tmux",
        "TOWER_CWD": "/w",
        "TOWER_PATH": "/own:/bin",
        "TOWER_SHELL": "/bin/bash",
        "A": "1",
        "MINE": "profile",
        "HOME": "/home/dev",
        "USER": "other",
        "LOGNAME": "dev",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "LC_CTYPE": "",
        "TOWER_PANE_ID": "p0",
        "TOWER_LAYOUT_ID": "l",
        "TOWER_LABEL": "s1",
        "TOWER_ROLE": "slave",
    }


def test_without_argv_the_command_is_the_login_shell() -> None:
    assert command_line(pane(argv=()), FACTS)[3:] == ["tower", "/bin/bash", "-l"]
    assert command_line(pane(argv=("one word",)), FACTS)[3:] == ["tower", "one word"]


def write_log(file: Path, data: bytes, max_bytes: int, keep: int) -> None:
    logs = Logs(max_bytes=max_bytes, keep=keep)
    subprocess.run(["/bin/sh", "-c", log_command(str(file), logs)], input=data, check=True, timeout=30)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_a_log_keeps_so_many_files_of_so_many_bytes(tmp_path: Path, keep: int) -> None:
    data = b"".join(b"%06d\n" % number for number in range(5000))
    write_log(tmp_path / "log", data, max_bytes=4096, keep=keep)
    names = ["log", *(f"log.{number}" for number in range(1, keep + 1))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(path.stat().st_size <= 4096 for path in tmp_path.iterdir())
    joined = b"".join((tmp_path / name).read_bytes() for name in reversed(names))
    assert joined
    assert data.endswith(joined)
    assert len(joined) >= keep * 3500


def test_a_log_is_appended_to_and_ends_with_its_input(tmp_path: Path) -> None:
    file = tmp_path / "a b'c"
    for _ in range(3):
        write_log(file, b"x" * 1000, max_bytes=10_000, keep=1)
    assert file.read_bytes() == b"x" * 3000
    write_log(file, b"", max_bytes=10_000, keep=1)
    assert file.stat().st_size == 3000


SHELLS = [found for name in ("dash", "bash", "busybox", "mksh") if (found := shutil.which(name))]
LIMIT = 1000
"""Bytes that a file may have before a write fails, as on a full disk."""


@contextlib.contextmanager
def writer(shell: str, file: Path, path: str = "") -> "Iterator[subprocess.Popen[bytes]]":
    """A log writer whose writes fail behind LIMIT; it looks for programs in `path` first."""
    more = {"busybox": ["sh"], "bash": ["--posix"]}.get(Path(shell).name, [])
    process = subprocess.Popen(
        [shell, *more, "-c", log_command(str(file), Logs(max_bytes=100_000, keep=2))],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": f"{path}:{os.environ['PATH']}"},
        restore_signals=False,  # SIGXFSZ stays ignored, so that a write fails
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY)),
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def type_until(process: "subprocess.Popen[bytes]", line: bytes, file: Path) -> None:
    """Print the line now and then, until it is in the file."""
    assert process.stdin
    until = time.monotonic() + 30
    while line not in file.read_bytes():
        assert time.monotonic() < until
        assert process.poll() is None
        process.stdin.write(line)
        time.sleep(0.1)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_log_goes_on_when_there_is_room_again(tmp_path: Path, shell: str) -> None:
    file = tmp_path / "log"
    with writer(shell, file) as process:
        assert process.stdin
        process.stdin.write(b"x" * 3_000_000)  # more than any pipe holds: it is read though it cannot be written
        time.sleep(1.5)
        assert process.poll() is None
        assert file.stat().st_size <= LIMIT
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        type_until(process, b"room again\n", file)
        type_until(process, b"and on\n", file)
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_a_log_that_cannot_be_written_is_tried_at_leisure_until_its_input_ends(tmp_path: Path, shell: str) -> None:
    calls, stub = tmp_path / "calls", tmp_path / "bin" / "dd"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\necho call >>{calls}\nexit 1\n")
    stub.chmod(0o755)
    with writer(shell, tmp_path / "log", str(stub.parent)) as process:
        assert process.stdin
        process.stdin.write(b"x" * 200_000)
        time.sleep(3.5)
        assert process.poll() is None
        assert 1 <= len(calls.read_text().splitlines()) <= 4
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_a_log_that_cannot_be_written_from_the_start_fails_at_once(shell: str) -> None:
    with writer(shell, Path("/proc/no/log")) as process:
        assert process.wait(timeout=30) != 0


def test_a_text_never_shows_in_the_script_that_sends_it() -> None:
    assert "secret" not in " ".join(arguments(["tmux"], "%1", "p", b"secret", enter=True))
