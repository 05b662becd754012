"""Commands that end, or never begin: each pane tells the truth about its own, and its siblings live on."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Container, Place, Tower, eventually, pane
from tests.spots import Spot, quick_tower
from tests.yard import Yard, host_for_tests

LAYOUTS_OF_16 = 7
SPOKEN = "last words"

ENDINGS = {
    "fine": ["sh", "-c", f"echo {SPOKEN}; exit 0"],
    "seven": ["sh", "-c", f"echo {SPOKEN}; exit 7"],
    "killed": ["sh", "-c", f"echo {SPOKEN}; kill -KILL $$"],
    "missing": ["no-such-program", "--flag"],
    "missing-path": ["/no/such/program"],
    "own-127": ["sh", "-c", "exit 127"],
    "own-126": ["sh", "-c", "exit 126"],
}


@pytest.fixture(scope="module", params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def patient(request: pytest.FixtureRequest) -> Iterator[Spot]:
    """A bench with so long a settle time that a busy machine starts every command within it."""
    tower = quick_tower(host_for_tests(), TOWER_TIMES_SETTLE="3")
    yard = Yard(request.getfixturevalue("engine_host")) if request.param == "docker" else None
    try:
        tower.up()
        yield Spot(Container(tower, yard) if yard else Place(tower))
    finally:
        if yard:
            yard.close()
        tower.close()


def test_each_ending_is_told_as_it_was(patient: Spot) -> None:
    tower = patient.tower
    forbidden = patient.place.path("forbidden")
    forbidden.write_text("#!/bin/sh\nsleep 1000\n")
    forbidden.chmod(0o644)
    profiles = ENDINGS | {"forbidden": [str(forbidden)], "lives": ["sleep", "1000000"]}
    for name, command in profiles.items():
        tower.profile(name, command)
    tower.template("endings", [pane(name, name) for name in profiles])
    layout = tower.settled(patient.accept("endings"))
    panes = dict(zip(profiles, layout["panes"], strict=True))

    codes = {"fine": 0, "seven": 7, "missing": 127, "missing-path": 127, "own-127": 127, "own-126": 126}
    for name, row in panes.items():
        if name == "lives":
            continue
        assert (row["state"], row["failed_stage"]) == ("degraded", "launch_command"), row
        assert row["exit_code"] == (codes | {"forbidden": 126}).get(name), row
        assert row["exit_signal"] == (9 if name == "killed" else None), row
        assert row["exited_at"]
        assert row["agent_id"], "a pane whose command ended is registered all the same"
    assert panes["lives"]["state"] == "ready"
    assert (layout["state"], layout["failed_stage"], layout["ready_pane_count"]) == ("degraded", "launch_command", 1)
    assert_reasons(panes)
    assert_readable(patient, panes)
    assert_events(patient, panes)


def assert_reasons(panes: dict[str, Any]) -> None:
    """A program that could not be started is told apart from one that ends with the same code."""
    reasons = {name: row["reason"] or "" for name, row in panes.items()}
    assert "'no-such-program' does not exist" in reasons["missing"]
    assert "'/no/such/program' does not exist" in reasons["missing-path"]
    assert "may not be executed" in reasons["forbidden"]
    assert "status 127" in reasons["own-127"]
    assert "status 126" in reasons["own-126"]
    assert "signal 9" in reasons["killed"]
    assert reasons["lives"] == ""


def assert_readable(spot: Spot, panes: dict[str, Any]) -> None:
    """What a dead pane last printed is kept, in its row and on its screen, and nothing of tmux's is added."""
    for name in ("fine", "seven", "killed"):
        assert panes[name]["last_output"].strip() == SPOKEN
        assert spot.place.screen(panes[name]["tmux_pane_id"]).strip() == SPOKEN
    assert panes["lives"]["last_output"] is None


def assert_events(spot: Spot, panes: dict[str, Any]) -> None:
    """One event for each ending."""
    for name, row in panes.items():
        found = spot.events("managed_pane_launch_command_exited", pane_id=row["pane_id"])
        assert len(found) == (name != "lives")
        for event in found:
            payload = event["payload"]
            assert (payload["exit_code"], payload["exit_signal"]) == (row["exit_code"], row["exit_signal"])
            assert payload["elapsed_ms"] >= 0


def test_the_output_of_a_dead_pane_outlives_its_removal(patient: Spot) -> None:
    patient.tower.profile("counts", ["sh", "-c", "seq 1 200; exit 3"])
    patient.tower.template("counts", [pane("a", "counts")])
    (row,) = patient.tower.settled(patient.accept("counts"))["panes"]
    patient.remove(row["pane_id"])
    kept = patient.pane(row["pane_id"])
    assert kept["state"] == "removed"
    assert kept["last_output"].split() == [str(number) for number in range(151, 201)]
    assert kept["exit_code"] == 3


def test_no_code_is_ever_wrong(spot: Spot) -> None:
    """Over 200 panes on the two runtimes together; one that ended after the settle time is told of by the next look."""
    tower = spot.tower
    codes = [(7 * number) % 256 for number in range(16)]
    for code in codes:
        tower.profile(f"exit-{code}", ["sh", "-c", f"exit {code}"])
    tower.template("codes", [pane(f"c{code}", f"exit-{code}") for code in codes])
    layouts = [spot.accept("codes") for _ in range(LAYOUTS_OF_16)]
    for layout_id in layouts:
        tower.settled(layout_id)
    eventually(lambda: spot.scan() or all(degraded(tower, one) for one in layouts), what="every ending is known")
    for layout_id in layouts:
        assert [row["exit_code"] for row in tower.layout(layout_id)["panes"]] == codes
    told = tower.rows("SELECT payload FROM event WHERE event_type = 'managed_pane_launch_command_exited'")
    assert len(told) >= LAYOUTS_OF_16 * 16
    assert not [row for row in told if '"exit_code":null' in row["payload"]]


def degraded(tower: Tower, layout_id: str) -> bool:
    """Whether every pane of the layout is known to have ended."""
    return all(row["state"] == "degraded" for row in tower.layout(layout_id)["panes"])
