"""Long texts in parts, pages of app lists, and who may get input: what needs no tmux."""

import uuid
from typing import Any

import pytest

from tests.unit import rows
from tower import agents, clock, errors, inputs, models, seen
from tower.config import Settings
from tower.models import Agent, Message, SeenPane
from tower.server import app_lists, app_reads, app_tables, uploads
from tower.server.methods import HOST, Call
from tower.tmux import Listing
from tower.tmux import SeenPane as Seen


@pytest.fixture(autouse=True)
def _connected(settings: Settings) -> None:
    models.connect()


def shown(number: int, session: str = "own", **more: Any) -> Seen:
    """A pane as a listing shows it."""
    columns: dict[str, Any] = {
        "tmux_pane_id": f"%{number}",
        "session_name": session,
        "window_index": 0,
        "pane_index": number,
        "pid": 1,
        "dead": False,
        "exit_code": None,
        "exit_signal": None,
        "piped": False,
        "dead_since": None,
        "pane_id": "",
        "instance": "",
        "layout_id": "",
        "session_layout_id": "",
        "marker": "",
        "failed_mark": "",
        "title": "",
    }
    return Seen(**(columns | more))


def listing(*panes: Seen, server: int = 7) -> Listing:
    """What one server has."""
    return Listing(server, 1, "/tmp/socket", 0, panes)


def adopted(number: int, **more: Any) -> str:
    """The row of an adopted agent."""
    agent_id = str(uuid.uuid4())
    columns = {"container_id": "local", "tmux_pane_id": f"%{number}", "server": "7:1", "role": "shell", **more}
    with models.writing():
        rows.bench()
        Agent.create(
            agent_id=agent_id,
            origin="adopted",
            tmux_socket="/tmp/socket",
            tmux_session_name="own",
            capability="terminal",
            label=f"a{number}",
            registered_at=clock.now(),
            **columns,
        )
    return agent_id


# what was seen


def test_what_is_gone_is_forgotten_and_what_stays_keeps_its_first_time(settings: Settings) -> None:
    rows.bench()
    seen.record("local", listing(shown(1), shown(2)))
    first = {row.tmux_pane_id: row.discovered_at for row in SeenPane.select()}
    seen.record("local", listing(shown(2), shown(3)))
    second = {row.tmux_pane_id: row.discovered_at for row in SeenPane.select()}
    assert set(second) == {"%2", "%3"}
    assert second["%2"] == first["%2"]


def test_another_server_has_other_panes(settings: Settings) -> None:
    rows.bench()
    seen.record("local", listing(shown(1)))
    agent_id = adopted(1)
    assert app_reads.agent(agent_id)["pane_active"]
    seen.record("local", listing(shown(1), server=8))
    assert not app_reads.agent(agent_id)["pane_active"]
    assert app_lists.one(app_tables.PANES, SeenPane.tmux_pane_id == "%1")["registered"] is False  # type: ignore[index]


def test_only_panes_of_this_tower_carry_its_ids(settings: Settings) -> None:
    rows.bench()
    seen.record("local", listing(shown(1, pane_id="x", instance="another"), shown(2, pane_id="y")))
    assert {row.managed_pane_id for row in SeenPane.select()} == {None}
    seen.record("local", Listing.empty())
    assert SeenPane.select().count() == 0


# adoption


def test_a_marked_pane_and_our_own_are_never_adoptable(settings: Settings) -> None:
    layout = rows.layout()
    pane = rows.panes_of(layout)[0]
    ours = shown(1, pane_id=pane.pane_id, instance=models.instance(), marker="m")
    theirs = shown(2, pane_id="x", instance="another", marker="m")
    for found in (ours, theirs):
        with pytest.raises(errors.PermissionDenied):
            agents._require_free("local", listing(found), found)
    made = shown(2, pane_id="x", instance="another")
    agents._require_free("local", listing(made), made)


# input


