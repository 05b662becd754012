"""Scans of all benches: each kind runs once at a time, shared by whoever asks meanwhile, and is remembered a while.

A scan registers nothing. It runs in a thread of its own, so that it goes on when nobody waits any longer.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from tower import clock, jobs, models, recovery, seen
from tower.benches import registry
from tower.config import Settings
from tower.errors import ScanNotFound, TowerError
from tower.models import Bench, Job, SeenPane
from tower.names import new_id
from tower.reach import tmux_of, why_incomplete

log = logging.getLogger(__name__)

RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"

REMEMBERED: Final = 100
"""Scans that can still be asked for."""

_GOES_ON: Final = 5.0
"""Seconds that a scan goes on after whoever waits for it was told that it takes too long."""

_BENCHES_AT_ONCE: Final = 16
_JOB_POLL: Final = 0.05

NO_WORKER: Final = "No worker is running, so the panes were not looked at; start the tower with `tower up`."


class TooSlow(TowerError):
    """Some bench was not reconciled within the time of a scan."""

    def __str__(self) -> str:
        return "A bench was not reconciled in time; see what its jobs wait for with `tower job list`."


Work = Callable[[Settings, float], dict[str, Any]]
"""What a scan does until its deadline; its result goes to the wire."""


@dataclass
class Scan:
    """One scan, running or ended."""

    scan_id: str
    kind: str
    deadline: float
    state: str = RUNNING
    started_at: str = field(default_factory=clock.now)
    completed_at: str | None = None
    result: dict[str, Any] | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> dict[str, Any]:
        """As it goes to the wire."""
        return {
            "scan_id": self.scan_id,
            "state": self.state,
            "scan_kind": self.kind,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "result": self.result,
        }


class Scans:
    """The scans of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Scan] = OrderedDict()
        self._running: dict[str, Scan] = {}

    def begin(self, kind: str, settings: Settings) -> Scan:
        """The running scan of this kind, or a new one."""
        with self._lock:
            if kind in self._running:
                return self._running[kind]
            scan = Scan(new_id(), kind, time.monotonic() + settings.times.scan)
            self._known[scan.scan_id] = self._running[kind] = scan
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        threading.Thread(target=self._run, args=(scan, settings), name=f"scan-{kind}", daemon=True).start()
        return scan

    def find(self, scan_id: str) -> Scan:
        """A scan of the last ones; raises ScanNotFound."""
        with self._lock:
            if scan_id not in self._known:
                raise ScanNotFound(scan_id)
            return self._known[scan_id]

    def _run(self, scan: Scan, settings: Settings) -> None:
        state, result = FAILED, None
        try:
            models.connect()
            result = KINDS[scan.kind](settings, scan.deadline + _GOES_ON)
            state = COMPLETED
        except (TowerError, models.DatabaseError, OSError) as error:
            log.exception("a scan of %s failed", scan.kind)
            result = {"reason": error.message if isinstance(error, TowerError) else "see serve.log"}
        finally:
            models.db.close()
            with self._lock:
                del self._running[scan.kind]
                scan.state, scan.result, scan.completed_at = state, result, clock.now()
            scan.ended.set()


def scan_containers(settings: Settings, deadline: float) -> dict[str, Any]:
    """Look which benches there are, then reconcile each of them.

    Raises TooSlow when the reconciles have not ended by the deadline.
    """
    found, looked = _reconcile(settings, deadline)
    rows = list(Bench.select(Bench.container_id, Bench.state))
    return {
        "container_count": len(rows),
        "active_count": sum(row.state == registry.ACTIVE for row in rows),
        "appeared": found.appeared,
        "returned": found.returned,
        "lost": found.lost,
        "problem": " ".join(_problems(found, looked)) or None,
    }


def _problems(found: registry.Refreshed, looked: bool) -> list[str]:
    problems = [found.problem.message] if found.problem else []
    return problems if looked else [*problems, NO_WORKER]


def scan_panes(settings: Settings, deadline: float) -> dict[str, Any]:
    """List what tmux has in each active bench."""
    registry.refresh(settings, min(deadline, time.monotonic() + settings.times.session_check))
    rows = list(Bench.select().where(Bench.state == registry.ACTIVE))
    with ThreadPoolExecutor(_BENCHES_AT_ONCE, thread_name_prefix="scan") as pool:
        problems = list(pool.map(lambda row: _look(settings, row.container_id, deadline), rows))
    counts = {row.container_id: 0 for row in rows}
    for pane in SeenPane.select(SeenPane.container_id):
        counts[pane.container_id] = counts.get(pane.container_id, 0) + 1
    benches = [
        {
            "container_id": row.container_id,
            "container_name": row.name,
            "pane_count": counts[row.container_id],
            "problem": problem,
        }
        for row, problem in zip(rows, problems, strict=True)
    ]
    return {"pane_count": sum(counts.values()), "benches": benches}


def _look(settings: Settings, container_id: str, deadline: float) -> str | None:
    """Keep what one bench has; returns why it could not be looked at."""
    until = min(deadline, time.monotonic() + settings.times.session_check)
    problem = None
    try:
        tmux = tmux_of(settings, container_id)
        listing = tmux.listing(until)
        seen.record(container_id, listing)
        problem = why_incomplete(tmux, listing, until)
    except TowerError as error:
        problem = error.message
    finally:
        registry.note_scan(container_id, problem)
        models.db.close()
    return problem


def _reconcile(settings: Settings, deadline: float) -> tuple[registry.Refreshed, bool]:
    """Reconcile every bench, once more where a pass was under way, which may have looked before now.

    Returns what the registry found, and whether any worker was alive to look.
    """
    unfinished = Job.select(Job.id).where((Job.kind == jobs.RECONCILE) & Job.state.in_(jobs.UNFINISHED))
    before = [row.id for row in unfinished]
    submitted, found = recovery.submit_reconciles(settings)
    looked = _wait_for_jobs(settings, [*before, *submitted], deadline)
    if looked and before:
        looked = _wait_for_jobs(settings, recovery.submit_reconciles(settings)[0], deadline)
    return found, looked


def _wait_for_jobs(settings: Settings, job_ids: list[int], deadline: float) -> bool:
    """Wait until these jobs have ended; False where no worker is alive to run them. Raises TooSlow."""
    holders = jobs.Holders(settings)
    while Job.select().where(Job.id.in_(job_ids) & Job.state.in_(jobs.UNFINISHED)).exists():
        if not holders.living():
            return False
        if time.monotonic() > deadline:
            raise TooSlow
        time.sleep(_JOB_POLL)
    return True


KINDS: Final[dict[str, Work]] = {"containers": scan_containers, "panes": scan_panes}

SCANS: Final = Scans()
"""Those of this server."""
