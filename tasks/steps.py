"""What every job task wears: take the job, run the stage, and write down what became of it.

A transient failure is tried again after each of `times.retry_delays`; the row counts the attempts, huey's retry only
brings the prompt wake. Any other failure is final at once.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from huey.exceptions import CancelExecution

from tasks.queue import huey
from tower import errors, events, jobs, kills, models, recovery, stages
from tower.config import Settings
from tower.jobs import Claim, Holders
from tower.tmux import Overtaken
from tower.work import Work, open_work

log = logging.getLogger(__name__)

Body = Callable[[Work], None]


@dataclass(eq=False)
class StageHung(errors.TowerError):
    """A stage was not ended by its deadline, each time that it was tried."""

    stage: str
    seconds: float

    def __str__(self) -> str:
        return f"Stage {self.stage} did not end within {self.seconds:g} s; see work-*.log in the tower's log folder."


def step(body: Body) -> Any:
    """A huey task that runs the stage of the body's name for the job whose id it is given."""

    def run(job_id: int) -> None:
        worker().step(job_id, body)

    run.__doc__, run.__module__ = body.__doc__, body.__module__
    return huey.task(name=body.__name__, retries=2, retry_delay=1, retry_backoff=2)(run)


@dataclass(frozen=True)
class Worker:
    """This worker process: its name among the holders, and what it needs to run stages."""

    settings: Settings
    holders: Holders
    holder: str
    projector: events.Projector

    def step(self, job_id: int, body: Body) -> None:
        """Run the present stage of a job, unless somebody else has it.

        Raises CancelExecution, so that huey brings the message again, when the stage is to be retried.
        """
        claim = jobs.take(job_id, body.__name__, self.holder, self.holders, self.settings.times.stage)
        if claim is None:
            return
        try:
            if claim.job.attempts > len(self.settings.times.retry_delays):
                self._failed(claim, StageHung(claim.job.stage, self.settings.times.stage), transient=False)
            else:
                self._run(claim, body)
        except jobs.ClaimLost:
            log.warning("job %d was taken over by another worker", job_id)
            return
        except Overtaken as error:
            if not claim.overtake(error.seen_fence):
                return
            log.warning("job %d was behind tmux's fence %d: was the database put back?", job_id, error.seen_fence)
        finally:
            self.projector.nudge()
        jobs.wake_next(claim.job.container_id)

    def _run(self, claim: Claim, body: Body) -> None:
        try:
            body(open_work(self.settings, claim))
        except (Overtaken, jobs.ClaimLost):
            raise
        except errors.TowerError as error:
            self._failed(claim, error, transient=error.transient)
        except models.DatabaseError as error:
            log.exception("job %d, stage %s", claim.job.id, claim.job.stage)
            self._failed(claim, errors.InternalError(), transient=_passes(error))
        except Exception:  # a fault of ours must not leave the job running
            log.exception("job %d, stage %s", claim.job.id, claim.job.stage)
            self._failed(claim, errors.InternalError(), transient=False)

    def _failed(self, claim: Claim, error: errors.TowerError, *, transient: bool) -> None:
        delays, attempts = self.settings.times.retry_delays, claim.job.attempts
        log.warning("job %d, stage %s, attempt %d: %s", claim.job.id, claim.job.stage, attempts + 1, error.message)
        if transient and attempts < len(delays):
            claim.retry_after(delays[attempts], error.message)
            raise CancelExecution(retry=True)
        _GIVE_UP[claim.job.kind](claim, error)


_GIVE_UP = {
    jobs.SPAWN: stages.give_up,
    jobs.RECREATE: stages.give_up,
    jobs.REMOVE: kills.give_up,
    jobs.RECONCILE: recovery.give_up,
    jobs.SWEEP: recovery.give_up,
}


def _passes(error: Exception) -> bool:
    """Whether SQLite's trouble passes by itself: a lock does (sqlite.org/rescode, SQLITE_BUSY)."""
    return "locked" in str(error) or "busy" in str(error)


_workers: list[Worker] = []


def become(this: Worker) -> None:
    """This process is that worker."""
    _workers[:] = [this]


def worker() -> Worker:
    """The worker that this process is.

    Raises RuntimeError in any other process.
    """
    if not _workers:
        raise RuntimeError("only a worker runs tasks")
    return _workers[0]
