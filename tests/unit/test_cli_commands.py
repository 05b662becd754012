"""Every command: its help, its options, and what it loads."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tower.cli.framework import ALIASES, TowerCommand
from tower.cli.main import COMMANDS, tower

Words = tuple[str, ...]


def commands(group: click.Group = tower, words: Words = ()) -> Iterator[tuple[Words, click.Command]]:
    """Every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = list(commands())


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_help_has_a_sentence_an_example_and_json(words: Words, command: click.Command) -> None:
    done = CliRunner().invoke(tower, [*words, "--help"])
    assert done.exit_code == 0
    assert isinstance(command, TowerCommand)
    assert command.help
    assert f"Example:\n  {command.example.splitlines()[0]}" in done.output
    assert "--json" in done.output
    assert f"tower {' '.join(words)}" in command.example


def test_the_nouns_and_verbs_are_those_promised() -> None:
    promised = """
        up down status doctor serve work events completion
        container.list container.scan template.list template.show template.validate
        profile.list profile.show profile.validate
        layout.create layout.list layout.show layout.remove layout.recreate layout.attach layout.wait
        pane.list pane.show pane.remove pane.recreate pane.restart pane.attach pane.send pane.logs
        agent.list agent.adopt job.list job.show
    """.split()
    assert sorted(".".join(words) for words, _ in ALL) == sorted(promised)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias: str, name: str) -> None:
    assert CliRunner().invoke(tower, ["layout", alias, "--help"]).output.startswith(f"Usage: tower layout {name}")


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(tower, ["layout", "frob"]).exit_code == 2
    assert CliRunner().invoke(tower, ["frob"]).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = CliRunner().invoke(tower, ["completion", shell])
    assert done.exit_code == 0
    assert "_TOWER_COMPLETE" in done.output


def test_completion_knows_the_nouns() -> None:
    environ = {"_TOWER_COMPLETE": "bash_complete", "COMP_WORDS": "tower lay", "COMP_CWORD": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("tower")], env=environ, capture_output=True, text=True, check=False
    )
    assert "plain,layout" in done.stdout


def test_a_list_loads_neither_the_database_nor_what_draws() -> None:
    script = (
        "import sys, tower.cli.main as m; m.tower.get_command(None, 'layout');"
        "print([n for n in ('peewee', 'huey', 'rich', 'psutil', 'supervisor') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_entry_of_the_root_is_there() -> None:
    assert {words[0] for words, _ in ALL} == set(COMMANDS)
