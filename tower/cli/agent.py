"""`tower agent`."""

import re

import click

from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console
from tower.cli.output import Row

COLUMNS = {
    "AGENT": "short",
    "BENCH": "container_name",
    "LABEL": "label",
    "ROLE": "role",
    "CAPABILITY": "capability",
    "SESSION": "tmux_session_name",
    "PANE": "tmux_pane_id",
    "ORIGIN": "origin",
    "STATE": "state",
    "ACTIVE": "pane_active",
    "LOG": "log_attached",
}

LONGEST_LABEL = 64


@click.group(cls=TowerGroup)
def agent() -> None:
    """Agents: what runs in panes, the tower's own and adopted ones."""


@agent.command("list", example="tower agent list --role master")
@click.option("--role", help="Only those of this role.")
@click.option("--all", "everything", is_flag=True, help="Those whose pane is gone, too.")
@pass_console
def list_agents(console: Console, role: str | None, everything: bool) -> None:
    """List the agents."""
    filters = ({"role": role} if role else {}) | ({"registered": None} if everything else {})
    rows = list(console.rows("app.agent.list", filters=filters))
    shown = [{**row, "short": output.short(row["agent_id"])} for row in rows]
    console.result({"rows": rows}, output.table(COLUMNS, shown, "no agents"))


@agent.command("adopt", example="tower agent adopt local %7 --role shell --label notes")
@click.argument("bench")
@click.argument("pane")
@click.option("--role", default="shell", show_default=True)
@click.option("--capability", default="shell", show_default=True)
@click.option("--label", help="Its name; left out, that of its session and pane.")
@pass_console
def adopt(  # noqa: PLR0913 - the options of the command
    console: Console, bench: str, pane: str, role: str, capability: str, label: str | None
) -> None:
    """Register a tmux pane that the tower did not make. It can be sent input, and is never changed or killed.

    PANE is a tmux pane id (%7), or session:window.pane as tmux numbers them.
    """
    console.call("app.scan.panes")
    row = _seen(console, bench, pane)
    answer = console.call(
        "app.agent.register_from_pane",
        **{key: row[key] for key in _IDENTITY},
        role=role,
        capability=capability,
        label=label or _label_of(row),
    )
    registered = answer.get("row", answer)
    console.result(registered, f"agent {registered['agent_id']} is {registered['label']} in {row['session_name']}")


_IDENTITY = ("container_id", "tmux_socket", "session_name", "window_index", "pane_index", "pane_id")


def _label_of(row: Row) -> str:
    """A label of the session's name and the pane's number, of the characters and the length that a label may have."""
    end = "-" + row["pane_id"].lstrip("%")
    session = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(row["session_name"]))
    return f"{session[: LONGEST_LABEL - len(end)]}{end}".strip("-")


def _seen(console: Console, bench: str, pane: str) -> Row:
    from tower.addresses import is_bench  # noqa: PLC0415 - beside its one use
    from tower.errors import PaneNotFound, ValidationFailed  # noqa: PLC0415

    rows = [row for row in console.rows("app.pane.list") if is_bench(row, bench)]
    found = [row for row in rows if pane in (row["pane_id"], _numbered(row))]
    if not rows:
        _require_bench(console, bench)
    if not found:
        raise PaneNotFound(pane)
    if len(found) > 1:
        servers = ", ".join(row["tmux_socket"] for row in found)
        raise ValidationFailed("pane", f"{pane} is on several tmux servers of that bench: {servers}")
    return found[0]


def _require_bench(console: Console, bench: str) -> None:
    """Raise ContainerNotFound where no bench is called so."""
    from tower.addresses import is_bench  # noqa: PLC0415
    from tower.errors import ContainerNotFound  # noqa: PLC0415

    rows = console.rows("app.container.list")
    if not any(is_bench({**row, "container_name": row["name"]}, bench) for row in rows):
        raise ContainerNotFound(bench)


def _numbered(row: Row) -> str:
    return f"{row['session_name']}:{row['window_index']}.{row['pane_index']}"
