"""`tower container`."""

import click

from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console

COLUMNS = {
    "BENCH": "short",
    "NAME": "name",
    "STATE": "state",
    "IMAGE": "image",
    "PANES": "pane_count",
    "AGENTS": "registered_agent_count",
    "SCANNED": "age",
}


@click.group(cls=TowerGroup)
def container() -> None:
    """Benches: the host itself, and running containers."""


@container.command("list", example="tower container list")
@pass_console
def list_containers(console: Console) -> None:
    """List the benches that are known."""
    rows = list(console.rows("app.container.list"))
    shown = [
        {**row, "short": output.short(row["container_id"]), "age": output.age(row["last_scanned_at"])} for row in rows
    ]
    console.result({"rows": rows}, output.table(COLUMNS, shown, "no benches"))


@container.command("scan", example="tower container scan")
@pass_console
def scan(console: Console) -> None:
    """Look for benches, and at what lives in the tmux of each, now.

    A pane that was killed by hand shows as failed afterwards, one whose command has exited as degraded.
    """
    containers = console.call("app.scan.containers")
    panes = console.call("app.scan.panes")
    found = list(console.rows("app.container.list"))
    active = sum(row["state"] == "active" for row in found)
    text = f"{len(found)} benches, {active} active, {sum(row['pane_count'] for row in found)} tmux panes"
    console.result({"containers": containers, "panes": panes}, text)
