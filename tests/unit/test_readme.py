"""What the README says of commands, settings and exit statuses is what there is."""

import re
import shlex
from pathlib import Path

import click
import msgspec
import pytest

from tests.unit.test_cli_commands import ALL
from tower import config
from tower.cli import output
from tower.cli.framework import ALIASES
from tower.cli.main import tower

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
QUICKSTART = (Path(__file__).parents[2] / "examples/quickstart.sh").read_text("utf-8")
COMMANDS = dict(ALL)


def lines() -> list[str]:
    """The command lines of the tower in the README, in blocks and in running text."""
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
    shown = re.findall(r"^\$ (tower .*)$", blocks, re.MULTILINE)
    inline = re.findall(r"`(tower [^`]*)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    return sorted({*shown, *inline})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_documented(words: tuple[str, ...]) -> None:
    assert f"`tower {' '.join(words)}`" in README


@pytest.mark.parametrize("line", lines())
def test_every_command_line_exists(line: str) -> None:
    _, *words = shlex.split(line)
    command: click.Command = tower
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), ALIASES.get(words[0], words[0]))
        assert found is not None, line
        command = found
        words = words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, "--help")}
    used = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
    assert used <= known, line


def test_every_setting_is_documented_with_its_default() -> None:
    defaults = msgspec.to_builtins(config._File())
    for section in config.SECTIONS:
        for key, value in defaults[section].items():
            row = next(line for line in README.splitlines() if line.startswith("| `") and f"`{section}.{key}`" in line)
            said = row.split("|")[2]
            told = "none" if value is None else _yaml(value)
            assert told in said, row
    assert "`env_file`" in README


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(f'"{one}"' if isinstance(one, str) else f"{one:g}" for one in value) + "]"
    return str(value)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    sections = "|".join(config.SECTIONS)
    said = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", README))
    known = {
        f"{section}.{key}" for section in config.SECTIONS for key in getattr(config._File(), section).__struct_fields__
    }
    assert said == known


def test_every_exit_status_is_documented() -> None:
    paragraph = README.partition("**Exit status.**")[2].partition("\n\n")[0]
    statuses = {output.DONE, output.REFUSED, output.USAGE, output.DEGRADED, output.FAILED, output.TIMED_OUT}
    assert set(map(int, re.findall(r"\b\d\b", paragraph))) == statuses | {output.UNREACHABLE}


def test_every_path_variable_is_documented() -> None:
    for name in ("TOWER_CONFIG_DIR", "TOWER_STATE_DIR", "TOWER_SOCKET", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        assert f"${name}" in README


def test_the_quickstart_leaves_the_labels_of_this_page_free() -> None:
    """Labels are unique in a bench; the page's own layouts take theirs without a prefix."""
    (prefix,) = re.findall(r"tower layout create local .* --label-prefix (\S+)", QUICKSTART)
    created = [line for line in lines() if line.startswith("tower layout create") and "-s" in line.split()]
    assert created
    assert not [line for line in created if f"--label-prefix {prefix}" in line]
    assert all(f"`{prefix}{label}`" in README for label in ("m1", "s1", "s2"))


def test_the_page_puts_the_command_on_the_path_before_it_is_used() -> None:
    before, _, _ = README.partition("$ tower up")
    assert "$ . .venv/bin/activate" in before
    assert "/.venv/bin/activate" in QUICKSTART.rpartition("cat <<END")[2]


def test_a_bench_is_given_its_own_log_folder() -> None:
    section = README.partition("## Any container as a bench")[2].partition("\n## ")[0]
    (name,) = re.findall(r"--name (\S+)", section)
    folder = f"~/.local/state/opensoft/agenttower/logs/{name}"
    assert f"$ mkdir -p -m 700 {folder}\n" in section
    assert f"-v {folder}:" in section
