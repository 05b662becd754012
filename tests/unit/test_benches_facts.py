"""The script that tells who the bench user is, run by the shells of this machine, and what is kept of it."""

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower.benches import Facts
from tower.benches import facts as facts_of

SHELLS = [found for name in ("dash", "bash", "busybox", "mksh") if (found := shutil.which(name))]
FACTS = Facts("dev", 1000, 1000, "/home/dev", "/bin/bash", "/bin:/usr/bin", "C.UTF-8", "/usr/bin/tmux")


def tell(shell: str, *argv: str, env: Mapping[str, str], stdin: bytes = b"") -> tuple[Facts, bytes, int]:
    """What the script says in one shell, and what the command after it wrote."""
    words = [shell, *(["sh"] if shell.endswith("busybox") else []), *facts_of.introducing(argv)[1:]]
    done = subprocess.run(words, env=env, input=stdin, capture_output=True, timeout=20)
    facts, rest = facts_of.told(done.stdout)
    assert facts is not None, done
    return facts, rest, done.returncode


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_tells_the_same(shell: str) -> None:
    facts, rest, status = tell(shell, "cat", env={"PATH": "/usr/bin:/bin"}, stdin=b"for the command")
    assert (facts.uid, facts.home[0], facts.shell[0], facts.tmux[0]) == (facts.uid, "/", "/", "/")
    assert facts.locale.upper().replace("-", "").endswith("UTF8")
    assert (rest, status) == (b"for the command", 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_words_and_the_exit_status_are_the_commands_own(shell: str) -> None:
    words = ["a b", "", "'\"$x\\", "new\nline", "ü"]
    script = 'printf "<%s>" "$@"; exit 7'
    _, rest, status = tell(shell, "sh", "-c", script, "sh", *words, env={"PATH": "/usr/bin:/bin"})
    assert rest == "".join(f"<{word}>" for word in words).encode()
    assert status == 7


@pytest.mark.parametrize(
    ("env", "locale"),
    [
        ({"LANG": "de_DE.UTF-8"}, "de_DE.UTF-8"),
        ({"LANG": "de_DE.utf8"}, "de_DE.utf8"),
        ({"LANG": "C", "LC_CTYPE": "fr_FR.UTF-8"}, "fr_FR.UTF-8"),
    ],
)
def test_a_utf8_locale_of_the_container_stays(env: dict[str, str], locale: str) -> None:
    assert tell("/bin/sh", env=env)[0].locale == locale


@pytest.mark.parametrize("env", [{}, {"LANG": "C"}, {"LANG": "C.UTF-8", "LC_ALL": "POSIX"}])
def test_another_locale_becomes_utf8_for_the_first_command_too(env: dict[str, str]) -> None:
    facts, rest, _ = tell("/bin/sh", "env", env=env)
    assert facts.locale in ("C.UTF-8", "C.utf8", "en_US.UTF-8")
    given_to = dict(line.split("=", 1) for line in rest.decode().splitlines() if "=" in line)
    assert given_to["LANG"] == facts.locale
    assert given_to.get("LC_ALL", facts.locale) == facts.locale


def test_what_told_says_is_what_later_commands_get() -> None:
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    facts, rest, _ = tell("/bin/sh", "env", env=env)
    first = dict(line.split("=", 1) for line in rest.decode().splitlines() if "=" in line)
    later = facts_of.environment_of(dataclasses.replace(facts, environment=env))
    assert {name: first.get(name) for name in later} == later


def test_output_without_the_end_mark_is_no_facts() -> None:
    assert facts_of.told(b"user=dev\nuid=1000\n") == (None, b"user=dev\nuid=1000\n")


def test_facts_are_kept_for_one_start_only(tmp_path: Path) -> None:
    facts_of.remember(tmp_path, "abc", "start 1", FACTS)
    assert facts_of.recall(tmp_path, "abc", "start 1") == FACTS
    assert facts_of.recall(tmp_path, "abc", "start 2") is None
    assert facts_of.recall(tmp_path, "abcd", "start 1") is None


def test_another_process_finds_them_in_a_closed_file_without_the_containers_variables(tmp_path: Path) -> None:
    secret = dataclasses.replace(FACTS, environment={"API_KEY": "s3cret"})
    facts_of.remember(tmp_path, "abc", "start 1", secret)
    facts_of._remembered.clear()
    assert facts_of.recall(tmp_path, "abc", "start 1") == FACTS
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"s3cret" not in file.read_bytes()


@given(st.binary(max_size=200))
def test_a_torn_file_counts_for_nothing(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "abc.json").write_bytes(text)
        assert facts_of.recall(Path(folder), "abc", "start 1") is None


def test_forgotten_facts_are_gone_from_both(tmp_path: Path) -> None:
    facts_of.remember(tmp_path, "abc", "start 1", FACTS)
    facts_of.forget(tmp_path, "abc")
    assert facts_of.recall(tmp_path, "abc", "start 1") is None
    assert not list(tmp_path.iterdir())
