"""Layouts and panes for a person."""

from collections.abc import Sequence
from typing import Final

from tower.cli import output
from tower.cli.output import Row

LAYOUT_COLUMNS: Final = {
    "LAYOUT": "short",
    "BENCH": "container_name",
    "SESSION": "tmux_session_name",
    "TEMPLATE": "template_name",
    "STATE": "condition",
    "READY": "ready",
    "AGE": "age",
}
PANE_COLUMNS: Final = {
    "PANE": "short",
    "LABEL": "label",
    "ROLE": "role",
    "STATE": "condition",
    "TMUX": "tmux_pane_id",
    "COMMAND": "launch_command_ref",
    "EXIT": "exit",
    "REASON": "reason",
}


def layouts(rows: Sequence[Row], empty: str = "") -> str:
    """Layouts as a table."""
    return output.table(LAYOUT_COLUMNS, [_layout(row) for row in rows], empty)


def panes(rows: Sequence[Row], empty: str = "no panes", where: bool = False) -> str:
    """Panes as a table; `where` adds bench and session, the exit shows where a command has exited."""
    shown = [_pane(row) for row in rows]
    columns = {"BENCH": "container_name", "SESSION": "tmux_session_name"} if where else {}
    columns |= PANE_COLUMNS
    if all(row["exit"] is None for row in shown):
        del columns["EXIT"]
    return output.table(columns, shown, empty)


def layout(row: Row) -> str:
    """A layout and its panes."""
    return f"{layouts([row])}\n\n{panes(row['panes'])}"


def _layout(row: Row) -> Row:
    return {
        **row,
        "short": output.short(row["layout_id"]),
        "condition": output.condition(row),
        "ready": f"{row['ready_pane_count']}/{row['intended_pane_count']}",
        "age": output.age(row["created_at"]),
    }


def _pane(row: Row) -> Row:
    signal = row["exit_signal"]
    return {
        **row,
        "short": output.short(row["pane_id"]),
        "condition": output.condition(row),
        "exit": row["exit_code"] if signal is None else f"signal {signal}",
        "reason": row["reason"] or "",
    }
