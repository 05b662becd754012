"""Reconcile, sweep and the look at start: what tmux has against what the rows say.

A look changes nothing where it learned nothing: a paused bench or a silent engine leaves everything as it was, and
`observed_at` shows how old the knowledge is. Every pane that an unfinished job names is left to that job.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tower import clock, errors, events, faults, jobs, models, panes, seen, stages, states
from tower.benches import LOCAL, registry
from tower.benches.registry import Refreshed
from tower.config import Settings
from tower.models import Bench, Layout, Pane
from tower.panes import Fault
from tower.reach import tmux_of
from tower.tmux import Listing, Remains, SeenPane, Tmux, why_unreachable
from tower.work import Work, by_tower_id, container_gone

log = logging.getLogger(__name__)

_GONE = Fault(states.RECOVERY_REATTACH, "The tmux pane is gone; bring it back with `tower layout recreate`.")
_LOG_LOST = Fault(states.LOG_ATTACH, "The pane's output is no longer logged; remove and recreate the pane.")
_LIVING = (states.READY, states.DEGRADED)
_SWEPT = "Nothing has worked on this pane for minutes; bring it back with `tower layout recreate`."


@dataclass
class Look:
    """One look at a bench: the rows that it may judge, and what tmux has of them; or why nothing was learned."""

    container_id: str
    rows: list[Pane]
    listing: Listing = field(default_factory=Listing.empty)
    seen: dict[str, SeenPane] = field(default_factory=dict)
    problem: str | None = None
    hint: str | None = None
    """Why some panes, which are not among the rows then, could not be looked at."""
    late: bool = False
    """Whether the time was up before there was an answer."""
    output: dict[str, str] = field(default_factory=dict)
    changed: bool = False


def reconcile(work: Work) -> None:
    """Bring the rows of a bench in line with its tmux, and kill what should not be there any more."""
    look = _look(work.claim.job.container_id, work.tmux, work.deadline)
    killed = _kill_orphans(work, look.listing)
    with work.claim.writing():
        _apply(look)
        for orphan, row in killed:
            panes.record(row, events.PaneOrphanKilled(tmux_pane_id=orphan.tmux_pane_id))
        if killed or look.changed:
            work.claim.settle(jobs.DONE)
        else:
            work.claim.forget()


def look_at_start(settings: Settings) -> None:
    """Look at the engine and at every bench, all at once, for `times.look_at_start` seconds in all.

    A bench that is late, as after a boot when all is slow, is left to a reconcile job of its own, at once.
    """
    deadline = time.monotonic() + settings.times.look_at_start
    registry.begin_epoch()
    benches = sorted(_watched())
    pool = ThreadPoolExecutor(max_workers=min(33, len(benches) + 1), thread_name_prefix="look")
    looks = {pool.submit(_look_and_close, settings, container_id, deadline): container_id for container_id in benches}
    under_way: list[Future[Any]] = [pool.submit(_refresh_and_close, settings, deadline), *looks]
    wait(under_way, timeout=max(0.0, deadline - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    for look, container_id in looks.items():
        if not look.done() or look.cancelled() or look.exception() or not look.result():
            _submit(jobs.RECONCILE, container_id)


def look_now(settings: Settings, container_id: str) -> None:
    """Look at one bench, as `look_at_start` does; where nothing can be learned, nothing changes."""
    if container_id != LOCAL:
        registry.refresh(settings, time.monotonic() + settings.times.session_check)
    _look_once(settings, container_id, time.monotonic() + settings.times.session_check)


def _watched() -> set[str]:
    """The benches with panes that are not removed."""
    rows = Pane.select(Pane.container_id).where(Pane.state.in_(states.UNREMOVED)).distinct()
    return {str(row.container_id) for row in rows}


def _refresh_and_close(settings: Settings, deadline: float) -> None:
    try:
        registry.refresh(settings, deadline)
    except models.DatabaseError:
        log.exception("the benches could not be refreshed")
    finally:
        models.db.close()


def _look_and_close(settings: Settings, container_id: str, deadline: float) -> bool:
    try:
        return _look_once(settings, container_id, deadline)
    finally:
        models.db.close()


def _look_once(settings: Settings, container_id: str, deadline: float) -> bool:
    """Look, and write what was found; whether the answer came in time."""
    try:
        look = _look(container_id, tmux_of(settings, container_id), deadline)
        with models.writing():
            _apply(look)
    except errors.TowerError as error:
        log.warning("bench %s could not be looked at: %s", container_id, error.message)
    except models.DatabaseError:
        log.exception("bench %s could not be looked at", container_id)
    else:
        return not look.late
    return True


def _look(container_id: str, tmux: Tmux, deadline: float) -> Look:
    """What there is, or why nothing could be learned."""
    rows = _judged(container_id)
    try:
        faults.point("engine.reconcile.before")
        listing = tmux.settle(deadline)
        faults.point("engine.reconcile.after")
        seen_panes = by_tower_id(listing, models.instance())
        hidden = _hidden(tmux, rows, listing, seen_panes, deadline)
    except errors.TowerError as error:
        if isinstance(error, errors.WireError) and container_gone(error):
            return Look(container_id, rows)
        log.info("bench %s was not looked at: %s", container_id, error.message)
        return Look(container_id, [], problem=error.message, late=isinstance(error, errors.BenchTimeout))
    look = Look(container_id, [row for row in rows if row.server not in hidden], listing, seen_panes)
    look.hint = why_unreachable(hidden) if hidden else None
    look.output = _last_words(tmux, look, deadline)
    return look


def _hidden(
    tmux: Tmux, rows: list[Pane], listing: Listing, seen_panes: dict[str, SeenPane], deadline: float
) -> frozenset[str]:
    """The tmux servers that live beside the one that answers, where panes are missing that should be in them."""
    missing = [row for row in rows if row.state in _LIVING and row.pane_id not in seen_panes]
    if all(row.server == listing.server for row in missing):
        return frozenset()
    return tmux.unreachable(listing.server, deadline)


def _judged(container_id: str) -> list[Pane]:
    """The panes of a bench that are not removed and that no unfinished job names."""
    models.connect()
    named = jobs.named_by_unfinished(container_id)
    rows = Pane.select().where(_judgeable(container_id))
    return [row for row in rows.order_by(Pane.number) if row.pane_id not in named]


def _judgeable(container_id: str) -> Any:
    return (Pane.container_id == container_id) & Pane.state.in_(states.UNREMOVED)


def _last_words(tmux: Tmux, look: Look, deadline: float) -> dict[str, str]:
    """The last output of the panes that died since they were last looked at."""
    died = [
        look.seen[row.pane_id].tmux_pane_id
        for row in look.rows
        if row.pane_id in look.seen and look.seen[row.pane_id].dead and row.exited_at is None
    ]
    if not died:
        return {}
    faults.point("engine.capture.before")
    output = tmux.capture(died, deadline)
    faults.point("engine.capture.after")
    return output


def _apply(look: Look) -> None:
    """Write what a look found; inside `writing()`."""
    registry.note_scan(look.container_id, look.problem or look.hint)
    if look.problem:
        return
    named = jobs.named_by_unfinished(look.container_id)
    rows = Pane.select(Pane.pane_id, Pane.state, Pane.exited_at).where(_judgeable(look.container_id))
    present = {row.pane_id: (row.state, row.exited_at) for row in rows}
    for row in look.rows:
        if row.pane_id not in named and present.get(row.pane_id) == (row.state, row.exited_at):
            _judge(look, row)
    _announce(look, named)
    seen.record(look.container_id, look.listing)


def _judge(look: Look, row: Pane) -> None:
    there = look.seen.get(row.pane_id)
    if there is None:
        if row.state in _LIVING:
            look.changed |= panes.move(row.pane_id, states.FAILED, fault=_GONE, log_attached=False)
        return
    if row.state == states.CREATING:
        return
    panes.seen_well(row)
    models.update(Pane, {"pane_id": row.pane_id}, observed_at=clock.now())
    if there.dead and row.exited_at is None and row.state in _LIVING:
        fault = stages.note_exit(row, there, look.output.get(there.tmux_pane_id))
        look.changed = True
        panes.move(row.pane_id, states.DEGRADED, fault=fault)
    elif row.state == states.READY and row.log_attached and not (there.piped and _log_exists(row)):
        panes.record(row, events.PaneLogAttachFailed(reason=_LOG_LOST.reason))
        look.changed |= panes.move(row.pane_id, states.DEGRADED, fault=_LOG_LOST, log_attached=False)


def _log_exists(row: Pane) -> bool:
    """Whether the log is where it was; one inside a container cannot be seen from here and counts as there.

    While it is rotated, for an instant, there is its older file alone.
    """
    path = Path(row.log_path or "")
    older = path.with_name(f"{path.name}.1")
    return stages.log_exists(path) or stages.log_exists(older) or not stages.log_exists(path.parent)


def _announce(look: Look, named: set[str]) -> None:
    """Tell of each layout, once per start of the server or return of the bench, what was found of it."""
    bench = Bench.get(Bench.container_id == look.container_id)
    due = Layout.select().where(
        (Layout.container_id == look.container_id)
        & Layout.state.in_(states.UNREMOVED)
        & (Layout.recovery_epoch < bench.epoch)
    )
    for layout in due:
        rows = [row for row in look.rows if row.layout_id == layout.layout_id and row.newest]
        if rows and not any(row.pane_id in named for row in rows):
            _announce_layout(look, layout, rows, bench.epoch_pane)
            Layout.update(recovery_epoch=bench.epoch).where(Layout.layout_id == layout.layout_id).execute()


def _announce_layout(look: Look, layout: Layout, rows: list[Pane], epoch_pane: int) -> None:
    """`rows` are the newest panes; one made since is neither found nor lost, and stands for its predecessor."""
    about = {"actor": events.DAEMON, "container_id": look.container_id, "layout_id": layout.layout_id}
    replaced = [row.predecessor_id for row in rows if row.number > epoch_pane and row.predecessor_id]
    rows = [row for row in rows if row.number <= epoch_pane]
    lived = [row for row in rows if row.state in _LIVING]
    found = [str(row.pane_id) for row in lived if row.pane_id in look.seen]
    lost = [str(row.pane_id) for row in lived if row.pane_id not in look.seen]
    lost += _lost_before(layout, [*rows, *Pane.select().where(Pane.pane_id.in_(replaced))])
    if found:
        events.record(events.LayoutRecoveryReattached(reattached_pane_ids=found), **about)
    if lost:
        failed = events.LayoutRecoveryFailed(failed_pane_ids=lost, failed_stage=states.RECOVERY_REATTACH)
        events.record(failed, **about)


def _lost_before(layout: Layout, rows: list[Pane]) -> list[str]:
    """Those found gone since it was last told: a look may come before it is known that the bench is back."""
    gone = [row for row in rows if row.state == states.FAILED and row.failed_stage == states.RECOVERY_REATTACH]
    if not gone:
        return []
    told = events.last(layout.layout_id, events.LayoutRecoveryReattached, events.LayoutRecoveryFailed) or ""
    return [str(row.pane_id) for row in gone if row.updated_at > told]


def _kill_orphans(work: Work, listing: Listing) -> list[tuple[SeenPane, Pane]]:
    """Kill the tmux panes whose rows are removed or superseded, and the younger of two with one id."""
    orphans = _orphans(listing)
    if not orphans:
        return []
    faults.point("engine.orphans.before")
    targets = [Remains(orphan.pane_id, orphan.tmux_pane_id) for orphan, _ in orphans]
    left = {pane.tmux_pane_id for pane in work.tmux.kill(targets, work.claim.fence, work.deadline).panes}
    faults.point("engine.orphans.after")
    return [(orphan, row) for orphan, row in orphans if orphan.tmux_pane_id not in left]


def _orphans(listing: Listing) -> list[tuple[SeenPane, Pane]]:
    instance = models.instance()
    mine = [pane for pane in listing.panes if pane.instance == instance and pane.pane_id]
    elder = by_tower_id(listing, instance)
    rows = {row.pane_id: row for row in Pane.select().where(Pane.pane_id.in_([pane.pane_id for pane in mine]))}
    return [
        (pane, rows[pane.pane_id])
        for pane in mine
        if pane.pane_id in rows and (_superseded(rows[pane.pane_id]) or elder[pane.pane_id] is not pane)
    ]


def _superseded(row: Pane) -> bool:
    return row.state == states.REMOVED or not row.newest


def sweep(work: Work) -> None:
    """Fail the panes of a bench that have been creating for too long and that no unfinished job names."""
    container_id = work.claim.job.container_id
    stale = {row.pane_id for row in _stale(work.settings) if row.container_id == container_id}
    try:
        backed = set(by_tower_id(_swept_listing(work), models.instance())) if stale else set()
    except errors.WireError as error:
        if not container_gone(error):
            raise
        backed = set()
    with work.claim.writing():
        named = jobs.named_by_unfinished(container_id)
        for pane_id in sorted(stale - named):
            stage = states.REGISTRATION if pane_id in backed else states.PANE_CREATE
            panes.move(pane_id, states.FAILED, fault=Fault(stage, _SWEPT))
        work.claim.settle(jobs.DONE)


def _swept_listing(work: Work) -> Listing:
    faults.point("engine.sweep.before")
    listing = work.tmux.listing(work.deadline)
    faults.point("engine.sweep.after")
    return listing


def _stale(settings: Settings) -> list[Pane]:
    before = clock.stamp(time.time() - settings.times.sweep_after)
    return list(Pane.select().where((Pane.state == states.CREATING) & (Pane.created_at < before)))


def submit_sweeps(settings: Settings) -> None:
    """A sweep job for each bench that has panes to sweep."""
    models.connect()
    for container_id in sorted({str(row.container_id) for row in _stale(settings)}):
        _submit(jobs.SWEEP, container_id)


def submit_reconciles(settings: Settings) -> tuple[list[int], Refreshed]:
    """A reconcile job for each bench that is active or has panes; refreshes the registry meanwhile.

    The known ones come first, for an engine may be silent for long. Returns the jobs, and what the refresh found.
    """
    models.connect()
    known = _active() | _watched()
    submitted = [_submit(jobs.RECONCILE, container_id) for container_id in sorted(known)]
    found = registry.refresh(settings, time.monotonic() + settings.times.scan)
    if found.problem:
        log.warning("the benches could not be refreshed: %s", found.problem.message)
    submitted += [_submit(jobs.RECONCILE, container_id) for container_id in sorted(_active() - known)]
    return [job_id for job_id in submitted if job_id is not None], found


def _active() -> set[str]:
    return {str(bench.container_id) for bench in Bench.select().where(Bench.state != "inactive")}


def _submit(kind: str, container_id: str) -> int | None:
    job_id = jobs.submit_periodic(kind, container_id)
    if job_id is not None:
        jobs.wake(job_id)
    return job_id


def give_up(claim: jobs.Claim, error: errors.TowerError) -> None:
    """A reconcile or sweep that failed for good is over; the next one looks again."""
    with claim.writing():
        claim.settle(jobs.FAILED, error.message)
