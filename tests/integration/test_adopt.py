"""Adopting: a pane that the tower did not make becomes an agent, and nothing is ever changed in it."""

import json
import threading
from typing import Any

import pytest

from tests.harness import Refused, eventually
from tests.spots import Spot

VARIABLES = (
    "pane_id pane_index pane_title pane_dead pane_dead_status pane_dead_signal pane_pid pane_tty pane_pipe pane_in_mode"
    " pane_input_off pane_synchronized pane_marked pane_width pane_height pane_left pane_top pane_active pane_last"
    " pane_start_command pane_current_command pane_current_path history_limit remain-on-exit remain-on-exit-format"
    " window_id window_index window_name window_layout window_active window_flags automatic-rename allow-rename"
    " monitor-activity synchronize-panes session_id session_name session_windows session_attached session_group"
    " destroy-unattached @tower_pane @tower_instance @tower_layout @tower_label @tower_marker @tower_session"
    " @tower_failed @tower_blank"
).split()
"""Everything about a pane that whoever touches it could change."""


def portrait(spot: Spot, target: str) -> set[str]:
    """All that tmux says of a pane, its window and its session, a line each; two are compared with ``^``."""
    form = "\n".join(f"{name}=#{{{name}}}" for name in VARIABLES)
    shown = spot.place.tmux("display-message", "-p", "-t", target, form)
    for flags in (("show-options", "-p"), ("show-options", "-w"), ("show-options",), ("show-environment",)):
        shown += spot.place.tmux(*flags, "-t", target)
    return set(shown.splitlines())


class Stranger:
    """A session that somebody else made, with two panes."""

    def __init__(self, spot: Spot, program: str = "cat") -> None:
        self.spot = spot
        self.session = f"own-{spot.name()}"
        words = ("tmux", "new-session", "-d", "-s", self.session, "-n", "own", "-x", "120", "-y", "40", program)
        eventually(lambda: spot.place.run(*words).returncode == 0, what="a server that was just ending has ended")
        spot.place.tmux("split-window", "-d", "-t", f"={self.session}:", program)
        lines = spot.place.tmux("list-panes", "-s", "-t", f"={self.session}", "-F", "#{pane_id}")
        self.ids = lines.split()
        eventually(lambda: program != "cat" or self._running(), what="cat runs")

    def _running(self) -> bool:
        lines = self.spot.place.tmux("list-panes", "-s", "-t", f"={self.session}", "-F", "#{pane_current_command}")
        return lines.split() == ["cat", "cat"]

    def seen(self, number: int = 0) -> Any:
        """Its row in the list of panes."""
        return _seen(self.spot, self.ids[number])

    def identity(self, number: int = 0) -> dict[str, Any]:
        """What names it in a registration."""
        return _identity(self.seen(number))

    def adopt(self, number: int = 0, **more: Any) -> Any:
        """Adopt one of its panes."""
        roles = {"role": "shell", "capability": "notes", "label": self.spot.name()}
        return self.spot.tower.call("app.agent.register_from_pane", **self.identity(number), **roles | more)

    def close(self) -> None:
        """End it."""
        self.spot.place.tmux("kill-session", "-t", f"={self.session}")


def _seen(spot: Spot, tmux_pane_id: str) -> Any:
    """A tmux pane's row in the list, after a scan."""
    spot.tower.call("app.scan.panes")
    rows = spot.tower.call("app.pane.list", filters={"container_id": spot.bench}, limit=200)["rows"]
    return next(row for row in rows if row["pane_id"] == tmux_pane_id)


def _identity(row: Any) -> dict[str, Any]:
    keys = ("container_id", "tmux_socket", "session_name", "window_index", "pane_index", "pane_id")
    return {key: row[key] for key in keys}


def _agents(spot: Spot, **filters: Any) -> list[Any]:
    rows = spot.tower.call("app.agent.list", filters={"container_id": spot.bench, **filters}, limit=200)["rows"]
    return list(rows)


