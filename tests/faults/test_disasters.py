"""What happens to disks, files and clocks: no loss, and a message that says what to do."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.middle import SHORT_STAGES, Middle, comes_right, ended, signal_tmux, standing
from tests.faults.middle import well as all_well
from tests.faults.points import Points
from tests.harness import Container, Place, Refused, Tower, eventually, pane
from tests.yard import Yard

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")


@pytest.fixture
def small_disk() -> Iterator[Tower]:
    """A tower whose state directory is a file system of its own."""
    made = Tower(environ=SHORT_STAGES)
    Points(made)
    made.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", made.state], check=True)
    try:
        yield made.up()
    finally:
        for process in made.processes():
            process.kill()
        subprocess.run(["umount", "-l", made.state], check=True)
        made.close()


def well(tower: Tower) -> None:
    """The audit finds nothing, now or in a moment."""
    all_well(tower, Place(tower))


def first_refusal(tower: Tower) -> Refused:
    """The answer to the first create that finds no room; sooner ones fill what SQLite had left."""
    for number in range(40):
        try:
            tower.create("local", session=f"full{number}", label_prefix=f"f{number}-")
        except Refused as refused:
            return refused
    raise AssertionError("forty creates found room on a full disk")


@ROOT
def test_a_full_disk_refuses_and_loses_nothing(small_disk: Tower) -> None:
    first = small_disk.create("local", session="before", label_prefix="b-")
    small_disk.ready(first)
    filler = fill(small_disk)
    refused = first_refusal(small_disk)
    assert refused.code == "internal_error"
    assert "serve.log" in refused.message
    doctor = small_disk.cli("doctor")
    assert doctor.returncode != 0
    assert "disk" in doctor.stdout
    filler.unlink()
    later = small_disk.create("local", session="after", label_prefix="a-")
    small_disk.ready(later)
    assert small_disk.ready(first)
    eventually(lambda: small_disk.rows("SELECT 1 FROM pane WHERE state = 'creating'") == [])
    well(small_disk)


def fill(tower: Tower) -> Path:
    """Leave no room on the disk of the state directory; returns the file that has taken it."""
    filler = tower.state / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], check=False, stderr=subprocess.DEVNULL)
    return filler


@ROOT
@pytest.mark.timeout(300)
def test_thirty_seconds_of_a_full_disk_in_the_middle_of_jobs(small_disk: Tower) -> None:
    """What was accepted settles as soon as there is room; nobody has to be started by hand."""
    before = small_disk.create("local", session="before", label_prefix="b-")
    small_disk.ready(before)
    started = {process.pid for process in small_disk.processes("supervisord")}
    ids = [small_disk.create("local", session=f"s{n}", label_prefix=f"s{n}-") for n in range(4)]
    filler = fill(small_disk)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(Refused):
            small_disk.create("local", session="full", label_prefix="f-")
        assert small_disk.layout(before)["state"] == "ready"
        time.sleep(1)
    filler.unlink()
    for layout_id in ids:
        ended(small_disk, layout_id)
        comes_right(small_disk, Middle("create", ""), layout_id)
    assert small_disk.ready(before)
    assert {process.pid for process in small_disk.processes("supervisord")} == started
    small_disk.ready(small_disk.create("local", session="after", label_prefix="a-"))
    small_disk.idle()
    for row in small_disk.rows("SELECT layout_id FROM layout WHERE state != 'ready'"):
        comes_right(small_disk, Middle("create", ""), row[0])
    well(small_disk)


@ROOT
def test_a_read_only_state_directory_is_named_at_up(small_disk: Tower) -> None:
    small_disk.down()
    eventually(lambda: not small_disk.processes())
    subprocess.run(["mount", "-o", "remount,ro", small_disk.state], check=True)
    try:
        refused = small_disk.cli("up")
        assert refused.returncode == 2
        assert str(small_disk.state) in refused.stderr
        assert "ead-only" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk.state], check=True)
    small_disk.up()
    small_disk.ready(small_disk.create("local"))
    well(small_disk)


@pytest.mark.timeout(300)
def test_a_database_locked_for_twenty_seconds_delays_and_loses_nothing(quick: Tower) -> None:
    first = quick.create("local", session="before", label_prefix="b-")
    quick.ready(first)
    connection = sqlite3.connect(quick.state / "state.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    answers: list[str] = []
    asker = threading.Thread(target=lambda: answers.append(quick.create("local", session="during", label_prefix="d-")))
    asker.start()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert quick.layout(first)["state"] == "ready"
        time.sleep(1)
    assert answers == []
    connection.execute("ROLLBACK")
    connection.close()
    asker.join()
    quick.ready(answers[0])
    well(quick)


def test_a_truncated_or_broken_event_file_is_written_again(quick: Tower) -> None:
    layout_id = quick.create("local")
    quick.ready(layout_id)
    well(quick)
    file = quick.state / "events.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    quick.call("managed.layout.remove", layout_id=layout_id)
    well(quick)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], b"\0" * 40 + b"\n", *lines[4:]]))
    quick.down()
    quick.up()
    well(quick)
    assert list(quick.state.glob("events.jsonl.damaged-*"))
    file.unlink()
    quick.ready(quick.create("local", session="again"))
    well(quick)


def test_a_queue_deleted_while_everything_runs_is_made_anew(quick: Tower) -> None:
    for file in quick.state.glob("queue.sqlite3*"):
        file.unlink()
    for number in range(3):
        quick.ready(quick.create("local", session=f"s{number}", label_prefix=f"s{number}-"))
    assert (quick.state / "queue.sqlite3").exists()
    well(quick)


def spoil(file: Path) -> None:
    """Write nonsense over a file from its second page on; the first one still says what it is."""
    with file.open("r+b") as opened:
        size = file.stat().st_size
        opened.seek(min(4096, size // 2))
        opened.write(os.urandom(max(4096, size)))


@pytest.mark.parametrize("how", ["pages", "header", "empty"])
def test_a_damaged_queue_is_made_anew_at_the_next_start(quick: Tower, how: str) -> None:
    first = quick.create("local", session="before", label_prefix="b-")
    quick.ready(first)
    quick.kill("work", signal.SIGSTOP)
    waiting = quick.create("local", session="waiting", label_prefix="w-")
    quick.kill("supervisord")
    quick.kill()
    eventually(lambda: not quick.processes())
    queue = quick.state / "queue.sqlite3"
    if how == "pages":
        spoil(queue)
    elif how == "header":
        queue.write_bytes(b"not a database at all" * 400)
    else:
        queue.write_bytes(b"")
    for file in quick.state.glob("queue.sqlite3-*"):
        file.write_bytes(os.urandom(4096))
    quick.up()
    quick.ready(waiting)
    quick.ready(quick.create("local", session="after", label_prefix="a-"))
    well(quick)


@pytest.mark.parametrize("how", ["pages", "emptied"])
def test_a_queue_that_is_damaged_while_everything_runs_is_made_anew(quick: Tower, how: str) -> None:
    quick.ready(quick.create("local"))
    if how == "pages":
        spoil(quick.state / "queue.sqlite3")
    else:  # the index that all share still tells of what was in it
        os.truncate(quick.state / "queue.sqlite3-wal", 0)
        quick.kill("work")
    for number in range(3):
        quick.ready(quick.create("local", session=f"s{number}", label_prefix=f"s{number}-"))
    well(quick)


def test_workers_whose_bells_are_gone_are_woken_all_the_same(quick: Tower) -> None:
    for bell in (quick.state / "run" / "bells").iterdir():
        bell.unlink()
    quick.ready(quick.create("local"))
    well(quick)


def test_a_log_that_is_just_rotated_is_not_lost(quick: Tower) -> None:
    layout_id = quick.create("local")
    log = Path(quick.ready(layout_id)["panes"][0]["log_path"])
    log.rename(f"{log}.1")
    quick.cli("container", "scan", check=True)
    assert quick.layout(layout_id)["state"] == "ready"


def test_a_command_that_ends_after_it_had_settled_is_not_said_to_run(quick: Tower) -> None:
    quick.profile("brief", ["sleep", "2"])
    quick.template("brief", [pane("brief", "brief")])
    points = Points(quick)
    points.arm("engine.finish.before", "STOP")
    layout_id = quick.create("local", "brief")
    with points.stopped_at("engine.finish.before"):
        time.sleep(2.5)
    found = quick.settled(layout_id)["panes"][0]
    assert (found["state"], found["failed_stage"], found["exit_code"]) == ("degraded", "launch_command", 0)
    ended = "SELECT 1 FROM event WHERE event_type = 'managed_pane_launch_command_exited'"
    assert len(quick.rows(ended)) == 1
    well(quick)


def test_an_engine_that_never_answers_does_not_keep_a_recreate_from_looking(quick: Tower) -> None:
    quick.down()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(quick.root / "silent.sock"))
        silent.listen(128)
        quick.environ["DOCKER_HOST"] = f"unix://{quick.root}/silent.sock"
        quick.up()
        layout_id = quick.create("local")
        quick.ready(layout_id)
        Place(quick).tmux("kill-server")
        assert len(quick.call("managed.layout.recreate", layout_id=layout_id)["panes"]) == 3
        quick.ready(layout_id)


def test_a_stale_socket_file_is_replaced(quick: Tower) -> None:
    quick.kill("supervisord")
    quick.kill()
    eventually(lambda: not quick.processes())
    assert quick.socket_path.exists()
    quick.up()
    assert quick.call("app.preflight")["code"] == "ok"


def test_a_second_server_and_a_second_up_do_no_harm(quick: Tower) -> None:
    server = quick.processes("serve")[0].pid
    second = quick.cli("serve")
    assert second.returncode == 1
    assert "already" in second.stderr
    again = quick.cli("up", check=True)
    assert "already" in again.stdout + again.stderr
    assert [process.pid for process in quick.processes("serve")] == [server]
    assert len(quick.processes("work")) == 2
    quick.ready(quick.create("local"))


def test_a_deleted_tmux_socket_is_restored(quick: Tower) -> None:
    place = Place(quick)
    layout_id = quick.create("local")
    quick.ready(layout_id)
    before = place.panes()
    next(quick.tmux_dir.glob("tmux-*/default")).unlink()
    quick.cli("container", "scan", check=True)
    assert quick.layout(layout_id)["state"] == "ready"
    assert place.panes() == before
    quick.ready(quick.create("local", session="beta", label_prefix="b-"))
    well(quick)


def pids_of_panes(tower: Tower) -> list[str]:
    """The tower id of the pane of each program that any tmux server of this tower's has started, hidden or not."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            parent = process.parent()
            if process.environ().get("TMUX_TMPDIR") == str(tower.tmux_dir) and parent and "tmux" in parent.name():
                found += [process.environ()["TOWER_PANE_ID"]] if "TOWER_PANE_ID" in process.environ() else []
    return sorted(found)


