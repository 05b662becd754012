"""The tmux verbs on a private tmux server, without a tower around them."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tower.benches.local import LocalBench
from tower.config import Settings, load
from tower.tmux import Listing, Neighbour, NewPane, Remains, SeenPane, Spawn, Tmux

T = TypeVar("T")

DUMP = """\
import json, os, sys
out = {"argv": [os.fsencode(a).hex() for a in sys.argv[2:]], "cwd": os.fsencode(os.getcwd()).hex(),
       "env": {k.decode("latin1"): v.hex() for k, v in os.environb.items()}}
open(sys.argv[1] + ".new", "w").write(json.dumps(out))
os.rename(sys.argv[1] + ".new", sys.argv[1])
import time; time.sleep(300)
"""


class Direct:
    """A bench with a tmux server of its own below ``root``, and what an operator would type there."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.sockets = root / "t"
        self.sockets.mkdir()
        self.environ = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(root),
            "TMUX_TMPDIR": str(self.sockets),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "OPERATORS": "own",
        }
        self.settings: Settings = load(
            {"HOME": str(root), "TOWER_STATE_DIR": str(root / "s"), "TOWER_CONFIG_DIR": str(root / "c"), **settings}
        )
        self.bench = LocalBench(self.settings)
        self.instance = uuid.uuid4().hex
        self.tmux = Tmux(self.bench, self.instance, self.settings)
        self.fence = 1

    def deadline(self) -> float:
        """Long enough for a busy machine."""
        return time.monotonic() + 30

    def sh(self, *words: str) -> str:
        """What the operator's own tmux client prints."""
        return self.client(*words).stdout

    def client(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A tmux client of the operator, with an environment of the operator's."""
        return subprocess.run(
            ["tmux", "-u", *words],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def begin(self, conf: str) -> None:
        """Have the operator start the server with this tmux.conf and a session ``own``."""
        file = self.root / "tmux.conf"
        file.write_text(conf)
        done = self.client("-f", str(file), "new-session", "-d", "-s", "own", "-x", "100", "-y", "30", "sleep 300")
        assert done.returncode == 0, done.stderr

    @contextmanager
    def attached(self, session: str) -> "Iterator[subprocess.Popen[bytes]]":
        """The operator looks at a session in a terminal of 80x24."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        reader = threading.Thread(target=_drain, args=(ours,))
        reader.start()
        client = subprocess.Popen(
            ["tmux", "-u", "attach", "-t", f"={session}"],
            env=self.environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            eventually(lambda: str(client.pid) in self.sh("list-clients", "-F", "#{client_pid}").split())
            yield client
        finally:
            client.terminate()
            client.wait(30)
            reader.join(30)
            os.close(ours)

    def end(self) -> None:
        """End the server."""
        self.client("kill-server")

    def pane(self, slot: int, layout_id: str, *argv: str, **more: Any) -> NewPane:
        """A pane to make; without argv it sleeps."""
        values: dict[str, Any] = {
            "pane_id": str(uuid.uuid4()),
            "layout_id": layout_id,
            "slot": slot,
            "label": f"s{slot}",
            "role": "slave",
            "marker": f"marker-{slot}",
            "argv": argv or ("sleep", "300"),
            "env": {},
            "working_dir": None,
            "log_path": None,
        }
        return NewPane(**values | more)

    def spawn(self, panes: Sequence[NewPane], session: str = "work", **more: Any) -> Listing:
        """Make panes of one layout."""
        values: dict[str, Any] = {
            "layout_id": panes[0].layout_id,
            "session": session,
            "arrangement": "tiled",
            "panes": tuple(panes),
            "neighbours": (),
            "remains": (),
        }
        self.fence += 1
        return self.tmux.spawn(Spawn(**values | more), self.fence, self.deadline())

    def kill(self, *panes: SeenPane) -> Listing:
        """Kill panes."""
        self.fence += 1
        targets = [Remains(pane.pane_id, pane.tmux_pane_id) for pane in panes]
        return self.tmux.kill(targets, self.fence, self.deadline())

    def dumping(self, slot: int, layout_id: str, *argv: str, **more: Any) -> tuple[NewPane, Path]:
        """A pane whose program writes down what it was given, and the file that it writes."""
        script = self.root / "dump.py"
        script.write_text(DUMP)
        out = self.root / f"dump-{uuid.uuid4().hex}"
        return self.pane(slot, layout_id, sys.executable, str(script), str(out), *argv, **more), out


class Dump:
    """What a dumping program was given, as bytes."""

    def __init__(self, file: Path) -> None:
        eventually(file.exists)
        found = json.loads(file.read_text())
        self.argv = [bytes.fromhex(word) for word in found["argv"]]
        self.cwd = bytes.fromhex(found["cwd"])
        self.env = {key.encode("latin1"): bytes.fromhex(value) for key, value in found["env"].items()}


def _drain(terminal: int) -> None:
    """Read what a terminal shows until it is closed, which is an EIO."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return


def seen_by_id(listing: Listing) -> dict[str, SeenPane]:
    """The tower's panes in a listing."""
    return {pane.pane_id: pane for pane in listing.panes if pane.pane_id}


def neighbours(listing: Listing, panes: Sequence[NewPane]) -> tuple[Neighbour, ...]:
    """Those of these panes that are there, as neighbours of new ones."""
    there = seen_by_id(listing)
    return tuple(
        Neighbour(pane.slot, pane.pane_id, there[pane.pane_id].tmux_pane_id) for pane in panes if pane.pane_id in there
    )


def eventually(question: Callable[[], T], within: float = 30) -> T:
    """The first answer that is true."""
    until = time.monotonic() + within
    while not (answer := question()):
        assert time.monotonic() < until, f"not within {within} s"
        time.sleep(0.02)
    return answer
