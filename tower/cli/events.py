"""`tower events`."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from tower import addresses
from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerCommand, pass_console
from tower.cli.output import Row
from tower.client import ServerUnreachable

PAUSE = 0.5
FACTS = ("prev_state", "new_state", "failed_stage", "label", "exit_code", "exit_signal", "reason", "tmux_pane_id")


@click.command("events", cls=TowerCommand, example="tower events -f --layout alpha")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens later.")
@click.option("--layout", help="Only those of this layout.")
@click.option("--type", "event_type", help="Only those of this type.")
@click.option("-n", "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="The newest ones.")
@pass_console
def events(console: Console, follow: bool, layout: str | None, event_type: str | None, limit: int) -> None:
    """Show the audit log, oldest first. With --json one object a line when following."""
    filters = {"event_type": event_type, "layout_id": addresses.layout_id(console, layout) if layout else None}
    wanted = {name: value for name, value in filters.items() if value}
    page = console.call("app.event.list", limit=limit, filters=wanted or None)
    rows = page["rows"][::-1]
    if not follow:
        shown = {**page, "rows": rows, "ordering": "observed_at:asc", "cursor_next": None}
        console.result(shown, "\n".join(_line(row) for row in rows) or "no events")
        return
    with suppress(KeyboardInterrupt):
        for row in rows:
            _show(console, row)
        for row in _later(console, wanted, rows[-1]["sequence"] if rows else 0):
            _show(console, row)


def _later(console: Console, filters: dict[str, Any], after: int) -> Iterator[Row]:
    """Events as they happen; a server that is away for a while loses none."""
    while True:
        time.sleep(PAUSE)
        try:
            fresh = _since(console, filters, after)
        except ServerUnreachable:
            continue
        yield from fresh
        after = fresh[-1]["sequence"] if fresh else after


def _since(console: Console, filters: dict[str, Any], after: int) -> list[Row]:
    found: list[Row] = []
    for row in console.rows("app.event.list", filters=filters):
        if row["sequence"] <= after:
            break
        found.append(row)
    return found[::-1]


def _show(console: Console, row: Row) -> None:
    if console.as_json:
        console.json(row)
    else:
        click.echo(_line(row))


def _line(row: Row) -> str:
    payload = row["payload"]
    facts = " ".join(f"{key}={payload[key]}" for key in FACTS if payload.get(key) is not None)
    subject = output.short(row["pane_id"] or row["layout_id"]) or ""
    return f"{row['timestamp']}  {row['event_type']:<42}  {subject:<8}  {facts}".rstrip()