@pytest.mark.parametrize(
    ("point", "killed"),
    [
        ("engine.spawn.after", False),
        ("engine.spawn.after", True),
        ("stage.pane_create.before_commit", True),
        ("engine.settle.before", False),
        ("engine.finish.before", False),
    ],
)
def test_a_tmux_socket_deleted_in_the_middle_of_the_first_spawn(quick: Tower, point: str, killed: bool) -> None:
    """The server that holds the panes is found again, by the same worker and by the one that takes over."""
    with standing(quick, Place(quick), Middle("create", point)) as layout_id:
        next(quick.tmux_dir.glob("tmux-*/default")).unlink()
        if killed:  # whether or not it has committed that there are panes
            holder = quick.rows("SELECT holder FROM job WHERE layout_id = ?", layout_id)[0][0]
            psutil.Process(int(holder.split("-")[0])).kill()
    layout = quick.ready(layout_id)
    assert pids_of_panes(quick) == sorted(pane["pane_id"] for pane in layout["panes"])
    well(quick)


@pytest.mark.docker
def test_a_tmux_socket_deleted_in_a_container_in_the_middle_of_its_first_spawn(engine_host: str, yard: Yard) -> None:
    tower = Tower(docker_host=engine_host, environ=SHORT_STAGES)
    Points(tower)
    try:
        place = Container(tower.up(), yard)
        with standing(tower, place, Middle("create", "engine.spawn.after")) as layout_id:
            place.run("rm", "/tmp/tmux-1000/default")
        tower.ready(layout_id)
        servers = place.run("sh", "-c", "ps -e | grep -c 'tmux: server'").stdout
        assert servers.strip() == b"1"
        all_well(tower, place)
    finally:
        tower.close()


