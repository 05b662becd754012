"""`tower work`: a huey consumer with worker threads, woken by its bell."""

import logging
import os
import signal
import threading
from typing import Any

from huey.consumer import Consumer

import tasks.registry  # noqa: F401 - a consumer must know every task
from tasks import steps
from tasks.queue import huey, settings
from tower import config, events, jobs, locks, models
from tower.jobs import Holders, LookAfter
from tower.sleepers import Sleepers

log = logging.getLogger(__name__)


class WakingConsumer(Consumer):  # type: ignore[misc]
    """A consumer that finishes what it runs on SIGINT, SIGTERM and SIGHUP, and ends with its supervisor.

    huey would start itself anew at a SIGHUP, which the kernel sends to one that stands still as its supervisor ends
    (setpgid(2), orphaned process groups).
    """

    def __init__(self, threads: int) -> None:
        super().__init__(huey, workers=threads, periodic=True, shutdown_timeout=settings.times.stage + 5)
        self._stop_flag_timeout = 0.5
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._signal_actions[number] = (False, True)
        self._threads = threads
        self._supervised = "SUPERVISOR_ENABLED" in os.environ
        self._parent = locks.holder(settings.supervisord_lock) if self._supervised else None

    def loop(self, health_check_ts: float | None = None) -> Any:
        """As in huey; a worker whose supervisor died finishes what it runs and ends."""
        if self._supervised and os.getppid() != self._parent and self._signum is None:
            log.warning("the supervisor is gone: finishing what runs, then ending")
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loop(health_check_ts)

    def stop(self, graceful: bool = False) -> None:
        """As in huey; the threads that wait for the bell are woken."""
        self.stop_flag.set()
        huey.storage.wake(self._threads)
        super().stop(graceful)


def _wake_here(job_id: int) -> None:
    """Wake a worker, and this one for certain."""
    jobs.wake(job_id)
    huey.storage.wake(1)


def run() -> None:
    """Run jobs until SIGINT or SIGTERM.

    Raises OSError or sqlite3.Error when the state cannot be used.
    """
    config.make_state_dirs(settings)
    models.use(settings)
    holders = Holders(settings)
    projector = events.Projector(settings)
    steps.become(steps.Worker(settings, holders, holders.enter(), projector))
    huey.storage.listen()
    look_after = LookAfter(settings, holders, _wake_here, Sleepers(settings, holders).end)
    projector.start()
    look_after.start()
    threading.current_thread().name = "consumer"
    try:
        WakingConsumer(settings.workers.threads).run()
    finally:
        look_after.stop()
        projector.stop()
