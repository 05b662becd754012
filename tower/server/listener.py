"""The socket file, and who comes in through it.

The file is made under a passing name with its mode already set, and renamed into place, so that it is never open to
others, a stale one is replaced in one step, and a path longer than the kernel's 107 bytes works (unix(7)): it is bound
through its folder's descriptor in /proc. A lock, and a look whether somebody answers there, keep two servers apart.
Where the file is deleted while the server runs, another socket takes its place: a socket cannot get its name back.
"""

import errno
import logging
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tower import locks, models
from tower.benches import peers
from tower.client import address
from tower.config import Settings
from tower.errors import InternalError, TowerError, WireError
from tower.server.connection import Connection
from tower.server.dispatch import Dispatcher
from tower.server.loop import READ, Loop
from tower.server.methods import Caller

log = logging.getLogger(__name__)

_BACKLOG: Final = 512
_ROUND: Final = 64
"""So many clients are let in before those inside have their turn."""

File = tuple[int, int]
"""Device and inode: a socket's file has them for itself, even after it was deleted, until the socket is closed."""

_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class AlreadyServed(TowerError):
    """Another server has this state directory, or this socket."""


@contextmanager
def only_server(settings: Settings) -> Iterator[None]:
    """Be the only server of this state directory, by a lock that the kernel frees at any death.

    Raises AlreadyServed.
    """
    handle = locks.open_file(settings.run_dir / "serve.lock")
    try:
        if not locks.take(handle):
            raise AlreadyServed(
                f"A server is running already for {settings.state_dir}; use that one, or stop it with `tower down`."
            )
        locks.write_pid(handle)
        yield
    finally:
        os.close(handle)


def allow_many_files() -> None:
    """Lift this process's limit of open files as far as the kernel lets it: each client is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bind(path: Path, state_dir: Path) -> tuple[socket.socket, File | None]:
    """A listening socket at this path, mode 0600, in a folder that is closed to others; and its file.

    Raises AlreadyServed where somebody answers there, or something else than a socket stands.
    """
    _close_folder(path.parent, state_dir)
    _check_free(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    passing = path.with_name(f".tower-{os.getpid()}")
    try:
        passing.unlink(missing_ok=True)
        listener.bind(f"/proc/self/fd/{folder}/{passing.name}")
        passing.chmod(0o600)
        listener.listen(_BACKLOG)
        file = _file_at(passing)
        passing.rename(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(folder)
    listener.setblocking(False)
    return listener, file


def _file_at(path: Path) -> File | None:
    """Which file stands there; None for none, or where that cannot be told."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _close_folder(folder: Path, state_dir: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder == state_dir:
        folder.chmod(0o700)
    elif stat.S_IMODE(folder.stat().st_mode) & 0o077:
        log.warning("%s, the folder of the socket, is open to others; chmod 700 it (the socket itself is 0600)", folder)


def _check_free(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AlreadyServed(f"{path} is no socket; move it away, or set TOWER_SOCKET to another path.")
    except FileNotFoundError:
        return
    with address(path) as reachable, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(reachable) in (0, errno.EAGAIN):
            raise AlreadyServed(f"Another server answers at {path}; use that one, or set TOWER_SOCKET to another path.")


class Listener:
    """Lets clients in; who they are is asked of the kernel before a byte of theirs is read."""

    def __init__(self, settings: Settings, loop: Loop, dispatcher: Dispatcher) -> None:
        self._path = settings.socket_path
        self._state_dir = settings.state_dir
        self._loop = loop
        self._dispatcher = dispatcher
        self._clients: set[Connection] = set()
        self._full = False
        self._open = True
        self._trouble = ""
        self._socket, self._file = bind(self._path, self._state_dir)
        self._listen()

    def _listen(self) -> None:
        self._loop.watch(self._socket.fileno(), 0 if self._full else READ, self._accept)

    @property
    def clients(self) -> frozenset[Connection]:
        """Those inside."""
        return frozenset(self._clients)

    def look(self) -> None:
        """Have a socket file where this one's was deleted; what another server has put there is left alone."""
        trouble = ""
        if self._open and not self._stands():
            try:
                self._renew()
            except (OSError, AlreadyServed) as error:
                trouble = str(error)
        if trouble and trouble != self._trouble:
            log.error("%s is this server's no more, so nobody can connect to it: %s", self._path, trouble)
        self._trouble = trouble

    def _stands(self) -> bool:
        """Whether the socket file is still this one's."""
        return self._file is not None and _file_at(self._path) == self._file

    def _renew(self) -> None:
        """Bind anew, after those who have connected before are let in."""
        made, file = bind(self._path, self._state_dir)
        self._accept(READ)
        self._loop.watch(self._socket.fileno(), 0, self._accept)
        self._socket.close()
        self._socket, self._file = made, file
        self._listen()
        log.warning("%s was deleted or replaced while this server runs; it was made anew", self._path)

    def _accept(self, _ready: int) -> None:
        for _ in range(_ROUND):
            try:
                client, _address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._refuse_more(error)
                return
            self._welcome(client)

    def _welcome(self, client: socket.socket) -> None:
        client.setblocking(False)
        connection = Connection(client, _caller(client), self._loop, self._dispatcher, self._gone)
        self._clients.add(connection)
        connection.ready(READ)

    def _refuse_more(self, error: OSError) -> None:
        """Let nobody in until a client has gone, where there is no room for another."""
        if error.errno in _FULL:
            log.error("no room for another client (%s); raise the limit of open files", error.strerror)
            self._full = bool(self._clients)
            self._listen()

    def _gone(self, connection: Connection) -> None:
        self._clients.discard(connection)
        if self._full:
            self._full = False
            self._listen()

    def close(self) -> None:
        """Let nobody in any more, and take the socket file away if it is still this one."""
        self._open = False
        self._loop.watch(self._socket.fileno(), 0, self._accept)
        with suppress(FileNotFoundError):
            if self._stands():
                self._path.unlink()
        self._socket.close()


def _caller(client: socket.socket) -> Caller | WireError:
    """Who has connected, or the error that answers whatever it asks."""
    try:
        peer = peers.identify(client)
    except WireError as error:
        return error
    except models.DatabaseError:
        log.exception("a client could not be told apart from others")
        return InternalError()
    return Caller(peer.container_id if isinstance(peer, peers.BenchPeer) else None)
