"""Rows to test with."""

from tower import clock, events, models, names, panes, states
from tower.models import Bench, Layout, Pane


def bench(container_id: str = "local") -> Bench:
    """A bench."""
    now = clock.now()
    seen = {"first_seen_at": now, "last_scanned_at": now}
    columns = {"name": container_id, "runtime": "local", "state": "active", **seen}
    found, _ = Bench.get_or_create(container_id=container_id, defaults=columns)
    return found


def layout(session: str = "alpha", count: int = 1, container_id: str = "local") -> Layout:
    """A layout with so many creating panes."""
    now = clock.now()
    with models.writing():
        bench(container_id)
        made = Layout.create(
            layout_id=names.new_id(),
            container_id=container_id,
            template_name="t",
            arrangement="tiled",
            tmux_session_name=session,
            state=states.CREATING,
            intended_pane_count=count,
            created_at=now,
            updated_at=now,
        )
        for slot in range(count):
            pane(made, slot)
    return made


def pane(of: Layout, slot: int, label: str | None = None) -> Pane:
    """A creating pane."""
    with models.writing():
        return panes.create(
            of,
            events.OPERATOR,
            pane_id=names.new_id(),
            slot=slot,
            role="slave",
            capability="worker",
            label=label or f"{of.tmux_session_name}-{slot}",
            pending_marker_token=names.new_id(),
            argv=[],
            env_keys=[],
        )


def panes_of(of: Layout) -> list[Pane]:
    """The panes of a layout, by slot."""
    return list(Pane.select().where(Pane.layout_id == of.layout_id).order_by(Pane.slot, Pane.number))