EAR = """stty raw -echo
: >"$1.up"
exec cat >"$1"
"""
TEXT = b"".join(b"%06d " % number for number in range(60_000))


@pytest.mark.parametrize("stands_still", [True, False], ids=["tmux-stands-still", "tmux-runs"])
def test_a_server_killed_while_it_sends_leaves_no_half_text_with_enter(quick_place: Place, stands_still: bool) -> None:
    """A tmux that stands still keeps the server in the middle of handing the text over."""
    tower, place = quick_place.tower, quick_place
    heard = place.path("ear")
    tower.profile("ear", ["sh", "-c", EAR, "sh", str(heard)])
    tower.template("ear", [pane("ear", "ear")])
    made = tower.ready(tower.create(place.container_id, "ear"))["panes"][0]
    eventually(Path(f"{heard}.up").exists)
    if stands_still:
        signal_tmux(place, "STOP")
    sender = _sender(tower, made["pane_id"])
    eventually(lambda: tower.rows("SELECT 1 FROM message"), every=0.005, what="the text is being sent")
    time.sleep(0.5 if stands_still else 0.02)
    tower.kill("serve")
    if stands_still:
        signal_tmux(place, "CONT")
    sender.wait(60)
    time.sleep(3)
    got = heard.read_bytes()
    assert got.removesuffix(b"\r") == TEXT or not got.endswith(b"\r"), (len(got), got[-20:])


