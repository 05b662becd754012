"""Recreating: a new pane in the place of a removed or failed one, in whatever is left of its session."""

from typing import Any

import pytest

from tests.harness import Refused, eventually, pane
from tests.spots import IDLE, Spot


def _refused(spot: Spot, pane_id: str, **more: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        spot.tower.call("managed.pane.recreate", predecessor_pane_id=pane_id, **more)
    return refused.value


def _same_place(before: Any, after: Any) -> None:
    """A successor has everything of its predecessor but its id and what came of running."""
    kept = ("layout_id", "container_id", "role", "capability", "label", "tmux_pane_index", "tmux_session_name")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert after["pane_id"] != before["pane_id"]
    assert after["predecessor_id"] == before["pane_id"]
    assert after["chain_depth"] == before["chain_depth"] + 1


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_recreated_into_a_living_session_it_takes_its_place_in_the_arrangement(spot: Spot, victim: int) -> None:
    layout = spot.make("three")
    session = layout["tmux_session_name"]
    geometry = spot.place.tmux("list-panes", "-t", f"={session}:", "-F", "#{pane_width}x#{pane_height}")
    row = layout["panes"][victim]
    spot.remove(row["pane_id"])
    assert spot.tower.layout(layout["layout_id"])["state"] == "ready"
    made = spot.tower.call("managed.pane.recreate", predecessor_pane_id=row["pane_id"])
    assert (made["predecessor_id"], made["chain_depth"], made["replay"]) == (row["pane_id"], 1, False)
    assert made["state"] == "creating"
    after = spot.settled(made["pane_id"])
    assert after["state"] == "ready"
    _same_place(row, after)
    wanted = [other["pane_id"] for other in layout["panes"]]
    wanted[victim] = after["pane_id"]
    assert spot.in_order(session) == wanted
    assert spot.place.tmux("list-panes", "-t", f"={session}:", "-F", "#{pane_width}x#{pane_height}") == geometry
    whole = spot.tower.layout(layout["layout_id"])
    assert whole["state"] == "ready"
    others = [other for other in whole["panes"] if other["pane_id"] in wanted and other["pane_id"] != after["pane_id"]]
    assert {other["state"] for other in others} == {"ready"}
    title = spot.place.tmux("display-message", "-p", "-t", after["tmux_pane_id"], "#{pane_title}").strip()
    assert title == row["label"]
    spot.remove_layout(layout["layout_id"])


def test_the_only_pane_and_a_session_that_is_gone(spot: Spot) -> None:
    layout = spot.make("one")
    row = layout["panes"][0]
    spot.remove(row["pane_id"])
    assert spot.tower.layout(layout["layout_id"])["state"] == "removed"
    after = spot.recreate(row["pane_id"])
    _same_place(row, after)
    assert spot.tower.layout(layout["layout_id"])["state"] == "ready"
    assert spot.in_order(layout["tmux_session_name"]) == [after["pane_id"]]


def test_after_siblings_were_removed_each_comes_back_to_its_slot(spot: Spot) -> None:
    layout = spot.make("three")
    rows = layout["panes"]
    for row in rows[:2]:
        spot.remove(row["pane_id"])
    second = spot.recreate(rows[1]["pane_id"])
    assert spot.in_order(layout["tmux_session_name"]) == [second["pane_id"], rows[2]["pane_id"]]
    spot.remove(rows[2]["pane_id"])
    first = spot.recreate(rows[0]["pane_id"])
    assert spot.in_order(layout["tmux_session_name"]) == [first["pane_id"], second["pane_id"]]
    third = spot.recreate(rows[2]["pane_id"])
    assert spot.in_order(layout["tmux_session_name"]) == [row["pane_id"] for row in (first, second, third)]
    for before, after in zip(rows, (first, second, third), strict=True):
        _same_place(before, after)


def test_a_failed_pane_comes_back_whether_or_not_anything_of_it_is_left(spot: Spot) -> None:
    spot.tower.profile("nowhere", IDLE, working_dir="/no/such/dir")
    spot.tower.template("half", [pane("a", "idle"), pane("b", "nowhere")])
    layout = spot.tower.settled(spot.accept("half"))
    session = layout["tmux_session_name"]
    failed = layout["panes"][1]
    assert (layout["state"], failed["state"], failed["failed_stage"]) == ("failed", "failed", "pane_create")
    assert spot.in_order(session) == [row["pane_id"] for row in layout["panes"]], "what is left of it stays readable"
    after = spot.recreate(failed["pane_id"], launch_command_override="tick")
    _same_place(failed, after)
    assert after["launch_command_ref"] == "tick"
    assert spot.in_order(session) == [layout["panes"][0]["pane_id"], after["pane_id"]], "what was left of it is gone"
    spot.kill(after)
    spot.scan()
    assert spot.tower.layout(layout["layout_id"])["failed_stage"] == "recovery_reattach"
    again = spot.recreate(after["pane_id"])
    assert again["launch_command_ref"] == "tick", "it runs what its predecessor ran"
    assert spot.in_order(session) == [layout["panes"][0]["pane_id"], again["pane_id"]]
    assert spot.tower.layout(layout["layout_id"])["state"] == "ready"


def test_an_override_is_resolved_before_anything_is_written(spot: Spot) -> None:
    layout = spot.make("one")
    row = layout["panes"][0]
    spot.remove(row["pane_id"])
    before = spot.tower.rows("SELECT count(*) FROM event")[0][0]
    error = _refused(spot, row["pane_id"], launch_command_override="nobody-knows-it")
    assert error.code == "managed_launch_command_not_found"
    assert error.details["profile_name"] == "nobody-knows-it"
    assert "idle" in error.details["known_profiles"]
    assert spot.tower.layout(layout["layout_id"])["state"] == "removed"
    assert spot.tower.rows("SELECT count(*) FROM event WHERE layout_id = ?", layout["layout_id"])[0][0] <= before
    assert len(spot.tower.layout(layout["layout_id"])["panes"]) == 1
    assert spot.recreate(row["pane_id"], launch_command_override="tick")["launch_command_ref"] == "tick"


def test_only_the_newest_removed_or_failed_pane_of_a_slot(spot: Spot) -> None:
    layout = spot.make("three")
    row = layout["panes"][0]
    error = _refused(spot, row["pane_id"])
    assert error.code == "managed_pane_illegal_recreate_source"
    assert error.details == {"predecessor_pane_id": row["pane_id"], "current_state": "ready"}
    spot.remove(row["pane_id"])
    after = spot.recreate(row["pane_id"])
    error = _refused(spot, row["pane_id"])
    assert error.code == "managed_pane_concurrent_recreate"
    assert error.details == {"predecessor_pane_id": row["pane_id"], "in_flight_successor_pane_id": after["pane_id"]}
    spot.remove(after["pane_id"])
    error = _refused(spot, row["pane_id"])
    assert error.code == "managed_pane_illegal_recreate_source", "it is not the newest of its slot"
    assert _refused(spot, "nobody").code == "managed_pane_not_found"
    spot.recreate(after["pane_id"])


def test_the_same_key_gives_the_first_successor_back_whatever_became_of_it(spot: Spot) -> None:
    layout = spot.make("one")
    row = layout["panes"][0]
    spot.remove(row["pane_id"])
    first = spot.recreate(row["pane_id"], idempotency_key="once")

    def again() -> Any:
        return spot.tower.call("managed.pane.recreate", predecessor_pane_id=row["pane_id"], idempotency_key="once")

    answer = again()
    assert (answer["pane_id"], answer["replay"], answer["state"]) == (first["pane_id"], True, "ready")
    spot.remove(first["pane_id"])
    answer = again()
    assert (answer["pane_id"], answer["replay"], answer["state"]) == (first["pane_id"], True, "removed")
    second = spot.recreate(first["pane_id"], idempotency_key="once")
    assert second["pane_id"] != first["pane_id"], "a key is of its predecessor"
    assert again()["pane_id"] == first["pane_id"]


def test_a_layout_comes_back_with_one_command_and_its_live_panes_are_left_alone(spot: Spot) -> None:
    layout = spot.make("three")
    first, second, third = layout["panes"]
    spot.remove(first["pane_id"])
    spot.kill(third)
    spot.scan()
    assert spot.tower.layout(layout["layout_id"])["state"] == "failed"
    answer = spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    assert [row["predecessor_id"] for row in answer["panes"]] == [first["pane_id"], third["pane_id"]]
    assert answer["state"] == "creating"
    whole = spot.tower.ready(layout["layout_id"])
    live = [row for row in whole["panes"] if row["state"] == "ready"]
    assert [row["tmux_pane_index"] for row in live] == [0, 1, 2]
    assert live[1]["pane_id"] == second["pane_id"]
    assert live[1]["tmux_pane_id"] == second["tmux_pane_id"]
    assert spot.in_order(layout["tmux_session_name"]) == [row["pane_id"] for row in live]
    assert spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])["panes"] == []
    spot.place.tmux("kill-session", "-t", f"={layout['tmux_session_name']}")
    spot.scan()
    spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    whole = spot.tower.ready(layout["layout_id"])
    assert len(spot.in_order(layout["tmux_session_name"])) == 3


