"""Outages in the middle of each stage: everything settles, siblings are unharmed, nothing is doubled afterwards."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.faults.audit import problems
from tests.faults.points import Points
from tests.harness import Container, Place, Tower, eventually
from tests.yard import Yard

STAGES = ("pane_create", "launch_command", "registration", "log_attach")
PACE = {"TOWER_TIMES_SETTLE": "0.3", "TOWER_TIMES_STAGE": "6", "TOWER_TIMES_RETRY_DELAYS": "[0.2, 0.4]"}


@pytest.fixture
def quick_tower() -> Iterator[Tower]:
    made = Tower(environ=PACE)
    Points(made)
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture
def quick_docker(engine_host: str) -> Iterator[Tower]:
    made = Tower(docker_host=engine_host, environ=PACE)
    Points(made)
    try:
        yield made.up()
    finally:
        made.close()


def comes_back(tower: Tower, layout_id: str) -> None:
    """One recreate makes a layout ready again, whatever the outage left of it."""
    tower.cli("container", "scan", check=True)
    layout = tower.layout(layout_id)
    for pane in layout["panes"]:
        if pane["state"] == "degraded":
            tower.call("managed.pane.remove", pane_id=pane["pane_id"])
    if layout["state"] != "ready":
        tower.call("managed.layout.recreate", layout_id=layout_id)
    tower.ready(layout_id)


def told(tower: Tower, layout_id: str) -> list[tuple[str, str, str]]:
    """Who the panes of a layout are, and how they are; not when they were last looked at."""
    return [(pane["pane_id"], pane["tmux_pane_id"], pane["state"]) for pane in tower.layout(layout_id)["panes"]]


def well(tower: Tower, *places: Place) -> None:
    """The audit finds nothing, now or in a moment."""
    tower.idle()
    eventually(lambda: not problems(tower, places), within=20, what=f"{problems(tower, places)}")


@pytest.mark.parametrize("stage", STAGES)
def test_kill_server_in_the_middle_of_a_stage(quick_tower: Tower, stage: str) -> None:
    points, place = Points(quick_tower), Place(quick_tower)
    points.arm(f"stage.{stage}.before_commit", "STOP")
    layout_id = quick_tower.create("local")
    with points.stopped_at(f"stage.{stage}.before_commit"):
        place.tmux("kill-server")
    settled = quick_tower.settled(layout_id)
    assert settled["state"] in ("failed", "degraded", "ready")
    quick_tower.cli("container", "scan", check=True)
    assert quick_tower.layout(layout_id)["state"] == "failed"
    comes_back(quick_tower, layout_id)
    well(quick_tower, place)


@pytest.mark.docker
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("outage", [("kill", "start"), ("restart",), ("pause", "unpause")], ids=lambda v: v[0])
def test_a_container_goes_away_in_the_middle_of_a_stage(
    quick_docker: Tower, yard: Yard, stage: str, outage: tuple[str, ...]
) -> None:
    points, place, sibling = Points(quick_docker), Container(quick_docker, yard), Container(quick_docker, yard)
    beside = quick_docker.create(sibling.container_id)
    quick_docker.ready(beside)
    points.arm(f"stage.{stage}.before_commit", "STOP")
    layout_id = quick_docker.create(place.container_id)
    with points.stopped_at(f"stage.{stage}.before_commit"):
        place.act(outage[0])
    quick_docker.settled(layout_id)
    assert quick_docker.layout(beside)["state"] == "ready"
    for verb in outage[1:]:
        place.act(verb)
    comes_back(quick_docker, layout_id)
    assert quick_docker.layout(beside)["state"] == "ready"
    well(quick_docker, place, sibling)


@pytest.mark.docker
@pytest.mark.timeout(300)
def test_forty_seconds_of_pause_change_nothing_that_was_ready(quick_docker: Tower, yard: Yard) -> None:
    place, sibling = Container(quick_docker, yard), Container(quick_docker, yard)
    layout_id = quick_docker.create(place.container_id)
    ready = quick_docker.ready(layout_id)
    place.act("pause")
    paused_at = time.monotonic()
    quick_docker.cli("container", "scan")
    beside = quick_docker.create(sibling.container_id)
    quick_docker.ready(beside)
    while time.monotonic() < paused_at + 40:
        layout = quick_docker.layout(layout_id)
        assert layout["state"] == "ready"
        assert [pane["observed_at"] for pane in layout["panes"]] == [pane["observed_at"] for pane in ready["panes"]]
        time.sleep(2)
    place.act("unpause")
    quick_docker.cli("container", "scan", check=True)
    layout = quick_docker.layout(layout_id)
    assert layout["state"] == "ready"
    assert all(pane["observed_at"] > ready["panes"][0]["observed_at"] for pane in layout["panes"])
    well(quick_docker, place, sibling)


@pytest.mark.parametrize("point", ["engine.spawn.before", "engine.spawn.after", "engine.finish.before"])
def test_a_sleeper_that_wakes_late_doubles_nothing(quick_tower: Tower, point: str) -> None:
    points, place = Points(quick_tower), Place(quick_tower)
    points.arm(point, "STOP")
    layout_id = quick_tower.create("local")
    with points.stopped_at(point):
        quick_tower.ready(layout_id)
        before, ids = told(quick_tower, layout_id), place.panes()
        assert len(ids) == 3
    time.sleep(2)
    assert place.panes() == ids
    assert told(quick_tower, layout_id) == before
    well(quick_tower, place)


@pytest.mark.timeout(400)
def test_a_worker_asleep_for_sixty_seconds_at_the_true_deadline() -> None:
    tower = Tower()
    points = Points(tower)
    try:
        tower.up()
        place = Place(tower)
        points.arm("engine.spawn.before", "STOP")
        began = time.monotonic()
        layout_id = tower.create("local")
        with points.stopped_at("engine.spawn.before"):
            tower.ready(layout_id, within=60)
            before = told(tower, layout_id)
            time.sleep(max(0.0, began + 60 - time.monotonic()))
        time.sleep(2)
        assert told(tower, layout_id) == before
        well(tower, place)
    finally:
        tower.close()


@pytest.mark.timeout(400)
def test_every_process_restarted_while_twelve_layouts_are_created() -> None:
    tower = Tower(environ={"TOWER_TIMES_SETTLE": "0.3"})
    try:
        tower.up()
        for again in ("kill", "down"):
            ids = [
                tower.create("local", session=f"{again}{number}", label_prefix=f"{again}{number}-")
                for number in range(12)
            ]
            if again == "kill":
                tower.kill("supervisord")
                tower.kill()
            else:
                tower.down()
            tower.up()
            for layout_id in ids:
                tower.ready(layout_id)
        well(tower, Place(tower))
    finally:
        tower.close()


def test_another_worker_carries_on_within_five_seconds(quick_tower: Tower) -> None:
    points = Points(quick_tower)
    waited = []
    for number in range(5):
        points.arm("stage.pane_create.before_commit", "STOP")
        layout_id = quick_tower.create("local", session=f"s{number}", label_prefix=f"s{number}-")
        pid = points.fired("stage.pane_create.before_commit")
        claim = quick_tower.rows("SELECT claim FROM job WHERE layout_id = ?", layout_id)[0][0]
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        query = "SELECT claim FROM job WHERE layout_id = ?"
        eventually(lambda: quick_tower.rows(query, layout_id)[0][0] > claim, every=0.02)  # noqa: B023 - used at once
        waited.append(time.monotonic() - killed)
        quick_tower.ready(layout_id)
    assert sorted(waited)[2] < 5, waited
    well(quick_tower, Place(quick_tower))
