"""A tower with its benches, and what the rows do to it again and again."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import floors
from tests.harness import Container, Refused, Tower, eventually, pane, read_line
from tests.yard import Yard

SETTLE = 1000.0
"""Milliseconds of the settle time, which the benchmarks leave as it is."""

_POLL = 0.004


@dataclass
class Ground:
    """One tower, up, and the containers that it shares with others."""

    tower: Tower
    yard: Yard
    benches: list[Container] = field(default_factory=list)

    @property
    def bench(self) -> str:
        """The first container."""
        return self.benches[0].container_id

    def engine_exec(self) -> float:
        """The floor E, in ms."""
        return floors.engine_exec(self.yard.engine.host, self.bench)

    def tmux(self) -> float:
        """The floor of a tmux command on the host, in ms."""
        return floors.tmux_round_trip(self.tower.environ)

    def commit(self) -> float:
        """The floor of a commit, in ms."""
        return floors.commit(self.tower.root)

    def create(self, bench: str, template: str = "1m+2s", **more: Any) -> str:
        """Accept a layout of a session and labels of its own; returns its id."""
        name = f"b{uuid.uuid4().hex[:8]}"
        return self.tower.create(bench, template, name, label_prefix=f"{name}-", **more)

    def wait(self, layout_id: str, wanted: str = "ready", within: float = 120) -> None:
        """Poll over one connection until the layout is in that state."""
        until = time.monotonic() + within
        with closing(Talk(self.tower)) as talk:
            while (state := talk.ask("managed.layout.detail", layout_id=layout_id)["state"]) != wanted:
                if state not in ("creating", wanted) or time.monotonic() > until:
                    raise AssertionError(f"layout {layout_id} is {state}: {self.tower.layout(layout_id)}")
                time.sleep(_POLL)

    def remove(self, layout_ids: Sequence[str]) -> None:
        """Remove layouts."""
        for layout_id in layout_ids:
            self.tower.call("managed.layout.remove", layout_id=layout_id)

    def templates(self) -> None:
        """Templates of other sizes than the built-in ones, and one whose commands say that they run."""
        tell = ["/bin/sh", "-c", 'echo "$TOWER_PANE_ID" >"$1"; exec sleep 3600', "sh", str(self.bell)]
        self.tower.profile("tell", tell)
        for size in (3, 16):
            self.tower.template(f"tell{size}", [pane(f"p{number}", "tell") for number in range(size)])
            self.tower.template(f"plain{size}", [pane(f"p{number}") for number in range(size)])
        self.tower.template("one", [pane("p")])

    @property
    def bell(self) -> Path:
        """The FIFO into which the commands of the profile ``tell`` write."""
        path = self.tower.root / "bell"
        if not path.exists():
            os.mkfifo(path)
        return path

    @contextmanager
    def listening(self) -> Iterator[Callable[[int], None]]:
        """Gives what waits until so many commands have said that they run."""
        handle = os.open(self.bell, os.O_RDWR)

        def wait(count: int) -> None:
            while count > 0:
                count -= os.read(handle, 65536).count(b"\n")

        try:
            yield wait
        finally:
            os.close(handle)


class Talk:
    """One connection, kept."""

    def __init__(self, tower: Tower) -> None:
        self._socket = tower.connect()

    def ask(self, method: str, **params: Any) -> Any:
        """The result of a request; raises Refused."""
        self._socket.sendall(request(method, **params))
        answer = read_line(self._socket)
        if not answer["ok"]:
            raise Refused(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def request(method: str, **params: Any) -> bytes:
    """A request as a line."""
    return json.dumps({"method": method, "params": params}).encode() + b"\n"


def timed(action: Callable[[], Any]) -> float:
    """Milliseconds of an action."""
    begun = time.perf_counter()
    action()
    return (time.perf_counter() - begun) * 1000


def serve_alone(tower: Tower) -> "subprocess.Popen[bytes]":
    """Start the server of a tower that is down, by itself."""
    log = (tower.root / "serve.out").open("ab")
    words = [sys.executable, "-P", "-m", "tower", "serve"]
    return subprocess.Popen(words, env=tower.environ, stdout=log, stderr=log, cwd=tower.root)


def answers(tower: Tower) -> bool:
    """Whether the socket answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(tower.socket_path))
            connection.sendall(request("app.preflight"))
            return bool(read_line(connection)["ok"])
    except OSError:
        return False


def site(host: str, yard: Yard, count: int) -> tuple[Ground, Ground]:
    """Two towers that are down, with the same containers; either's logs are mounted there."""
    first, second = (Tower(docker_host=host, environ={"TOWER_LIMITS_LAYOUTS": "200"}) for _ in range(2))
    (second.state / "logs").mkdir(parents=True)
    second.state.chmod(0o711)
    mounts: dict[Path | str, str] = {second.state / "logs": "/var/log/second"}
    benches = [Container(first, yard, mounts=mounts) for _ in range(count)]
    return Ground(first, yard, benches), Ground(second, yard, benches)


def begin(ground: Ground) -> None:
    """Start a tower, and have each bench and each process do everything once."""
    ground.templates()
    ground.tower.up()
    for bench in ("local", *(container.container_id for container in ground.benches)):
        layout_id = ground.create(bench, "one")
        ground.wait(layout_id)
        ground.remove([layout_id])
    quiet(ground.tower)


def quiet(tower: Tower) -> None:
    """Wait until there is nothing to do."""
    query = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')"
    eventually(lambda: not tower.rows(query)[0][0], what="no unfinished job")
