"""What a bench that is away, still or without tmux is answered with, by every method that may run into it.

Through both namespaces, with exactly the details; and a refused request has written nothing. The other errors of the
managed methods are provoked in test_managed.py.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from tests.harness import Container, Tower
from tests.spots import Spot, quick_tower
from tests.yard import Yard
from tower.server import served
from tower.server.methods import APP, MANAGED

pytestmark = pytest.mark.docker

ABOUT_BENCHES = {"container_not_found", "container_inactive", "docker_unavailable", "tmux_unavailable"}
UNKNOWN = "no-such-bench"


class World:
    """A tower with a container that can be paused, an engine that can go away, and one of everything to name."""

    def __init__(self, engine: str, yard: Yard) -> None:
        self.tower = quick_tower(TOWER_TIMES_RETRY_DELAYS="[0.1, 0.1]")
        self.link = self.tower.root / "engine.sock"
        self.target = engine.removeprefix("unix://")
        self.link.symlink_to(self.target)
        self.tower.environ["DOCKER_HOST"] = f"unix://{self.link}"
        self.yard = yard
        self.place = Container(self.tower, yard)
        self.bench = self.place.container_id
        self.tower.up()
        spot = Spot(self.place)
        self.live = spot.make("one")
        self.pane = self.live["panes"][0]["pane_id"]
        self.removed = spot.make("one")
        self.removed_pane = self.removed["panes"][0]["pane_id"]
        spot.remove_layout(self.removed["layout_id"])
        self.stranger = self._stranger("strange")
        self.agent = self.tower.call("app.agent.register_from_pane", **self._stranger("adopted"))["agent_id"]
        self.stopped = yard.start()
        spot.scan()
        yard.act(self.stopped, "kill")
        spot.scan()
        self.tower.idle()

    def _stranger(self, session: str) -> dict[str, Any]:
        """A pane that the tower did not make, as adoption names it."""
        self.place.tmux("new-session", "-d", "-s", session, "sleep", "1000000")
        self.tower.call("app.scan.panes")
        rows = self.tower.call("app.pane.list", filters={"container_id": self.bench})["rows"]
        (row,) = [row for row in rows if row["session_name"] == session]
        keys = ("container_id", "tmux_socket", "session_name", "window_index", "pane_index", "pane_id")
        return {key: row[key] for key in keys} | {"role": "shell", "capability": "any", "label": session}

    def params(self, method: str) -> dict[str, Any]:
        """A request that looks into the bench and would be accepted."""
        known: dict[str, dict[str, Any]] = {
            "layout.create": {"container_id": self.bench, "template_name": "one", "tmux_session_name": Spot.name()},
            "layout.recreate": {"layout_id": self.removed["layout_id"]},
            "pane.recreate": {"predecessor_pane_id": self.removed_pane},
            "layout.remove": {"layout_id": self.live["layout_id"]},
            "pane.remove": {"pane_id": self.pane},
            "app.agent.register_from_pane": self.stranger,
            "app.send_input": {"target_agent_id": self.agent, "payload": {"text": "x"}},
        }
        return known[method]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The container stands still."""
        self.place.act("pause")
        try:
            yield
        finally:
            self.place.act("unpause")

    @contextmanager
    def without_engine(self) -> Iterator[None]:
        """Nobody listens where the engine should be."""
        self.link.unlink()
        try:
            yield
        finally:
            self.link.symlink_to(self.target)

    @contextmanager
    def without_tmux(self) -> Iterator[None]:
        """The container has no tmux any more, though one runs."""
        self.yard.sh(self.bench, "mv /usr/bin/tmux /usr/bin/tmux.away")
        try:
            yield
        finally:
            self.yard.sh(self.bench, "mv /usr/bin/tmux.away /usr/bin/tmux")


@pytest.fixture(scope="module")
def world(engine_host: str) -> Iterator[World]:
    """One world for the module: what it refuses changes nothing."""
    yard = Yard(engine_host)
    made = World(engine_host, yard)
    try:
        yield made
    finally:
        yard.close()
        made.tower.close()


class Case(NamedTuple):
    """A method, what is the matter, and the error that it answers."""

    method: str
    matter: str
    code: str


LOOKERS = ("layout.create", "layout.recreate", "pane.recreate", "app.agent.register_from_pane", "app.send_input")
REMOVERS = ("layout.remove", "pane.remove")
CASES = [
    *(Case(method, "paused", "container_inactive") for method in LOOKERS),
    *(Case(method, "paused", "tmux_unavailable") for method in REMOVERS),
    *(Case(method, "without_engine", "docker_unavailable") for method in (*LOOKERS, *REMOVERS)),
    *(Case(method, "without_tmux", "tmux_unavailable") for method in (*LOOKERS, *REMOVERS)),
]

UNPROVOKED = {
    ("layout.recreate", "container_not_found"): "a layout's bench is known for ever",
    ("pane.recreate", "container_not_found"): "a layout's bench is known for ever",
    ("app.send_input", "container_not_found"): "an agent's bench is known for ever",
}


