"""What happens to disks, files and clocks: no loss, and a message that says what to do."""

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.audit import problems
from tests.harness import Place, Refused, Tower, eventually

PACE = {"TOWER_TIMES_SETTLE": "0.3", "TOWER_TIMES_STAGE": "6"}
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> Iterator[Tower]:
    made = Tower(environ=PACE)
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture
def small_disk() -> Iterator[Tower]:
    """A tower whose state directory is a file system of its own."""
    made = Tower(environ=PACE)
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
    tower.idle()
    places = [Place(tower)]
    eventually(lambda: not problems(tower, places), within=30, what=f"{problems(tower, places)}")


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
    filler = small_disk.state / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], check=False, stderr=subprocess.DEVNULL)
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
    asker = threading.Thread(
        target=lambda: answers.append(quick.create("local", session="during", label_prefix="d-"))
    )
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
    socket = next(quick.tmux_dir.glob("tmux-*/default"))
    socket.unlink()
    quick.cli("container", "scan", check=True)
    assert quick.layout(layout_id)["state"] == "ready"
    assert place.panes() == before
    quick.ready(quick.create("local", session="beta", label_prefix="b-"))
    well(quick)


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
    tower = Tower(environ=PACE)
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
