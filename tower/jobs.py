"""The job ledger: submit, take, fence, settle, look after.

The row says everything; the queue only carries ids, and may lose any of them. A job is taken in one transaction when
it is the oldest unfinished one of its bench and nobody alive holds it within its deadline. Taking raises its claim, and
everything that a holder writes happens in `Claim.writing()`, which writes nothing once the claim was taken away.

A holder is a process, known by a file that it keeps locked: the kernel frees the lock at any death (flock(2)).
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tower import clock, faults, locks, models
from tower.config import Settings
from tower.models import Job, JobPane
from tower.names import new_id

log = logging.getLogger(__name__)

SPAWN = "spawn"
REMOVE = "remove"
RECREATE = "recreate"
SWEEP = "sweep"
RECONCILE = "reconcile"

QUEUED = "queued"
RUNNING = "running"
DONE = "done"
FAILED = "failed"
UNFINISHED = (QUEUED, RUNNING)

FIRST_STAGE = {
    SPAWN: "pane_create",
    RECREATE: "pane_create",
    REMOVE: "tmux_kill",
    SWEEP: "sweep",
    RECONCILE: "reconcile",
}

CLAIMS_PER_JOB = 1000
"""Claims of one job fit below this, so that job id and claim make one number that grows with both."""


class ClaimLost(Exception):
    """Another holder has taken the job; whatever was to be written is not."""


class Holders:
    """The processes that may hold jobs, each a locked file in `<run dir>/holders`."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.run_dir / "holders"

    def enter(self) -> str:
        """Become a holder for the life of this process; returns its name.

        The file is locked before it stands where others look: they clean away one that nobody has locked.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{os.getpid()}-{new_id()[:8]}"
        unlocked = self._folder.with_name(f"holder-{name}")
        locks.take(locks.open_file(unlocked))
        unlocked.rename(self._folder / name)
        return name

    def alive(self, name: str) -> bool:
        """Whether the process of that name lives; a dead one's file is cleaned away."""
        path = self._folder / name
        if locks.held(path):
            return True
        path.unlink(missing_ok=True)
        return False

    def living(self) -> list[str]:
        """The names of all living holders."""
        if not self._folder.is_dir():
            return []
        return [path.name for path in sorted(self._folder.iterdir()) if self.alive(path.name)]

    def pids(self) -> set[int]:
        """The processes of all living holders."""
        return {int(name.partition("-")[0]) for name in self.living()}


@dataclass(frozen=True)
class Claim:
    """The right to run one stage of a job, until somebody else takes it."""

    job: Job
    number: int
    deadline: float
    """In boot clock seconds."""

    @property
    def fence(self) -> int:
        """What tmux compares: it grows with each job of a bench and with each claim of a job."""
        return int(self.job.id) * CLAIMS_PER_JOB + self.number

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction that is empty when the claim is lost.

        Raises ClaimLost before anything is written.
        """
        with models.writing():
            self._require()
            yield
            faults.point(f"stage.{self.job.stage}.before_commit")
        faults.point(f"stage.{self.job.stage}.after_commit")

    def _require(self) -> None:
        mine = {"id": self.job.id, "claim": self.number, "state": UNFINISHED}
        if not models.update(Job, mine, updated_at=clock.now()):
            raise ClaimLost(f"job {self.job.id}, claim {self.number}")

    def pane_ids(self) -> list[str]:
        """The panes that the job names."""
        models.connect()
        return [pane_id for (pane_id,) in models.pick(JobPane, ("pane_id",), job_id=self.job.id)]

    def proceed(self, stage: str) -> None:
        """The next stage is this one, and whoever comes first may take it; inside `writing()`."""
        self._update(stage=stage, attempts=0, not_before=None, holder=None, deadline=None)

    def settle(self, state: str, error: str | None = None) -> None:
        """The job has ended; inside `writing()`."""
        self._update(state=state, error=error, holder=None, deadline=None, finished_at=clock.now())

    def forget(self) -> None:
        """The job changed nothing and leaves no row; inside `writing()`."""
        models.delete_from(Job).where((Job.id == self.job.id) & (Job.claim == self.number)).execute()

    def retry_after(self, delay: float, error: str) -> None:
        """The stage is to be tried again after these seconds."""
        with self.writing():
            self._update(
                attempts=self.job.attempts + 1,
                not_before=clock.boot_seconds() + delay,
                boot_id=clock.boot_id(),
                holder=None,
                deadline=None,
                error=error,
            )

    def overtake(self, seen_fence: int) -> bool:
        """Raise the claim above a fence that a server has seen from a later state of this database.

        Jobs of a bench run one at a time, so a higher fence than that of the oldest job comes from a database that
        has been replaced by an older copy of itself; or from whoever has taken this job over, and then it is False.
        """
        try:
            with self.writing():
                self._update(claim=seen_fence - self.job.id * CLAIMS_PER_JOB + 1, holder=None, deadline=None)
        except ClaimLost:
            return False
        return True

    def _update(self, **values: object) -> None:
        models.update(Job, {"id": self.job.id, "claim": self.number}, updated_at=clock.now(), **values)


def submit(
    kind: str,
    container_id: str,
    *,
    layout_id: str | None = None,
    pane_id: str | None = None,
    pane_ids: Sequence[str] = (),
) -> int:
    """Write a job; inside the caller's transaction. Wake a worker after its commit."""
    now = clock.now()
    job_id = models.insert(
        Job,
        kind=kind,
        container_id=container_id,
        layout_id=layout_id,
        pane_id=pane_id,
        stage=FIRST_STAGE[kind],
        created_at=now,
        updated_at=now,
    )
    for named in pane_ids:
        models.insert(JobPane, job_id=job_id, pane_id=named)
    return job_id


