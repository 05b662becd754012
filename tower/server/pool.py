"""A bounded pool of threads for what waits.

Its threads are daemons: what they do is durable or nothing, so the process may end whenever it wants to.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from tower import models

log = logging.getLogger(__name__)

SIZE: Final = 16


class Pool:
    """Runs callables in at most `size` threads, each started when it is first needed."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, task: Callable[[], None]) -> None:
        """Run this soon; a task catches what it raises."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._work, name=f"pool-{self._threads}", daemon=True).start()
        self._tasks.put(task)

    def _work(self) -> None:
        models.connect()
        while True:
            self._tasks.get()()
            with self._lock:
                self._idle += 1