def test_an_adopted_pane_is_listed_with_the_others_and_is_never_touched(spot: Spot) -> None:
    stranger = Stranger(spot)
    before = [portrait(spot, target) for target in stranger.ids]
    row = stranger.seen()
    assert (row["registered"], row["agent_id"]) == (False, None)
    agent = stranger.adopt()
    assert (agent["origin"], agent["pane_id"], agent["pane_active"]) == ("adopted", stranger.ids[0], True)
    assert stranger.seen()["agent_id"] == agent["agent_id"]
    layout = spot.make("three")
    managed = {one["agent_id"] for one in _agents(spot, origin="managed")}
    assert {one["agent_id"] for one in layout["panes"]} <= managed
    assert agent["agent_id"] in {one["agent_id"] for one in _agents(spot, origin="adopted")}
    spot.scan()
    spot.remove(layout["panes"][0]["pane_id"])
    spot.recreate(layout["panes"][0]["pane_id"])
    for method, name in (("remove", "pane_id"), ("recreate", "predecessor_pane_id")):
        with pytest.raises(Refused) as refused:
            spot.tower.call(f"managed.pane.{method}", **{name: agent["agent_id"]})
        assert refused.value.code == "managed_pane_protected_adopted"
        assert refused.value.details == {"agent_id": agent["agent_id"], "is_adopted": True}
    with pytest.raises(Refused) as refused:
        spot.tower.call("managed.pane.promote_from_adopted", agent_id=agent["agent_id"])
    assert (refused.value.code, refused.value.details) == ("not_implemented", {"reserved_since": "FEAT-013"})
    spot.remove_layout(layout["layout_id"])
    assert [portrait(spot, target) ^ then for target, then in zip(stranger.ids, before, strict=True)] == [set(), set()]
    stranger.close()


def test_input_is_sent_to_an_adopted_pane_only_on_request(spot: Spot) -> None:
    stranger = Stranger(spot)
    agent = stranger.adopt()
    sent = spot.tower.call("app.send_input", target_agent_id=agent["agent_id"], payload={"text": "hello there"})
    assert sent["state"] == "delivered"
    eventually(lambda: spot.place.screen(stranger.ids[0]).count("hello there") == 2)
    assert "hello" not in spot.place.screen(stranger.ids[1])
    stranger.close()
    with pytest.raises(Refused, match="gone"):
        spot.tower.call("app.send_input", target_agent_id=agent["agent_id"], payload={"text": "hello"})
    spot.scan()
    assert [one["pane_active"] for one in _agents(spot) if one["agent_id"] == agent["agent_id"]] in ([], [False])


def test_every_field_of_the_identity_must_be_right_and_a_pane_is_adopted_once(spot: Spot) -> None:
    stranger = Stranger(spot)
    identity = stranger.identity()
    named = {"role": "shell", "capability": "x", "label": "y"}
    wrong = {"tmux_socket": "/tmp/x", "session_name": "x", "window_index": 77, "pane_index": 78, "pane_id": "%99999"}
    for field, value in wrong.items():
        with pytest.raises(Refused) as refused:
            spot.tower.call("app.agent.register_from_pane", **{**identity, field: value}, **named)
        assert refused.value.code == "pane_not_found"
        assert refused.value.details == {"pane_id": {**identity, field: value}["pane_id"], "mismatch_field": field}
    with pytest.raises(Refused) as refused:
        spot.tower.call("app.agent.register_from_pane", **identity, **named, parent_agent_id="nobody")
    assert (refused.value.code, refused.value.details) == ("agent_not_found", {"agent_id": "nobody"})
    first = stranger.adopt()
    with pytest.raises(Refused) as refused:
        stranger.adopt()
    assert refused.value.code == "pane_already_registered"
    assert refused.value.details == {"agent_id": first["agent_id"]}
    child = stranger.adopt(1, parent_agent_id=first["agent_id"])
    assert child["parent_agent_id"] == first["agent_id"]
    layout = spot.make("one")
    row = layout["panes"][0]
    seen = _seen(spot, row["tmux_pane_id"])
    assert seen["agent_id"] == row["agent_id"]
    with pytest.raises(Refused) as refused:
        spot.tower.call("app.agent.register_from_pane", **{key: seen[key] for key in identity}, **named)
    assert refused.value.code == "pane_already_registered"
    assert refused.value.details == {"agent_id": row["agent_id"]}
    spot.remove_layout(layout["layout_id"])
    stranger.close()


def test_its_log_is_attached_on_request_and_only_where_no_pipe_is_on(spot: Spot) -> None:
    stranger = Stranger(spot, "while :; do echo tock; sleep 0.2; done")
    agent = stranger.adopt(attach_log=True)
    assert (agent["log_attached"], agent["log_problem"]) == (True, None)
    stranger.spot.place.tmux("pipe-pane", "-t", stranger.ids[1], "cat >/dev/null")
    other = stranger.adopt(1, attach_log=True)
    assert other["log_attached"] is False
    assert "pipe" in other["log_problem"]
    logs = spot.tower.state / "logs"
    file = eventually(lambda: next(iter(logs.rglob(f"{agent['agent_id']}.log")), None))
    eventually(lambda: b"tock" in file.read_bytes())
    stranger.close()


