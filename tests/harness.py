"""A tower of a test's own: its state, config, socket, tmux servers and processes, and nothing left of it afterwards.

`Tower` starts the real thing with `tower up`, speaks to its socket as any client does, and looks at tmux and at the
database from outside. `Place` is a bench to put layouts into, the same for both runtimes.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.yard import Plan, Yard
from tower.benches.engine import Execution

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that a test waits for what should take a moment; long, so that a busy machine fails no test."""

COVERAGE = ("COVERAGE", "COV_CORE")
"""How the variables begin by which a process measures its coverage."""


class Refused(Exception):
    """The tower answered with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.details: dict[str, Any] = error["details"]


def eventually(question: Callable[[], T], *, within: float = PATIENCE, every: float = 0.05, what: str = "") -> T:
    """The first true answer to the question; fails when there is none in time."""
    until = time.monotonic() + within
    while not (answer := question()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {within:.0f} s: {what or question}; last answer: {answer!r}")
        time.sleep(every)
    return answer


class Tower:
    """One tower in a folder of its own."""

    def __init__(self, *, docker_host: str | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tw", dir="/tmp"))
        self.root.chmod(0o755)
        self.home = self.root / "home"
        self.state = self.root / "s"
        self.config = self.root / "c"
        self.tmux_dir = self.root / "t"
        for folder in (self.home, self.config, self.tmux_dir):
            folder.mkdir(mode=0o700)
        self.environ = self._environ(docker_host) | dict(environ or {})

    def _environ(self, docker_host: str | None) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key.startswith(COVERAGE)}
        return kept | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "TMUX_TMPDIR": str(self.tmux_dir),
            "TOWER_STATE_DIR": str(self.state),
            "TOWER_CONFIG_DIR": str(self.config),
            "DOCKER_HOST": docker_host or f"unix://{self.root}/no-engine.sock",
        }

    # processes

    def cli(self, *words: str, stdin: str | None = None, check: bool = False, timeout: float = 180) -> Any:
        """Run `tower` with these words; returns the completed process."""
        done = subprocess.run(
            [sys.executable, "-m", "tower", *words],
            env=self.environ,
            cwd=self.root,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"tower {' '.join(words)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def json(self, *words: str) -> Any:
        """What `tower … --json` prints, for a command that must succeed."""
        return json.loads(self.cli(*words, "--json", check=True).stdout)

    def up(self) -> "Tower":
        """Start it under supervisord."""
        self.cli("up", check=True)
        return self

    def down(self) -> None:
        """Stop it; panes live on."""
        self.cli("down")

    def processes(self, name: str = "") -> list[psutil.Process]:
        """The tower's own processes: `serve`, `work`, `supervisord`, or all."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if process.environ().get("TOWER_STATE_DIR") != str(self.state):
                    continue
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            kind = _kind(line)
            if kind and name in ("", kind):
                found.append(process)
        return found

    def kill(self, name: str = "", sig: int = signal.SIGKILL) -> int:
        """Send a signal to its processes of that name; returns to how many."""
        victims = self.processes(name)
        for process in victims:
            with _ignored():
                process.send_signal(sig)
        return len(victims)

    @contextmanager
    def halted(self, name: str) -> Iterator[None]:
        """Its processes of that name stand still while the block runs; they are alive for whoever looks."""
        assert self.kill(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill(name, signal.SIGCONT)

    def close(self) -> None:
        """End everything of it: processes, tmux servers, files."""
        for process in self.processes():
            with _ignored():
                process.send_signal(signal.SIGCONT)
        self.kill("supervisord")
        self.kill()
        self._end_tmux()
        for _ in range(20):
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                break
            time.sleep(0.1)

    def _end_tmux(self) -> None:
        """End what runs in its tmux servers; with a hangup first, for a login shell may hold a lock of its user's."""
        if left := self._in_tmux():
            for process in left:
                with _ignored():
                    process.send_signal(signal.SIGHUP)
            with suppress(FileNotFoundError):  # psutil's, of one that is gone just then
                psutil.wait_procs(left, timeout=0.5)
            for process in self._in_tmux():
                with _ignored():
                    process.kill()

    def _in_tmux(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("TMUX_TMPDIR") == str(self.tmux_dir)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if mine and process.pid != os.getpid():
                found.append(process)
        return found

    # the socket

    @property
    def socket_path(self) -> Path:
        """Its socket."""
        return self.state / "agenttowerd.sock"

    def connect(self, timeout: float = 120) -> socket.socket:
        """A connection to its socket."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        connection.connect(str(self.socket_path))
        return connection

    def raw(self, line: bytes, timeout: float = 120) -> Any:
        """Send these bytes, and read one line."""
        with self.connect(timeout) as connection:
            connection.sendall(line)
            return read_line(connection)

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The whole envelope of the answer to a request."""
        return self.raw(json.dumps({"method": method, "params": params or {}}).encode() + b"\n")

    def call(self, method: str, **params: Any) -> Any:
        """The result of a request.

        Raises Refused.
        """
        answer = self.ask(method, params)
        if not answer["ok"]:
            raise Refused(answer["error"])
        return answer["result"]

    # what is asked again and again

    def create(self, bench: str, template: str = "1m+2s", session: str = "alpha", **more: Any) -> str:
        """Create a layout; returns its id without waiting for it."""
        request = {"container_id": bench, "template_name": template, "tmux_session_name": session}
        return str(self.call("managed.layout.create", **request, **more)["layout_id"])

    def layout(self, layout_id: str) -> Any:
        """A layout with its panes, removed ones too."""
        return self.call("managed.layout.detail", layout_id=layout_id, include_terminal_panes=True)

    def settled(self, layout_id: str, within: float = PATIENCE) -> Any:
        """The layout, once it is no longer creating."""

        def look() -> Any:
            layout = self.layout(layout_id)
            return None if layout["state"] == "creating" else layout

        return eventually(look, within=within, what=f"layout {layout_id} settled")

    def ready(self, layout_id: str, within: float = PATIENCE) -> Any:
        """The layout, which must become ready."""
        layout = self.settled(layout_id, within)
        assert layout["state"] == "ready", layout
        return layout

    def idle(self, within: float = PATIENCE) -> None:
        """Wait until no job is unfinished."""
        query = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')"
        eventually(lambda: self.rows(query)[0][0] == 0, within=within, what="no unfinished job")

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What the state database answers."""
        connection = sqlite3.connect(f"file:{self.state}/state.sqlite3?mode=ro", uri=True, timeout=30)
        try:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def instance(self) -> str:
        """The id of its state."""
        return str(self.rows("SELECT instance FROM identity")[0][0])

    def write(self, path: str, text: str) -> None:
        """Write a file below its config dir."""
        file = self.config / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def profile(self, name: str, command: list[str], **more: Any) -> None:
        """Write a launch profile; JSON is YAML."""
        self.write(f"launch_commands/{name}.yaml", json.dumps({"name": name, "command": command, **more}))

    def template(self, name: str, panes: list[Mapping[str, Any]], **more: Any) -> None:
        """Write a template; JSON is YAML."""
        self.write(f"managed_templates/{name}.yaml", json.dumps({"name": name, "panes": panes, **more}))


def pane(label: str, profile: str | None = None, role: str = "slave") -> dict[str, Any]:
    """A pane of a template."""
    spec: dict[str, Any] = {"role": role, "capability": "worker", "label_pattern": label}
    return spec | ({"default_launch_command_ref": profile} if profile else {})


def read_line(connection: socket.socket) -> Any:
    """One answer."""
    data = b""
    while not data.endswith(b"\n"):
        block = connection.recv(65536)
        if not block:
            raise ConnectionError(f"closed after {data!r}")
        data += block
    return json.loads(data)


class Place:
    """A bench to put layouts into, and what a person would see there."""

    container_id = "local"

    def __init__(self, tower: Tower) -> None:
        self.tower = tower

    def run(self, *words: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
        """Run a command there as the bench user."""
        return subprocess.run(
            words, env=self.tower.environ, input=stdin, capture_output=True, check=False, cwd=self.tower.root
        )

    def tmux(self, *words: str) -> str:
        """What tmux prints."""
        return self.run("tmux", "-u", *words).stdout.decode()

    def path(self, name: str) -> Path:
        """A file that both the bench and the test can see, by the path it has in both."""
        shared = self.tower.root / "shared"
        shared.mkdir(exist_ok=True)
        shared.chmod(0o777)
        return shared / name

    def panes(self) -> dict[str, str]:
        """The tower ids of the panes that tmux has, with their tmux ids; fails on a doubled one."""
        lines = self.tmux("list-panes", "-a", "-F", "#{@tower_pane} #{@tower_instance} #{pane_id}").splitlines()
        mine = [line.split(" ") for line in lines if line.split(" ")[1:2] == [self.tower.instance()]]
        ids = [words[0] for words in mine]
        assert len(ids) == len(set(ids)), f"a pane stands twice: {lines}"
        return {words[0]: words[2] for words in mine}

    def screen(self, tmux_pane_id: str) -> str:
        """What a person sees in a pane."""
        return self.tmux("capture-pane", "-p", "-J", "-t", tmux_pane_id)

    def close(self) -> None:
        """Nothing to do: the tower ends its own tmux."""


class Container(Place):
    """A bench in a container of its own, with the log mount and a shared folder."""

    def __init__(self, tower: Tower, yard: Yard, *, user: str = "1000", logs: bool = True, **plan: Any) -> None:
        super().__init__(tower)
        self.yard = yard
        self.user = user
        (tower.state / "logs").mkdir(parents=True, exist_ok=True)
        tower.state.chmod(0o711)
        shared = self.path("").resolve()
        mounts: dict[Path | str, str] = {shared: str(shared)}
        if logs:
            mounts[tower.state / "logs"] = "/var/log/tower"
        mounts |= plan.pop("mounts", {})
        self.container_id = yard.start(Plan(user=user, mounts=mounts, **plan))

    def run(self, *words: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in the container as the bench user."""
        variables = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}
        asked = Execution(self.container_id, "test", words, self.user, variables, stdin or b"", 1 << 24)
        done = self.yard.engine.run(asked, time.monotonic() + PATIENCE)
        return subprocess.CompletedProcess(words, done.status, done.stdout, done.stderr)

    def act(self, verb: str) -> None:
        """Stop, start, pause, unpause, kill or restart it."""
        self.yard.act(self.container_id, verb)


def _kind(line: str) -> str | None:
    if "supervisord" in line:
        return "supervisord"
    words = line.split()
    for kind in ("serve", "work"):
        if kind in words and any("tower" in word for word in words):
            return kind
    return None


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return
