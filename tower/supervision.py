"""`tower up`, `down` and `status`: supervisord, and what runs under it.

There is one supervisord for a state directory. It holds a lock on `run/supervisord.lock` for its life (descriptor 4,
which supervisord leaves open and closes in its children), so that the kernel says whether it runs and no stale pid
can. Two `tower up` at the same moment take turns by a second lock.
"""

import contextlib
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from tower import __version__, config, locks
from tower.benches.engine import ENGINE, engine
from tower.client import Client, Refused, ServerUnreachable
from tower.config import Settings
from tower.errors import TowerError
from tower.jobs import Holders

START_SECONDS: Final = 60.0
"""How long a start may take: the look at the benches has seconds of its own."""

GRACE: Final = 10.0
"""Seconds beyond a stage's time within which a worker ends by itself."""

T = TypeVar("T")

_EXITED: Final = "Exited too quickly"
"""How supervisord tells a process that ended from one that it could not start (supervisor/process.py, finish)."""

_STATE_FD, _LOCK_FD = 3, 4
"""supervisord closes every inherited descriptor from 5 on, and its children all from 3 on."""


class StartFailed(TowerError):
    """The tower did not come up; says what stands in which log."""


class AlreadyRunning(TowerError):
    """Another supervisord has this state directory."""


class StopFailed(TowerError):
    """supervisord did not end in its time."""


@dataclass(frozen=True)
class Process:
    """One process under supervisord."""

    name: str
    state: str
    pid: int | None
    uptime: float | None
    """Seconds."""
    detail: str | None


def up(settings: Settings) -> bool:
    """Start everything and wait until it serves; False when it was running already.

    Raises StartFailed.
    """
    _check_socket(settings)
    config.make_state_dirs(settings)
    with locks.locked(settings.run_dir / "up.lock"):
        if running(settings) is not None and _await(settings, lambda: running(settings) is None):
            return False
        with (settings.process_logs_dir / "supervisord.out").open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tower", "up", "--foreground"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=os.environ | _places(settings),
                start_new_session=True,
            )
        if not _await(settings, lambda: child.poll() is not None):
            raise StartFailed(f"The tower did not come up: {_last_words(settings)}")
    return True


def _check_socket(settings: Settings) -> None:
    """Raise StartFailed where this tower runs with another socket, or another tower has this one."""
    pid = running(settings)
    theirs = _variables(pid).get("TOWER_SOCKET") if pid else None
    if theirs and theirs != str(settings.socket_path):
        raise StartFailed(
            f"This tower runs already, with the socket {theirs}; `tower down`, then `tower up` has it use"
            f" {settings.socket_path}."
        )
    if pid is None and _server_pid(settings) is None and _answers(settings):
        raise StartFailed(
            f"Another tower answers at {settings.socket_path}; use that one, or set TOWER_SOCKET to another path."
        )


def foreground(settings: Settings) -> NoReturn:
    """Become supervisord.

    Raises AlreadyRunning.
    """
    config.make_state_dirs(settings)
    lock = _lock(settings)
    end_leftovers(settings)
    config.remember(settings)
    for stale in ("supervisor.sock", "supervisord.pid"):
        (settings.run_dir / stale).unlink(missing_ok=True)
    _stop_writing(settings.process_logs_dir / "supervisord.out")
    _leave_open({_STATE_FD: os.open(settings.state_dir, os.O_RDONLY | os.O_DIRECTORY), _LOCK_FD: lock})
    argv = [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(configuration())]
    os.execve(sys.executable, argv, os.environ | _environment(settings))  # noqa: S606 - no shell is wanted


def _stop_writing(output: Path) -> None:
    """Leave this output of an unattended start: supervisord ends when it cannot write to it, as on a full disk.

    What it says stands in its log too, and there it bears a failure.
    """
    if output.exists() and os.path.samestat(os.fstat(sys.stdout.fileno()), output.stat()):
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for number in (1, 2):
            os.dup2(null, number)


def down(settings: Settings) -> bool:
    """Stop everything; the panes live on. False when nothing ran.

    Raises StopFailed.
    """
    pid = running(settings)
    if pid:
        _kill(pid, signal.SIGTERM)
        _kill(pid, signal.SIGCONT)
        seconds = settings.times.stage + 3 * GRACE
        if not _until(lambda: running(settings) is None, seconds):
            raise StopFailed(f"supervisord (pid {pid}) still runs after {seconds:.0f} s; see {_log(settings)}.")
    left = end_leftovers(settings)
    return pid is not None or left > 0


def running(settings: Settings) -> int | None:
    """The pid of supervisord, 0 of one that has not said it yet; None when there is none."""
    return locks.holder(settings.supervisord_lock)


def processes(settings: Settings) -> list[Process]:
    """What runs under supervisord; empty when that does not answer."""
    try:
        with _supervisor(settings) as proxy:
            told: Any = proxy.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return []
    return [_process(info) for info in told]


def difference(settings: Settings) -> str | None:
    """What is other in the running tower than in this one, in a sentence; None when nothing is."""
    pid = running(settings)
    if not pid:
        return None
    theirs = _variables(pid)
    mine = _environment(settings)
    for name, what in (("TOWER_VERSION", "version"), ("TOWER_PYTHON", "Python"), (ENGINE, "container engine")):
        if name in theirs and name in mine and theirs[name] != mine[name]:
            return f"what runs has the {what} {theirs[name]}, this is {mine[name]}; `tower down`, then `tower up`"
    if config.changed(settings):
        return "config.yaml was changed since the start; it counts after `tower down`, then `tower up`"
    return None