def _sender(tower: Tower, pane_id: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "tower", "pane", "send", pane_id, "-"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    sender = subprocess.Popen(words, env=tower.environ, cwd=tower.root, stdin=subprocess.PIPE, **quiet)
    assert sender.stdin
    sender.stdin.write(TEXT)
    sender.stdin.close()
    return sender


def test_a_create_right_after_the_tmux_socket_was_deleted(quick: Tower) -> None:
    place = Place(quick)
    layout_id = quick.create("local")
    quick.ready(layout_id)
    before = place.panes()
    next(quick.tmux_dir.glob("tmux-*/default")).unlink()
    later = quick.create("local", session="beta", label_prefix="b-")
    quick.ready(later)
    assert before.items() <= place.panes().items()
    quick.cli("container", "scan", check=True)
    assert quick.layout(layout_id)["state"] == "ready"
    well(quick)


@pytest.mark.skipif(shutil.which("cc") is None and not os.environ.get("CI"), reason="no C compiler")
def test_the_wall_clock_jumps_both_ways() -> None:
    tower = Tower(environ=SHORT_STAGES)
    library, offset = tower.root / "clock.so", tower.root / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    offset.write_text("0")
    tower.environ |= {"LD_PRELOAD": str(library), "TOWER_TEST_CLOCK": str(offset)}
    try:
        tower.up()
        ids = []
        for number, days in enumerate((0, -2, 3, -1)):
            offset.write_text(str(days * 86400))
            ids.append(tower.create("local", session=f"s{number}", label_prefix=f"s{number}-"))
            tower.ready(ids[-1])
            tower.cli("container", "scan", check=True)
        stamps = [row[0][:10] for row in tower.rows("SELECT created_at FROM layout ORDER BY number")]
        assert len(set(stamps)) == 4, "the clock did not jump"
        for layout_id in ids:
            tower.ready(layout_id)
        well(tower)
    finally:
        tower.close()
