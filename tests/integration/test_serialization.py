"""One job at a time on a bench, in the order of acceptance; and what two requests at the same moment may do."""

import itertools
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.harness import Container, Place, Refused, Tower, eventually, pane
from tests.spots import Spot, at_once, quick_tower
from tests.yard import Yard, host_for_tests


@pytest.fixture(scope="module")
def instant() -> Iterator[Spot]:
    """The local bench of a tower that lets nothing settle, with the limits as they are."""
    tower = quick_tower(TOWER_TIMES_SETTLE="0", TOWER_LIMITS_LAYOUTS="40")
    try:
        yield Spot(Place(tower.up()))
    finally:
        tower.close()


@pytest.fixture(scope="module")
def slow() -> Iterator[Tower]:
    """A tower whose spawns take some seconds."""
    tower = quick_tower(host_for_tests(), TOWER_TIMES_SETTLE="4")
    try:
        yield tower.up()
    finally:
        tower.close()


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def slowly(request: pytest.FixtureRequest, slow: Tower) -> Spot:
    """A bench of each runtime on the slow tower."""
    if request.param == "local":
        return Spot(Place(slow))
    return Spot(Container(slow, request.getfixturevalue("yard")))


def test_two_recreates_at_the_same_moment_fifty_times(instant: Spot) -> None:
    """One wins; the other hears of the winner, or with the same key gets it too."""
    instant.tower.template("many", [pane("p{ordinal}", "idle") for _ in range(13)])
    layouts = [instant.make("many") for _ in range(4)]
    for layout in layouts:
        for row in layout["panes"]:
            instant.tower.call("managed.pane.remove", pane_id=row["pane_id"], wait=False)
    instant.tower.idle(within=120)
    sources = [row["pane_id"] for layout in layouts for row in layout["panes"]][:50]
    assert len(sources) == 50
    winners = [_race(instant, source) for source in sources]
    instant.tower.idle(within=180)
    assert {instant.pane(pane_id)["state"] for pane_id in winners} == {"ready"}
    for pane_id in winners:
        instant.tower.call("managed.pane.remove", pane_id=pane_id, wait=False)
    instant.tower.idle(within=120)
    seconds = [_race_with_one_key(instant, source) for source in winners]
    instant.tower.idle(within=180)
    assert {instant.pane(pane_id)["state"] for pane_id in seconds} == {"ready"}
    for layout in layouts:
        assert sorted(instant.in_order(layout["tmux_session_name"])) == sorted(
            row["pane_id"] for row in instant.tower.layout(layout["layout_id"])["panes"] if row["state"] == "ready"
        )
        instant.remove_layout(layout["layout_id"])


def _race(spot: Spot, source: str) -> str:
    def ask() -> Any:
        return spot.tower.call("managed.pane.recreate", predecessor_pane_id=source)

    results = at_once(ask, ask)
    lost = [result for result in results if isinstance(result, Refused)]
    won = [result for result in results if isinstance(result, dict)]
    assert len(won) == len(lost) == 1, results
    assert lost[0].code == "managed_pane_concurrent_recreate"
    assert lost[0].details == {"predecessor_pane_id": source, "in_flight_successor_pane_id": won[0]["pane_id"]}
    return str(won[0]["pane_id"])


def _race_with_one_key(spot: Spot, source: str) -> str:
    def ask() -> Any:
        return spot.tower.call("managed.pane.recreate", predecessor_pane_id=source, idempotency_key="k")

    results = at_once(ask, ask)
    assert all(isinstance(result, dict) for result in results), results
    first, second = results
    assert first["pane_id"] == second["pane_id"]
    assert sorted([first["replay"], second["replay"]]) == [False, True]
    return str(first["pane_id"])


def test_a_chain_reaches_depth_fifteen_and_no_further(instant: Spot) -> None:
    layout = instant.make("one")
    row = layout["panes"][0]
    ids = [row["pane_id"]]
    for depth in range(1, 16):
        instant.remove(row["pane_id"])
        row = instant.recreate(row["pane_id"])
        assert row["chain_depth"] == depth
        ids.insert(0, row["pane_id"])
    instant.remove(row["pane_id"])
    with pytest.raises(Refused) as refused:
        instant.tower.call("managed.pane.recreate", predecessor_pane_id=row["pane_id"])
    error = refused.value
    assert error.code == "managed_pane_recreate_chain_too_deep"
    assert error.details == {"predecessor_pane_id": row["pane_id"], "predecessor_chain_depth": 15, "limit": 16}
    with pytest.raises(Refused, match="chain_too_deep"):
        instant.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    shown = instant.tower.call("managed.pane.detail", pane_id=row["pane_id"], include_predecessor_chain=True)
    assert [one["pane_id"] for one in shown["predecessor_chain"]] == ids[1:], "newest first"
    assert instant.tower.layout(layout["layout_id"])["state"] == "removed"


