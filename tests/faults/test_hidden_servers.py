"""A tmux server that lives and cannot be reached: its panes are not lost, not doubled, and not said to be removed."""

import pytest

from tests.faults.middle import PACE, delete_socket, make, signal_tmux, told, well
from tests.harness import Place, Refused, Tower


def scanned(tower: Tower) -> str:
    """What a scan says."""
    return str(tower.cli("container", "scan").stderr)


def refused(tower: Tower, method: str, **params: object) -> Refused:
    """Why a request is refused."""
    with pytest.raises(Refused) as raised:
        tower.call(method, **params)
    return raised.value


def test_a_server_that_stands_still_without_its_socket_is_waited_for(quick_place: Place) -> None:
    tower, place = quick_place.tower, quick_place
    layout_id = make(tower, place, "alpha", "a-")
    before, panes = told(tower, layout_id), place.panes()
    signal_tmux(place, "STOP")
    delete_socket(place)
    about = {"container_id": place.container_id, "template_name": "1m+2s", "tmux_session_name": "beta"}
    try:
        assert "stands still" in scanned(tower)
        assert told(tower, layout_id) == before
        assert refused(tower, "managed.layout.create", label_prefix="b-", **about).code == "tmux_unavailable"
    finally:
        signal_tmux(place, "CONT")
    make(tower, place, "beta", "b-")
    assert panes.items() <= place.panes().items()
    assert told(tower, layout_id) == before
    well(tower, place)


def test_another_server_at_the_socket_hides_panes_and_ends_none(quick_place: Place) -> None:
    tower, place = quick_place.tower, quick_place
    layout_id = make(tower, place, "alpha", "a-")
    before, panes = told(tower, layout_id), place.panes()
    delete_socket(place)
    place.tmux("new-session", "-d", "-s", "theirs", "sleep 1000")
    assert "another one has its place" in scanned(tower)
    assert told(tower, layout_id) == before
    assert tower.call("managed.layout.recreate", layout_id=layout_id)["panes"] == []
    assert "another one has its place" in tower.cli("doctor").stdout
    assert refused(tower, "managed.pane.remove", pane_id=before[0][0]).code == "tmux_unavailable"
    assert tower.layout(layout_id)["panes"][0]["failed_stage"] == "tmux_kill"
    make(tower, place, "beta", "b-")
    place.tmux("kill-server")
    assert "another one" not in scanned(tower)
    assert told(tower, layout_id) == before
    assert panes.items() <= place.panes().items()
    tower.call("managed.pane.remove", pane_id=before[0][0])
    assert before[0][0] not in place.panes()
    well(tower, place)


def test_a_server_that_was_killed_is_not_taken_for_a_living_one(quick_place: Place) -> None:
    """The first process of the container waits for nobody, so that there the server stays a zombie."""
    tower, place = quick_place.tower, quick_place
    layout_id = make(tower, place, "alpha", "a-")
    signal_tmux(place, "KILL")
    scanned(tower)
    assert tower.layout(layout_id)["state"] == "failed"
    tower.call("managed.layout.recreate", layout_id=layout_id)
    tower.ready(layout_id)
    well(tower, place)


def test_another_folder_for_tmux_sockets_hides_panes_and_doubles_none() -> None:
    tower = Tower(environ=PACE)
    try:
        place = Place(tower.up())
        layout_id = make(tower, place, "alpha", "a-")
        before = told(tower, layout_id)
        tower.down()
        other = tower.root / "other"
        other.mkdir(mode=0o700)
        mine, tower.environ["TMUX_TMPDIR"] = tower.environ["TMUX_TMPDIR"], str(other)
        tower.up()
        assert told(tower, layout_id) == before
        assert "TMUX_TMPDIR" in tower.cli("doctor").stdout
        assert tower.call("managed.layout.recreate", layout_id=layout_id)["panes"] == []
        tower.down()
        tower.environ["TMUX_TMPDIR"] = mine
        tower.up()
        assert told(tower, layout_id) == before
        well(tower, place)
    finally:
        tower.close()
