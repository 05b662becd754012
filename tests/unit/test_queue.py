"""The bells: who is woken, and whose bell is taken down."""

import os
import threading
from pathlib import Path

from tasks.queue import Bells


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