def test_twenty_creates_at_the_same_moment_at_thirty_layouts(instant: Spot) -> None:
    """With the real limit of forty: ten are accepted, never eleven."""
    tower = instant.tower
    there = len(tower.call("managed.layout.list", state=["creating", "ready", "degraded", "failed"])["items"])
    for _ in range(30 - there):
        instant.accept("one")
    results = at_once(*[lambda: instant.accept("one")] * 20)
    accepted = [result for result in results if isinstance(result, str)]
    refused = [result for result in results if isinstance(result, Refused)]
    assert (len(accepted), len(refused)) == (10, 10), results
    assert {error.code for error in refused} == {"managed_layout_capacity_exceeded"}
    assert all(error.details == {"current_count": 40, "limit": 40} for error in refused)
    live = "SELECT count(*) FROM layout WHERE state != 'removed'"
    assert tower.rows(live)[0][0] == 40
    tower.idle(within=180)
    assert tower.rows("SELECT count(*) FROM layout WHERE state = 'ready'")[0][0] == 40, "every one that was accepted"
    instant.remove_layout(accepted[0])
    again = at_once(*[lambda: instant.accept("one")] * 5)
    assert sum(isinstance(result, str) for result in again) == 1
    for row in tower.rows("SELECT layout_id FROM layout WHERE state != 'removed'"):
        tower.call("managed.layout.remove", layout_id=row["layout_id"], wait=False)
    tower.idle(within=180)
    assert tower.rows(live)[0][0] == 0


def test_creates_with_one_key_at_the_same_moment_make_one_layout(instant: Spot) -> None:
    for turn in range(10):
        session = instant.name()

        def ask(session: str = session, key: str = f"key-{turn}") -> Any:
            request = {"container_id": "local", "template_name": "one", "tmux_session_name": session}
            return instant.tower.call("managed.layout.create", **request, label_prefix=session, idempotency_key=key)

        results = at_once(*[ask] * 4)
        assert len({result["layout_id"] for result in results}) == 1, results
        assert sorted(result["replay"] for result in results) == [False, True, True, True]
        instant.remove_layout(results[0]["layout_id"])


def test_of_creates_with_one_session_or_one_label_one_wins(instant: Spot) -> None:
    for _ in range(5):
        session = instant.name()
        results = at_once(*[lambda session=session: instant.accept("one", session=session)] * 4)
        won = [result for result in results if isinstance(result, str)]
        lost = [result.code for result in results if isinstance(result, Refused)]
        assert (len(won), lost) == (1, ["managed_session_name_conflict"] * 3), results
        names = [instant.name() for _ in range(4)]

        def ask(name: str, prefix: str = f"{session}x") -> str:
            return instant.tower.create("local", "one", name, label_prefix=prefix)

        results = at_once(*[lambda name=name, ask=ask: ask(name) for name in names])
        also = [result for result in results if isinstance(result, str)]
        lost = [result.code for result in results if isinstance(result, Refused)]
        assert (len(also), lost) == (1, ["managed_pane_label_conflict"] * 3), results
        for layout_id in (*won, *also):
            instant.remove_layout(layout_id)


def test_a_server_without_any_session_is_no_hindrance(instant: Spot) -> None:
    instant.place.tmux("new-session", "-d", "-s", "x", ";", "set", "-s", "exit-empty", "off", ";", "kill-server")
    instant.place.tmux("new-session", "-d", "-s", "x", ";", "set", "-s", "exit-empty", "off", ";", "kill-session")
    assert instant.place.run("tmux", "has-session").returncode == 1
    layout = instant.make("three")
    instant.remove_layout(layout["layout_id"])
    instant.remove_layout(instant.make("one")["layout_id"])
    instant.place.tmux("kill-server")


def test_two_removes_at_the_same_moment_both_succeed(instant: Spot) -> None:
    layouts = [instant.make("three") for _ in range(3)]
    for layout in layouts:
        pane_id = layout["panes"][0]["pane_id"]
        results = at_once(
            lambda pane_id=pane_id: instant.remove(pane_id),
            lambda pane_id=pane_id: instant.remove(pane_id),
            lambda layout_id=layout["layout_id"]: instant.remove_layout(layout_id),
            lambda layout_id=layout["layout_id"]: instant.remove_layout(layout_id),
        )
        assert [result["state"] for result in results[:2]] == ["removed", "removed"]
        assert [result["state"] for result in results[2:]] == ["removed", "removed"]
        told = instant.events("managed_pane_removed", layout_id=layout["layout_id"])
        assert len(told) == 3, "each pane is removed once"


def _spans(tower: Tower, job_ids: list[int]) -> list[tuple[str, str]]:
    marks = ",".join("?" * len(job_ids))
    rows = tower.rows(f"SELECT started_at, finished_at FROM job WHERE id IN ({marks}) ORDER BY id", *job_ids)
    return [(row["started_at"], row["finished_at"]) for row in rows]


def _job_of(tower: Tower, layout_id: str) -> int:
    return int(tower.rows("SELECT max(id) FROM job WHERE layout_id = ?", layout_id)[0][0])