def submit_periodic(kind: str, container_id: str) -> int | None:
    """Write a sweep or reconcile job, unless the bench has one that is unfinished."""
    with models.writing():
        same = Job.select().where((Job.container_id == container_id) & (Job.kind == kind) & Job.state.in_(UNFINISHED))
        return None if same.exists() else submit(kind, container_id)


def take(job_id: int, stage: str, holder: str, holders: Holders, seconds: float) -> Claim | None:
    """The right to run this stage of a job for so many seconds; None when it may not be taken now.

    A stage that somebody alive has not ended by its deadline was an attempt; that of a dead holder was none.
    """
    faults.point("take.before")
    with models.writing():
        found = models.find(Job, id=job_id, stage=stage)
        if not found or not _takeable(found[0], holders):
            return None
        job = found[0]
        deadline = clock.boot_seconds() + seconds
        job.claim += 1
        job.attempts += int(_held(job, holders))
        models.update(
            Job,
            {"id": job_id},
            claim=job.claim,
            attempts=job.attempts,
            holder=holder,
            deadline=deadline,
            boot_id=clock.boot_id(),
            not_before=None,
            state=RUNNING,
            started_at=job.started_at or clock.now(),
            updated_at=clock.now(),
        )
        faults.point("take.before_commit")
    faults.point("take.after_commit")
    faults.point(f"stage.{stage}.taken")
    return Claim(job, job.claim, deadline)


def _takeable(job: Job, holders: Holders) -> bool:
    return job.state in UNFINISHED and oldest_unfinished(job.container_id) == job.id and _free(job, holders)


def _free(job: Job, holders: Holders) -> bool:
    this_boot = job.boot_id == clock.boot_id()
    now = clock.boot_seconds()
    if job.not_before is not None and this_boot and job.not_before > now:
        return False
    return not _held(job, holders) or job.deadline is None or job.deadline <= now


def _held(job: Job, holders: Holders) -> bool:
    """Whether a living process has it, within its time or not."""
    return job.holder is not None and job.boot_id == clock.boot_id() and holders.alive(job.holder)


def oldest_unfinished(container_id: str) -> int | None:
    """The job whose turn it is on that bench."""
    query = Job.raw(
        "SELECT id FROM job WHERE container_id = ? AND state IN ('queued', 'running') ORDER BY id LIMIT 1", container_id
    )
    return next((int(number) for (number,) in query.tuples()), None)


def takeable(holders: Holders) -> list[int]:
    """The jobs that could be taken now and that nobody has: lost wakes, dead holders, due retries."""
    models.connect()
    query = Job.raw(
        "SELECT * FROM job WHERE id IN "
        "(SELECT min(id) FROM job WHERE state IN ('queued', 'running') GROUP BY container_id)"
    )
    return [int(job.id) for job in query if _free(job, holders)]


def named_by_unfinished(container_id: str) -> set[str]:
    """The panes of a bench that an unfinished job names."""
    models.connect()
    query = JobPane.raw(
        "SELECT jp.job_id, jp.pane_id FROM job j JOIN job_pane jp ON jp.job_id = j.id"
        " WHERE j.container_id = ? AND j.state IN ('queued', 'running')",
        container_id,
    )
    return {row.pane_id for row in query}


def wake(job_id: int) -> None:
    """Tell a worker that the job may be taken; nothing is lost when this fails."""
    from tasks.registry import enqueue  # noqa: PLC0415 - the one place where the tower knows its tasks

    faults.point("enqueue.before")
    try:
        models.connect()
        for (stage,) in models.pick(Job, ("stage",), id=job_id, state=UNFINISHED):
            enqueue(job_id, stage)
    except Exception:
        log.warning("job %d was not put into the queue; a worker finds it within seconds", job_id, exc_info=True)
    faults.point("enqueue.after")


def wake_next(container_id: str) -> None:
    """Wake the job whose turn it is on that bench."""
    models.connect()
    job_id = oldest_unfinished(container_id)
    if job_id is not None:
        wake(job_id)


class LookAfter:
    """A thread that wakes, every `times.look` seconds, what could be taken and that nobody has.

    `first` is called before each look: for what might hold up the waking.
    """

    def __init__(
        self, settings: Settings, holders: Holders, run: Callable[[int], None], first: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._holders = holders
        self._run = run
        self._first = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="look-after", daemon=True)

    def start(self) -> None:
        """Begin; the first look is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()

    def _loop(self) -> None:
        while True:
            try:
                self._first()
                for job_id in takeable(self._holders):
                    self._run(job_id)
            except Exception:
                log.exception("the jobs could not be looked after; the next look is in %s s", self._settings.times.look)
            if self._stop.wait(self._settings.times.look):
                break
        models.db.close()
