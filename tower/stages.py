"""The four stages of a spawn.

Each stage asks tmux what there is, compares, and does what is missing, so that it may be run again from its beginning
by whoever takes the job next. One pane's failure never stops its siblings. What a stage found is written in one
transaction under its claim, together with the stage that comes next.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tower import catalog, clock, errors, events, faults, jobs, models, names, panes, states
from tower.benches import LogTarget
from tower.config import Settings
from tower.jobs import Claim
from tower.models import Agent, Layout, Pane
from tower.panes import Fault
from tower.seen import record as record_seen
from tower.tmux import FinishPane, Listing, Neighbour, NewPane, Remains, SeenPane, Spawn
from tower.work import Work, by_tower_id, container_gone, encode_error, on_the_wire, sorted_panes

_LOG_FILE_SECONDS = 2.0


# pane_create


def pane_create(work: Work) -> None:
    """Make the tmux panes of the job that are not there, all in one script."""
    rows = work.creating()
    wanted, faulty = _prepare(work, rows)
    look = _look_first(work, rows)
    listing = _spawn(work, wanted, look) if wanted else look or Listing.empty()
    seen = by_tower_id(listing, models.instance())
    missing = [pane for pane in wanted if pane.pane_id not in seen]
    if missing and look is None and not _foreign(work, listing):
        listing = _spawn(work, missing, listing)
        seen = by_tower_id(listing, models.instance())
    faulty |= {pane.pane_id: _why_missing(work, listing) for pane in wanted if pane.pane_id not in seen}
    with work.claim.writing():
        for row in rows:
            if row.pane_id in seen:
                _launched(row, seen[row.pane_id], listing)
            else:
                panes.move(row.pane_id, states.FAILED, fault=faulty[row.pane_id])
        work.claim.proceed(states.LAUNCH_COMMAND)


def _look_first(work: Work, rows: Sequence[Pane]) -> Listing | None:
    """What tmux has, where something of the job may be there already; None for the first try of a new layout."""
    predecessors = [row.predecessor_id for row in rows if row.predecessor_id]
    failed = Pane.select().where(Pane.pane_id.in_(predecessors) & (Pane.state == states.FAILED)).exists()
    if work.claim.number == 1 and not failed:
        return None
    return work.tmux.kill((), work.claim.fence, work.deadline)


def _prepare(work: Work, rows: Sequence[Pane]) -> tuple[list[NewPane], dict[str, Fault]]:
    wanted, faulty = [], {}
    for row in rows:
        try:
            wanted.append(_new_pane(work, row))
        except (catalog.MissingVariable, errors.ManagedLaunchCommandNotFound) as error:
            faulty[row.pane_id] = Fault(states.PANE_CREATE, error.message)
    return wanted, faulty


def _new_pane(work: Work, row: Pane) -> NewPane:
    return NewPane(
        pane_id=row.pane_id,
        layout_id=row.layout_id,
        slot=row.slot,
        label=row.label,
        role=row.role,
        marker=str(row.pending_marker_token),
        argv=tuple(row.argv),
        env=_environment(work.settings, row),
        working_dir=row.working_dir,
        log_path=work.bench.log_target(row.pane_id).bench_path,
    )


def _environment(settings: Settings, row: Pane) -> dict[str, str]:
    """The profile's env as it is now, of the keys that were accepted."""
    if not row.env_keys:
        return {}
    values = catalog.expand_env(catalog.load(settings).profile(str(row.launch_command_ref)), settings)
    for key in row.env_keys:
        if key not in values:
            raise catalog.MissingVariable(key)
    return {key: values[key] for key in row.env_keys}


