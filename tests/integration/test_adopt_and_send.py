"""Adoption and input on each runtime."""

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Container, Place, Refused, Tower, eventually

IDENTITY = ("container_id", "tmux_socket", "session_name", "window_index", "pane_index", "pane_id")


def seen(tower: Tower, **filters: Any) -> list[dict[str, Any]]:
    """The panes that a scan shows."""
    tower.call("app.scan.panes")
    return list(tower.call("app.pane.list", limit=200, filters=filters)["rows"])


def stranger(place: Place, command: str = "cat") -> dict[str, Any]:
    """A pane that somebody else made."""
    session = f"own-{uuid.uuid4().hex[:8]}"
    place.tmux("new-session", "-d", "-s", session, command)
    return next(row for row in seen(place.tower) if row["session_name"] == session)


def adopt(tower: Tower, row: dict[str, Any], **more: Any) -> Any:
    """Register a pane as an agent."""
    about = {"role": "shell", "capability": "terminal", "label": "mine", **more}
    return tower.call("app.agent.register_from_pane", **{name: row[name] for name in IDENTITY}, **about)


def send(tower: Tower, agent_id: str, text: str, **more: Any) -> Any:
    """Send a short text."""
    return tower.call("app.send_input", target_agent_id=agent_id, payload={"text": text, **more})


def test_adopt_log_and_send(place: Place) -> None:
    file = place.path("got")
    agent = adopt(place.tower, stranger(place, f"tee {file}"), attach_log=True)
    assert agent["log_attached"], agent
    assert send(place.tower, agent["agent_id"], "one\n-two ünï")["state"] == "delivered"
    eventually(lambda: file.read_text() == "one\n-two ünï\n")
    eventually(lambda: "-two" in Path(agent["log_path"]).read_text())


def test_a_managed_agent_gets_a_long_text_in_whole(place: Place) -> None:
    file = place.path("long")
    place.tower.profile("reader", ["sh", "-c", f"cat >{file}"])
    place.tower.template("one", [{"role": "r", "capability": "c", "label_pattern": "r1"}])
    layout = place.tower.create(place.container_id, "one", "alpha", launch_command_overrides={"r:r1": "reader"})
    place.tower.ready(layout)
    text = "".join(f"{number:07d} äöü\n" for number in range(7000))
    done = place.tower.cli("pane", "send", "alpha/r1", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    eventually(lambda: file.read_text() == text + "\n", what="the whole text")


def test_a_pane_in_copy_mode_takes_input_too(place: Place) -> None:
    file = place.path("copy")
    row = stranger(place, f"cat >{file}")
    agent = adopt(place.tower, row)
    place.tmux("copy-mode", "-t", row["pane_id"])
    assert send(place.tower, agent["agent_id"], "through")["state"] == "delivered"
    eventually(lambda: file.read_text() == "through\n")


def test_a_pane_of_another_server_is_another_pane(place: Place) -> None:
    row = stranger(place)
    agent = adopt(place.tower, row)
    place.tmux("kill-server")
    eventually(lambda: not place.tmux("list-panes", "-a"))
    again = stranger(place)
    assert again["pane_id"] == row["pane_id"]
    assert not again["registered"]
    with pytest.raises(Refused) as raised:
        send(place.tower, agent["agent_id"], "lost")
    assert raised.value.code == "permission_denied"
    assert adopt(place.tower, again)["agent_id"] != agent["agent_id"]


def test_no_scan_adopts_what_the_tower_makes(place: Place) -> None:
    """Whoever adopts whatever a scan shows as free never gets a pane of the tower's."""
    stop = threading.Event()
    adopted: list[str] = []
    refusals: set[str] = set()

    def greedy() -> None:
        while not stop.is_set():
            free = seen(place.tower, registered=False)
            for row in (row for row in free if row["container_id"] == place.container_id):
                try:
                    adopted.append(adopt(place.tower, row)["agent_id"])
                except Refused as refused:
                    refusals.add(refused.code)

    thread = threading.Thread(target=greedy)
    thread.start()
    try:
        for number in range(3):
            layout = place.tower.create(place.container_id, session=f"s{number}", label_prefix=f"s{number}-")
            place.tower.ready(layout)
    finally:
        stop.set()
        thread.join()
    assert adopted == []
    assert refusals <= {"permission_denied", "pane_already_registered", "pane_not_found"}


@pytest.mark.docker
def test_a_stopped_or_paused_container_is_told(docker_tower: Tower, yard: Any) -> None:
    place = Container(docker_tower, yard)
    row = stranger(place)
    agent = adopt(docker_tower, row)
    for verb, back in (("pause", "unpause"), ("stop", "start")):
        place.act(verb)
        with pytest.raises(Refused, match="container_inactive"):
            send(docker_tower, agent["agent_id"], "x")
        with pytest.raises(Refused, match="container_inactive"):
            adopt(docker_tower, row)
        place.act(back)
    docker_tower.call("app.scan.containers")
    found = docker_tower.call("app.agent.detail", agent_id=agent["agent_id"])["row"]
    assert not found["pane_active"]