def test_a_removed_layout_counts_again_when_it_is_recreated(spot: Spot) -> None:
    layout = spot.make("one")
    row, session = layout["panes"][0], layout["tmux_session_name"]
    spot.remove_layout(layout["layout_id"])
    other = spot.make("one", session=session)
    error = _refused(spot, row["pane_id"])
    assert error.code == "managed_session_name_conflict"
    assert error.details == {"container_id": spot.bench, "tmux_session_name": session}
    spot.remove_layout(other["layout_id"])
    spot.place.tmux("new-session", "-d", "-s", session, "sleep 1000")
    assert _refused(spot, row["pane_id"]).code == "managed_session_name_conflict", "a stranger's counts too"
    spot.place.tmux("kill-session", "-t", f"={session}")
    taken = spot.name()
    spot.tower.template("named", [pane(f"{session}-p1", "idle")])
    holder = spot.tower.ready(spot.tower.create(spot.bench, "named", taken))
    error = _refused(spot, row["pane_id"])
    assert error.code == "managed_pane_label_conflict"
    assert error.details == {"container_id": spot.bench, "label": row["label"]}
    assert taken in error.message
    with pytest.raises(Refused, match="managed_pane_label_conflict"):
        spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    spot.remove_layout(holder["layout_id"])
    assert spot.recreate(row["pane_id"])["state"] == "ready"


