"""One bench's jobs run one at a time, in the order of acceptance, whoever dies and whoever is not there."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.harness import Place, Tower, eventually
from tests.spots import Spot, at_once, quick_tower

RESUMED_WITHIN = 20.0
"""Seconds that tell the promised 5 s, on a busy machine, from never."""


@pytest.fixture
def faulty() -> Iterator[tuple[Spot, Path]]:
    """A tower whose processes can be killed at named points, and the folder that arms them."""
    tower = quick_tower()
    folder = tower.root / "faults"
    folder.mkdir()
    tower.environ["TOWER_FAULTS"] = str(folder)
    try:
        yield Spot(Place(tower.up())), folder
    finally:
        tower.close()


def sequences(spot: Spot, layout_id: str) -> list[int]:
    """The numbers of the events that tell of work done for a layout."""
    query = "SELECT sequence FROM event WHERE layout_id = ? AND actor = 'daemon' ORDER BY sequence"
    return [row[0] for row in spot.tower.rows(query, layout_id)]


def test_layouts_accepted_at_once_come_up_one_after_the_other(spot: Spot) -> None:
    accepted = at_once(*[spot.accept] * 4)
    for layout_id in accepted:
        spot.tower.ready(layout_id)
    jobs = spot.tower.rows(f"SELECT layout_id FROM job WHERE layout_id IN ({','.join('?' * 4)}) ORDER BY id", *accepted)
    worked = [sequences(spot, row["layout_id"]) for row in jobs]
    for first, second in pairwise(worked):
        assert first[-1] < second[0], "the second begins after the first has ended"


@pytest.mark.parametrize("stage", ["pane_create", "launch_command", "registration"])
def test_a_worker_killed_between_two_stages_is_replaced_in_seconds(faulty: tuple[Spot, Path], stage: str) -> None:
    spot, folder = faulty
    (folder / f"stage.{stage}.after_commit.KILL.1").touch()
    layout_id = spot.accept()
    eventually(lambda: list(folder.glob("fired-*")), what="a worker died")
    died = time.monotonic()
    layout = spot.tower.ready(layout_id, within=RESUMED_WITHIN)
    assert time.monotonic() - died < RESUMED_WITHIN
    assert set(spot.place.panes()) == {row["pane_id"] for row in layout["panes"]}


def stop_workers(tower: Tower) -> None:
    """Leave the server alone, with nobody to start workers again."""
    tower.kill("supervisord")
    eventually(lambda: not tower.processes("supervisord"), what="supervisord is gone")
    tower.kill("work")
    eventually(lambda: not tower.processes("work"), what="the workers are gone")


def test_without_a_worker_a_layout_waits_and_says_so() -> None:
    tower = quick_tower()
    try:
        spot = Spot(Place(tower.up()))
        stop_workers(tower)
        layout_id = spot.accept()
        readiness = tower.call("app.readiness")
        told = tower.cli("layout", "wait", layout_id, "--timeout", "4")
        again = tower.cli("layout", "create", "-t", "one", "-s", "later", "--no-wait")
        assert tower.layout(layout_id)["state"] == "creating"
        assert readiness["state"] == "degraded"
        assert [row["status"] for row in readiness["subsystems"] if row["name"] == "workers"] == ["unavailable"]
        assert told.returncode == 5
        assert "queued: no worker is running (tower up)" in told.stdout
        assert again.returncode == 0
        assert "queued: no worker is running (tower up)" in again.stdout
        tower.up()
        tower.ready(layout_id)
        assert tower.cli("layout", "wait", "later", "--until", "ready").returncode == 0
    finally:
        tower.close()