def test_jobs_of_one_bench_run_in_the_order_of_acceptance_and_never_two_at_once(instant: Spot) -> None:
    tower = instant.tower
    last = tower.rows("SELECT coalesce(max(id), 0) FROM job")[0][0]
    made = [instant.accept("three") for _ in range(6)]
    for layout_id in made[:3]:
        tower.call("managed.layout.remove", layout_id=layout_id, wait=False)
    at_once(*[lambda: instant.accept("one")] * 8)
    tower.idle()
    rows = tower.rows("SELECT id, kind, started_at, finished_at FROM job WHERE id > ? ORDER BY id", last)
    spans = [(row["started_at"], row["finished_at"]) for row in rows]
    assert len([row for row in rows if row["kind"] != "reconcile"]) == 17
    for before, after in itertools.pairwise(spans):
        assert before[1] <= after[0], "a job begins when the one before it has ended"
    for layout_id in (row["layout_id"] for row in tower.rows("SELECT layout_id FROM layout WHERE state != 'removed'")):
        tower.call("managed.layout.remove", layout_id=layout_id, wait=False)
    tower.idle()


@pytest.mark.docker
def test_jobs_of_different_benches_run_side_by_side(slow: Tower, yard: Yard) -> None:
    spots = [Spot(Place(slow)), *(Spot(Container(slow, yard)) for _ in range(3))]
    for layout_id in at_once(*(partial(spot.accept, "one") for spot in spots)):
        slow.ready(layout_id)  # a bench that is new costs a login shell
    made = at_once(*(partial(spot.accept, "three") for spot in spots))
    for layout_id in made:
        slow.ready(layout_id)
    spans = _spans(slow, [_job_of(slow, layout_id) for layout_id in made])
    assert max(start for start, _ in spans) < min(end for _, end in spans), "all of them ran at one moment"
    for layout_id in made:
        slow.call("managed.layout.remove", layout_id=layout_id)


def test_neither_reads_nor_acceptance_wait_for_a_job(slowly: Spot) -> None:
    tower = slowly.tower
    first = slowly.accept("three")
    eventually(lambda: tower.layout(first)["panes"][0]["tmux_pane_id"])
    longest = 0.0
    for ask in (
        lambda: tower.call("managed.layout.list"),
        lambda: tower.layout(first),
        lambda: slowly.accept("one"),
        lambda: tower.call("managed.pane.list", layout_id=first),
    ):
        begin = time.monotonic()
        ask()
        longest = max(longest, time.monotonic() - begin)
    assert tower.layout(first)["state"] == "creating", "all of them were answered while it was being made"
    assert longest < 4
    for row in tower.call("managed.layout.list", container_id=slowly.bench)["items"]:
        tower.call("managed.layout.remove", layout_id=row["layout_id"], wait=False)
    tower.idle()


@contextmanager
def _frozen(tower: Tower) -> Iterator[None]:
    """While the workers stand still, nothing that was begun ends."""
    tower.kill("work", signal.SIGSTOP)
    try:
        yield
    finally:
        tower.kill("work", signal.SIGCONT)


def test_a_remove_waits_for_the_spawn_before_it_and_the_command_line_says_so(slowly: Spot) -> None:
    tower = slowly.tower
    ready = slowly.make("one")
    spawning = slowly.accept("three")
    eventually(lambda: tower.layout(spawning)["panes"][0]["tmux_pane_id"])
    spawn = _job_of(tower, spawning)
    with _frozen(tower):
        done = tower.cli("layout", "remove", ready["tmux_session_name"], "--yes", "--timeout", "5")
    assert done.returncode == 5, done.stderr
    removal = _job_of(tower, ready["layout_id"])
    name = tower.layout(spawning)["container_name"]
    assert f"job {removal} waits for job {spawn} (spawn) on {name}" in done.stdout
    eventually(lambda: tower.layout(ready["layout_id"])["state"] == "removed")
    first, second = _spans(tower, [spawn, removal])
    assert first[1] <= second[0]
    tower.ready(spawning)
    assert slowly.remove_layout(spawning)["state"] == "removed"


def test_creates_in_a_row_say_what_each_waits_for(slowly: Spot) -> None:
    tower = slowly.tower
    first = slowly.accept("three")
    eventually(lambda: tower.layout(first)["panes"][0]["tmux_pane_id"])
    session = slowly.name()
    words = ["layout", "create", slowly.bench, "-t", "one", "-s", session, "--label-prefix", session]
    with _frozen(tower):
        done = tower.cli(*words, "--timeout", "5")
    assert done.returncode == 5, done.stderr
    assert f"waits for job {_job_of(tower, first)} (spawn)" in done.stdout
    assert f"{session}p1  creating  pane_create" in done.stdout.splitlines()
    done = tower.cli("layout", "wait", f"{tower.layout(first)['container_name']}:{session}")
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stdout.splitlines() if re.match(rf"{session}p1  (creating|ready)", line)]
    assert shown[-1] == f"{session}p1  ready"
    for row in tower.call("managed.layout.list", container_id=slowly.bench)["items"]:
        tower.call("managed.layout.remove", layout_id=row["layout_id"])
    tower.idle()
