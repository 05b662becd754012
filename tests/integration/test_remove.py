"""Removing: the pane goes and nothing else does, whatever was left of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Container, Place, Refused, Tower, eventually
from tests.spots import Spot, grows, quick_tower
from tests.yard import Yard, host_for_tests


def _facts(row: Any) -> dict[str, Any]:
    """What of a pane must not change when another one goes."""
    kept = ("pane_id", "state", "failed_stage", "tmux_pane_id", "tmux_pane_index", "label", "agent_id", "log_path")
    return {key: row[key] for key in (*kept, "log_attached", "chain_depth")}


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_removing_any_pane_leaves_its_siblings_as_they_were(spot: Spot, victim: int) -> None:
    layout = spot.make("three")
    gone = layout["panes"][victim]
    before = [_facts(row) for row in layout["panes"] if row is not gone]
    order = [pane_id for pane_id in spot.in_order(layout["tmux_session_name"]) if pane_id != gone["pane_id"]]

    assert spot.remove(gone["pane_id"]) == {"pane_id": gone["pane_id"], "state": "removed"}

    for row in before:
        grows(row["log_path"])
    assert [_facts(spot.pane(row["pane_id"])) for row in before] == before
    assert spot.in_order(layout["tmux_session_name"]) == order
    assert spot.tower.layout(layout["layout_id"])["state"] == "ready"
    assert Path(gone["log_path"]).stat().st_size > 0, "the log of a removed pane stays"
    spot.remove_layout(layout["layout_id"])


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def own(request: pytest.FixtureRequest) -> Iterator[Spot]:
    """A spot whose tower and bench are the test's own, to be ended and started again."""
    tower = quick_tower(host_for_tests())
    try:
        place: Place = Place(tower)
        if request.param == "docker":
            place = Container(tower, request.getfixturevalue("yard"))
        tower.up()
        yield Spot(place)
    finally:
        tower.close()


def test_siblings_outlive_a_restart_of_everything(own: Spot) -> None:
    layouts = [own.make("three") for _ in range(3)]
    kept = []
    for victim, layout in enumerate(layouts):
        own.remove(layout["panes"][victim]["pane_id"])
        kept += [row for row in layout["panes"] if row is not layout["panes"][victim]]
    before = [_facts(row) for row in kept]
    own.tower.kill("supervisord")
    own.tower.kill()
    own.tower.up()
    own.scan()
    assert [_facts(own.pane(row["pane_id"])) for row in before] == before
    for row in before:
        grows(row["log_path"])
    for layout in layouts:
        assert own.tower.layout(layout["layout_id"])["state"] == "ready"


def test_removing_twice_changes_nothing_the_second_time(spot: Spot) -> None:
    layout = spot.make("three")
    pane_id = layout["panes"][1]["pane_id"]
    spot.remove(pane_id)
    before = spot.pane(pane_id), spot.tower.layout(layout["layout_id"])
    events = spot.tower.call("app.event.list", filters={"layout_id": layout["layout_id"]}, limit=200)["rows"]
    assert spot.remove(pane_id) == {"pane_id": pane_id, "state": "removed"}
    assert (spot.pane(pane_id), spot.tower.layout(layout["layout_id"])) == before
    first = spot.remove_layout(layout["layout_id"])
    assert first["state"] == "removed"
    assert {row["state"] for row in first["panes"]} == {"removed"}
    after = spot.tower.layout(layout["layout_id"])
    assert spot.remove_layout(layout["layout_id"]) == first
    assert spot.tower.layout(layout["layout_id"]) == after
    grown = spot.tower.call("app.event.list", filters={"layout_id": layout["layout_id"]}, limit=200)["rows"]
    told = [row["event_type"] for row in grown[: len(grown) - len(events)]]
    assert sorted(told) == sorted(
        ["managed_pane_state_changed", "managed_pane_removed"] * 2 + ["managed_layout_state_changed"]
    )


def test_the_last_pane_ends_the_session_and_the_one_before_does_not(spot: Spot) -> None:
    layout = spot.make("three")
    session = layout["tmux_session_name"]
    for row in layout["panes"][:2]:
        spot.remove(row["pane_id"])
        assert spot.place.run("tmux", "has-session", "-t", f"={session}").returncode == 0
        assert spot.tower.layout(layout["layout_id"])["state"] == "ready"
    spot.remove(layout["panes"][2]["pane_id"])
    assert spot.place.run("tmux", "has-session", "-t", f"={session}").returncode == 1
    assert spot.tower.layout(layout["layout_id"])["state"] == "removed"


