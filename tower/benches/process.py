"""One subprocess with input, bounded output and a real deadline."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

from tower.benches import Completed
from tower.errors import BenchTimeout, TmuxUnavailable

_CHUNK: Final = 65536
_GRACE: Final = 0.2
"""Seconds in which output may still come after the end of a command whose pipe something else holds."""


def execute(
    argv: Sequence[str], environment: Mapping[str, str], stdin: bytes, deadline: float, limit: int
) -> Completed:
    """Run a subprocess in a session of its own, from HOME; at the deadline its whole process group is killed.

    Raises BenchTimeout, and TmuxUnavailable when it cannot be started or writes more than ``limit`` bytes.
    """
    home = environment.get("HOME", "/")
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=home if os.access(home, os.X_OK) else "/",
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise TmuxUnavailable(reason=f"{argv[0]} cannot be started: {error.strerror}") from error
    try:
        return _Exchange(process, stdin, limit).until(deadline)
    except TimeoutError:
        raise BenchTimeout(what=f"{argv[0]} on the host") from None
    finally:
        _end(process)


class _Exchange:
    """Input, output and end of one process, watched together so that no side waits for ever."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdin: bytes, limit: int) -> None:
        self.process, self.rest, self.room = process, memoryview(stdin), limit
        self.stdout, self.stderr = bytearray(), bytearray()
        self.selector = selectors.DefaultSelector()
        self.ended: float | None = None

    def until(self, deadline: float) -> Completed:
        """Everything until the process has ended and its output too; raises TimeoutError at the deadline."""
        number = os.pidfd_open(self.process.pid)
        try:
            self.selector.register(number, selectors.EVENT_READ, self._note_end)
            self._watch(self.process.stdout, selectors.EVENT_READ, lambda pipe: self._read(pipe, self.stdout))
            self._watch(self.process.stderr, selectors.EVENT_READ, lambda pipe: self._read(pipe, self.stderr))
            self._watch(self.process.stdin, selectors.EVENT_WRITE, self._write)
            while self.selector.get_map() and self._wait(deadline):
                pass
        finally:
            self.selector.close()
            os.close(number)
        code = self.process.wait(0.01)
        return Completed(code if code >= 0 else 128 - code, bytes(self.stdout), bytes(self.stderr))

    def _watch(self, pipe: IO[bytes] | None, event: int, act: Callable[[IO[bytes]], None]) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, event, act)

    def _wait(self, deadline: float) -> bool:
        """Serve what is ready; False when the process ended and only strangers could still write."""
        until = deadline if self.ended is None else min(deadline, self.ended + _GRACE)
        ready = self.selector.select(max(0.0, until - time.monotonic()))
        if not ready and self.ended is None:
            raise TimeoutError
        for key, _ in ready:
            key.data(key.fileobj)
        return bool(ready)

    def _note_end(self, pidfd: IO[bytes]) -> None:
        self.ended = time.monotonic()
        self.selector.unregister(pidfd)

    def _read(self, pipe: IO[bytes], into: bytearray) -> None:
        data = os.read(pipe.fileno(), _CHUNK)
        into += data
        self.room -= len(data)
        if self.room < 0:
            raise TmuxUnavailable(reason="a command on the host gave more output than it may")
        if not data:
            self.selector.unregister(pipe)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            self.rest = self.rest[os.write(pipe.fileno(), self.rest[:_CHUNK]) :]
        except BrokenPipeError:
            self.rest = self.rest[:0]
        if not self.rest:
            self.selector.unregister(pipe)
            pipe.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave nothing behind: no living process group, no zombie, no open pipe."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
