"""A server process without workers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import Tower, eventually


def start(tower: Tower) -> "subprocess.Popen[bytes]":
    """Start `tower serve`; its log goes to `serve.log` in the tower's root."""
    with (tower.root / "serve.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tower", "serve"],
            env=tower.environ,
            cwd=tower.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def answers(tower: Tower) -> bool:
    """Whether the server answers at its socket."""
    try:
        return bool(tower.ask("app.preflight")["ok"])
    except OSError:
        return False


@contextmanager
def serving(tower: Tower) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that answers, as long as the block runs."""
    process = start(tower)
    try:
        eventually(lambda: answers(tower) or process.poll() is not None, what="the server answers")
        assert process.poll() is None, log_of(tower)
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(tower: Tower) -> str:
    """What the server has written."""
    return (tower.root / "serve.log").read_text()
