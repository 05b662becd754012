"""The bells: who is woken, and whose bell is taken down."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.queue import Bells, WakingStorage


def rung(handle: int) -> bytes:
    """What hangs in a bell, without waiting."""
    os.set_blocking(handle, False)
    try:
        return os.read(handle, 100)
    except BlockingIOError:
        return b""
    finally:
        os.set_blocking(handle, True)


def test_every_bell_is_rung_once(tmp_path: Path) -> None:
    bells = Bells(tmp_path / "bells")
    bells.ring()
    first, second = bells.hang(), bells.hang()
    bells.ring()
    assert (rung(first), rung(second)) == (b"!", b"!")


def test_the_bell_of_a_dead_process_is_taken_down_and_others_ring_on(tmp_path: Path) -> None:
    bells = Bells(tmp_path / "bells")
    dead, living = bells.hang(), bells.hang()
    os.close(dead)
    bells.ring()
    assert rung(living) == b"!"
    assert len(list((tmp_path / "bells").iterdir())) == 1


def test_a_bell_that_cannot_be_opened_just_now_is_left_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bells = Bells(tmp_path / "bells")
    handle = bells.hang()

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        bells.ring()
    bells.ring()
    assert rung(handle) == b"!"


def test_a_bell_that_nobody_reads_for_long_blocks_nobody(tmp_path: Path) -> None:
    bells = Bells(tmp_path / "bells")
    bells.hang()
    for _ in range(70_000):
        bells.ring()


def test_ringing_while_bells_are_hung_takes_none_down(tmp_path: Path) -> None:
    bells = Bells(tmp_path / "bells")
    stop = threading.Event()

    def ring() -> None:
        while not stop.is_set():
            bells.ring()

    ringer = threading.Thread(target=ring)
    ringer.start()
    for _ in range(200):
        bells.hang()
    stop.set()
    ringer.join()
    assert len(list((tmp_path / "bells").iterdir())) == 200


def storage_in(folder: Path) -> WakingStorage:
    """A queue there."""
    return WakingStorage(filename=str(folder / "queue.sqlite3"), bells=folder / "bells", lock=folder / "queue.lock")


def locked_by_this_process(file: Path) -> int:
    """How many locks this process has on a file (proc(5), /proc/locks)."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sum(words[4] == str(os.getpid()) and words[5].endswith(f":{file.stat().st_ino}") for words in lines)


def test_one_thread_that_opens_the_queue_takes_no_lock_from_another(tmp_path: Path) -> None:
    first = storage_in(tmp_path)
    first.enqueue(b"one")
    assert locked_by_this_process(tmp_path / "queue.sqlite3") == 1
    second = storage_in(tmp_path)
    second.enqueue(b"two")
    assert locked_by_this_process(tmp_path / "queue.sqlite3") == 1
    assert (first.dequeue(), second.dequeue()) == (b"one", b"two")


def test_many_threads_open_the_queue_at_once(tmp_path: Path) -> None:
    for number in range(20):
        storage = storage_in(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            messages = [b"%d" % message for message in range(8)]
            list(pool.map(storage.enqueue, messages))
            assert sorted(filter(None, pool.map(lambda _: storage.dequeue(), messages))) == messages, number  # noqa: B023
        storage.close()
