"""`tower profile`."""

import shlex
from pathlib import Path

import click

from tower.cli import output
from tower.cli.catalogs import listed, named, names, problem_lines, report_file
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console
from tower.errors import ManagedLaunchCommandNotFound


@click.group(cls=TowerGroup)
def profile() -> None:
    """Launch profiles: argv, env and working directory of an agent's command."""


@profile.command("list", example="tower profile list")
@pass_console
def list_profiles(console: Console) -> None:
    """List the launch profiles, and what is wrong with the operator's files."""
    page = listed(console, "app.profile.list")
    columns = {"PROFILE": "name", "COMMAND": "line", "WORKING DIR": "working_dir", "FROM": "source"}
    rows = [{**row, "line": shlex.join(row["command"])} for row in page["rows"]]
    empty = f"no launch profiles; put YAML files into {console.settings.config_dir / 'launch_commands'}"
    console.result(page, output.table(columns, rows, empty) + problem_lines(page))


@profile.command("show", example="tower profile show claude-master")
@click.argument("name")
@pass_console
def show(console: Console, name: str) -> None:
    """Show a launch profile: its argv, and the names of its variables."""
    page = listed(console, "app.profile.list")
    row = named(page, name, ManagedLaunchCommandNotFound(name, names(page)), "launch_commands")
    shown = {**row, "line": shlex.join(row["command"])}
    keys = {"profile": "name", "command": "line", "env": "env_keys", "working dir": "working_dir", "from": "source"}
    console.result(row, output.fields(shown, keys))


@profile.command("validate", example="tower profile validate examples/launch_commands/shell.yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_console
def validate(console: Console, file: Path) -> int:
    """Check a launch profile's file without a server."""
    from tower.catalog import validate_profile  # noqa: PLC0415 - beside its one use

    return report_file(console, file, validate_profile(file))