def test_a_pane_that_is_gone_already_counts_as_removed(spot: Spot) -> None:
    layout = spot.make("three")
    gone = layout["panes"][0]
    spot.kill(gone)
    assert spot.remove(gone["pane_id"])["state"] == "removed"
    assert spot.events("managed_pane_removed", pane_id=gone["pane_id"])[0]["payload"] == {
        "tmux_kill_succeeded": False
    }
    there = layout["panes"][1]
    spot.remove(there["pane_id"])
    assert spot.events("managed_pane_removed", pane_id=there["pane_id"])[0]["payload"] == {"tmux_kill_succeeded": True}


def test_a_session_that_is_gone_already_counts_as_removed(spot: Spot) -> None:
    layout, other = spot.make("three"), spot.make("one")
    spot.place.tmux("kill-session", "-t", f"={layout['tmux_session_name']}")
    assert spot.remove_layout(layout["layout_id"])["state"] == "removed"
    assert spot.pane(other["panes"][0]["pane_id"])["state"] == "ready"


def test_a_failed_pane_is_removed_too_and_keeps_its_last_output(spot: Spot) -> None:
    spot.tower.profile("says", ["sh", "-c", "echo famous last words; sleep 1; exit 3"])
    spot.tower.template("says", [{"role": "x", "capability": "y", "label_pattern": "p{ordinal}",
                                  "default_launch_command_ref": "says"}])  # fmt: skip
    layout = spot.tower.settled(spot.accept("says"))
    pane_id = layout["panes"][0]["pane_id"]

    def exited() -> Any:
        spot.scan()
        return spot.pane(pane_id)["state"] == "degraded"

    eventually(exited)
    spot.remove(pane_id)
    row = spot.pane(pane_id)
    assert (row["state"], row["failed_stage"], row["exit_code"]) == ("removed", None, 3)
    assert "famous last words" in row["last_output"]


def test_removing_what_nobody_knows_or_what_is_being_made_is_refused(spot: Spot) -> None:
    for method, name in (("pane", "pane_id"), ("layout", "layout_id")):
        with pytest.raises(Refused) as refused:
            spot.tower.call(f"managed.{method}.remove", **{name: "nobody"})
        assert refused.value.code == f"managed_{method}_not_found"
        assert refused.value.details == {name: "nobody"}
    layout_id = spot.accept("three")
    pane_id = spot.tower.layout(layout_id)["panes"][0]["pane_id"]
    with pytest.raises(Refused) as refused:
        spot.remove(pane_id)
    assert refused.value.code == "managed_pane_illegal_transition"
    assert refused.value.details == {
        "pane_id": pane_id,
        "current_state": "creating",
        "requested_action": "remove",
    }
    answer = spot.remove_layout(layout_id)
    assert answer["state"] == "removed", "a layout's removal waits for its spawn"
    assert {row["state"] for row in answer["panes"]} == {"removed"}


def test_an_answer_before_the_end_carries_the_job(spot: Spot) -> None:
    layout = spot.make("one")
    answer = spot.tower.call("managed.pane.remove", pane_id=layout["panes"][0]["pane_id"], wait=False)
    assert answer["state"] in ("ready", "removed")

    def done() -> Any:
        job = spot.tower.call("app.job.detail", job_id=answer["job_id"])["row"]
        return job if job["state"] == "done" else None

    assert eventually(done)["kind"] == "remove"
    assert spot.pane(layout["panes"][0]["pane_id"])["state"] == "removed"
    layout = spot.make("one")
    answer = spot.tower.call("app.managed_layout_remove", layout_id=layout["layout_id"], wait=False)
    eventually(lambda: spot.tower.layout(layout["layout_id"])["state"] == "removed")
    assert answer["job_id"] > 0


def test_without_a_worker_the_answer_comes_at_once_and_the_removal_later(own: Spot) -> None:
    layout = own.make("one")
    own.tower.kill("supervisord")
    own.tower.kill("work")
    eventually(lambda: not own.tower.processes("work"))
    if not own.tower.processes("serve"):
        pytest.skip("the server went with its supervisor")
    answer = own.remove_layout(layout["layout_id"])
    assert answer["state"] == "ready"
    assert answer["job_id"] > 0
    own.tower.up()
    eventually(lambda: own.tower.layout(layout["layout_id"])["state"] == "removed")


