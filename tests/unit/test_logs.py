"""Reading a pane's log with its older files, and following it while it is renamed."""

import itertools
import threading
import time
from pathlib import Path

import msgspec
import pytest

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
    for chunk in log.chunks(0, follow=True):
        read += chunk
        if read.endswith(b"\n299\n"):
            break
    writer.join()
    numbers = [int(line) for line in read.split() if line.isdigit()]
    assert numbers == list(itertools.islice(itertools.count(numbers[0]), len(numbers)))
