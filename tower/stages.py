"""The four stages of a spawn.

Each stage asks tmux what there is, compares, and does what is missing, so that it may be run again from its beginning
by whoever takes the job next. One pane's failure never stops its siblings. What a stage found is written in one
transaction under its claim, together with the stage that comes next.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
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
"""How long all the log files of a job may take to appear."""

_RESTART = "remove and recreate the pane with `tower pane restart`"
_VANISHED = Fault(states.RECOVERY_REATTACH, "The tmux pane vanished before it was ready; recreate it.")


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
    faults.point("engine.look.before")
    listing = work.tmux.kill((), work.claim.fence, work.deadline)
    faults.point("engine.look.after")
    return listing


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
    )
    if look and not plan.panes and not plan.remains:
        return look
    faults.point("engine.spawn.before")
    listing = work.tmux.spawn(plan, work.claim.fence, work.deadline)
    faults.point("engine.spawn.after")
    return listing


def _neighbours(layout: Layout, there: dict[str, SeenPane], looked: bool) -> tuple[Neighbour, ...]:
    """The panes beside which new ones go: as seen, or without a look as the rows have them."""
    rows = sorted_panes((Pane.layout_id == layout.layout_id) & (Pane.newest == True))  # noqa: E712 - SQL
    found = []
    for row in rows:
        tmux_pane_id = there[row.pane_id].tmux_pane_id if row.pane_id in there else row.tmux_pane_id
        if tmux_pane_id and (row.pane_id in there or (not looked and row.state != states.REMOVED)):
            found.append(Neighbour(row.slot, row.pane_id, tmux_pane_id))
    return tuple(found)


def _remains(layout: Layout, there: dict[str, SeenPane]) -> tuple[Remains, ...]:
    """What tmux still has of panes that a newer row of their slot took the place of."""
    rows = sorted_panes((Pane.layout_id == layout.layout_id) & (Pane.newest == False))  # noqa: E712 - SQL
    return tuple(Remains(row.pane_id, there[row.pane_id].tmux_pane_id) for row in rows if row.pane_id in there)


def _foreign(work: Work, listing: Listing) -> bool:
    """Whether the session's name is taken by a session that is not this layout's."""
    layout = work.layout
    return listing.has_other_session(layout.tmux_session_name, layout.layout_id)


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
    models.update(Pane, {"pane_id": row.pane_id}, **found, launched_at=now, observed_at=now, updated_at=now)


# launch_command


def launch_command(work: Work) -> None:
    """Let all panes of the job settle together, then see which of their commands live."""
    rows = work.creating()
    at = _settled_at(rows, work.settings.times.settle)
    faults.point("engine.settle.before")
    listing = work.tmux.settle(work.deadline, at) if rows else Listing.empty()
    faults.point("engine.settle.after")
    seen = by_tower_id(listing, models.instance())
    dead = [seen[row.pane_id].tmux_pane_id for row in rows if row.pane_id in seen and seen[row.pane_id].dead]
    output = _captured(work, dead) if dead else {}
    with work.claim.writing():
        for row in rows:
            _settle(row, seen.get(row.pane_id), output)
        work.claim.proceed(states.REGISTRATION)


def _captured(work: Work, dead: Sequence[str]) -> dict[str, str]:
    faults.point("engine.capture.before")
    output = work.tmux.capture(dead, work.deadline)
    faults.point("engine.capture.after")
    return output


def _settled_at(rows: Sequence[Pane], settle: float) -> float:
    """When all of them have had their settle time since they were seen to be launched; in monotonic seconds.

    A wall clock that was set back meanwhile costs the whole settle time once more, and no longer.
    """
    launched = max((clock.unix(row.launched_at) for row in rows if row.launched_at), default=time.time())
    return time.monotonic() + min(settle, max(0.0, launched + settle - time.time()))


def _settle(row: Pane, seen: SeenPane | None, output: dict[str, str]) -> None:
    if seen is None:
        panes.move(row.pane_id, states.FAILED, fault=_VANISHED)
    elif not seen.dead:
        _observed(row)
    elif seen.failed_mark == "working_dir":
        reason = f"The working directory {row.working_dir!r} cannot be entered in the bench; make it, then recreate."
        columns: dict[str, Any] = {"last_output": output.get(seen.tmux_pane_id), "observed_at": clock.now()}
        panes.move(row.pane_id, states.FAILED, fault=Fault(states.PANE_CREATE, reason), **columns)
    else:
        fault = note_exit(row, seen, output.get(seen.tmux_pane_id))
        models.update(Pane, {"pane_id": row.pane_id}, reason=fault.reason)


def note_exit(row: Pane, seen: SeenPane, output: str | None) -> Fault:
    """Write down how a pane's command ended, and return what to say of it; inside `writing()`.

    When it ended is known to the second, which is all that tmux tells (tmux(1), pane_dead_time).
    """
    launched, ended = _life(row, seen)
    now = clock.now()
    models.update(
        Pane,
        {"pane_id": row.pane_id},
        exit_code=seen.exit_code,
        exit_signal=seen.exit_signal,
        exited_at=clock.stamp(ended),
        last_output=output,
        observed_at=now,
        updated_at=now,
    )
    known = _exec_reason(row, seen)
    exited = events.PaneLaunchCommandExited(
        exit_code=seen.exit_code, exit_signal=seen.exit_signal, elapsed_ms=int((ended - launched) * 1000), reason=known
    )
    panes.record(row, exited)
    return Fault(states.LAUNCH_COMMAND, known or _exit_reason(seen))


def _life(row: Pane, seen: SeenPane) -> tuple[float, float]:
    """When a command was launched and when it ended, in Unix seconds; never in the future, nor the wrong way round."""
    now = time.time()
    launched = min(now, clock.unix(row.launched_at or row.created_at))
    return launched, max(launched, min(now, now if seen.dead_since is None else seen.dead_since))


def _exec_reason(row: Pane, seen: SeenPane) -> str | None:
    program = row.argv[0] if row.argv else "the login shell"
    if seen.failed_mark == "exec:127":
        return f"{program!r} does not exist in the bench, or its interpreter; install it or correct the launch profile."
    if seen.failed_mark == "exec:126":
        return f"{program!r} may not be executed in the bench; see its mode and format, or correct the launch profile."
    return None


def _exit_reason(seen: SeenPane) -> str:
    how = "in a way that tmux does not know"
    if seen.exit_signal is not None:
        how = f"by signal {seen.exit_signal}"
    elif seen.exit_code is not None:
        how = f"with status {seen.exit_code}"
    return f"The launch command ended {how}; read its last output, then {_RESTART}."


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
    until = min(time.monotonic() + _LOG_FILE_SECONDS, work.deadline)
    problems = {row.pane_id: _log_problem(targets[row.pane_id], seen.get(row.pane_id), until) for row in rows}
    ended = _ended_since(work, rows, seen)
    output = _captured(work, [pane.tmux_pane_id for pane in ended.values()]) if ended else {}
    if any(problem and problem.passes for problem in problems.values()) and work.may_retry:
        raise LogLate
    with work.claim.writing():
        if rows:
            record_seen(work.bench.container_id, listing)
        for row in rows:
            if pane := ended.get(row.pane_id):
                row.reason = note_exit(row, pane, output.get(pane.tmux_pane_id)).reason
                row.exited_at = clock.now()
            _complete(row, listing, seen.get(row.pane_id), targets[row.pane_id], problems[row.pane_id])
        work.claim.settle(jobs.DONE)


def _ended_since(work: Work, rows: Sequence[Pane], seen: dict[str, SeenPane]) -> dict[str, SeenPane]:
    """The panes whose commands have ended after they had settled; where tmux has not said how, it is asked again."""
    lived = [row.pane_id for row in rows if row.exited_at is None]
    ended = {pane_id: seen[pane_id] for pane_id in lived if pane_id in seen and seen[pane_id].dead}
    if any(pane.unexplained for pane in ended.values()):
        explained = by_tower_id(work.tmux.settle(work.deadline), models.instance())
        ended |= {pane_id: explained[pane_id] for pane_id in ended if pane_id in explained}
    return ended


@dataclass(frozen=True)
class _LogProblem:
    """Why a log is not attached, and whether that may pass by itself."""

    text: str
    passes: bool = False


class LogLate(errors.TowerError):
    """A log that tmux writes is not on the host yet."""

    transient = True

    def __str__(self) -> str:
        return "A pane's log did not appear in time."


def _log_problem(target: LogTarget, seen: SeenPane | None, until: float) -> _LogProblem | None:
    """Why the log is not attached; None where it is. A file that is not there yet is waited for until then."""
    if target.problem:
        return _LogProblem(target.problem)
    if seen is None:
        return None
    writable = f"make it writable for the bench user (who needs dd, wc and mv for that), then {_RESTART}."
    if not seen.piped and not seen.dead:
        return _LogProblem(f"tmux does not write to {target.bench_path}; {writable}")
    if target.host_path is not None and not _appears(target.host_path, until):
        said = f"{target.bench_path} does not appear as {target.host_path} on the host; restart the container if that"
        return _LogProblem(f"{said} directory was replaced, else {writable}", passes=True)
    return None


def _appears(path: Path, until: float) -> bool:
    while not log_exists(path):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def log_exists(path: Path) -> bool:
    """Whether there is a log; one that the operator may not look at counts as none."""
    try:
        return path.exists()
    except OSError:
        return False


def _complete(
    row: Pane, listing: Listing, seen: SeenPane | None, target: LogTarget, problem: _LogProblem | None
) -> None:
    if seen is None:
        panes.move(row.pane_id, states.FAILED, fault=_VANISHED)
        return
    _log_columns(row, target, problem, listing)
    columns: dict[str, Any] = {"observed_at": clock.now()}
    if row.exited_at is not None:
        panes.move(row.pane_id, states.DEGRADED, fault=Fault(states.LAUNCH_COMMAND, str(row.reason)), **columns)
    elif problem:
        panes.move(row.pane_id, states.DEGRADED, fault=Fault(states.LOG_ATTACH, problem.text), **columns)
    else:
        panes.move(row.pane_id, states.READY, **columns)


def _log_columns(row: Pane, target: LogTarget, problem: _LogProblem | None, listing: Listing) -> None:
    path = str(target.host_path or target.bench_path or "") or None
    models.update(Pane, {"pane_id": row.pane_id}, log_path=path, log_attached=problem is None)
    models.update(Agent, {"managed_pane_id": row.pane_id}, tmux_socket=listing.socket_path)
    if problem is None:
        panes.record(row, events.PaneLogAttached(log_path=path or ""))
    else:
        panes.record(row, events.PaneLogAttachFailed(reason=problem.text))


# when a stage fails for good


def give_up(claim: Claim, error: errors.TowerError) -> None:
    """Write the outcome of a stage that failed for good for each pane that is still creating."""
    stage = claim.job.stage
    lost = isinstance(error, errors.WireError) and container_gone(error) and stage != states.PANE_CREATE
    with claim.writing():
        for row in sorted_panes(Pane.pane_id.in_(claim.pane_ids()) & (Pane.state == states.CREATING)):
            after, named = (states.FAILED, states.RECOVERY_REATTACH) if lost else _OUTCOMES[stage]
            panes.move(row.pane_id, after, fault=Fault(named, error.message))
        claim.settle(jobs.FAILED, encode_error(on_the_wire(error)))


_OUTCOMES = {
    states.PANE_CREATE: (states.FAILED, states.PANE_CREATE),
    states.LAUNCH_COMMAND: (states.DEGRADED, states.LAUNCH_COMMAND),
    states.REGISTRATION: (states.FAILED, states.REGISTRATION),
    states.LOG_ATTACH: (states.DEGRADED, states.LOG_ATTACH),
}
