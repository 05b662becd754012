"""Reading a pane's log with its older files, and following it while it is renamed."""

import itertools
import threading
import time
from pathlib import Path

import msgspec
import pytest

from tests.harness import eventually
from tower import config
from tower.benches.local import LocalBench
from tower.logs import LogUnreadable, PaneLog


@pytest.fixture
def log(tmp_path: Path) -> PaneLog:
    settings = config.load({"HOME": str(tmp_path), "TOWER_STATE_DIR": str(tmp_path), "TOWER_LOGS_KEEP": "2"})
    file = settings.pane_logs_dir / "local" / "p.log"
    file.parent.mkdir(parents=True)
    file.write_text("five\nsix\n")
    file.with_name("p.log.1").write_text("three\nfour\n")
    file.with_name("p.log.2").write_text("one\ntwo\n")
    assert msgspec.structs.asdict(settings)["logs"].keep == 2
    return PaneLog(settings, LocalBench(settings), str(file))


def test_the_older_files_come_first(log: PaneLog) -> None:
    assert log.text(None).split() == ["one", "two", "three", "four", "five", "six"]


@pytest.mark.parametrize(("lines", "text"), [(0, ""), (1, "six\n"), (3, "four\nfive\nsix\n")])
def test_the_last_lines(log: PaneLog, lines: int, text: str) -> None:
    assert log.text(lines) == text


def test_a_missing_log_is_told_of(log: PaneLog) -> None:
    log._path.unlink()
    with pytest.raises(LogUnreadable, match="There is no log at"):
        log.text(None)


def test_nothing_is_missed_while_files_are_renamed(log: PaneLog) -> None:
    def write() -> None:
        for number in range(300):
            if number % 100 == 50:
                log._path.rename(log._path.with_name("p.log.1"))
            with log._path.open("a") as file:
                file.write(f"{number}\n")
            time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    read = b""
    for chunk in log.chunks(0, lambda: False):
        read += chunk
        if read.endswith(b"\n299\n"):
            break
    writer.join()
    numbers = [int(line) for line in read.split() if line.isdigit()]
    assert numbers == list(itertools.islice(itertools.count(numbers[0]), len(numbers)))


def followed(log: PaneLog) -> tuple[list[bytes], "threading.Event"]:
    """What a follower has printed so far, all that there was and what comes, and what ends it."""
    chunks: list[bytes] = []
    over = threading.Event()

    def read() -> None:
        for chunk in log.chunks(None, lambda: False):
            chunks.append(chunk)
            if over.is_set():
                return

    threading.Thread(target=read, daemon=True).start()
    eventually(lambda: b"six" in b"".join(chunks))
    return chunks, over


def rotate(log: PaneLog, text: str) -> None:
    """What the writer does when the file is full, with two older ones kept."""
    log._path.with_name("p.log.1").rename(log._path.with_name("p.log.2"))
    log._path.rename(log._path.with_name("p.log.1"))
    log._path.write_text(text)


def test_a_file_that_was_filled_and_renamed_between_two_looks_is_not_missed(log: PaneLog) -> None:
    chunks, over = followed(log)
    rotate(log, "seven\n")
    rotate(log, "eight\n")
    eventually(lambda: b"eight" in b"".join(chunks))
    assert b"".join(chunks).split() == b"one two three four five six seven eight".split()
    over.set()


def test_a_file_that_is_emptied_in_place_is_followed_from_its_beginning(log: PaneLog) -> None:
    chunks, over = followed(log)
    with log._path.open("w") as file:
        file.write("new\n")
    eventually(lambda: b"".join(chunks).endswith(b"six\nnew\n"))
    over.set()


def test_nothing_is_missed_when_files_are_renamed_while_they_are_opened(log: PaneLog) -> None:
    over = threading.Event()

    def turn() -> None:
        number = 0
        while not over.is_set():
            rotate(log, f"{number}\n")
            number += 1
            time.sleep(0.001)

    writer = threading.Thread(target=turn)
    writer.start()
    try:
        for _ in range(300):
            numbers = [int(word) for word in log.text(None).split() if word.isdigit()]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    finally:
        over.set()
        writer.join()


@pytest.fixture
def inside(log: PaneLog, tmp_path: Path) -> PaneLog:
    """The same log, as one that only a command in the bench can read."""
    other = config.load({"HOME": str(tmp_path), "TOWER_STATE_DIR": str(tmp_path / "other"), "TOWER_LOGS_KEEP": "2"})
    made = PaneLog(other, LocalBench(other), str(log._path))
    made._on_host = False
    return made


def test_inside_a_bench_the_older_files_come_first_and_the_last_lines_alone(inside: PaneLog) -> None:
    assert inside.text(None).split() == ["one", "two", "three", "four", "five", "six"]
    assert inside.text(1) == "six\n"


def test_inside_a_bench_nothing_is_printed_again_when_files_are_renamed(inside: PaneLog) -> None:
    chunks, over = followed(inside)
    with inside._path.open("a") as file:
        file.write("seven\n")
    rotate(inside, "eight\n")
    rotate(inside, "nine\n")
    eventually(lambda: b"nine" in b"".join(chunks))
    rotate(inside, "ten\n")
    eventually(lambda: b"ten" in b"".join(chunks))
    assert b"".join(chunks).split() == b"one two three four five six seven eight nine ten".split()
    over.set()


def test_inside_a_bench_a_file_that_is_emptied_is_read_from_its_beginning(inside: PaneLog) -> None:
    chunks, over = followed(inside)
    inside._path.write_text("new\n")
    eventually(lambda: b"".join(chunks).endswith(b"six\nnew\n"))
    over.set()
