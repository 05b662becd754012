"""A bounded pool of threads for what waits.

Its threads are daemons: what they do is durable or nothing, so the process may end whenever it wants to.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

SIZE: Final = 16
EACH: Final = 4
"""So many tasks of one lane run at once."""

SPARE: Final = 8
"""So many threads are kept for lanes of which nothing runs."""

Task = Callable[[], None]


class Pool:
    """Runs callables in at most `size` threads, each started when it is first needed.

    Tasks that may wait for the same thing share a lane. All are begun in the order in which they came, but those of a
    lane that has its share of the threads are passed over; so what hangs keeps its own lane waiting, and no other.
    """

    def __init__(self, size: int = SIZE, each: int = EACH, spare: int = SPARE) -> None:
        self._size = size
        self._each = each
        self._spare = spare
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: dict[str | None, deque[tuple[int, Task]]] = {}
        self._running: Counter[str | None] = Counter()
        self._threads = 0
        self._begun: SimpleQueue[tuple[str | None, Task]] = SimpleQueue()

    def submit(self, task: Task, lane: str | None = None) -> None:
        """Run this as soon as its lane allows, at once without one; a task catches what it raises."""
        with self._lock:
            self._waiting.setdefault(lane, deque()).append((next(self._numbers), task))
            self._begin()

    def _begin(self) -> None:
        """Hand over what may run now, the oldest first; there are always as many threads as tasks handed over."""
        while lanes := [lane for lane in self._waiting if self._may_begin(lane)]:
            lane = min(lanes, key=lambda lane: self._waiting[lane][0][0])
            _, task = self._waiting[lane].popleft()
            if not self._waiting[lane]:
                del self._waiting[lane]
            self._running[lane] += 1
            if self._running.total() > self._threads:
                self._threads += 1
                threading.Thread(target=self._work, name=f"pool-{self._threads}", daemon=True).start()
            self._begun.put((lane, task))

    def _may_begin(self, lane: str | None) -> bool:
        free = self._size - self._running.total()
        if lane is None or not self._running[lane]:
            return free > 0
        return free > self._spare and self._running[lane] < self._each

    def _work(self) -> None:
        while True:
            lane, task = self._begun.get()
            task()
            self._end(lane)

    def _end(self, lane: str | None) -> None:
        with self._lock:
            self._running[lane] -= 1
            if not self._running[lane]:
                del self._running[lane]
            self._begin()
