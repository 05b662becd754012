"""What every command wears: --json, an example in its help, aliases; and groups that load their commands when named."""

import importlib
from typing import Any, Final

import click

from tower.cli.console import Console

ALIASES: Final = {"ls": "list", "rm": "remove"}

pass_console = click.make_pass_decorator(Console, ensure=True)


def _use_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Console).as_json = value


class TowerCommand(click.Command):
    """A command with `--json` and with an example below its help."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params.append(
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_use_json,
                help="Print the result as one JSON object, an error as one on standard error.",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example."""
        del ctx
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class TowerGroup(click.Group):
    """A noun; `ls` and `rm` are `list` and `remove`."""

    command_class = TowerCommand

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name or alias."""
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the command's own name instead of the alias."""
        _, command, rest = super().resolve_command(ctx, args)
        return command.name if command else None, command, rest


TowerGroup.group_class = TowerGroup


class LazyGroup(TowerGroup):
    """A group whose commands are imported when one is asked for, so that `tower layout list` loads no other noun."""

    def __init__(self, *args: Any, commands_at: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the map."""
        del ctx
        return list(self._at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded from `module:attribute`."""
        if cmd_name not in self._at:
            return super().get_command(ctx, cmd_name)
        module, attribute = self._at[cmd_name].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the map names commands only; told to the type checker
        return command
