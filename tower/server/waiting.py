"""Answers that wait: one query for all the jobs that are waited for, every few milliseconds while there are any."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from tower import jobs, models
from tower.config import Settings
from tower.errors import TowerError
from tower.models import Job
from tower.server.methods import Later, UntilJob

log = logging.getLogger(__name__)

POLL: Final = 0.01
"""Seconds between two looks at what is waited for."""

_WORKERS: Final = 1.0
"""Seconds between two looks at whether any worker lives."""

_Ended = tuple[str, str | None]
"""State and error of a job that is unfinished no more."""

Done = Callable[[TowerError | None, bool], None]
"""Called once in the loop: with the error of a job that failed, and whether what was waited for has ended."""


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
    later: Later
    deadline: float
    done: Done


class Waiting:
    """The requests whose answers wait; used in the loop's thread only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holders = jobs.Holders(settings)
        self._waiters: list[_Waiter] = []
        self._workers_seen = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def add(self, later: Later, done: Done) -> None:
        """Call `done` at its end or when its time has passed; of a job also when no worker is alive."""
        if isinstance(later, UntilJob):
            deadline = time.monotonic() + self._settings.times.remove_answer
        else:
            deadline = later.deadline
        self._waiters.append(_Waiter(later, deadline, done))

    def look(self) -> None:
        """Answer whoever has waited long enough."""
        if not self._waiters:
            return
        waiters, self._waiters = self._waiters, []
        ended = self._ended_jobs({waiter.later.job_id for waiter in waiters if isinstance(waiter.later, UntilJob)})
        now = time.monotonic()
        for waiter in waiters:
            end = self._end_of(waiter.later, ended)
            if end is not None:
                waiter.done(*end)
            elif now >= waiter.deadline:
                waiter.done(None, False)
            else:
                self._waiters.append(waiter)

    def _end_of(self, later: Later, ended: Mapping[int, _Ended]) -> tuple[TowerError | None, bool] | None:
        """What to tell of what is waited for; None while there is something to wait for."""
        if not isinstance(later, UntilJob):
            return (None, True) if later.ended() else None
        if later.job_id in ended:
            state, error = ended[later.job_id]
            return (JobFailed(error) if state == jobs.FAILED else None), True
        return (None, False) if self._nobody_works() else None

    def give_up(self) -> None:
        """Answer those who wait for a job with what there is now: it goes on without this server, unlike a scan."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if isinstance(waiter.later, UntilJob):
                waiter.done(None, False)
            else:
                self._waiters.append(waiter)

    def _ended_jobs(self, wanted: set[int]) -> dict[int, _Ended]:
        """The wanted jobs that are unfinished no more; one without a row has ended well and left none."""
        if not wanted:
            return {}
        try:
            query = Job.select(Job.id, Job.state, Job.error).where(Job.id.in_(wanted))
            rows = {int(job.id): (str(job.state), job.error) for job in query}
        except models.DatabaseError:
            log.exception("the jobs that are waited for cannot be looked at")
            return {}
        found = {job_id: rows.get(job_id, (jobs.DONE, None)) for job_id in wanted}
        return {job_id: row for job_id, row in found.items() if row[0] not in jobs.UNFINISHED}

    def _nobody_works(self) -> bool:
        if time.monotonic() - self._workers_seen < _WORKERS:
            return False
        if not self._holders.living():
            return True
        self._workers_seen = time.monotonic()
        return False
