"""Rows to wire: the hot reads, as fixed SQL whose columns are the fields of what is answered.

Lists are ordered by state, so each state is one indexed query that goes on behind the last row given, and a list
costs what it shows however many rows there are (SQLite, "Row Values" and "Query Planner").
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tower import models, states
from tower.errors import ManagedLayoutNotFound, ManagedPaneNotFound
from tower.server import cursors

LIMIT: Final = 50
LIMIT_MAX: Final = 200


class LayoutView(msgspec.Struct):
    """A layout as it is listed."""

    layout_id: str
    container_id: str
    container_name: str
    template_name: str
    tmux_session_name: str
    state: str
    failed_stage: str | None
    intended_pane_count: int
    ready_pane_count: int
    created_at: str
    updated_at: str
    origin: str = "managed"


class PaneView(msgspec.Struct):
    """A managed pane."""

    pane_id: str
    layout_id: str
    container_id: str
    container_name: str
    role: str
    capability: str
    label: str
    state: str
    failed_stage: str | None
    reason: str | None
    tmux_session_name: str
    tmux_pane_index: int
    tmux_pane_id: str | None
    launch_command_ref: str | None
    agent_id: str | None
    log_attached: bool
    log_path: str | None
    exit_code: int | None
    exit_signal: int | None
    exited_at: str | None
    last_output: str | None
    observed_at: str | None
    predecessor_id: str | None
    chain_depth: int
    created_at: str
    updated_at: str
    origin: str = "managed"

    def __post_init__(self) -> None:
        self.log_attached = bool(self.log_attached)


class LayoutDetail(LayoutView, kw_only=True):
    """A layout with its panes."""

    panes: list[PaneView]


class PaneDetail(PaneView, kw_only=True):
    """A pane with those whose place it took, newest first."""

    predecessor_chain: list[PaneView]


class Page(msgspec.Struct):
    """A part of a list, and the cursor of what comes after it."""

    items: Sequence[LayoutView] | Sequence[PaneView]
    next: str | None


_LAYOUT: Final = """
SELECT l.layout_id, l.container_id, b.name, l.template_name, l.tmux_session_name, l.state, l.failed_stage,
       l.intended_pane_count,
       (SELECT count(*) FROM pane p INDEXED BY pane_ready WHERE p.layout_id = l.layout_id AND p.state = 'ready'),
       l.created_at, l.updated_at, l.number
FROM layout l CROSS JOIN bench b ON b.container_id = l.container_id
"""
_LAYOUT_ONE: Final = _LAYOUT + "WHERE l.layout_id = ?"
_LAYOUTS: Final = _LAYOUT + "WHERE l.state = ? AND l.number < ? ORDER BY l.number DESC LIMIT ?"
_LAYOUTS_OF_BENCH: Final = (
    _LAYOUT + "WHERE l.container_id = ? AND l.state = ? AND l.number < ? ORDER BY l.number DESC LIMIT ?"
)

_PANE_COLUMNS: Final = """
SELECT p.pane_id, p.layout_id, p.container_id, b.name, p.role, p.capability, p.label, p.state, p.failed_stage, p.reason,
       l.tmux_session_name, p.slot, p.tmux_pane_id, p.launch_command_ref, p.agent_id, p.log_attached, p.log_path,
       p.exit_code, p.exit_signal, p.exited_at, p.last_output, p.observed_at, p.predecessor_id, p.chain_depth,
       p.created_at, p.updated_at, p.number
