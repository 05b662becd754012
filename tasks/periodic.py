"""Reconcile and sweep, and what submits them: every worker process runs the periodic task, the ledger de-duplicates."""

import time

from huey import crontab

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


def _minutes(seconds: float) -> str:
    """A crontab field for a pace in whole minutes, which is how often huey looks."""
    return f"*/{max(1, round(seconds / 60))}"


@huey.periodic_task(crontab(minute=_minutes(settings.times.reconcile_every)), name="submit_reconciles")  # type: ignore[untyped-decorator]
def submit_reconciles() -> None:
    """Refresh the registry, and look at every bench; at a start the server does, and tells what it found."""
    if time.monotonic() - _STARTED > 2 * settings.times.look_at_start:
        recovery.submit_reconciles(settings)


@huey.periodic_task(crontab(minute=_minutes(settings.times.sweep_every)), name="submit_sweeps")  # type: ignore[untyped-decorator]
def submit_sweeps() -> None:
    """Sweep where a pane has been creating for too long."""
    recovery.submit_sweeps(settings)
