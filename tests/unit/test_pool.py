"""The pool: what hangs keeps its own lane waiting, and no other."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from tests.unit import rows
from tower import models
from tower.config import Settings
from tower.errors import ContainerInactive
from tower.server import layouts, panes
from tower.server.dispatch import _NAMED, _UNKNOWN, _lane
from tower.server.methods import HOST, MANAGED, NAMESPACES, Caller, Method, Request
from tower.server.pool import EACH, SIZE, SPARE, Pool
from tower.server.requests import Understood

PATIENCE = 30.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hangs, does so until this is set."""
    made = threading.Event()
    yield made
    made.set()


def ran(pool: Pool, lane: str | None, within: float = PATIENCE) -> bool:
    """Whether a task of that lane is run in time."""
    done = threading.Event()
    pool.submit(done.set, lane)
    return done.wait(within)


def test_a_lane_that_hangs_holds_up_no_other(gate: threading.Event) -> None:
    pool = Pool()
    for _ in range(SIZE * 3):
        pool.submit(gate.wait, "hangs")
    assert ran(pool, "well")
    assert ran(pool, None)
    assert not ran(pool, "hangs", within=0.2)
    gate.set()
    assert ran(pool, "hangs")


def test_many_lanes_that_hang_leave_threads_for_others(gate: threading.Event) -> None:
    pool = Pool()
    for number, _ in itertools.product(range(SIZE - SPARE), range(SIZE)):
        pool.submit(gate.wait, f"hangs {number}")
    assert ran(pool, "well")
    assert ran(pool, None)


def test_the_tasks_of_a_lane_are_begun_in_order() -> None:
    pool, begun, ended = Pool(each=1), list[int](), threading.Event()
    for number in range(500):
        pool.submit(partial(begun.append, number), "one")
    pool.submit(ended.set, "one")
    assert ended.wait(PATIENCE)
    assert begun == list(range(500))


def test_the_oldest_is_begun_first_whatever_its_lane(gate: threading.Event) -> None:
    pool, begun, ended = Pool(size=1, spare=0), list[int](), threading.Event()
    pool.submit(gate.wait, "first")
    for number in range(99):
        pool.submit(partial(begun.append, number), f"lane {number % 3}")
    pool.submit(ended.set, "last")
    gate.set()
    assert ended.wait(PATIENCE)
    assert begun == list(range(99))


@pytest.mark.parametrize("lanes", [1, 3, 40])
def test_nothing_is_lost_and_no_lane_has_more_than_its_share(lanes: int) -> None:
    pool, lock, ended = Pool(), threading.Lock(), threading.Semaphore(0)
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def run(lane: str) -> None:
        with lock:
            now[lane] += 1
            most[lane] = max(most[lane], now[lane])
            most["all"] = max(most["all"], now.total())
        time.sleep(0.0005)
        with lock:
            now[lane] -= 1
        ended.release()

    for number in range(600):
        pool.submit(partial(run, f"lane {number % lanes}"), f"lane {number % lanes}")
    for _ in range(600):
        assert ended.acquire(timeout=PATIENCE)
    assert most.pop("all") <= SIZE
    assert max(most.values()) <= EACH
    assert len(most) == lanes


# the lanes of requests

WAITING = [
    pytest.param(method, id=space.prefix + name)
    for space in NAMESPACES
    for name, method in space.methods.items()
    if method.waits and ContainerInactive in method.errors
]


@pytest.mark.parametrize("method", WAITING)
def test_what_looks_into_a_bench_names_it(method: Method) -> None:
    named = {"container_id", *(field for field, _, _ in _NAMED)}
    assert len(named & set(method.request.__struct_fields__)) == 1


def lane(request: Request, caller: Caller = HOST) -> str | None:
    """The lane of a request."""
    method = next(one for one in MANAGED.methods.values() if one.request is type(request))
    return _lane(Understood(MANAGED, method, request), caller)


def test_the_lane_of_a_request_is_the_bench_that_it_looks_into(settings: Settings) -> None:
    models.connect()
    layout = rows.layout(container_id="b" * 64)
    pane = rows.panes_of(layout)[0]
    models.Bench.update(name="works").where(models.Bench.container_id == "b" * 64).execute()
    for request in (
        layouts.Create("t", "s", container_id="works"),
        layouts.Create("t", "s", container_id="b" * 12),
        layouts.Recreate(layout.layout_id),
        panes.Recreate(pane.pane_id),
    ):
        assert lane(request) == "b" * 64
    assert lane(layouts.Create("t", "s", container_id="nobody")) == _UNKNOWN
    assert lane(panes.Recreate("nobody")) == _UNKNOWN
    assert lane(layouts.Remove(layout.layout_id)) is None, "what only writes waits for no bench"


def test_a_peer_inside_a_bench_has_the_lane_of_its_own_bench_whatever_it_names(settings: Settings) -> None:
    layout = rows.layout(container_id="b" * 64)
    own = Caller("c" * 64)
    assert lane(layouts.Create("t", "s"), own) == "c" * 64
    assert lane(layouts.Recreate(layout.layout_id), own) == "c" * 64
