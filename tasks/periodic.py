"""Reconcile and sweep, and what submits them: every worker process runs the periodic task, the ledger de-duplicates."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from tasks.queue import huey, settings
from tasks.steps import step
from tower import recovery
from tower.work import Work

_STARTED = time.monotonic()


@step
def reconcile(work: Work) -> None:
    """Bring the rows of a bench in line with its tmux."""
    recovery.reconcile(work)


@step
def sweep(work: Work) -> None:
    """Fail what has been creating for too long."""
    recovery.sweep(work)


def every(seconds: float) -> Callable[[datetime], bool]:
    """Whether a minute is one at this pace, for huey, which asks once a minute: so in whole minutes, at least one."""
    minutes = max(1, round(seconds / 60))
    return lambda now: (now - datetime.min) // timedelta(minutes=1) % minutes == 0


@huey.periodic_task(every(settings.times.reconcile_every), name="submit_reconciles")  # type: ignore[untyped-decorator]
def submit_reconciles() -> None:
    """Refresh the registry, and look at every bench; at a start the server does, and tells what it found."""
    if time.monotonic() - _STARTED > 2 * settings.times.look_at_start:
        recovery.submit_reconciles(settings)


@huey.periodic_task(every(settings.times.sweep_every), name="submit_sweeps")  # type: ignore[untyped-decorator]
def submit_sweeps() -> None:
    """Sweep where a pane has been creating for too long."""
    recovery.submit_sweeps(settings)
