"""Layouts of every shape come up as asked, read the same through both namespaces, and withstand the operator's tmux."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fields import LAYOUT_FIELDS, PANE_FIELDS
from tests.harness import Container, Place, eventually, pane
from tests.spots import IDLE, Spot, quick_tower
from tests.yard import Yard, host_for_tests

GEOMETRY = "#{pane_index}\t#{@tower_pane}\t#{pane_left}\t#{pane_top}\t#{pane_width}\t#{pane_height}\t#{pane_title}"

OPERATORS_CONF = """\
set -g exit-empty off
set -g base-index 1
setw -g pane-base-index 1
set -g default-command 'sleep 77'
set -g destroy-unattached on
set -g exit-unattached on
set -g automatic-rename on
set -g allow-rename on
set -g renumber-windows on
set -g remain-on-exit off
set -g prefix C-a
unbind C-b
set -g default-shell /bin/false
set -g set-titles on
set-hook -g after-new-session 'rename-session hooked ; split-window "sleep 66"'
set-hook -g after-split-window 'select-pane -T hooked ; kill-pane -t :.1'
set-hook -g after-select-layout 'select-layout even-vertical'
set-hook -g after-select-pane 'select-pane -T hooked'
set-hook -g after-set-option 'rename-window hooked'
set-hook -g after-respawn-pane 'set-option -p -u @tower_pane'
set-hook -g session-created 'rename-window hooked'
"""


class Seat:
    """A pane as tmux shows it."""

    def __init__(self, line: str) -> None:
        index, self.pane_id, *box, self.title = line.split("\t")
        self.index = int(index)
        self.left, self.top, self.width, self.height = map(int, box)


def seats(place: Place, session: str) -> list[Seat]:
    """The panes of a session in the order of their indexes."""
    lines = place.tmux("list-panes", "-s", "-t", f"={session}", "-F", GEOMETRY.replace("\t", "|")).splitlines()
    return sorted((Seat(line.replace("|", "\t")) for line in lines), key=lambda seat: seat.index)


def assert_stands(place: Place, layout: Any) -> list[Seat]:
    """Every pane of a ready layout is in tmux once, in the order of slots, titled, and marked no more."""
    found = seats(place, layout["tmux_session_name"])
    assert [seat.pane_id for seat in found] == [row["pane_id"] for row in layout["panes"]]
    assert [seat.title for seat in found] == [row["label"] for row in layout["panes"]]
    assert [row["tmux_pane_index"] for row in layout["panes"]] == list(range(len(found)))
    ids = place.panes()
    for row in layout["panes"]:
        assert row["state"] == "ready", row
        assert ids[row["pane_id"]] == row["tmux_pane_id"]
        assert place.tmux("display-message", "-p", "-t", row["tmux_pane_id"], "[#{@tower_marker}]").strip() == "[]"
        assert row["log_attached"]
        assert Path(row["log_path"]).is_file()
        assert row["agent_id"]
    return found


def test_every_shape_comes_up(spot: Spot) -> None:
    for name in ("main-vertical", "main-horizontal", "even-horizontal", "even-vertical", "tiled"):
        spot.tower.template(name, [pane(f"p{number}", "idle") for number in range(4)], arrangement=name)
    spot.tower.template("sixteen", [pane(f"p{number}", "idle") for number in range(16)])
    spot.tower.template("sixteen-wide", [pane(f"p{n}", "idle") for n in range(16)], arrangement="even-horizontal")
    names = ["1m+2s", "2m+2s", "one", "sixteen", "sixteen-wide"]
    names += ["main-vertical", "main-horizontal", "even-horizontal", "even-vertical", "tiled"]
    accepted = {name: spot.accept(name) for name in names}
    found = {name: assert_stands(spot.place, spot.tower.ready(accepted[name])) for name in names}

    assert [len(found[name]) for name in names[:5]] == [3, 4, 1, 16, 16]
    for name in ("even-horizontal", "sixteen-wide"):
        assert_even(found[name], along=lambda seat: seat.left, size=lambda seat: seat.width)
    assert_even(found["even-vertical"], along=lambda seat: seat.top, size=lambda seat: seat.height)
    first, *others = found["main-vertical"]
    assert (first.left, first.top) == (0, 0)
    assert all(seat.left > first.width - 1 and seat.height < first.height for seat in others)
    first, *others = found["main-horizontal"]
    assert all(seat.top > first.height - 1 and seat.width < first.width for seat in others)
    assert {(seat.left > 0, seat.top > 0) for seat in found["tiled"]} == {
        (a, b) for a in (False, True) for b in (False, True)
    }


def assert_even(found: list[Seat], along: Any, size: Any) -> None:
    """The panes stand in one row or column, of one size but for the remainder."""
    assert sorted(map(along, found)) == list(map(along, found))
    assert len(set(map(along, found))) == len(found)
    assert max(map(size, found)) - min(map(size, found)) <= len(found)


def test_built_in_layouts_have_the_promised_panes(spot: Spot) -> None:
    three, four = spot.make("1m+2s"), spot.make("2m+2s")
    prefix = f"{three['tmux_session_name']}-"
    assert [(row["label"], row["role"], row["capability"]) for row in three["panes"]] == [
        (f"{prefix}m1", "master", "orchestrator"),
        (f"{prefix}s1", "slave", "worker"),
        (f"{prefix}s2", "slave", "worker"),
    ]
    assert [row["label"].rpartition("-")[2] for row in four["panes"]] == ["m1", "m2", "s1", "s2"]
    assert {row["launch_command_ref"] for row in three["panes"] + four["panes"]} == {None}


def test_both_namespaces_read_the_same(spot: Spot) -> None:
    layout = spot.make()
    layout_id, bench = layout["layout_id"], layout["container_id"]
    pane_id = layout["panes"][0]["pane_id"]
    requests: list[tuple[str, dict[str, Any]]] = [
        ("layout.detail", {"layout_id": layout_id}),
        ("layout.detail", {"layout_id": layout_id, "include_terminal_panes": True}),
        ("layout.list", {"container_id": bench, "state": "ready"}),
        ("pane.list", {"layout_id": layout_id}),
        ("pane.list", {"container_id": bench, "state": ["ready", "removed"]}),
        ("pane.detail", {"pane_id": pane_id, "include_predecessor_chain": True}),
    ]
    for name, params in requests:
        through_app = spot.tower.call(f"app.managed_{name.replace('.', '_')}", **params)
        assert spot.tower.call(f"managed.{name}", **params) == through_app
    listed = spot.tower.call("managed.layout.list", container_id=bench)["items"]
    (row,) = [row for row in listed if row["layout_id"] == layout_id]
    assert set(row) >= LAYOUT_FIELDS
    assert {key: layout[key] for key in row} == row
    assert all(set(one) >= PANE_FIELDS for one in layout["panes"])
    assert {one["origin"] for one in [row, *layout["panes"]]} == {"managed"}


def test_a_created_layout_is_told_of_event_by_event(spot: Spot) -> None:
    key = spot.name()
    layout_id = spot.accept("one", idempotency_key=key)
    (row,) = spot.tower.ready(layout_id)["panes"]
    events = spot.tower.rows(
        "SELECT event_type, payload, pane_id FROM event WHERE layout_id = ? ORDER BY sequence", layout_id
    )
    assert [event["event_type"] for event in events if event["pane_id"]] == [
        "managed_pane_created",
        "managed_pane_pending_marker_set",
        "managed_pane_state_changed",
        "managed_pane_launched",
        "managed_pane_registered",
        "managed_pane_log_attached",
        "managed_pane_pending_marker_cleared",
        "managed_pane_state_changed",
    ]
    assert [event["event_type"] for event in events if not event["pane_id"]] == [
        "managed_layout_created",
        "managed_layout_state_changed",
        "managed_layout_state_changed",
    ]
    markers = [event["payload"] for event in events if "pending_marker" in event["event_type"]]
    assert all(f'"marker_token":"{key}"' in payload for payload in markers)
    marked = spot.tower.rows("SELECT pending_marker_token FROM pane WHERE pane_id = ?", row["pane_id"])
    assert marked[0][0] is None


def test_the_same_key_gives_the_first_layout_back_whatever_else_differs(spot: Spot) -> None:
    key, session = spot.name(), spot.name()
    first = spot.accept("one", session=session, idempotency_key=key)
    spot.tower.ready(first)
    before = spot.tower.rows("SELECT count(*) FROM event")[0][0]
    request = {"container_id": spot.bench, "template_name": "no-such", "tmux_session_name": session}
    again = spot.tower.call("managed.layout.create", **request, idempotency_key=key)
    assert (again["layout_id"], again["replay"], again["state"]) == (first, True, "ready")
    assert again["panes"] == [
        {key: row[key] for key in ("pane_id", "role", "label", "state")} for row in spot.tower.layout(first)["panes"]
    ]
    spot.remove_layout(first)
    gone = spot.tower.call("app.managed_layout_create", **request, idempotency_key=key)
    assert (gone["layout_id"], gone["replay"], gone["state"]) == (first, True, "removed")
    other = spot.tower.rows("SELECT count(*) FROM layout WHERE idempotency_key = ?", key)[0][0]
    assert (other, before > 0) == (1, True)


def test_overrides_name_panes_by_role_and_label_without_the_prefix(spot: Spot) -> None:
    overrides = {"master:m1": "idle", "slave:s2": "tick"}
    layout = spot.make("1m+2s", launch_command_overrides=overrides)
    assert [row["launch_command_ref"] for row in layout["panes"]] == ["idle", None, "tick"]
    commands = [
        spot.place.tmux("display-message", "-p", "-t", row["tmux_pane_id"], "#{pane_current_command}").strip()
        for row in layout["panes"]
    ]
    assert commands[0] == "sleep"


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def stubborn(request: pytest.FixtureRequest) -> Iterator[Spot]:
    """A bench whose operator has a tmux.conf, and on the host a tmux server that runs already."""
    tower = quick_tower(host_for_tests())
    yard = Yard(request.getfixturevalue("engine_host")) if request.param == "docker" else None
    try:
        place = Container(tower, yard) if yard else Place(tower)
        conf = place.path("tmux.conf")
        conf.write_text(OPERATORS_CONF)
        conf.chmod(0o644)
        if yard:
            yard.write(place.container_id, "/home/dev/.tmux.conf", OPERATORS_CONF, mode="0644")
        else:
            assert place.run("tmux", "-f", str(conf), "start-server").returncode == 0
        tower.up()
        yield Spot(place)
    finally:
        if yard:
            yard.close()
        tower.close()


def test_the_operators_tmux_conf_breaks_nothing(stubborn: Spot) -> None:
    stubborn.tower.template("six", [pane(f"p{n}", "idle") for n in range(6)], arrangement="main-vertical")
    layouts = [stubborn.tower.ready(stubborn.accept(name)) for name in ("six", "1m+2s", "one")]
    assert stubborn.place.tmux("show-options", "-g", "-v", "prefix").strip() == "C-a", "the conf is in force"
    for layout in layouts:
        found = assert_stands(stubborn.place, layout)
        assert found[0].index == 1
    first, *others = seats(stubborn.place, layouts[0]["tmux_session_name"])
    assert all(seat.left > first.width - 1 for seat in others), "the arrangement is as asked"
    hooks = stubborn.place.tmux("show-hooks", "-g")
    assert "after-new-session" in hooks, "the operator's hooks are still there"
    assert "after-split-window" in hooks
    assert_lives_on(stubborn, layouts)


def assert_lives_on(spot: Spot, layouts: list[Any]) -> None:
    """A client that comes and goes, and siblings that go, leave the rest as it is."""
    three = layouts[1]
    spot.remove(three["panes"][0]["pane_id"])
    left = [row["pane_id"] for row in three["panes"][1:]]
    assert [seat.pane_id for seat in seats(spot.place, three["tmux_session_name"])] == left
    spot.scan()
    for layout in (layouts[0], layouts[2]):
        assert spot.tower.layout(layout["layout_id"])["state"] == "ready"


def test_a_layout_reaches_the_users_default_server(spot: Spot) -> None:
    layout = spot.make("one")
    sessions = spot.place.tmux("list-sessions", "-F", "#{session_name}").split()
    assert layout["tmux_session_name"] in sessions


def test_a_program_that_changes_its_title_keeps_its_identity(spot: Spot) -> None:
    spot.tower.profile("titled", ["sh", "-c", r"printf '\033]2;mine\033\\'; exec sleep 1000000"])
    spot.tower.template("titled", [pane("a", "titled"), pane("b", "idle")])
    layout = spot.make("titled")
    first = layout["panes"][0]
    spot.place.tmux("select-pane", "-t", first["tmux_pane_id"], "-T", "something else")
    spot.scan()
    assert spot.pane(first["pane_id"])["state"] == "ready"
    eventually(lambda: spot.place.panes()[first["pane_id"]] == first["tmux_pane_id"])


def test_a_command_may_be_as_long_as_the_kernel_lets_it(spot: Spot) -> None:
    spot.tower.profile("long", ["sh", "-c", "exec sleep 1000000", "x" * 126_000], env={"LONG": "y" * 126_000})
    spot.tower.template("long", [pane(f"p{n}", "long") for n in range(4)])
    assert spot.make("long")["state"] == "ready"
    spot.tower.profile("idle", IDLE)