def end_leftovers(settings: Settings) -> int:
    """End a server and workers whose supervisord has died; returns how many there were.

    A worker is asked to finish its stage and is not waited for: whatever it holds stays its own until it ends.
    """
    workers = Holders(settings).pids()
    for pid in workers:
        _kill(pid, signal.SIGINT)
    server = _server_pid(settings)
    if server is None:
        return len(workers)
    _kill(server, signal.SIGTERM)
    if not _until(lambda: _server_pid(settings) is None, GRACE):
        _kill(server, signal.SIGKILL)
        _until(lambda: _server_pid(settings) is None, GRACE)
    return len(workers) + 1


def configuration() -> Path:
    """supervisord.conf: in an installed package beside this file, in a checkout above the package."""
    here = Path(__file__).resolve().parent
    installed = here / "supervisord.conf"
    return installed if installed.exists() else here.parent / "supervisord.conf"


def _lock(settings: Settings) -> int:
    handle = locks.open_file(settings.supervisord_lock)
    if not locks.take(handle):
        raise AlreadyRunning(f"The tower runs already, supervisord is pid {running(settings)}; `tower down` ends it.")
    locks.write_pid(handle)
    return handle


def _leave_open(handles: dict[int, int]) -> None:
    """Put descriptors under these numbers, open across an exec."""
    parked = {number: fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 10) for number, handle in handles.items()}
    for number, handle in parked.items():
        os.dup2(handle, number, inheritable=True)


def _places(settings: Settings) -> dict[str, str]:
    return {
        "TOWER_CONFIG_DIR": str(settings.config_dir),
        "TOWER_STATE_DIR": str(settings.state_dir),
        "TOWER_SOCKET": str(settings.socket_path),
    }


def _environment(settings: Settings) -> dict[str, str]:
    return _places(settings) | _engine() | {
        "TOWER_PYTHON": sys.executable,
        "TOWER_VERSION": __version__,
        "TOWER_WORKERS_PROCESSES": str(settings.workers.processes),
        "TOWER_STOP_SECONDS": str(int(settings.times.stage + GRACE)),
    }


def _engine() -> dict[str, str]:
    """The engine of this environment, for all processes alike: the current docker context may become another one."""
    try:
        return {ENGINE: engine().host}
    except TowerError:
        return {}


def _await(settings: Settings, ended: Callable[[], bool]) -> bool:
    """Wait until the socket answers and the workers are there; False when supervisord has ended before.

    Raises StartFailed when it takes too long.
    """
    begun = time.monotonic()
    while not _serves(settings):
        if ended():
            return False
        waited = time.monotonic() - begun
        if waited > START_SECONDS or (waited > GRACE and _fails(settings)):
            raise StartFailed(f"The tower did not come up: {_last_words(settings)}")
        time.sleep(0.05)
    return True


def _serves(settings: Settings) -> bool:
    """Whether the processes of this very supervisord serve, and not those that an earlier one has left behind."""
    pids = {process.pid for process in processes(settings)}
    server = _server_pid(settings)
    return server in pids and pids <= {server, *Holders(settings).pids()} and _answers(settings)


def _answers(settings: Settings) -> bool:
    try:
        Client(settings.socket_path).call("app.preflight", {}, 5.0)
    except ServerUnreachable:
        return False
    except Refused as error:
        raise StartFailed(f"The socket {settings.socket_path} is another tower's: {error.message}") from error
    return True


def _fails(settings: Settings) -> bool:
    return any(process.state in ("BACKOFF", "FATAL") for process in processes(settings))


def _last_words(settings: Settings) -> str:
    """The last line of what failed, and where more of it stands; of what could not even be started, supervisord's."""
    failing = [process for process in processes(settings) if process.state in ("BACKOFF", "FATAL")]
    exited = [process for process in failing if _EXITED in (process.detail or "")]
    if failing and not exited:
        return f"{failing[0].name}: {failing[0].detail} (more in {_log(settings)})"
    file = settings.process_logs_dir / (f"{exited[0].name}.log" if exited else "supervisord.out")
    return f"{_last_line(file)} (more in {file})"


def _last_line(file: Path) -> str:
    try:
        lines = file.read_text("utf-8", "replace").strip().split("\n")
    except OSError as error:
        return str(error)
    return lines[-1] or "it did not answer in time"


def _log(settings: Settings) -> Path:
    return settings.process_logs_dir / "supervisord.log"


def _server_pid(settings: Settings) -> int | None:
    """The process that holds the server's lock; None when nobody does, or it has not said who it is."""
    return locks.holder(settings.run_dir / "serve.lock") or None


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(question: Callable[[], T], seconds: float) -> T:
    """The first true answer to the question, or the last false one when the time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def _variables(pid: int) -> dict[str, str]:
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in block.decode("utf-8", "replace").split("\0"))
    return {name: value for name, _, value in pairs}


def _process(info: dict[str, Any]) -> Process:
    up = info["statename"] == "RUNNING"
    return Process(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] or None,
        uptime=float(info["now"] - info["start"]) if up else None,
        detail=None if up else info["spawnerr"] or info["description"] or None,
    )


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """A connection to the socket, whatever the host is called."""
        del host
        return _Connection(self._path)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def _supervisor(settings: Settings) -> Iterator[xmlrpc.client.ServerProxy]:
    """supervisord's own interface, through the run directory's descriptor because of its path's length."""
    handle = os.open(settings.run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        transport = _Transport(f"/proc/self/fd/{handle}/supervisor.sock")
        with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport) as proxy:
            yield proxy
    finally:
        os.close(handle)
