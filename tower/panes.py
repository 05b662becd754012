"""The one writer of the states of panes and layouts.

A move checks the transition table in the UPDATE's own WHERE, writes its events and derives the layout's state anew, in
one transaction. Nothing else writes a state, so no late worker can revive a pane that was swept or removed.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from tower import clock, events, models, states
from tower.models import Agent, Layout, Pane


class _Present(NamedTuple):
    """What a pane is before it moves."""

    pane_id: str
    layout_id: str
    container_id: str
    state: str
    pending_marker_token: str | None


@dataclass(frozen=True)
class Fault:
    """Where and why a pane broke; the reason is one sentence for the operator."""

    stage: str
    reason: str


def create(layout: Layout, actor: str, **columns: Any) -> Pane:
    """A new pane of the layout, creating, with its marker; it takes its predecessor's place, also as an agent."""
    now = clock.now()
    slot = columns["slot"]
    if columns.get("predecessor_id"):
        Pane.update(newest=False).where(
            (Pane.layout_id == layout.layout_id) & (Pane.slot == slot) & (Pane.newest == True)  # noqa: E712 - SQL
        ).execute()
        models.update(Agent, {"managed_pane_id": columns["predecessor_id"]}, active=False)
    pane = Pane(
        layout_id=layout.layout_id,
        container_id=layout.container_id,
        state=states.CREATING,
        created_at=now,
        updated_at=now,
        **columns,
    )
    models.insert(Pane, **pane.__data__)
    about = _about(pane)
    created = events.PaneCreated(
        role=pane.role, label=pane.label, tmux_session_name=layout.tmux_session_name, tmux_pane_index=slot
    )
    events.record(created, actor=actor, **about)
    if pane.predecessor_id:
        recreated = events.PaneRecreated(predecessor_id=pane.predecessor_id, chain_depth=pane.chain_depth)
        events.record(recreated, actor=actor, **about)
    marked = events.PendingMarkerSet(marker_token=str(pane.pending_marker_token))
    events.record(marked, actor=actor, **about)
    changed = events.PaneStateChanged(prev_state=None, new_state=states.CREATING, failed_stage=None)
    events.record(changed, actor=actor, **about)
    return pane


def move(pane_id: str, after: str, *, actor: str = events.DAEMON, fault: Fault | None = None, **columns: Any) -> bool:
    """Move a pane, when the table allows it from where it is; returns whether it did.

    `columns` are written with it. A pane that leaves creating loses its marker.
    """
    stage = fault.stage if fault else None
    with models.writing():
        pane = _Present(*models.pick(Pane, _Present._fields, pane_id=pane_id)[0])
        moved = models.update(
            Pane,
            {"pane_id": pane_id, "state": states.sources_of(after, stage)},
            state=after,
            failed_stage=stage,
            reason=fault.reason if fault else None,
            stage_before_kill=None,
            reason_before_kill=None,
            pending_marker_token=None,
            updated_at=clock.now(),
            **columns,
        )
        if not moved:
            return False
        _tell(pane, after, stage, actor)
        derive(pane.layout_id, actor)
    return True


def _tell(pane: _Present, after: str, stage: str | None, actor: str) -> None:
    about = _about(pane)
    if pane.pending_marker_token is not None:
        cleared = events.PendingMarkerCleared(marker_token=pane.pending_marker_token)
        events.record(cleared, actor=actor, **about)
    changed = events.PaneStateChanged(prev_state=pane.state, new_state=after, failed_stage=stage)
    events.record(changed, actor=actor, **about)


def kill_failed(pane_id: str, reason: str) -> None:
    """The last kill of this pane failed; it keeps its state, and its failed stage says so until it is seen well."""
    with models.writing():
        pane = Pane.get(Pane.pane_id == pane_id)
        if pane.state == states.REMOVED:
            return
        before = {}
        if pane.failed_stage != states.TMUX_KILL:
            before = {"stage_before_kill": pane.failed_stage, "reason_before_kill": pane.reason}
        told = {"failed_stage": states.TMUX_KILL, "reason": reason, **before}
        models.update(Pane, {"pane_id": pane_id}, updated_at=clock.now(), **told)
        derive(pane.layout_id, events.DAEMON)


def seen_well(pane: Pane) -> None:
    """A listing shows the pane as it was: a failed kill is no longer what there is to say of it."""
    if pane.failed_stage != states.TMUX_KILL:
        return
    with models.writing():
        Pane.update(
            failed_stage=pane.stage_before_kill,
            reason=pane.reason_before_kill,
            stage_before_kill=None,
            reason_before_kill=None,
        ).where((Pane.pane_id == pane.pane_id) & (Pane.failed_stage == states.TMUX_KILL)).execute()
        derive(pane.layout_id, events.DAEMON)


def derive(layout_id: str, actor: str) -> None:
    """Write the layout's state as it follows from its panes; inside `writing()`."""
    columns = ("container_id", "state", "failed_stage")
    container_id, before, *failed = models.pick(Layout, columns, layout_id=layout_id)[0]
    newest = models.pick(Pane, ("slot", "state", "failed_stage"), layout_id=layout_id, newest=True)
    state, stage = states.derive_layout(newest)
    if [state, stage] == [before, *failed]:
        return
    models.update(Layout, {"layout_id": layout_id}, state=state, failed_stage=stage, updated_at=clock.now())
    if state != before:
        changed = events.LayoutStateChanged(prev_state=before, new_state=state)
        events.record(changed, actor=actor, container_id=container_id, layout_id=layout_id)


def record(pane: Pane, event: events.EventBase, actor: str = events.DAEMON) -> None:
    """Write an event about this pane; inside `writing()`."""
    events.record(event, actor=actor, **_about(pane))


def _about(pane: Pane | _Present) -> dict[str, str]:
    return {"container_id": pane.container_id, "layout_id": pane.layout_id, "pane_id": pane.pane_id}