def names(method: str) -> list[str]:
    """What the method is called: in both namespaces, or in its only one."""
    return [method] if method.startswith("app.") else [f"managed.{method}", f"app.managed_{method.replace('.', '_')}"]


def written(tower: Tower) -> list[Any]:
    """What a refused request leaves as it is."""
    counts = "SELECT (SELECT count(*) FROM layout), (SELECT count(*) FROM pane), (SELECT count(*) FROM agent)"
    jobs = "SELECT count(*) FROM job WHERE kind IN ('spawn', 'remove', 'recreate')"
    events = "SELECT count(*) FROM event WHERE actor = 'operator'"
    return [tuple(tower.rows(query)[0]) for query in (counts, jobs, events)]


def refusal(tower: Tower, name: str, params: Mapping[str, Any]) -> Any:
    """The error of a request that must be refused, its message a sentence."""
    answer = tower.ask(name, params)
    assert not answer["ok"], (name, answer)
    assert answer["error"]["message"].endswith(".")
    return answer["error"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case[:2]))
def test_a_bench_that_cannot_be_used(world: World, case: Case) -> None:
    before, sessions = written(world.tower), world.place.tmux("list-sessions", "-F", "#S")
    with getattr(world, case.matter)():
        found = [refusal(world.tower, name, world.params(case.method)) for name in names(case.method)]
    for error in found:
        assert error["code"] == case.code, error
        if case.code == "container_inactive":
            assert error["details"] == {"container_id": world.bench, "container_state": "paused"}
        else:
            assert set(error["details"]) == {"reason"}
    if case.method in REMOVERS:
        assert_still_there(world)
    else:
        assert written(world.tower) == before
    assert world.place.tmux("list-sessions", "-F", "#S") == sessions


def assert_still_there(world: World) -> None:
    """A pane that could not be killed keeps its state, says so, and says so no longer once it was seen again."""
    row = world.tower.call("managed.pane.detail", pane_id=world.pane)
    assert (row["state"], row["failed_stage"]) == ("ready", "tmux_kill")
    world.tower.call("app.scan.containers")
    row = world.tower.call("managed.pane.detail", pane_id=world.pane)
    assert (row["state"], row["failed_stage"]) == ("ready", None)


def test_a_stopped_bench_is_told_as_such(world: World) -> None:
    before = written(world.tower)
    for name in names("layout.create"):
        error = refusal(world.tower, name, world.params("layout.create") | {"container_id": world.stopped})
        assert error["code"] == "container_inactive"
        assert error["details"] == {"container_id": world.stopped, "container_state": "exited"}
    assert written(world.tower) == before


@pytest.mark.parametrize(
    "method",
    [
        "layout.create",
        "layout.list",
        "pane.list",
        "app.container.detail",
        "app.pane.detail",
        "app.agent.register_from_pane",
    ],
)
def test_an_unknown_bench_is_looked_for_and_then_refused(world: World, method: str) -> None:
    whole = {} if method.endswith("list") or "detail" in method else world.params(method)
    whole |= {"pane_id": "%0"} if method == "app.pane.detail" else {}
    before = written(world.tower)
    for name in names(method):
        error = refusal(world.tower, name, whole | {"container_id": UNKNOWN})
        assert (error["code"], error["details"]) == ("container_not_found", {"container_id": UNKNOWN})
    assert written(world.tower) == before


def test_every_error_about_benches_is_provoked() -> None:
    assert served.names()
    found = {(case.method, case.code) for case in CASES}
    found |= {(method, "container_not_found") for method in ("layout.create", "layout.list", "pane.list")}
    found |= {(f"app.{name}", "container_not_found") for name in ("container.detail", "pane.detail")}
    found |= {("app.agent.register_from_pane", "container_not_found")}
    apps = [(f"app.{name}", method) for name, method in APP.methods.items() if not name.startswith("managed_")]
    declared = {
        (name, code) for name, method in [*MANAGED.methods.items(), *apps] for code in method.codes & ABOUT_BENCHES
    }
    assert declared - found == set(UNPROVOKED)
    assert found <= declared


def test_a_full_tower_takes_no_layout_back_either() -> None:
    tower = quick_tower(TOWER_LIMITS_LAYOUTS="1")
    try:
        tower.up()
        first = tower.ready(tower.create("local", "one", "first"))
        tower.call("managed.layout.remove", layout_id=first["layout_id"])
        tower.ready(tower.create("local", "one", "second", label_prefix="b-"))
        before = written(tower)
        requests: dict[str, dict[str, Any]] = {
            "layout.create": {"container_id": "local", "template_name": "three", "tmux_session_name": "third"},
            "layout.recreate": {"layout_id": first["layout_id"]},
            "pane.recreate": {"predecessor_pane_id": first["panes"][0]["pane_id"]},
        }
        for method, params in requests.items():
            for name in names(method):
                error = refusal(tower, name, params)
                assert error["code"] == "managed_layout_capacity_exceeded"
                assert error["details"] == {"current_count": 1, "limit": 1}
        assert written(tower) == before
    finally:
        tower.close()
