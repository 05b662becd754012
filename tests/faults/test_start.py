"""Starting anew: what the socket answers with, and how soon; other states, and old ones, never harm an agent."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.audit import problems, projected_events
from tests.harness import Container, Place, Tower, eventually, pane
from tests.yard import Yard

PACE = {"TOWER_TIMES_SETTLE": "0.3"}


@pytest.fixture
def quick_docker(engine_host: str) -> Iterator[Tower]:
    made = Tower(docker_host=engine_host, environ=PACE)
    try:
        yield made.up()
    finally:
        made.close()


def serve_again(tower: Tower) -> float:
    """Kill and start everything; returns the seconds from the server's start until the socket answered.

    How many there may be on an idle machine is for the benchmarks to say, which measure it.
    """
    tower.kill("supervisord")
    tower.kill()
    eventually(lambda: not tower.processes(), what="all processes are gone")
    tower.cli("up", check=True)
    began = tower.processes("serve")[0].create_time()
    line = (tower.state / "log" / "serve.log").read_text().splitlines()
    serving = [text for text in line if " serving " in text][-1]
    stamp = time.mktime(time.strptime(serving[:19], "%Y-%m-%d %H:%M:%S")) + float("0." + serving[20:23])
    return stamp - began


def test_four_layouts_are_known_when_the_socket_answers(tower: Tower) -> None:
    """Every outcome, from the first answer on; the benchmarks measure how soon that comes."""
    ids = [tower.create("local", session=f"s{n}", label_prefix=f"s{n}-") for n in range(4)]
    for layout_id in ids:
        tower.ready(layout_id)
    lost = tower.layout(ids[0])["panes"][1]
    tower.down()
    Place(tower).tmux("kill-pane", "-t", lost["tmux_pane_id"])
    took = serve_again(tower)
    states = {pane["pane_id"]: pane["state"] for n in ids for pane in tower.layout(n)["panes"]}
    assert states.pop(lost["pane_id"]) == "failed"
    assert set(states.values()) == {"ready"}
    assert took < 10
    events = tower.rows("SELECT event_type, layout_id, payload FROM event WHERE event_type LIKE '%recovery%'")
    told = [(event["event_type"].removeprefix("managed_layout_recovery_"), event["layout_id"]) for event in events]
    assert sorted(told) == sorted([("reattached", n) for n in ids] + [("failed", ids[0])])
    tower.cli("container", "scan", check=True)
    assert len(tower.rows("SELECT 1 FROM event WHERE event_type LIKE '%recovery%'")) == len(events)
    assert not problems(tower, [Place(tower)])


@pytest.mark.docker
@pytest.mark.timeout(400)
def test_forty_layouts_over_ten_benches_one_paused_and_one_deleted(quick_docker: Tower, yard: Yard) -> None:
    tower = quick_docker
    tower.template("one", [pane("{session}")])
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: Container(tower, yard), range(10)))
    orders = [(place, f"s{number}") for place in places for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda order: tower.create(order[0].container_id, "one", order[1]), orders))
    for layout_id in ids:
        tower.ready(layout_id, within=120)
    tower.down()
    places[0].act("pause")
    yard.remove(places[1].container_id)
    took = []
    try:
        for _ in range(3):
            took.append(serve_again(tower))
            layouts = {row["layout_id"]: row for row in tower.call("managed.layout.list", limit=200)["items"]}
            states = [layouts[layout_id]["state"] for layout_id in ids]
            assert states[:4] == ["ready"] * 4
            assert states[4:8] == ["failed"] * 4
            assert states[8:] == ["ready"] * 32
            benches = {row["container_id"]: row["state"] for row in tower.call("app.container.list")["rows"]}
            assert benches[places[1].container_id] == "inactive"
        assert min(took) <= 3, took
    finally:
        places[0].act("unpause")


def test_an_engine_that_never_answers_delays_the_look_at_the_host_no_longer_than_it_may(tower: Tower) -> None:
    """An engine that stands still still accepts connections: the kernel does so (listen(2))."""
    layout_id = tower.create("local")
    lost = tower.ready(layout_id)["panes"][1]
    tower.down()
    Place(tower).tmux("kill-pane", "-t", lost["tmux_pane_id"])
    with socket.socket(socket.AF_UNIX) as silent:
        path = tower.root / "silent.sock"
        silent.bind(str(path))
        silent.listen(128)
        tower.environ["DOCKER_HOST"] = f"unix://{path}"
        took = serve_again(tower)
        states = {pane["pane_id"]: pane["state"] for pane in tower.layout(layout_id)["panes"]}
        assert states.pop(lost["pane_id"]) == "failed"
        assert set(states.values()) == {"ready"}
        assert took < 10
        tower.ready(tower.create("local", session="beta", label_prefix="b-"))


def test_a_second_state_directory_never_touches_the_panes_of_the_first(tower: Tower) -> None:
    layout_id = tower.create("local")
    tower.ready(layout_id)
    second = Tower(environ=PACE | {"TMUX_TMPDIR": str(tower.tmux_dir)})
    try:
        second.up()
        before = Place(tower).panes()
        theirs = second.create("local", session="beta", label_prefix="b-")
        second.ready(theirs)
        second.cli("container", "scan", check=True)
        second.call("managed.layout.remove", layout_id=theirs)
        second.cli("container", "scan", check=True)
        assert Place(tower).panes() == before
    finally:
        second.close()
    assert tower.ready(layout_id)


def test_an_old_backup_put_back_never_kills_an_agent(tower: Tower) -> None:
    old = tower.create("local", session="old", label_prefix="o-")
    tower.ready(old)
    tower.down()
    eventually(lambda: not tower.processes())
    backup = tower.root / "backup"
    backup.mkdir()
    for file in tower.state.glob("state.sqlite3*"):
        shutil.copy(file, backup)
    tower.up()
    new = tower.create("local", session="new", label_prefix="n-")
    tower.ready(new)
    tower.call("managed.pane.remove", pane_id=tower.layout(old)["panes"][2]["pane_id"])
    place = Place(tower)
    panes = place.panes()
    assert len(panes) == 5
    tower.down()
    eventually(lambda: not tower.processes())
    for file in tower.state.glob("state.sqlite3*"):
        file.unlink()
    for file in backup.iterdir():
        shutil.copy(file, tower.state)
    tower.up()
    tower.cli("container", "scan", check=True)
    assert place.panes() == panes
    later = tower.create("local", session="later", label_prefix="l-")
    tower.ready(later)
    assert panes.items() <= place.panes().items()
    doctor = tower.cli("doctor").stdout
    assert "an older copy of it?" in doctor


WRITER = """
import os, sys
from tower import config, events, models
settings = config.load()
config.make_state_dirs(settings)
models.use(settings)
projector = events.Projector(settings)
projector.start()
for number in range(1000):
    with models.writing():
        events.record(events.PaneLaunched(tmux_pane_id=f"%{number}"), actor="daemon", container_id="local")
    projector.nudge()
    if number == 20:
        print("writing", flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_killing_every_writer_leaves_database_and_file_alike(down_tower: Tower, delay: float) -> None:
    words = [sys.executable, "-c", WRITER]
    writers = [
        subprocess.Popen(words, env=down_tower.environ, stdout=subprocess.PIPE, cwd=Path.cwd()) for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdout
        writer.stdout.readline()
    time.sleep(delay)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        writer.communicate()
    recorded = [row[0] for row in down_tower.rows("SELECT id FROM event ORDER BY sequence")]
    assert len(recorded) >= 60
    down_tower.up()
    expected = [row[0] for row in down_tower.rows("SELECT id FROM event ORDER BY sequence")]
    assert expected[: len(recorded)] == recorded
    eventually(lambda: [event["id"] for event in projected_events(down_tower)] == expected)
