"""Whether every accepted order was carried out, at rest: what SPEC.md promises for an acceptance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.orders import BRIEF, Accepted, Clerk
from tests.harness import Tower

_PANES = (
    "SELECT p.pane_id, p.layout_id, p.state, p.failed_stage, l.template_name FROM pane p"
    " JOIN layout l ON l.layout_id = p.layout_id"
)


@dataclass(frozen=True)
class Pane:
    """A row of a pane, and the job that was to make it."""

    pane_id: str
    layout_id: str
    state: str
    failed_stage: str | None
    template_name: str
    made_by: int


def broken(clerk: Clerk) -> list[str]:
    """One sentence for each promise that was not kept, and for each change that nobody has asked for."""
    panes = _panes(clerk.tower)
    layouts = {row[0] for row in clerk.tower.rows("SELECT layout_id FROM layout")}
    found = [problem for order in list(clerk.accepted) for problem in _broken(order, panes, layouts)]
    return found + [problem for pane in panes.values() for problem in _unasked(pane, clerk)]


def _panes(tower: Tower) -> dict[str, Pane]:
    query = (
        "SELECT jp.pane_id, min(j.id) FROM job_pane jp JOIN job j ON j.id = jp.job_id"
        " WHERE j.kind IN ('spawn', 'recreate') GROUP BY jp.pane_id"
    )
    made = {row[0]: int(row[1]) for row in tower.rows(query)}
    rows: list[Any] = tower.rows(_PANES)
    return {row["pane_id"]: Pane(*row, made_by=made.get(row["pane_id"], 0)) for row in rows}


def _broken(order: Accepted, panes: dict[str, Pane], layouts: set[str]) -> Iterator[str]:
    if order.method.startswith("layout") and order.target not in layouts:
        yield f"{order.method} of {order.target} was accepted and the layout is lost"
    yield from (f"{order.method} made pane {lost}, which is lost" for lost in order.panes if lost not in panes)
    yield from (f"{order} was accepted and pane {pane_id} is {panes[pane_id].state}" for pane_id in _kept(order, panes))


def _kept(order: Accepted, panes: dict[str, Pane]) -> list[str]:
    """The panes that an accepted remove should have removed and that are not: those of jobs that came before it."""
    if order.method == "pane.remove":
        due = [panes[order.target]]
    elif order.method == "layout.remove" and order.job_id is not None:
        due = [pane for pane in panes.values() if pane.layout_id == order.target and pane.made_by < order.job_id]
    else:
        due = []
    return [pane.pane_id for pane in due if pane.state != "removed"]


def _unasked(pane: Pane, clerk: Clerk) -> Iterator[str]:
    """A pane is ready; or else somebody has removed it, has killed it by hand, or its command was to end."""
    if pane.state == "removed":
        fair = bool({pane.pane_id, pane.layout_id} & clerk.asked_to_remove)
    elif pane.state == "degraded":
        fair = pane.template_name == BRIEF and pane.failed_stage == "launch_command"
    elif pane.state == "failed":
        fair = pane.pane_id in clerk.killed and pane.failed_stage == "recovery_reattach"
    else:
        fair = pane.state == "ready" and pane.template_name != BRIEF and pane.pane_id not in clerk.killed
    if not fair:
        yield f"pane {pane.pane_id} is {pane.state} ({pane.failed_stage}), which nobody has asked for"
