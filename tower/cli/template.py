"""`tower template`."""

from pathlib import Path

import click

from tower.cli import output
from tower.cli.catalogs import listed, named, names, problem_lines, report_file
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console
from tower.errors import ManagedTemplateNotFound

PANE_COLUMNS = {
    "ROLE": "role",
    "CAPABILITY": "capability",
    "LABEL": "label_pattern",
    "PROFILE": "default_launch_command_ref",
}


@click.group(cls=TowerGroup)
def template() -> None:
    """Templates: the panes that a layout consists of."""


@template.command("list", example="tower template list")
@pass_console
def list_templates(console: Console) -> None:
    """List the templates, and what is wrong with the operator's files."""
    page = listed(console, "app.template.list")
    rows = page["rows"]
    columns = {"TEMPLATE": "name", "PANES": "count", "ARRANGEMENT": "arrangement", "FROM": "from"}
    shown = [{**row, "count": len(row["panes"]), "from": row["source"] or "built in"} for row in rows]
    console.result(page, output.table(columns, shown, "no templates") + problem_lines(page))


@template.command("show", example="tower template show 1m+2s")
@click.argument("name")
@pass_console
def show(console: Console, name: str) -> None:
    """Show a template with its panes."""
    page = listed(console, "app.template.list")
    row = named(page, name, ManagedTemplateNotFound(name, names(page)), "managed_templates")
    head = output.fields(row, {"template": "name", "arrangement": "arrangement", "from": "source"})
    console.result(row, head + "\n\n" + output.table(PANE_COLUMNS, row["panes"], "no panes"))


@template.command("validate", example="tower template validate examples/managed_templates/team.yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_console
def validate(console: Console, file: Path) -> int:
    """Check a template's file without a server."""
    from tower.catalog import validate_template  # noqa: PLC0415 - beside its one use

    return report_file(console, file, validate_template(file))
