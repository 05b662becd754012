"""The kill of a remove job: panes that are gone already count as removed."""

from collections.abc import Iterable, Sequence

from tower import errors, events, faults, jobs, models, panes, states
from tower.jobs import Claim
from tower.models import Agent, Job, Pane
from tower.seen import forget as forget_seen
from tower.tmux import Listing, Remains, SeenPane, why_unreachable
from tower.work import Work, by_tower_id, container_gone, encode_error, on_the_wire, sorted_panes


def tmux_kill(work: Work) -> None:
    """Kill the panes of a remove job; those that are gone already count as removed."""
    rows = _removable(work.claim.job)
    left, killed = _kill(work, rows)
    stubborn = [row for row in rows if row.pane_id in left]
    with work.claim.writing():
        for row in rows:
            if row.pane_id in left:
                panes.kill_failed(row.pane_id, "tmux did not kill the pane; see `tower doctor`, then remove it again.")
            else:
                removed(row, killed=row.pane_id in killed)
        error = encode_error(errors.TmuxUnavailable("it did not kill the pane")) if stubborn else None
        work.claim.settle(jobs.FAILED if stubborn else jobs.DONE, error)


def _removable(job: Job) -> list[Pane]:
    """The panes to remove as they are now: those named, and of a whole layout all that came since."""
    named = Pane.pane_id == job.pane_id if job.pane_id else Pane.layout_id == job.layout_id
    return [row for row in sorted_panes(named & (Pane.state != states.REMOVED)) if row.state != states.CREATING]


def _kill(work: Work, rows: Sequence[Pane]) -> tuple[dict[str, SeenPane], set[str]]:
    """Kill these panes; returns those of them that tmux still has, and the ids of those that it killed.

    Raises TmuxUnavailable where one is in a tmux server that lives and cannot be reached.
    """
    ids = {row.pane_id for row in rows}
    known = [Remains(row.pane_id, row.tmux_pane_id) for row in rows if row.tmux_pane_id]
    try:
        faults.point("engine.kill.before")
        listing = work.tmux.kill(known, work.claim.fence, work.deadline)
        faults.point("engine.kill.after")
        killed = {target.pane_id for target in known if target.tmux_pane_id in listing.killed}
        if left := _of(ids, listing):
            again = [Remains(pane_id, seen.tmux_pane_id) for pane_id, seen in left.items()]
            listing = work.tmux.kill(again, work.claim.fence, work.deadline)
            killed |= {target.pane_id for target in again if target.tmux_pane_id in listing.killed}
            left = _of(ids, listing)
        elsewhere = {row.server for row in rows if row.pane_id not in killed and row.server} - {listing.server}
        if elsewhere and (hidden := elsewhere & work.tmux.unreachable(listing.server, work.deadline)):
            raise errors.TmuxUnavailable(why_unreachable(hidden))
    except (errors.ContainerNotFound, errors.ContainerInactive) as error:
        if not container_gone(error):
            raise
        return {}, set()
    return left, killed


def _of(ids: Iterable[str], listing: Listing) -> dict[str, SeenPane]:
    wanted = set(ids)
    return {key: seen for key, seen in by_tower_id(listing, models.instance()).items() if key in wanted}


def removed(row: Pane, *, killed: bool) -> None:
    """Move a pane to removed, its agent with it; inside `writing()`."""
    if panes.move(row.pane_id, states.REMOVED, actor=events.OPERATOR, log_attached=False):
        models.update(Agent, {"managed_pane_id": row.pane_id}, active=False)
        forget_seen(row.pane_id)
        panes.record(row, events.PaneRemoved(tmux_kill_succeeded=killed), events.OPERATOR)


def give_up(claim: Claim, error: errors.TowerError) -> None:
    """The kill failed for good: the panes keep their states and say so, and whoever waits gets the error."""
    if isinstance(error, errors.ContainerInactive):
        error = errors.TmuxUnavailable(f"the container is {error.container_state}")
    with claim.writing():
        for row in _removable(claim.job):
            panes.kill_failed(row.pane_id, error.message)
        claim.settle(jobs.FAILED, encode_error(on_the_wire(error)))