def test_a_key_that_was_used_tells_what_became_of_it(settings: Settings) -> None:
    agent_id = adopted(1)
    for state in ("delivered", "unknown", "failed"):
        Message.create(message_id=state, agent_id=agent_id, idempotency_key=state, state=state, created_at=clock.now())
        sent = inputs.send(settings, agent_id, b"x", enter=True, idempotency_key=state)
        assert (sent.message_id, sent.state, sent.deduplicated) == (state, state, True)


@pytest.mark.parametrize(
    ("state", "stage", "ended", "word"),
    [
        ("creating", None, False, "created"),
        ("ready", None, False, None),
        ("degraded", "log_attach", False, None),
        ("degraded", "launch_command", True, "ended"),
        ("failed", "recovery_reattach", False, "failed"),
        ("removed", None, False, "removed"),
    ],
)
def test_a_managed_pane_takes_input_while_its_command_runs(
    settings: Settings, state: str, stage: str | None, ended: bool, word: str | None
) -> None:
    pane = rows.panes_of(rows.layout())[0]
    pane.state, pane.failed_stage, pane.exited_at = state, stage, clock.now() if ended else None
    reason = inputs._why_managed_not(pane)
    assert (reason is None) == (word is None)
    assert word is None or word in (reason or "")


def test_parts_make_a_text() -> None:
    known = uploads.Uploads()
    for number, part in enumerate((b"one ", b"two ", b"three")):
        known.add("id", "agent", number, part)
    assert known.take("id") == b"one two three"
    with pytest.raises(errors.ValidationFailed):
        known.add("id", "agent", 1, b"late")


def test_parts_are_bounded_in_size_number_and_order() -> None:
    known = uploads.Uploads()
    with pytest.raises(errors.PayloadTooLarge):
        known.add("large", "agent", 0, b"x" * (uploads.TEXT_LIMIT + 1))
    known.add("id", "agent", 0, b"x")
    with pytest.raises(errors.ValidationFailed):
        known.add("id", "other", 1, b"x")
    for number in range(uploads.AT_ONCE):
        known.add(f"id{number}", "agent", 0, b"x")
    with pytest.raises(errors.ValidationFailed):
        known.add("one-more", "agent", 0, b"x")


# lists


@pytest.mark.parametrize("order", ["container_name", "session_name:desc", "discovered_at", "last_seen_at:desc"])
@pytest.mark.parametrize("limit", [1, 7, 200])
def test_pages_give_each_pane_once_whatever_sessions_are_called(settings: Settings, order: str, limit: int) -> None:
    rows.bench()
    names = ["x" * 300, "x" * 301, "ü" * 200, "\U0001f600" * 100, "", "a\"'\\"]
    panes = [shown(number, names[number % len(names)]) for number in range(40)]
    seen.record("local", listing(*panes))
    found: list[str] = []
    cursor: str | None = None
    call = Call(settings, HOST)
    for _ in range(50):
        request = app_reads.PaneList(limit=limit, cursor_next=cursor, order_by=order)
        page = app_lists.page(call, app_tables.PANES, request, app_reads.PaneFilters())
        found += [row["pane_id"] for row in page["rows"]]
        cursor = page["cursor_next"]
        if cursor is None:
            break
        assert len(cursor) <= 512
    assert sorted(found) == sorted(pane.tmux_pane_id for pane in panes)


def test_agents_are_ordered_by_role_then_age(settings: Settings) -> None:
    for number, role in enumerate(["reviewer", "shell", "master", "slave", "master", "swarm", "test-runner"]):
        adopted(number, role=role)
    page = app_lists.page(Call(settings, HOST), app_tables.AGENTS, app_reads.AgentList(), app_reads.AgentFilters())
    assert [row["role_priority"] for row in page["rows"]] == [1, 1, 2, 3, 4, 5, 6]
    assert [row["label"] for row in page["rows"]][:2] == ["a2", "a4"]


def test_a_count_beyond_the_limit_is_an_estimate(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_lists, "COUNT_LIMIT", 3)
    for number in range(5):
        adopted(number)
    page = app_lists.page(Call(settings, HOST), app_tables.AGENTS, app_reads.AgentList(), app_reads.AgentFilters())
    assert (page["total"], page["total_estimate"]) == (None, 4)