def test_the_command_line_adopts_sends_and_is_refused(spot: Spot) -> None:
    stranger = Stranger(spot)
    label = spot.name()
    done = spot.tower.cli("agent", "adopt", spot.bench, stranger.ids[0], "--label", label, "--json")
    assert done.returncode == 0, done.stderr
    agent = json.loads(done.stdout)
    assert (agent["label"], agent["origin"]) == (label, "adopted")
    done = spot.tower.cli("pane", "send", agent["agent_id"][:13], "typed by hand")
    assert done.returncode == 0, done.stderr
    eventually(lambda: spot.place.screen(stranger.ids[0]).count("typed by hand") == 2)
    for verb in ("remove", "recreate", "restart"):
        done = spot.tower.cli("pane", verb, agent["agent_id"])
        assert done.returncode == 1, (verb, done.stdout, done.stderr)
        assert "managed_pane_protected_adopted" in done.stderr
    done = spot.tower.cli("agent", "adopt", spot.bench, stranger.ids[0])
    assert done.returncode == 1
    assert "pane_already_registered" in done.stderr
    done = spot.tower.cli("agent", "adopt", spot.bench, f"{stranger.session}:0.1")
    assert done.returncode == 0, done.stderr
    done = spot.tower.cli("agent", "adopt", spot.bench, "%99999")
    assert done.returncode == 1
    assert "pane_not_found" in done.stderr
    assert label in spot.tower.cli("agent", "list", check=True).stdout
    stranger.close()


def test_a_pane_of_an_adopted_agent_that_died_or_was_numbered_anew_shows_as_it_is(spot: Spot) -> None:
    stranger = Stranger(spot)
    agent = stranger.adopt(1)
    spot.place.tmux("kill-pane", "-t", stranger.ids[0])
    spot.place.tmux("rename-session", "-t", f"={stranger.session}", f"{stranger.session}-new")
    stranger.session += "-new"
    row = stranger.seen(1)
    assert (row["agent_id"], row["session_name"]) == (agent["agent_id"], stranger.session)
    mine = next(one for one in _agents(spot) if one["agent_id"] == agent["agent_id"])
    assert mine["pane_active"] is True
    stranger.close()


def test_scans_in_a_tight_loop_adopt_nothing_twice(spot: Spot) -> None:
    """While layouts are made, scanned for and adopted from, every tmux pane is one agent at most."""
    tower, ended, problems = spot.tower, threading.Event(), []

    def scan_on() -> None:
        while not ended.is_set():
            tower.call("app.scan.panes")
            rows = tower.call("app.pane.list", filters={"container_id": spot.bench}, limit=200)["rows"]
            ids = [(row["tmux_socket"], row["pane_id"]) for row in rows]
            if len(ids) != len(set(ids)):
                problems.append(f"a pane is listed twice: {rows}")
            for row in rows:
                if not row["registered"]:
                    problems.extend(_try_to_adopt(spot, row))

    threads = [threading.Thread(target=scan_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        made = [spot.accept("three") for _ in range(4)]
        layouts = [tower.ready(layout_id) for layout_id in made]
        spot.remove(layouts[0]["panes"][1]["pane_id"])
        spot.recreate(layouts[0]["panes"][1]["pane_id"])
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert problems == []
    agents = _agents(spot)
    places = [one["pane_id"] for one in agents if one["pane_active"]]
    assert len(places) == len(set(places)), "a tmux pane is one agent"
    ours = {row["tmux_pane_id"] for layout_id in made for row in tower.layout(layout_id)["panes"]}
    adopted = {one["pane_id"] for one in agents if one["origin"] == "adopted" and one["pane_active"]}
    assert not ours & adopted, "no pane of a layout was adopted"
    for layout_id in made:
        spot.remove_layout(layout_id)


def _try_to_adopt(spot: Spot, row: Any) -> list[str]:
    """Adopt what a scan shows as nobody's; it must not be a pane of a layout."""
    try:
        spot.tower.call("app.agent.register_from_pane", **_identity(row), role="shell", capability="x", label="found")
    except Refused as refused:
        fair = {"permission_denied", "pane_already_registered", "pane_not_found"}
        return [] if refused.code in fair else [f"{refused.code}: {refused.message}"]
    marked = spot.place.tmux("display-message", "-p", "-t", row["pane_id"], "#{@tower_pane}").strip()
    return [f"{row['pane_id']} is ours and was adopted"] if marked else []


def test_a_pane_that_is_still_marked_is_never_adopted(spot: Spot) -> None:
    layout_id = spot.accept("one")

    def made() -> Any:
        return spot.tower.layout(layout_id)["panes"][0]["tmux_pane_id"]

    seen = _seen(spot, eventually(made))
    with pytest.raises(Refused) as refused:
        spot.tower.call(
            "app.agent.register_from_pane", **_identity(seen), role="shell", capability="x", label="y"
        )
    assert refused.value.code in ("permission_denied", "pane_already_registered")
    spot.remove_layout(layout_id)
