"""The huey instance and its blocking storage.

The queue carries job ids and may lose any of them: the ledger (tower.jobs) is the truth. Messages stand in SQLite;
each worker process has a bell, a FIFO, and whoever enqueues rings all bells. A byte in a FIFO wakes exactly one of
the threads that read it (pipe(7)), so idle workers cost nothing and a job reaches one within milliseconds.
"""

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from huey import Huey
from huey.storage import SqliteStorage

from tower.config import Settings, load_last_good
from tower.locks import locked
from tower.names import new_id

log = logging.getLogger(__name__)

T = TypeVar("T")

_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")
"""What SQLite calls a file that cannot be read as a database, or that is too short for one (sqlite.org/rescode)."""


class Bells:
    """The bells of all living worker processes, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hang(self) -> int:
        """A bell for this process, for its life; returns what its threads read from.

        It is read before it hangs where others ring: they take down one that nobody reads.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{os.getpid()}-{new_id()[:8]}"
        unhung = self._folder.with_name(f"bell-{name}")
        os.mkfifo(unhung, 0o600)
        handle = os.open(unhung, os.O_RDWR | os.O_CLOEXEC)
        unhung.rename(self._folder / name)
        return handle

    def ring(self) -> None:
        """Wake one thread of each worker process; the bells of dead processes are taken down."""
        for path in self._paths():
            _ring(path)

    def _paths(self) -> Iterator[Path]:
        try:
            yield from list(self._folder.iterdir())
        except FileNotFoundError:
            return


def _ring(path: Path) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads it any more, fifo(7)
            path.unlink(missing_ok=True)
        return
    try:
        os.write(handle, b"!")
    except BlockingIOError:
        pass
    finally:
        os.close(handle)


class WakingStorage(SqliteStorage):  # type: ignore[misc]
    """SQLite storage whose `dequeue` waits for a bell instead of polling.

    The database is made at its first use, and again where it was deleted or is damaged: nothing in it is needed.
    """

    blocking = True

    def __init__(self, name: str = "tower", **kwargs: Any) -> None:
        self.bells = Bells(kwargs.pop("bells"))
        self._renewal = Path(kwargs.pop("lock"))
        self._bell: int | None = None
        self._inode = 0
        self._making = threading.Lock()
        super().__init__(name, fsync=False, cache_mb=1, create_tables=False, **kwargs)

    def listen(self) -> None:
        """This process runs tasks: hang its bell."""
        self._bell = self.bells.hang()

    def wake(self, threads: int) -> None:
        """Wake so many threads of this process, whether or not its bell hangs where others ring."""
        if self._bell is not None:
            os.write(self._bell, b"!" * threads)

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """As in huey, and ring."""
        self._sound(lambda: super(WakingStorage, self).enqueue(data, priority))
        self.bells.ring()

    def dequeue(self) -> bytes | None:
        """The next message; waits for a bell where there is none, and may return none after it."""
        message = self._next()
        if message is None and self._bell is not None:
            os.read(self._bell, 1)
            message = self._next()
        return message

    def _next(self) -> bytes | None:
        message: bytes | None = self._sound(lambda: super(WakingStorage, self).dequeue())
        return message

    def read_schedule(self, ts: datetime) -> list[bytes]:
        """As in huey."""
        return self._sound(lambda: super(WakingStorage, self).read_schedule(ts))

    def _sound(self, action: Callable[[], T]) -> T:
        """Do this with a database that is there, and once more with a new one where it proves to be damaged."""
        inode = 0
        try:
            inode = self._make_sure_it_is_there()
            return action()
        except sqlite3.DatabaseError as error:
            if not getattr(error, "sqlite_errorname", "").startswith(_DAMAGED):
                raise
            log.error("the queue is damaged (%s) and is made anew; nothing is lost", error)  # noqa: TRY400
            self._put_away(inode)
        self._make_sure_it_is_there()
        return action()

    def _put_away(self, inode: int) -> None:
        """Rename the damaged file, of that inode or 0 where it was never opened, unless others have done so."""
        with self._making, locked(self._renewal):
            if self._inode != inode:
                return
            self.close()
            if inode in (0, _inode_of(self.filename)):
                for suffix in ("", "-wal", "-shm"):
                    file = Path(self.filename + suffix)
                    if file.exists():
                        file.rename(f"{self.filename}.damaged{suffix}")
            self._inode = 0

    def _make_sure_it_is_there(self) -> int:
        """Open the file, anew where it was replaced, and made where there is none; returns its inode.

        It is made without being opened: whoever closes a file loses all locks that his process has on it (fcntl(2)),
        SQLite's too (sqlite.org/howtocorrupt, 2.2).
        """
        with self._making:
            if self._inode == 0 or _inode_of(self.filename) != self._inode:
                self.close()
                with suppress(FileExistsError):
                    os.mknod(self.filename, 0o600)
                inode = _inode_of(self.filename)
                self.initialize_schema()
                self._inode = inode
            return self._inode


def _inode_of(path: str) -> int:
    try:
        return Path(path).stat().st_ino
    except FileNotFoundError:
        return 0


def _make(settings: Settings) -> Huey:
    return Huey(
        "tower",
        results=False,
        storage_class=WakingStorage,
        filename=str(settings.queue_path),
        bells=settings.run_dir / "bells",
        lock=settings.run_dir / "queue.lock",
    )


settings = load_last_good()
"""The settings of this process: tasks are made when this module is imported."""

huey = _make(settings)