def _spawn(work: Work, wanted: Sequence[NewPane], look: Listing | None) -> Listing:
    layout = work.layout
    there = by_tower_id(look, models.instance()) if look else {}
    plan = Spawn(
        layout_id=layout.layout_id,
        session=layout.tmux_session_name,
        arrangement=layout.arrangement,
        panes=tuple(pane for pane in wanted if pane.pane_id not in there),
        neighbours=_neighbours(layout, there, look is not None),
        remains=_remains(layout, there),
        may_create_session=True,
    )
    if look and not plan.panes and not plan.remains:
        return look
    faults.point("engine.spawn.before")
    listing = work.tmux.spawn(plan, work.claim.fence, work.deadline)
    faults.point("engine.spawn.after")
    return listing


def _neighbours(layout: Layout, there: dict[str, SeenPane], looked: bool) -> tuple[Neighbour, ...]:
    """The live panes beside which new ones go: as seen, or without a look as the rows have them."""
    rows = sorted_panes((Pane.layout_id == layout.layout_id) & (Pane.newest == True))  # noqa: E712 - SQL
    found = []
    for row in rows:
        tmux_pane_id = there[row.pane_id].tmux_pane_id if row.pane_id in there else row.tmux_pane_id
        if tmux_pane_id and (row.pane_id in there or (not looked and row.state in states.LIVE)):
            found.append(Neighbour(row.slot, row.pane_id, tmux_pane_id))
    return tuple(found)


def _remains(layout: Layout, there: dict[str, SeenPane]) -> tuple[Remains, ...]:
    """What tmux still has of panes that a newer row of their slot took the place of."""
    rows = sorted_panes((Pane.layout_id == layout.layout_id) & (Pane.newest == False))  # noqa: E712 - SQL
    return tuple(Remains(row.pane_id, there[row.pane_id].tmux_pane_id) for row in rows if row.pane_id in there)


def _foreign(work: Work, listing: Listing) -> bool:
    """Whether the session's name is taken by a session that is not this layout's."""
    layout = work.layout
    return any(
        seen.session_name == layout.tmux_session_name and seen.layout_id != layout.layout_id for seen in listing.panes
    )


def _why_missing(work: Work, listing: Listing) -> Fault:
    name = work.layout.tmux_session_name
    if _foreign(work, listing):
        reason = f"A session {name!r} that is not this layout's appeared in the bench; end it, then recreate."
    else:
        reason = f"tmux did not make the pane in session {name!r}; see whether it has room, then recreate."
    return Fault(states.PANE_CREATE, reason)


def _launched(row: Pane, seen: SeenPane, listing: Listing) -> None:
    if row.tmux_pane_id != seen.tmux_pane_id:
        panes.record(row, events.PaneLaunched(tmux_pane_id=seen.tmux_pane_id))
    now = clock.now()
    found = {"tmux_pane_id": seen.tmux_pane_id, "server": listing.server}
    models.update(Pane, {"pane_id": row.pane_id}, **found, observed_at=now, updated_at=now)


# launch_command


def launch_command(work: Work) -> None:
    """Let all panes of the job settle together, then see which of their commands live."""
    rows = work.creating()
    at = _settled_at(rows, work.settings.times.settle)
    listing = work.tmux.settle(work.deadline, at) if rows else Listing.empty()
    seen = by_tower_id(listing, models.instance())
    dead = [seen[row.pane_id].tmux_pane_id for row in rows if row.pane_id in seen and seen[row.pane_id].dead]
    output = work.tmux.capture(dead, work.deadline) if dead else {}
    with work.claim.writing():
        for row in rows:
            _settle(row, seen.get(row.pane_id), output, work.settings.times.settle)
        work.claim.proceed(states.REGISTRATION)


def _settled_at(rows: Sequence[Pane], settle: float) -> float:
    """When all of them have had their settle time since they were seen to be launched; in monotonic seconds.

    A wall clock that was set back meanwhile costs the whole settle time once more, and no longer.
    """
    launched = max((clock.unix(row.observed_at) for row in rows if row.observed_at), default=time.time())
    return time.monotonic() + min(settle, max(0.0, launched + settle - time.time()))


