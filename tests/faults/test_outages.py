"""Outages in the middle of each stage: everything settles, siblings are unharmed, nothing is doubled afterwards."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.faults.middle import ALL, LONG, PACE, Middle, at, comes_right, ended, make, standing, told, well
from tests.faults.points import Points
from tests.harness import Container, Place, Refused, Tower, eventually
from tests.yard import Yard

NAP = {"TOWER_TIMES_SETTLE": "0.3", "TOWER_TIMES_STAGE": "4"}
"""A worker that is asleep for longer than a stage may take; with SPEC.md's times in a long run."""

AWAKE_AFTER = 60.0 if LONG else 6.0


def _tower(environ: dict[str, str], host: str | None = None) -> Iterator[Tower]:
    made = Tower(docker_host=host, environ=environ)
    Points(made)
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture
def quick_tower() -> Iterator[Tower]:
    yield from _tower(PACE)


@pytest.fixture
def quick_docker(engine_host: str) -> Iterator[Tower]:
    yield from _tower(PACE, engine_host)


@pytest.fixture
def napping() -> Iterator[Tower]:
    yield from _tower({} if LONG else NAP)


@at(
    ("create", "engine.spawn.before"),
    ("create", "stage.pane_create.before_commit"),
    ("create", "engine.settle.before"),
    ("create", "stage.registration.taken"),
    ("create", "engine.finish.before"),
    ("create", "stage.log_attach.before_commit"),
    ("recreate", "engine.look.before"),
    ("recreate", "engine.finish.before"),
    ("remove", "engine.kill.before"),
)
def test_kill_server_in_the_middle_of_a_stage(quick_tower: Tower, middle: Middle) -> None:
    place = Place(quick_tower)
    with standing(quick_tower, place, middle) as layout_id:
        place.tmux("kill-server")
    ended(quick_tower, layout_id)
    comes_right(quick_tower, middle, layout_id)
    well(quick_tower, place)


OUTAGES = {"kill": ("kill", "start"), "restart": ("restart",), "pause": ("pause", "unpause")}
SHORT = [
    ("kill", Middle("create", "stage.launch_command.taken")),
    ("kill", Middle("create", "stage.log_attach.before_commit")),
    ("kill", Middle("recreate", "engine.look.before")),
    ("kill", Middle("remove", "engine.kill.before")),
    ("restart", Middle("create", "engine.spawn.before")),
    ("restart", Middle("create", "stage.registration.taken")),
    ("restart", Middle("remove", "engine.kill.before")),
    ("pause", Middle("create", "engine.spawn.before")),
    ("pause", Middle("create", "stage.launch_command.taken")),
    ("pause", Middle("create", "stage.log_attach.before_commit")),
    ("pause", Middle("recreate", "engine.look.before")),
    ("pause", Middle("remove", "engine.kill.before")),
]


@pytest.mark.docker
@pytest.mark.parametrize(("outage", "middle"), list(itertools.product(OUTAGES, ALL)) if LONG else SHORT, ids=str)
def test_a_container_goes_away_in_the_middle_of_a_stage(
    quick_docker: Tower, yard: Yard, outage: str, middle: Middle
) -> None:
    place, sibling = Container(quick_docker, yard), Container(quick_docker, yard)
    beside = make(quick_docker, sibling, "beside", "b-")
    before = told(quick_docker, beside)
    with standing(quick_docker, place, middle) as layout_id:
        place.act(OUTAGES[outage][0])
    ended(quick_docker, layout_id)
    for verb in OUTAGES[outage][1:]:
        place.act(verb)
    comes_right(quick_docker, middle, layout_id)
    assert told(quick_docker, beside) == before
    well(quick_docker, place, sibling)


@pytest.mark.docker
def test_a_pause_while_an_answer_is_awaited(engine_host: str, yard: Yard) -> None:
    """What is running in a container that is paused hangs; the stage's time ends it."""
    for tower in _tower(PACE | {"TOWER_TIMES_SETTLE": "2", "TOWER_TIMES_STAGE": "4"}, engine_host):
        place = Container(tower, yard)
        layout_id = tower.create(place.container_id)
        query = "SELECT holder FROM job WHERE layout_id = ? AND stage = 'launch_command'"
        eventually(lambda: any(row[0] for row in tower.rows(query, layout_id)), every=0.01)  # noqa: B023 - used at once
        time.sleep(0.5)
        place.act("pause")
        time.sleep(8)
        place.act("unpause")
        ended(tower, layout_id)
        comes_right(tower, Middle("create", ""), layout_id)
        well(tower, place)


@pytest.mark.docker
@pytest.mark.timeout(300)
def test_forty_seconds_of_pause_in_the_middle_of_a_spawn(engine_host: str, yard: Yard) -> None:
    """With SPEC.md's own times: what was ready stays so, what was being made settles, and others are served."""
    for tower in _tower({}, engine_host):
        place, sibling = Container(tower, yard), Container(tower, yard)
        layout_id = make(tower, place, "ready", "r-")
        ready = tower.layout(layout_id)
        points = Points(tower)
        points.arm("engine.spawn.before", "STOP")
        caught = tower.create(place.container_id)
        with points.stopped_at("engine.spawn.before"):
            place.act("pause")
        paused_at = time.monotonic()
        make(tower, sibling, "beside", "b-")
        while time.monotonic() < paused_at + 40:
            layout = tower.layout(layout_id)
            assert layout["state"] == "ready"
            assert [pane["observed_at"] for pane in layout["panes"]] == [pane["observed_at"] for pane in ready["panes"]]
            time.sleep(2)
        assert tower.layout(caught)["state"] == "failed"
        place.act("unpause")
        comes_right(tower, Middle("create", ""), caught)
        layout = tower.layout(layout_id)
        assert told(tower, layout_id) == [(p["pane_id"], p["tmux_pane_id"], p["state"]) for p in ready["panes"]]
        assert all(pane["observed_at"] > ready["panes"][0]["observed_at"] for pane in layout["panes"])
        well(tower, place, sibling)


