"""Answers that wait for a job: one query for all of them, every few milliseconds while there are any."""

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from tower import jobs, models
from tower.config import Settings
from tower.errors import TowerError
from tower.models import Job

log = logging.getLogger(__name__)

POLL: Final = 0.01
"""Seconds between two looks at the jobs that are waited for."""

_WORKERS: Final = 1.0
"""Seconds between two looks at whether any worker lives."""

Done = Callable[[TowerError | None, bool], None]
"""Called once in the loop: with the error of a job that failed, and whether the job has ended."""


class JobFailed(TowerError):
    """A job ended with an error, which is the answer to whoever waited for it."""

    def __init__(self, encoded: str | None) -> None:
        super().__init__()
        stored = _decode(encoded)
        self.code: str = stored.code
        self.details = stored.details
        self._message = stored.message

    @property
    def message(self) -> str:
        """As the job wrote it."""
        return self._message


class _Stored(msgspec.Struct, frozen=True):
    code: str = "internal_error"
    message: str = "The job failed; see it with `tower job list`, and work.log in the tower's log folder."
    details: dict[str, object] = {}


def _decode(encoded: str | None) -> _Stored:
    try:
        return msgspec.json.decode(encoded or "{}", type=_Stored)
    except msgspec.DecodeError:
        return _Stored()


class _Waiter(msgspec.Struct, frozen=True):
    job_id: int
    deadline: float
    done: Done


class Waiting:
    """The requests whose answers wait for a job; used in the loop's thread only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holders = jobs.Holders(settings)
        self._waiters: list[_Waiter] = []
        self._workers_seen = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def add(self, job_id: int, done: Done) -> None:
        """Call `done` when the job has ended, when its time has passed, or when no worker is alive."""
        self._waiters.append(_Waiter(job_id, time.monotonic() + self._settings.times.remove_answer, done))

    def look(self) -> None:
        """Answer whoever has waited long enough."""
        if not self._waiters:
            return
        try:
            ended = self._ended()
        except models.DatabaseError:
            log.exception("the jobs that are waited for cannot be looked at")
            ended = {}
        now, helpless = time.monotonic(), self._nobody_works()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.job_id in ended:
                state, error = ended[waiter.job_id]
                waiter.done(JobFailed(error) if state == jobs.FAILED else None, True)
            elif helpless or now >= waiter.deadline:
                waiter.done(None, False)
            else:
                self._waiters.append(waiter)

    def give_up(self) -> None:
        """Answer everybody with what there is now."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.done(None, False)

    def _ended(self) -> dict[int, tuple[str, str | None]]:
        """The waited-for jobs that are unfinished no more; one without a row has ended well and left none."""
        wanted = {waiter.job_id for waiter in self._waiters}
        query = Job.select(Job.id, Job.state, Job.error).where(Job.id.in_(wanted))
        rows = {int(job.id): (str(job.state), job.error) for job in query}
        found = {job_id: rows.get(job_id, (jobs.DONE, None)) for job_id in wanted}
        return {job_id: row for job_id, row in found.items() if row[0] not in jobs.UNFINISHED}

    def _nobody_works(self) -> bool:
        if time.monotonic() - self._workers_seen < _WORKERS:
            return False
        if not self._holders.living():
            return True
        self._workers_seen = time.monotonic()
        return False