def test_remove_when_the_tmux_server_is_gone(own: Spot) -> None:
    layouts = [own.make("three"), own.make("three")]
    own.place.tmux("kill-server")
    assert own.remove(layouts[0]["panes"][1]["pane_id"])["state"] == "removed"
    assert own.remove_layout(layouts[0]["layout_id"])["state"] == "removed"
    own.scan()
    failed = own.tower.layout(layouts[1]["layout_id"])
    assert (failed["state"], failed["failed_stage"]) == ("failed", "recovery_reattach")
    assert own.remove_layout(layouts[1]["layout_id"])["state"] == "removed"


@pytest.mark.docker
@pytest.mark.parametrize("verb", ["stop", "kill", "remove"])
def test_remove_when_the_container_is_gone(quick: Tower, yard: Yard, verb: str) -> None:
    spot = Spot(Container(quick, yard))
    layouts = [spot.make("three"), spot.make("one")]
    if verb == "remove":
        yard.remove(spot.bench)
    else:
        yard.act(spot.bench, verb)
    assert spot.remove(layouts[0]["panes"][0]["pane_id"])["state"] == "removed"
    assert spot.remove_layout(layouts[0]["layout_id"])["state"] == "removed"
    spot.scan()
    assert spot.tower.layout(layouts[1]["layout_id"])["state"] == "failed"
    assert spot.remove_layout(layouts[1]["layout_id"])["state"] == "removed"


@pytest.fixture
def fickle(yard: Yard, engine_host: str) -> Iterator[tuple[Spot, Path]]:
    """A spot in a container, and the path of its engine's socket: a link that can be taken away."""
    tower = quick_tower(TOWER_TIMES_RETRY_DELAYS="[0.1, 0.2]")
    link = tower.root / "engine.sock"
    link.symlink_to(engine_host.removeprefix("unix://"))
    tower.environ["DOCKER_HOST"] = f"unix://{link}"
    try:
        place = Container(tower, yard)
        tower.up()
        yield Spot(place), link
    finally:
        tower.close()


@pytest.mark.docker
def test_with_the_engine_down_a_remove_fails_and_works_when_repeated(fickle: tuple[Spot, Path]) -> None:
    spot, link = fickle
    layout = spot.make("three")
    first, second, third = (row["pane_id"] for row in layout["panes"])
    engine = link.readlink()
    link.unlink()
    for method, name in (("managed.pane.remove", "pane_id"), ("managed.layout.remove", "layout_id")):
        with pytest.raises(Refused) as refused:
            spot.tower.call(method, **{name: first if name == "pane_id" else layout["layout_id"]})
        assert refused.value.code == "docker_unavailable"
        row = spot.pane(first)
        assert (row["state"], row["failed_stage"]) == ("ready", "tmux_kill")
        assert row["reason"]
    whole = spot.tower.layout(layout["layout_id"])
    assert whole["state"] == "ready"
    assert {row["failed_stage"] for row in whole["panes"]} == {"tmux_kill"}

    done = spot.tower.cli("pane", "remove", second, "--yes", "--json")
    assert done.returncode == 1
    assert "docker_unavailable" in done.stderr

    link.symlink_to(engine)
    assert spot.remove(first)["state"] == "removed"
    spot.scan()
    for pane_id in (second, third):
        row = spot.pane(pane_id)
        assert (row["state"], row["failed_stage"], row["reason"]) == ("ready", None, None)
    assert spot.remove_layout(layout["layout_id"])["state"] == "removed"
    assert spot.place.panes() == {}


@pytest.mark.docker
def test_a_paused_bench_removes_nothing_until_it_goes_on(quick: Tower, yard: Yard) -> None:
    spot = Spot(Container(quick, yard))
    layout = spot.make("one")
    pane_id = layout["panes"][0]["pane_id"]
    yard.act(spot.bench, "pause")
    try:
        with pytest.raises(Refused) as refused:
            spot.remove(pane_id)
        assert refused.value.code == "tmux_unavailable"
        row = spot.pane(pane_id)
        assert (row["state"], row["failed_stage"]) == ("ready", "tmux_kill")
    finally:
        yard.act(spot.bench, "unpause")
    assert spot.remove(pane_id)["state"] == "removed"


def test_a_pane_that_exists_under_another_instance_is_left_alone(spot: Spot) -> None:
    layout = spot.make("one")
    row = layout["panes"][0]
    spot.place.tmux("set-option", "-p", "-t", row["tmux_pane_id"], "@tower_instance", "somebody-else")
    assert spot.remove(row["pane_id"])["state"] == "removed"
    assert row["tmux_pane_id"] in spot.place.tmux("list-panes", "-a", "-F", "#{pane_id}").splitlines()
    spot.place.tmux("kill-session", "-t", f"={layout['tmux_session_name']}")