def _settle(row: Pane, seen: SeenPane | None, output: dict[str, str], settle: float) -> None:
    if seen is None:
        gone = Fault(states.RECOVERY_REATTACH, "The tmux pane vanished before it was ready; recreate it.")
        panes.move(row.pane_id, states.FAILED, fault=gone)
    elif not seen.dead:
        _observed(row)
    elif seen.failed_mark == "working_dir":
        reason = f"The working directory {row.working_dir!r} cannot be entered in the bench; make it, then recreate."
        columns: dict[str, Any] = {"last_output": output.get(seen.tmux_pane_id), "observed_at": clock.now()}
        panes.move(row.pane_id, states.FAILED, fault=Fault(states.PANE_CREATE, reason), **columns)
    else:
        note_exit(row, seen, output.get(seen.tmux_pane_id), int(settle * 1000))


def note_exit(row: Pane, seen: SeenPane, output: str | None, elapsed_ms: int) -> None:
    """Write down how a pane's command ended; inside `writing()`."""
    reason = _exec_reason(row, seen)
    now = clock.now()
    Pane.update(
        exit_code=seen.exit_code,
        exit_signal=seen.exit_signal,
        exited_at=now,
        last_output=output,
        reason=reason,
        observed_at=now,
        updated_at=now,
    ).where(Pane.pane_id == row.pane_id).execute()
    exited = events.PaneLaunchCommandExited(
        exit_code=seen.exit_code, exit_signal=seen.exit_signal, elapsed_ms=elapsed_ms, reason=reason
    )
    panes.record(row, exited)


def _exec_reason(row: Pane, seen: SeenPane) -> str | None:
    program = row.argv[0] if row.argv else "the login shell"
    if seen.failed_mark == "exec:127":
        return f"{program!r} does not exist in the bench; install it there or correct the launch profile."
    if seen.failed_mark == "exec:126":
        return f"{program!r} may not be executed in the bench; set its mode or correct the launch profile."
    return None


def exit_fault(exit_code: int | None, exit_signal: int | None, reason: str | None) -> Fault:
    """What to say of a command that ended."""
    if reason is None:
        how = "in a way that tmux does not know"
        if exit_signal is not None:
            how = f"by signal {exit_signal}"
        elif exit_code is not None:
            how = f"with status {exit_code}"
        reason = f"The launch command ended {how}; read its last output, then remove and recreate the pane."
    return Fault(states.LAUNCH_COMMAND, reason)


def _observed(row: Pane) -> None:
    models.update(Pane, {"pane_id": row.pane_id}, observed_at=clock.now())


# registration


def registration(work: Work) -> None:
    """Make each pane an agent."""
    rows = work.creating()
    layout = work.layout
    with work.claim.writing():
        for row in rows:
            if row.agent_id is None:
                _register(row, layout)
        work.claim.proceed(states.LOG_ATTACH)


def _register(row: Pane, layout: Layout) -> None:
    place = {"container_id": row.container_id, "server": row.server, "tmux_pane_id": row.tmux_pane_id}
    models.update(Agent, place | {"active": True}, active=False)
    agent_id = names.new_id()
    models.insert(
        Agent,
        agent_id=agent_id,
        container_id=row.container_id,
        origin="managed",
        managed_pane_id=row.pane_id,
        tmux_pane_id=row.tmux_pane_id,
        tmux_socket="",
        server=row.server,
        tmux_session_name=layout.tmux_session_name,
        role=row.role,
        capability=row.capability,
        label=row.label,
        registered_at=clock.now(),
    )
    models.update(Pane, {"pane_id": row.pane_id}, agent_id=agent_id)
    panes.record(row, events.PaneRegistered(agent_id=agent_id))


# log_attach


