"""A bench that comes back: its row and its panes are right within one reconcile, and a create works at once."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engine
from tests.faults.middle import PACE, Middle, at, comes_right, ended, make, standing, told, well
from tests.faults.points import Points
from tests.harness import Container, Place, Tower
from tests.yard import Yard

ENDS_AT_ONCE = ("sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait")
"""A main process that ends when the engine asks for it; sleep as process 1 would be waited for."""

pytestmark = pytest.mark.docker


@pytest.fixture
def own_engine(engine_host: str) -> Iterator[Path]:
    """An engine that a test may stop."""
    folder = Path(tempfile.mkdtemp(prefix="te", dir="/tmp"))
    engine.start(folder)
    try:
        yield folder
    finally:
        engine.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def returning(own_engine: Path) -> Iterator[tuple[Tower, Container]]:
    """A tower, and a container on an engine that may be stopped."""
    host = f"unix://{own_engine}/docker.sock"
    tower = Tower(docker_host=host, environ=PACE)
    Points(tower)
    yard = Yard(host)
    try:
        place = Container(tower, yard, command=ENDS_AT_ONCE)
        yield tower.up(), place
    finally:
        tower.close()
        engine.start(own_engine)
        yard.close()


def bench_state(tower: Tower, place: Place) -> str:
    """What the registry says of a bench."""
    return str(tower.call("app.container.detail", container_id=place.container_id)["row"]["state"])


def state(tower: Tower, layout_id: str) -> str:
    """The state of a layout."""
    return str(tower.layout(layout_id)["state"])


@pytest.mark.timeout(300)
@at(
    ("create", "engine.spawn.before"),
    ("create", "stage.launch_command.taken"),
    ("create", "stage.registration.before_commit"),
    ("create", "engine.finish.before"),
    ("recreate", "engine.look.before"),
    ("remove", "engine.kill.before"),
)
def test_an_engine_that_stops_in_the_middle_of_a_stage_and_starts(
    returning: tuple[Tower, Container], own_engine: Path, middle: Middle
) -> None:
    tower, place = returning
    beside = make(tower, Place(tower), "beside", "b-")
    before = told(tower, beside)
    with standing(tower, place, middle) as layout_id:
        engine.halt(own_engine)
    ended(tower, layout_id)
    make(tower, Place(tower), "later", "l-")
    assert told(tower, beside) == before
    engine.start(own_engine)
    place.act("start")
    make(tower, place, "beta", "b-")
    tower.cli("container", "scan", check=True)
    assert bench_state(tower, place) == "active"
    comes_right(tower, middle, layout_id)
    well(tower, place, Place(tower))


@pytest.mark.timeout(300)
def test_a_container_that_stops_and_starts(returning: tuple[Tower, Container]) -> None:
    tower, place = returning
    layout_id = tower.create(place.container_id)
    tower.ready(layout_id)
    place.act("stop")
    tower.cli("container", "scan", check=True)
    assert bench_state(tower, place) == "inactive"
    assert state(tower, layout_id) == "failed"
    refused = tower.ask("managed.layout.recreate", {"layout_id": layout_id})["error"]
    assert (refused["code"], refused["details"]["container_state"]) == ("container_inactive", "exited")
    place.act("start")
    tower.ready(tower.create(place.container_id, session="beta", label_prefix="b-"))
    assert bench_state(tower, place) == "active"
    tower.call("managed.layout.recreate", layout_id=layout_id)
    tower.ready(layout_id)
    place.act("pause")
    tower.cli("container", "scan", check=True)
    assert state(tower, layout_id) == "ready"
    refused = tower.ask(
        "managed.layout.create",
        {"container_id": place.container_id, "template_name": "1m+2s", "tmux_session_name": "gamma"},
    )["error"]
    assert (refused["code"], refused["details"]["container_state"]) == ("container_inactive", "paused")
    place.act("unpause")
    tower.ready(tower.create(place.container_id, session="gamma", label_prefix="g-"))
    tower.cli("container", "scan", check=True)
    assert state(tower, layout_id) == "ready"
    query = "SELECT event_type FROM event WHERE layout_id = ? AND event_type LIKE '%recovery%'"
    assert [row[0] for row in tower.rows(query, layout_id)] == ["managed_layout_recovery_failed"]


@pytest.mark.timeout(300)
def test_what_a_container_lost_is_told_once_after_its_return(returning: tuple[Tower, Container]) -> None:
    tower, place = returning
    layout_id = make(tower, place, "alpha", "a-")
    tower.cli("container", "scan", check=True)
    for verb in ("stop", "start"):
        place.act(verb)
        for _ in range(2):
            tower.cli("container", "scan", check=True)
    query = "SELECT event_type FROM event WHERE layout_id = ? AND event_type LIKE '%recovery%'"
    assert [row[0] for row in tower.rows(query, layout_id)] == ["managed_layout_recovery_failed"]
    place.act("stop")
    tower.cli("container", "scan", check=True)
    place.act("start")
    tower.call("managed.layout.recreate", layout_id=layout_id)
    assert bench_state(tower, place) == "active", "a recreate tells of the return as a create does"
    tower.ready(layout_id)


@pytest.mark.timeout(300)
def test_a_tmux_socket_deleted_in_a_container_is_restored(returning: tuple[Tower, Container]) -> None:
    tower, place = returning
    layout_id = tower.create(place.container_id)
    tower.ready(layout_id)
    before = place.panes()
    place.run("rm", "/tmp/tmux-1000/default")
    tower.ready(tower.create(place.container_id, session="beta", label_prefix="b-"))
    assert before.items() <= place.panes().items()
    tower.cli("container", "scan", check=True)
    assert state(tower, layout_id) == "ready"
