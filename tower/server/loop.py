"""One selector loop: what a client sends is read, and what is answered is written, in one thread."""

import heapq
import itertools
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from tower.server.waiting import POLL, Waiting

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

Handler = Callable[[int], None]


class Loop:
    """Calls handlers when their descriptor is ready, and callables that any thread hands in."""

    def __init__(self, waiting: Waiting) -> None:
        self._selector = selectors.DefaultSelector()
        self._soon: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._waiting = waiting
        self._watched: dict[int, int] = {}
        self._running = True
        self.watch(self._bell, READ, self._answer_bell)

    def watch(self, descriptor: int, events: int, handler: Handler) -> None:
        """Call the handler with what the descriptor is ready for of these events; with none of them, no longer."""
        before = self._watched.get(descriptor, 0)
        if events == before:
            return
        if not events:
            self._selector.unregister(descriptor)
            del self._watched[descriptor]
            return
        if before:
            self._selector.modify(descriptor, events, handler)
        else:
            self._selector.register(descriptor, events, handler)
        self._watched[descriptor] = events

    def soon(self, action: Callable[[], None]) -> None:
        """Run this in the loop's thread; may be called from any thread, and from a signal handler."""
        self._soon.append(action)
        os.eventfd_write(self._bell, 1)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run this after so many seconds; in the loop's thread."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), action))

    def stop(self) -> None:
        """Let `run` return."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            for key, ready in self._selector.select(self._pause()):
                if key.fd in self._watched:
                    key.data(ready)
            for _ in range(len(self._soon)):
                self._soon.popleft()()
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()
            self._waiting.look()

    def _pause(self) -> float | None:
        """Seconds until there may be something to do though no descriptor is ready; None for as long as it takes."""
        pauses = [max(0.0, self._later[0][0] - time.monotonic())] if self._later else []
        return min([*pauses, POLL] if self._waiting else pauses, default=None)

    def _answer_bell(self, _ready: int) -> None:
        os.eventfd_read(self._bell)
