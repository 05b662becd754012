"""`tower completion`."""

import click
from click.shell_completion import get_completion_class

from tower.cli.console import Console
from tower.cli.framework import TowerCommand, pass_console


@click.command(
    "completion",
    cls=TowerCommand,
    example="tower completion bash > ~/.local/share/bash-completion/completions/tower",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@pass_console
def completion(console: Console, ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click knows the three shells; told to the type checker
    source = found(ctx.find_root().command, {}, "tower", "_TOWER_COMPLETE").source()
    console.result({"shell": shell, "script": source}, source)