def log_attach(work: Work) -> None:
    """Take the markers off, set the titles, and see whether the logs are written."""
    rows = work.creating()
    listing = Listing.empty()
    if rows:
        faults.point("engine.finish.before")
        finishing = [FinishPane(row.pane_id, str(row.tmux_pane_id), row.label) for row in rows]
        listing = work.tmux.finish(finishing, work.claim.fence, work.deadline)
        faults.point("engine.finish.after")
    seen = by_tower_id(listing, models.instance())
    targets = {row.pane_id: work.bench.log_target(row.pane_id) for row in rows}
    problems = {row.pane_id: _log_problem(targets[row.pane_id], seen.get(row.pane_id)) for row in rows}
    with work.claim.writing():
        if rows:
            record_seen(work.bench.container_id, listing)
        for row in rows:
            _complete(row, listing, seen.get(row.pane_id), targets[row.pane_id], problems[row.pane_id])
        work.claim.settle(jobs.DONE)


def _log_problem(target: LogTarget, seen: SeenPane | None) -> str | None:
    """Why the log is not attached; None where it is."""
    if target.problem or seen is None:
        return target.problem
    if target.host_path is not None and not _appears(target.host_path):
        return f"The bench user could not write {target.bench_path}; make that directory writable for that user."
    if not seen.piped and not seen.dead:
        return f"tmux does not write to {target.bench_path}; make it writable for the bench user, then recreate."
    return None


def _appears(path: Path) -> bool:
    until = time.monotonic() + _LOG_FILE_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _complete(row: Pane, listing: Listing, seen: SeenPane | None, target: LogTarget, problem: str | None) -> None:
    if seen is None:
        gone = Fault(states.RECOVERY_REATTACH, "The tmux pane vanished before it was ready; recreate it.")
        panes.move(row.pane_id, states.FAILED, fault=gone)
        return
    _log_columns(row, target, problem, listing)
    columns: dict[str, Any] = {"observed_at": clock.now()}
    if row.exited_at is not None:
        fault = exit_fault(row.exit_code, row.exit_signal, row.reason)
        panes.move(row.pane_id, states.DEGRADED, fault=fault, **columns)
    elif problem:
        panes.move(row.pane_id, states.DEGRADED, fault=Fault(states.LOG_ATTACH, problem), **columns)
    else:
        panes.move(row.pane_id, states.READY, **columns)


def _log_columns(row: Pane, target: LogTarget, problem: str | None, listing: Listing) -> None:
    path = str(target.host_path or target.bench_path or "") or None
    attached = problem is None
    models.update(Pane, {"pane_id": row.pane_id}, log_path=path, log_attached=attached)
    socket = {"tmux_socket": listing.socket_path}
    models.update(Agent, {"managed_pane_id": row.pane_id}, log_path=path, log_attached=attached, **socket)
    if problem is None:
        panes.record(row, events.PaneLogAttached(log_path=path or ""))
    else:
        panes.record(row, events.PaneLogAttachFailed(reason=problem))


# when a stage fails for good


def give_up(claim: Claim, error: errors.TowerError) -> None:
    """Write the outcome of a stage that failed for good for each pane that is still creating."""
    stage = claim.job.stage
    lost = isinstance(error, errors.WireError) and container_gone(error) and stage != states.PANE_CREATE
    with claim.writing():
        for row in sorted_panes(Pane.pane_id.in_(claim.pane_ids()) & (Pane.state == states.CREATING)):
            after, named = (states.FAILED, states.RECOVERY_REATTACH) if lost else _OUTCOMES[stage]
            panes.move(row.pane_id, after, fault=Fault(named, error.message))
        claim.settle(jobs.FAILED, encode_error(on_the_wire(error, claim.job.container_id)))


_OUTCOMES = {
    states.PANE_CREATE: (states.FAILED, states.PANE_CREATE),
    states.LAUNCH_COMMAND: (states.DEGRADED, states.LAUNCH_COMMAND),
    states.REGISTRATION: (states.FAILED, states.REGISTRATION),
    states.LOG_ATTACH: (states.DEGRADED, states.LOG_ATTACH),
}