"""
_JOINED: Final = """
CROSS JOIN layout l ON l.layout_id = p.layout_id CROSS JOIN bench b ON b.container_id = p.container_id
"""
_PANE: Final = _PANE_COLUMNS + "FROM pane p" + _JOINED
_PANE_ONE: Final = _PANE + "WHERE p.pane_id = ?"
_PANES_OF_LAYOUT: Final = _PANE + "WHERE p.layout_id = ? ORDER BY p.slot, p.number"
_PANES_PRESENT: Final = (
    _PANE + "WHERE p.layout_id = ? AND p.newest = 1 AND p.state != 'removed' ORDER BY p.slot, p.number"
)
_PANES_NEWEST: Final = _PANE + "WHERE p.layout_id = ? AND p.newest = 1 ORDER BY p.slot, p.number"
_CHAIN: Final = f"""
WITH RECURSIVE chain (pane_id, place) AS (
    SELECT predecessor_id, 1 FROM pane WHERE pane_id = ?
    UNION ALL
    SELECT pane.predecessor_id, place + 1 FROM chain JOIN pane ON pane.pane_id = chain.pane_id
)
{_PANE_COLUMNS} FROM chain CROSS JOIN pane p ON p.pane_id = chain.pane_id {_JOINED} ORDER BY chain.place
"""  # noqa: S608 - constants only
_PANES: Final = (
    _PANE + "WHERE p.state = ? AND (p.layout_id, p.slot, p.number) > (?, ?, ?)"
    " ORDER BY p.layout_id, p.slot, p.number LIMIT ?"
)
_PANES_OF_BENCH: Final = (
    _PANE + "WHERE p.container_id = ? AND p.state = ? AND (p.layout_id, p.slot, p.number) > (?, ?, ?)"
    " ORDER BY p.layout_id, p.slot, p.number LIMIT ?"
)
_PANES_IN_LAYOUT: Final = (
    _PANE + "WHERE p.layout_id = ? AND p.container_id = coalesce(?, p.container_id) AND p.state = ?"
    " AND (p.slot, p.number) > (?, ?) ORDER BY p.slot, p.number LIMIT ?"
)

_NEWEST_FIRST: Final = [2**62]
_FIRST: Final = ["", -1, -1]

Row = tuple[Any, ...]


def _rows(query: str, values: Iterable[Any]) -> list[Row]:
    models.connect()
    cursor = models.db.execute_sql(query, tuple(values))  # type: ignore[no-untyped-call] # peewee's stub lacks it
    rows: list[Row] = cursor.fetchall()
    return rows


def layout(layout_id: str) -> LayoutView:
    """One layout; raises ManagedLayoutNotFound."""
    return LayoutView(*_layout_row(layout_id))


def layout_detail(layout_id: str, *, include_terminal_panes: bool = False) -> LayoutDetail:
    """One layout with the panes that count, or with every pane that it ever had; raises ManagedLayoutNotFound."""
    query = _PANES_OF_LAYOUT if include_terminal_panes else _PANES_PRESENT
    with models.snapshot():
        row, panes = _layout_row(layout_id), _rows(query, [layout_id])
    return LayoutDetail(*row, panes=_panes(panes))


def _layout_row(layout_id: str) -> Row:
    rows = _rows(_LAYOUT_ONE, [layout_id])
    if not rows:
        raise ManagedLayoutNotFound(layout_id)
    return rows[0][:-1]


def layout_and_newest(layout_id: str) -> tuple[LayoutView, list[PaneView]]:
    """One layout, and the pane that counts in each slot, removed or not; raises ManagedLayoutNotFound."""
    with models.snapshot():
        row, panes = _layout_row(layout_id), _rows(_PANES_NEWEST, [layout_id])
    return LayoutView(*row), _panes(panes)


def pane(pane_id: str) -> PaneView:
    """One pane; raises ManagedPaneNotFound."""
    return PaneView(*_pane_row(pane_id))


def pane_detail(pane_id: str, *, include_predecessor_chain: bool = False) -> PaneDetail:
    """One pane, and the chain that it ends when asked for; raises ManagedPaneNotFound."""
    row = _pane_row(pane_id)
    chain = _panes(_rows(_CHAIN, [pane_id])) if include_predecessor_chain else []
    return PaneDetail(*row, predecessor_chain=chain)


def _pane_row(pane_id: str) -> Row:
    rows = _rows(_PANE_ONE, [pane_id])
    if not rows:
        raise ManagedPaneNotFound(pane_id)
    return rows[0][:-1]


def _panes(rows: Iterable[Row]) -> list[PaneView]:
    return [PaneView(*row[:-1]) for row in rows]


def layouts(container_id: str | None, wanted: Sequence[str], limit: int, after: str | None) -> Page:
    """A page of layouts: by state, newest first; raises ValidationFailed on `after`."""
    about = ["layout.list", container_id, *wanted]
    query = _LAYOUTS if container_id is None else _LAYOUTS_OF_BENCH
    filters = [] if container_id is None else [container_id]
    rows = _rows_by_state(query, filters, wanted, _place(about, after, _NEWEST_FIRST), limit + 1)
    items = [LayoutView(*row[:-1]) for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(items, None)
    last = rows[limit - 1]
    return Page(items, cursors.seal(about, [last[5], last[-1]]))


def panes(
    container_id: str | None, layout_id: str | None, wanted: Sequence[str], limit: int, after: str | None
) -> Page:
    """A page of panes, of one layout, else of one bench, else of all: by state, layout and slot.

    Raises ValidationFailed on `after`.
    """
    about = ["pane.list", container_id, layout_id, *wanted]
    filters: list[str | None]
    keys: tuple[int, ...]
    if layout_id is not None:
        query, filters, keys = _PANES_IN_LAYOUT, [layout_id, container_id], (11, -1)
    elif container_id is not None:
        query, filters, keys = _PANES_OF_BENCH, [container_id], (1, 11, -1)
    else:
        query, filters, keys = _PANES, [], (1, 11, -1)
    rows = _rows_by_state(query, filters, wanted, _place(about, after, _FIRST[-len(keys) :]), limit + 1)
    items = _panes(rows[:limit])
    if len(rows) <= limit:
        return Page(items, None)
    last = rows[limit - 1]
    return Page(items, cursors.seal(about, [last[7], *(last[key] for key in keys)]))


class _Place(NamedTuple):
    """Behind which row a page begins: its state, its keys, and the keys before any row of a later state."""

    state: str
    keys: list[Any]
    first: list[Any]


def _place(about: object, after: str | None, first: list[Any]) -> _Place:
    if after is None:
        return _Place(states.STATES[0], first, first)
    state, *keys = cursors.unseal(about, after, "after")
    return _Place(state, keys, first)


def _rows_by_state(
    query: str, filters: Sequence[str | None], wanted: Sequence[str], start: _Place, limit: int
) -> list[Row]:
    """So many rows, state by state, from behind a place on."""
    rows: list[Row] = []
    for state in states.STATES[states.STATES.index(start.state) :]:
        if (not wanted or state in wanted) and len(rows) < limit:
            keys = start.keys if state == start.state else start.first
            rows += _rows(query, [*filters, state, *keys, limit - len(rows)])
    return rows


_OWN_NAME: Final = "SELECT name FROM bench WHERE container_id = ?"
_OWNS: Final = {
    "layout": "SELECT 1 FROM layout INDEXED BY layout_of_bench WHERE container_id = ? AND layout_id = ?",
    "pane": "SELECT 1 FROM pane INDEXED BY pane_of_bench WHERE container_id = ? AND pane_id = ?",
    "agent": "SELECT 1 FROM agent INDEXED BY agent_of_bench WHERE container_id = ? AND agent_id = ?",
}
_BENCH_NAMED: Final = """
    SELECT container_id FROM bench WHERE container_id = ?1
    UNION ALL SELECT container_id FROM (
        SELECT container_id FROM bench WHERE name = ?1 ORDER BY state, last_scanned_at DESC)
"""
_BENCH_BEGINNING: Final = "SELECT container_id FROM bench WHERE substr(container_id, 1, length(?1)) = ?1"
PREFIX: Final = 12
"""From so many characters on the beginning of a container id may stand for the whole."""


def name_of_bench(container_id: str) -> str | None:
    """The name of a bench; None for one that is not known."""
    rows = _rows(_OWN_NAME, [container_id])
    return rows[0][0] if rows else None


def owns(container_id: str, kind: str, named: str) -> bool:
    """Whether a layout, pane or agent of this id is that bench's; looks at what is the bench's own only."""
    return bool(_rows(_OWNS[kind], [container_id, named]))


def bench_named(text: str) -> str | None:
    """The full id of the bench of this id, name or beginning of an id; None where it is not exactly one."""
    rows = _rows(_BENCH_NAMED, [text])
    if rows:
        return str(rows[0][0])
    rows = _rows(_BENCH_BEGINNING, [text]) if len(text) >= PREFIX else []
    return str(rows[0][0]) if len(rows) == 1 else None