def test_a_stranger_with_the_sessions_name_is_left_alone(spot: Spot) -> None:
    layout = spot.make("three")
    session = layout["tmux_session_name"]
    spot.remove(layout["panes"][0]["pane_id"])
    spot.place.tmux("kill-session", "-t", f"={session}")
    spot.place.tmux("new-session", "-d", "-s", session, "sleep 1000")
    before = spot.place.tmux("list-panes", "-a", "-F", "#{session_name} #{pane_id} #{pane_pid}")
    made = spot.tower.call("managed.pane.recreate", predecessor_pane_id=layout["panes"][0]["pane_id"])
    row = spot.settled(made["pane_id"])
    assert (row["state"], row["failed_stage"]) == ("failed", "pane_create")
    assert session in row["reason"]
    assert spot.place.tmux("list-panes", "-a", "-F", "#{session_name} #{pane_id} #{pane_pid}") == before
    spot.place.tmux("kill-session", "-t", f"={session}")


def test_the_focus_of_an_attached_operator_stays(spot: Spot) -> None:
    layout = spot.make("three")
    session, rows = layout["tmux_session_name"], layout["panes"]
    focused = rows[1]["tmux_pane_id"]
    watcher = spot.name()
    spot.place.tmux("new-session", "-d", "-s", watcher, "-x", "150", "-y", "40",
                    f"TMUX= tmux -u attach -t '={session}'")  # fmt: skip
    eventually(lambda: spot.place.tmux("list-clients", "-t", f"={session}", "-F", "#{client_name}").strip())
    spot.place.tmux("select-pane", "-t", focused)

    def focus() -> str:
        return spot.place.tmux("display-message", "-p", "-t", f"={session}:", "#{pane_id}").strip()

    eventually(lambda: focus() == focused)
    spot.remove(rows[0]["pane_id"])
    assert focus() == focused
    spot.recreate(rows[0]["pane_id"])
    assert focus() == focused
    spot.remove(rows[2]["pane_id"])
    spot.recreate(rows[2]["pane_id"])
    assert focus() == focused
    assert spot.place.tmux("list-clients", "-t", f"={session}", "-F", "#{client_name}").strip()
    spot.place.tmux("kill-session", "-t", f"={watcher}")
    spot.remove_layout(layout["layout_id"])


def test_a_sibling_that_the_operator_moved_away_is_no_place_to_split(spot: Spot) -> None:
    layout = spot.make("three")
    session, rows = layout["tmux_session_name"], layout["panes"]
    own = spot.name()
    spot.place.tmux("new-session", "-d", "-s", own, "-x", "200", "-y", "50", "sleep 1000")
    spot.place.tmux("join-pane", "-d", "-s", rows[1]["tmux_pane_id"], "-t", f"={own}:")
    look = ("list-panes", "-t", f"={own}:", "-F", "#{pane_id} #{pane_width}x#{pane_height} #{pane_left},#{pane_top}")
    before = spot.place.tmux(*look)
    spot.remove(rows[0]["pane_id"])
    first = spot.recreate(rows[0]["pane_id"])
    assert spot.place.tmux(*look) == before, "what lives in the operator's session is left alone"
    assert spot.in_order(session) == [first["pane_id"], rows[2]["pane_id"]]
    spot.remove(first["pane_id"])
    spot.remove(rows[2]["pane_id"])
    spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    spot.tower.ready(layout["layout_id"])
    assert len(spot.in_order(session)) == 2, "its session is made anew"
    assert spot.place.tmux(*look) == before
    spot.place.tmux("kill-session", "-t", f"={own}")
    spot.remove_layout(layout["layout_id"])


