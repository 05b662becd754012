"""Rows to wire: order, pages, filters, and that a list costs what it shows."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.unit import rows
from tower import events, models, names, panes, states
from tower.config import Settings
from tower.errors import ManagedLayoutNotFound, ManagedPaneNotFound, ValidationFailed
from tower.models import Layout, Pane
from tower.panes import Fault
from tower.server import views
from tower.server.views import Page


@pytest.fixture(autouse=True)
def _connected(settings: Settings) -> None:
    models.connect()


FAULTS = {states.DEGRADED: Fault(states.LOG_ATTACH, "No log."), states.FAILED: Fault(states.PANE_CREATE, "No pane.")}


def bring(pane: Pane, state: str) -> None:
    """Move a creating pane to that state by legal moves."""
    if state == states.REMOVED:
        bring(pane, states.READY)
    if state != states.CREATING:
        assert panes.move(pane.pane_id, state, fault=FAULTS.get(state))


def layout_of(*pane_states: str, session: str = "alpha", bench: str = "local") -> Layout:
    """A layout whose panes are in these states."""
    made = rows.layout(session, len(pane_states), bench)
    for pane, state in zip(rows.panes_of(made), pane_states, strict=True):
        bring(pane, state)
    return made


def successor(of: Layout, predecessor: Pane) -> Pane:
    """A creating pane in the place of another."""
    with models.writing():
        return panes.create(
            of,
            events.OPERATOR,
            pane_id=names.new_id(),
            slot=predecessor.slot,
            role="slave",
            capability="worker",
            label=f"after {predecessor.pane_id}",
            predecessor_id=predecessor.pane_id,
            chain_depth=predecessor.chain_depth + 1,
            pending_marker_token=names.new_id(),
            argv=[],
            env_keys=[],
        )


def walk(ask: Callable[..., Page], *filters: Any, limit: int) -> list[views.LayoutView | views.PaneView]:
    """Every item, page by page."""
    found: list[views.LayoutView | views.PaneView] = []
    after: str | None = None
    while True:
        page = ask(*filters, limit, after)
        found += page.items
        after = page.next
        if after is None:
            return found


def test_a_layout_counts_its_ready_panes() -> None:
    made = layout_of("ready", "degraded", "ready")
    view = views.layout(made.layout_id)
    assert (view.state, view.failed_stage, view.ready_pane_count) == ("degraded", "log_attach", 2)
    assert (view.container_name, view.origin) == ("local", "managed")


def test_what_does_not_exist_is_not_found() -> None:
    with pytest.raises(ManagedLayoutNotFound):
        views.layout("none")
    with pytest.raises(ManagedLayoutNotFound):
        views.layout_detail("none")
    with pytest.raises(ManagedPaneNotFound):
        views.pane("none")
    with pytest.raises(ManagedPaneNotFound):
        views.pane_detail("none", include_predecessor_chain=True)


def test_removed_and_superseded_panes_show_when_asked_for() -> None:
    made = layout_of("ready", "removed", "failed")
    failed = rows.panes_of(made)[2]
    successor(made, failed)
    shown = [(pane.tmux_pane_index, pane.state) for pane in views.layout_detail(made.layout_id).panes]
    everything = views.layout_detail(made.layout_id, include_terminal_panes=True).panes
    assert shown == [(0, "ready"), (2, "creating")]
    assert [pane.tmux_pane_index for pane in everything] == [0, 1, 2, 2]
    assert everything[2].pane_id == failed.pane_id
    assert [pane.state for pane in views.layout_and_newest(made.layout_id)[1]] == ["ready", "removed", "creating"]


def test_a_pane_tells_its_chain_newest_first() -> None:
    made = layout_of("removed")
    chain = [rows.panes_of(made)[0]]
    for _ in range(3):
        chain.insert(0, successor(made, chain[0]))
        bring(chain[0], states.REMOVED)
    detail = views.pane_detail(chain[0].pane_id, include_predecessor_chain=True)
    assert [pane.pane_id for pane in detail.predecessor_chain] == [pane.pane_id for pane in chain[1:]]
    assert [pane.chain_depth for pane in detail.predecessor_chain] == [2, 1, 0]
    assert views.pane_detail(chain[0].pane_id).predecessor_chain == []


def test_the_wire_says_true_and_not_one() -> None:
    made = layout_of("ready")
    Pane.update(log_attached=True).execute()
    assert views.layout_detail(made.layout_id).panes[0].log_attached is True


def test_layouts_come_by_state_then_newest_first() -> None:
    given_states = ["removed", "ready", "failed", "ready", "creating", "degraded", "removed"]
    made = [layout_of(state, session=f"s{number}") for number, state in enumerate(given_states)]
    order = [made[number].layout_id for number in (4, 5, 3, 1, 2, 6, 0)]
    assert [item.layout_id for item in views.layouts(None, [], 50, None).items] == order


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.lists(st.sampled_from(states.STATES), min_size=1, max_size=3), max_size=9),
    limit=st.integers(1, 4),
    wanted=st.lists(st.sampled_from(states.STATES), unique=True, max_size=3),
)
def test_pages_neither_skip_nor_repeat(kinds: list[list[str]], limit: int, wanted: list[str]) -> None:
    for table in (models.JobPane, models.Event, Pane, Layout):
        table.delete().execute()
    for number, kind in enumerate(kinds):
        layout_of(*kind, session=f"s{number}", bench=("local", "other")[number % 2])
    for bench in (None, "local", "other", "none"):
        whole = views.layouts(bench, wanted, 200, None).items
        assert walk(views.layouts, bench, wanted, limit=limit) == whole
        every = views.panes(bench, None, wanted, 200, None).items
        assert walk(views.panes, bench, None, wanted, limit=limit) == every
        assert [pane.state for pane in every] == sorted((pane.state for pane in every), key=states.STATES.index)
        assert all(bench in (None, item.container_id) for item in (*whole, *every))
        assert all(not wanted or item.state in wanted for item in (*whole, *every))
    assert len(views.panes(None, None, [], 200, None).items) == sum(map(len, kinds))


def test_panes_of_one_layout() -> None:
    made = [layout_of("ready", "degraded", session=name) for name in ("a", "b")]
    for bench in (None, "local"):
        found = walk(views.panes, bench, made[0].layout_id, [], limit=1)
        assert [(item.layout_id, item.state) for item in found] == [
            (made[0].layout_id, "degraded"),
            (made[0].layout_id, "ready"),
        ]


def test_a_page_goes_on_where_rows_came_in_between() -> None:
    for number in range(3):
        layout_of("ready", session=f"s{number}")
    first = views.layouts(None, [], 2, None)
    newer = layout_of("ready", session="newer")
    rest = views.layouts(None, [], 2, first.next)
    ids = [item.layout_id for item in (*first.items, *rest.items)]
    assert len(set(ids)) == 3
    assert newer.layout_id not in ids


@pytest.mark.parametrize("forged", ["", "x", "AAAA", "!" * 20, "é", "A" * 600, "WyJyZWFkeSIsMV0"])
def test_a_forged_cursor_is_refused(forged: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        views.layouts(None, [], 5, forged)
    assert refused.value.field == "after"
    with pytest.raises(ValidationFailed):
        views.panes(None, None, [], 5, forged)


def test_a_cursor_belongs_to_its_list_and_to_no_other() -> None:
    for number in range(3):
        layout_of("ready", "ready", session=f"s{number}")
    cursor = views.layouts(None, [], 1, None).next
    assert cursor is not None
    assert views.layouts(None, [], 2, cursor).items
    others: Sequence[Callable[[], Page]] = (
        lambda: views.layouts("local", [], 1, cursor),
        lambda: views.layouts(None, ["ready"], 1, cursor),
        lambda: views.panes(None, None, [], 1, cursor),
        lambda: views.layouts(None, [], 1, cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")),
    )
    for other in others:
        with pytest.raises(ValidationFailed):
            other()


QUERIES = sorted(
    name
    for name, value in vars(views).items()
    if isinstance(value, str)
    and "WHERE" in value
    and name != "_LAYOUT"
    and name.startswith(("_LAYOUT", "_PANE", "_CHAIN", "_BENCH_NAMED"))
)


@pytest.mark.parametrize("name", QUERIES)
def test_no_hot_read_looks_at_more_rows_than_it_shows(name: str) -> None:
    query: str = getattr(views, name)
    values = ["1"] * (1 if "?1" in query else query.count("?"))
    plan = models.db.connection().execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()  # type: ignore[no-untyped-call] # peewee has none
    steps = [step[-1] for step in plan]
    assert not [step for step in steps if re.match(r"SCAN (bench|layout|pane|[blp])\b", step)]
    if "LIMIT" in query:
        place = re.compile(r"number[<>]|\(layout_id,slot\)>|\(slot,number\)>|\(slot\)>|slot>")
        assert [step for step in steps if place.search(step)]
        assert not [step for step in steps if "TEMP B-TREE" in step]


def test_a_bench_goes_by_id_name_and_beginning() -> None:
    full = "a" * 12 + "b" * 52
    rows.bench("local")
    rows.bench(full)
    rows.bench("a" * 12 + "c" * 52)
    models.Bench.update(name="bench-a").where(models.Bench.container_id == full).execute()
    assert [views.bench_named(text) for text in (full, "bench-a", "a" * 12 + "b")] == [full] * 3
    assert [views.bench_named(text) for text in ("a" * 12, "a" * 11, "bench", "", "%", "_" * 12)] == [None] * 6
