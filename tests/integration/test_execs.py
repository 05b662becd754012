"""How often the engine is asked to execute something: by its own events, which nobody can argue with."""

import time
from collections.abc import Iterator

import pytest

from tests.harness import Container, Tower, eventually
from tests.yard import Yard

pytestmark = pytest.mark.docker

MOST = 4
"""Execs from create to ready where no stage is retried."""


@pytest.fixture(scope="module")
def tower(engine_host: str) -> Iterator[Tower]:
    """A tower that does nothing by itself meanwhile: what is counted is the layout's."""
    made = Tower(docker_host=engine_host, environ={"TOWER_TIMES_RECONCILE_EVERY": "86400"})
    try:
        yield made.up()
    finally:
        made.close()


def execs_of(tower: Tower, yard: Yard, bench: Container, session: str) -> list[str]:
    """The execs of a layout of three panes, from its create until it is ready."""
    since = time.time()
    layout_id = tower.create(bench.container_id, "1m+2s", session, label_prefix=f"{session}-")
    tower.ready(layout_id)
    assert tower.rows("SELECT max(claim) FROM job WHERE layout_id = ?", layout_id)[0][0] == len(STAGES), "a retry"
    return yard.execs_since(since, bench.container_id)


STAGES = ("pane_create", "launch_command", "registration", "log_attach")


def test_a_layout_takes_at_most_four_execs(tower: Tower, yard: Yard) -> None:
    bench = Container(tower, yard)
    never_seen = execs_of(tower, yard, bench, "alpha")
    known = execs_of(tower, yard, bench, "beta")
    assert 0 < len(never_seen) <= MOST, "\n".join(never_seen)
    assert 0 < len(known) <= MOST, "\n".join(known)


def test_a_removal_and_a_recreation_take_no_more(tower: Tower, yard: Yard) -> None:
    bench = Container(tower, yard)
    layout_id = tower.create(bench.container_id, "1m+2s", "alpha")
    tower.ready(layout_id)
    since = time.time()
    tower.call("managed.layout.remove", layout_id=layout_id)
    killed = yard.execs_since(since, bench.container_id)
    assert len(killed) == 1, "\n".join(killed)
    ended = "a server that is still ending is asked twice"
    eventually(lambda: bench.run("tmux", "list-sessions").returncode != 0, what=ended)
    since = time.time()
    tower.call("managed.layout.recreate", layout_id=layout_id)
    tower.ready(layout_id)
    recreated = yard.execs_since(since, bench.container_id)
    assert len(recreated) <= MOST, "\n".join(recreated)