def test_a_removed_layout_comes_back_beside_what_the_operator_has_put_into_its_session(spot: Spot) -> None:
    layout = spot.make("three")
    session = layout["tmux_session_name"]
    spot.place.tmux("split-window", "-d", "-t", f"={session}:", "sleep 1000")
    spot.remove_layout(layout["layout_id"])
    assert spot.in_order(session) == [""]
    spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    spot.tower.ready(layout["layout_id"])
    assert len(spot.in_order(session)) == 4
    spot.place.tmux("kill-session", "-t", f"={session}")
    spot.remove_layout(layout["layout_id"])


def test_a_window_of_the_operators_in_the_session_is_no_place_to_split(spot: Spot) -> None:
    layout = spot.make("three")
    session = layout["tmux_session_name"]
    spot.place.tmux("new-window", "-t", f"={session}:", "-n", "mine", "sleep 1000")
    look = ("list-panes", "-t", f"={session}:mine", "-F", "#{pane_id} #{pane_width}x#{pane_height}")
    before = spot.place.tmux(*look)
    for row in layout["panes"]:
        spot.kill(row)
    spot.scan()
    spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    spot.tower.ready(layout["layout_id"])
    assert spot.place.tmux(*look) == before
    assert len(spot.in_order(session)) == 4
    spot.place.tmux("kill-session", "-t", f"={session}")
    spot.remove_layout(layout["layout_id"])


def test_a_removed_layout_comes_back_where_a_pane_of_another_one_was_moved_into_its_session(spot: Spot) -> None:
    guest, host = spot.make("three"), spot.make("three")
    moved, target = guest["panes"][0]["tmux_pane_id"], host["panes"][0]["tmux_pane_id"]
    spot.place.tmux("join-pane", "-d", "-s", moved, "-t", target)
    for row in host["panes"]:
        spot.remove(row["pane_id"])
    assert spot.tower.layout(host["layout_id"])["state"] == "removed"
    spot.tower.call("managed.layout.recreate", layout_id=host["layout_id"])
    spot.tower.ready(host["layout_id"])
    assert spot.tower.layout(guest["layout_id"])["state"] == "ready"
    assert len(spot.in_order(host["tmux_session_name"])) == 4
    spot.remove_layout(host["layout_id"])
    spot.remove_layout(guest["layout_id"])


def test_it_stands_in_its_place_beside_what_is_left_of_a_failed_pane(spot: Spot) -> None:
    spot.tower.profile("nowhere", IDLE, working_dir="/no/such/dir")
    spot.tower.template("middle", [pane("a", "idle"), pane("b", "nowhere"), pane("c", "idle")])
    layout = spot.tower.settled(spot.accept("middle"))
    first, failed, third = layout["panes"]
    spot.remove(third["pane_id"])
    after = spot.recreate(third["pane_id"])
    assert spot.in_order(layout["tmux_session_name"]) == [row["pane_id"] for row in (first, failed, after)]
    spot.remove_layout(layout["layout_id"])


def test_a_layout_whose_session_just_went_is_looked_at_before_it_is_called_whole(spot: Spot) -> None:
    layout = spot.make("three")
    spot.place.tmux("kill-session", "-t", f"={layout['tmux_session_name']}")
    answer = spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    assert len(answer["panes"]) == 3
    spot.tower.ready(layout["layout_id"])
    spot.remove_layout(layout["layout_id"])


def test_whether_a_recreate_would_be_accepted_can_be_asked_beforehand(spot: Spot) -> None:
    layout = spot.make("one")
    row = layout["panes"][0]
    answer = spot.tower.call("managed.pane.recreate", predecessor_pane_id=row["pane_id"], check_only=True)
    assert answer == {
        "pane_id": None,
        "predecessor_id": None,
        "chain_depth": 0,
        "state": "ready",
        "replay": False,
    }
    assert _refused(spot, row["pane_id"], check_only=True, launch_command_override="none").code == (
        "managed_launch_command_not_found"
    )
    spot.tower.profile("lacks", ["cat"], env={"X": "${NOBODY_SET_THIS}"})
    refused = _refused(spot, row["pane_id"], check_only=True, launch_command_override="lacks")
    assert refused.code == "validation_failed"
    assert spot.pane(row["pane_id"])["state"] == "ready"
    assert len(spot.tower.layout(layout["layout_id"])["panes"]) == 1
    spot.remove_layout(layout["layout_id"])