@at(
    ("create", "engine.spawn.before"),
    ("create", "engine.spawn.after"),
    ("create", "stage.pane_create.before_commit"),
    ("create", "engine.settle.after"),
    ("create", "stage.registration.taken"),
    ("create", "engine.finish.before"),
    ("recreate", "engine.look.after"),
    ("recreate", "engine.spawn.before"),
    ("remove", "engine.kill.before"),
    ("remove", "engine.kill.after"),
    ("remove", "stage.tmux_kill.before_commit"),
)
@pytest.mark.timeout(400)
def test_a_sleeper_that_wakes_late_doubles_nothing(napping: Tower, middle: Middle) -> None:
    """Another carries the job on at the deadline; what the sleeper does when it wakes changes nothing."""
    place = Place(napping)
    began = time.monotonic()
    with standing(napping, place, middle) as layout_id:
        ended(napping, layout_id, within=60)
        if middle.verb == "remove":
            assert napping.layout(layout_id)["state"] == "removed"
            napping.call("managed.layout.recreate", layout_id=layout_id)
        napping.ready(layout_id)
        before, ids = told(napping, layout_id), place.panes()
        assert len(ids) == 3
        time.sleep(max(0.0, began + AWAKE_AFTER - time.monotonic()))
    time.sleep(1)
    assert place.panes() == ids
    assert told(napping, layout_id) == before
    well(napping, place)


@pytest.mark.parametrize(
    "point",
    [
        "take.before_commit",
        "stage.log_attach.before_commit",
        "events.before_append",
        "accept.before_commit",
    ],
)
def test_who_falls_asleep_with_a_lock_holds_nobody_up(quick_tower: Tower, point: str) -> None:
    """A worker in a transaction, or in the middle of the event file; the server in a transaction."""
    points = Points(quick_tower)
    points.arm(point, "STOP")
    asker = threading.Thread(target=_try_to_create, args=(quick_tower, "asleep"))
    asker.start()
    sleeper = points.fired(point)
    began = time.monotonic()
    eventually(lambda: not psutil.pid_exists(sleeper), within=10, what="the sleeper is gone")
    asker.join()
    eventually(lambda: _try_to_create(quick_tower, "later"), what="others are served")
    assert time.monotonic() - began < 20
    for row in quick_tower.rows("SELECT layout_id FROM layout"):
        quick_tower.ready(row[0])
    well(quick_tower, Place(quick_tower))


def _try_to_create(tower: Tower, session: str) -> bool:
    with suppress(Refused, OSError):
        tower.create("local", session=session, label_prefix=f"{session}-")
        return True
    return False


def test_a_stranger_asleep_with_the_database_locked_is_left_alone(quick_tower: Tower) -> None:
    database = quick_tower.state / "state.sqlite3"
    words = [sys.executable, "-c", STRANGER, str(database)]
    stranger = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert stranger.stdout
        assert stranger.stdout.readline() == b"locked\n"
        stranger.send_signal(signal.SIGSTOP)
        time.sleep(6)
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGCONT)
    finally:
        stranger.communicate()
    assert stranger.returncode == 0
    quick_tower.ready(quick_tower.create("local"))


STRANGER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_worker_that_is_hung_up_finishes_and_another_one_is_started(quick_tower: Tower) -> None:
    victim = quick_tower.processes("work")[0]
    victim.send_signal(signal.SIGHUP)
    eventually(lambda: not victim.is_running(), what="it has ended, and not begun anew in its place")
    eventually(lambda: len(quick_tower.processes("work")) == 2, what="supervisord has started another")
    quick_tower.ready(quick_tower.create("local"))


def test_a_worker_that_stands_still_as_its_supervisor_dies_ends_too(quick_tower: Tower) -> None:
    """The kernel wakes it with SIGHUP; whatever it does then, it is nobody's child and may not stay."""
    points = Points(quick_tower)
    points.arm("engine.spawn.before", "STOP")
    layout_id = quick_tower.create("local")
    points.fired("engine.spawn.before")
    quick_tower.kill("supervisord")
    eventually(lambda: not quick_tower.processes("work"), within=40, what="the workers have ended")
    quick_tower.up()
    assert len(quick_tower.processes("work")) == 2
    quick_tower.ready(layout_id)
    well(quick_tower, Place(quick_tower))


@pytest.mark.timeout(400)
def test_a_worker_asleep_for_sixty_seconds_at_the_true_deadline() -> None:
    for tower in _tower({}):
        place = Place(tower)
        workers = {process.pid for process in tower.processes("work")}
        began = time.monotonic()
        with standing(tower, place, Middle("create", "engine.spawn.before")) as layout_id:
            tower.ready(layout_id, within=60)
            before = told(tower, layout_id)
            time.sleep(max(0.0, began + 60 - time.monotonic()))
        time.sleep(2)
        assert {process.pid for process in tower.processes("work")} == workers, "who sleeps without a lock is let sleep"
        assert told(tower, layout_id) == before
        well(tower, place)


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
    assert max(waited) < 5, waited
    well(quick_tower, Place(quick_tower))
