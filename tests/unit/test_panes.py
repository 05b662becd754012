"""The one writer of states."""

import itertools

import peewee
import pytest

from tests.unit import rows
from tower import events, models, panes, states
from tower.config import Settings
from tower.models import Event, Layout, Pane
from tower.panes import Fault

ROUTES = {
    states.CREATING: [],
    states.READY: [(states.READY, None)],
    states.DEGRADED: [(states.DEGRADED, Fault(states.LOG_ATTACH, "no log"))],
    states.FAILED: [(states.FAILED, Fault(states.PANE_CREATE, "no room"))],
    states.REMOVED: [(states.READY, None), (states.REMOVED, None)],
}


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("before", "after"), list(itertools.product(states.STATES, states.STATES)))
def test_a_move_happens_exactly_when_the_table_has_it(before: str, after: str) -> None:
    pane = rows.panes_of(rows.layout())[0]
    for state, fault in ROUTES[before]:
        assert panes.move(pane.pane_id, state, fault=fault)
    for stage in (None, *states.FAILED_STAGES):
        told = Event.select().count()
        with models.db.atomic() as transaction:
            moved = panes.move(pane.pane_id, after, fault=Fault(stage, "because") if stage else None)
            assert moved == states.may_move(before, after, stage)
            assert (Event.select().count() > told) == moved
            transaction.rollback()


@pytest.mark.usefixtures("settings")
def test_a_move_tells_and_derives_in_one_transaction() -> None:
    layout = rows.layout(count=2)
    first, second = rows.panes_of(layout)
    panes.move(first.pane_id, states.READY)
    assert Layout.get().state == states.CREATING
    panes.move(second.pane_id, states.DEGRADED, fault=Fault(states.LAUNCH_COMMAND, "it ended"))
    assert (Layout.get().state, Layout.get().failed_stage) == (states.DEGRADED, states.LAUNCH_COMMAND)
    told = [event.event_type for event in Event.select().order_by(Event.sequence)][-3:]
    assert told == [
        "managed_pane_pending_marker_cleared",
        "managed_pane_state_changed",
        "managed_layout_state_changed",
    ]


@pytest.mark.usefixtures("settings")
def test_a_failed_kill_shows_until_the_pane_is_seen_well() -> None:
    pane = rows.panes_of(rows.layout())[0]
    panes.move(pane.pane_id, states.DEGRADED, fault=Fault(states.LOG_ATTACH, "no log"))
    panes.kill_failed(pane.pane_id, "tmux is silent")
    panes.kill_failed(pane.pane_id, "the engine is down")
    assert Pane.get().reason == "the engine is down"
    row = Pane.get()
    assert (row.state, row.failed_stage) == (states.DEGRADED, states.TMUX_KILL)
    panes.seen_well(row)
    row = Pane.get()
    assert (row.state, row.failed_stage, row.reason) == (states.DEGRADED, states.LOG_ATTACH, "no log")


@pytest.mark.usefixtures("settings")
def test_a_marker_stands_exactly_while_creating() -> None:
    pane = rows.panes_of(rows.layout())[0]
    assert pane.pending_marker_token
    panes.move(pane.pane_id, states.READY)
    assert Pane.get().pending_marker_token is None
    with pytest.raises(peewee.IntegrityError, match="CHECK"), models.writing():
        Pane.update(pending_marker_token="x").execute()


@pytest.mark.usefixtures("settings")
def test_two_live_panes_never_share_a_label_or_a_slot() -> None:
    layout = rows.layout()
    with pytest.raises(peewee.IntegrityError):
        rows.pane(layout, 1, label=rows.panes_of(layout)[0].label)
    with pytest.raises(peewee.IntegrityError):
        rows.pane(layout, 0, label="other")
    assert len(rows.panes_of(layout)) == 1


def test_an_event_exists_exactly_when_its_change_does(settings: Settings) -> None:
    layout = rows.layout()
    before = Event.select().count()

    def change_and_fail() -> None:
        with models.writing():
            panes.move(rows.panes_of(layout)[0].pane_id, states.READY)
            raise RuntimeError("the process ends here")

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert Pane.get().state == states.CREATING
    assert Event.select().count() == before
    events.project(settings)
    assert len(settings.events_path.read_text().splitlines()) == before
