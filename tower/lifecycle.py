"""Create, remove and recreate: what may happen, and the rows that make it happen.

Everything that a request may conflict with is checked again inside the transaction that writes, so that two requests
at the same moment cannot both pass. A refused request has written nothing. After its commit a worker is woken.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tower import benches, catalog, clock, errors, events, faults, jobs, models, names, panes, states
from tower.benches import registry
from tower.catalog import Catalog, PlannedPane, Template
from tower.config import Settings
from tower.models import Agent, Bench, Layout, Pane
from tower.reach import tmux_in

_REMOVE_FIRST: Final = "remove that one, then recreate again"


@dataclass(frozen=True)
class CreateLayout:
    """What a create asks for; `container_id` may be a name or a prefix."""

    container_id: str
    template_name: str
    tmux_session_name: str
    launch_command_overrides: Mapping[str, str]
    idempotency_key: str | None
    label_prefix: str | None


@dataclass(frozen=True)
class Created:
    """A layout that was accepted, now or by an earlier request with the same key."""

    layout_id: str
    replay: bool


@dataclass(frozen=True)
class Recreated:
    """The successor of a pane, made now or by an earlier request with the same key."""

    pane_id: str
    replay: bool


@dataclass(frozen=True)
class _Command:
    """A launch command as a job stores it: the names of its env keys, never their values."""

    ref: str | None
    argv: tuple[str, ...]
    working_dir: str | None
    env_keys: tuple[str, ...]


def create_layout(settings: Settings, request: CreateLayout, *, may_refresh: bool) -> Created:
    """Accept a layout: its rows, markers and job are durable when this returns. Looks into the bench once.

    Raises the errors of create; nothing is written then.
    """
    known = catalog.load(settings)
    if not _asked_before(request.idempotency_key):
        _plan(known, request)  # what is wrong with a new request is told before anybody is asked about its bench
    bench = registry.resolve(settings, request.container_id, may_refresh=may_refresh)
    if replayed := _replay(bench.container_id, request.idempotency_key):
        return replayed
    template, planned = _plan(known, request)
    commands = [_command(settings, known, pane.launch_command_ref) for pane in planned]
    running = registry.require_active(settings, bench)
    taken = _session_exists(settings, running, request.tmux_session_name)
    with _accepting():
        if replayed := _replay(bench.container_id, request.idempotency_key):
            return replayed
        _check_session(bench.container_id, request.tmux_session_name, taken=taken)
        if holder := _label_holder(bench.container_id, [pane.label for pane in planned]):
            plain = [pane.label.removeprefix(request.label_prefix or "") for pane in planned]
            raise _label_conflict(holder, _other_prefix(bench.container_id, plain, request.tmux_session_name))
        _check_capacity(settings)
        layout, job_id = _insert_layout(bench, request, template, planned, commands)
    jobs.wake(job_id)
    return Created(layout.layout_id, replay=False)


@contextmanager
def _accepting() -> Iterator[None]:
    """The transaction that accepts a request."""
    with models.writing():
        yield
        faults.point("accept.before_commit")
    faults.point("accept.after_commit")


def _asked_before(key: str | None) -> bool:
    """Whether any bench has a layout with that key, so that a request may be the same one again."""
    models.connect()
    return key is not None and bool(models.pick(Layout, ("1",), idempotency_key=key))


def _replay(container_id: str, key: str | None) -> Created | None:
    if key is None:
        return None
    models.connect()
    known = Layout.get_or_none((Layout.container_id == container_id) & (Layout.idempotency_key == key))
    return Created(known.layout_id, replay=True) if known else None


def _plan(known: Catalog, request: CreateLayout) -> tuple[Template, Sequence[PlannedPane]]:
    names.check_session_name(request.tmux_session_name)
    template = known.template(request.template_name)
    planned = catalog.plan_panes(
        template,
        known,
        request.tmux_session_name,
        request.label_prefix,
        request.launch_command_overrides,
    )
    return template, planned


def _command(settings: Settings, known: Catalog, ref: str | None) -> _Command:
    if ref is None:
        return _Command(None, (), None, ())
    profile = known.profile(ref)
    try:
        catalog.expand_env(profile, settings)
    except catalog.MissingVariable as error:
        raise errors.ValidationFailed(f"launch profile {ref}", error.message.rstrip(".")) from error
    return _Command(ref, tuple(profile.command), profile.working_dir, tuple(profile.env))


def _check_session(container_id: str, session: str, *, taken: bool) -> None:
    """Raise where another layout has that session; `taken` when tmux has one of that name."""
    holder = Layout.get_or_none(
        (Layout.container_id == container_id)
        & (Layout.tmux_session_name == session)
        & Layout.state.in_(states.UNREMOVED)
    )
    if holder or taken:
        raise errors.ManagedSessionNameConflict(container_id, session)


def _check_capacity(settings: Settings) -> None:
    count = len(models.pick(Layout, ("1",), state=states.UNREMOVED))
    if count >= settings.limits.layouts:
        raise errors.ManagedLayoutCapacityExceeded(count, settings.limits.layouts)


def _label_holder(container_id: str, labels: Sequence[str]) -> Pane | None:
    """A live pane of the bench that has one of these labels."""
    mine = (Pane.container_id == container_id) & Pane.label.in_(labels) & Pane.state.in_(states.LIVE)
    found: Pane | None = Pane.select().where(mine).first()
    return found


def _label_conflict(holder: Pane, remedy: str) -> errors.ManagedPaneLabelConflict:
    layout = find_layout(holder.layout_id)
    whose = f"layout {layout.tmux_session_name} ({layout.layout_id})"
    return errors.ManagedPaneLabelConflict(holder.container_id, holder.label, whose, remedy)


def _check_labels_again(container_id: str, labels: Sequence[str]) -> None:
    """Raise where another pane has one of the labels that are to come back."""
    if holder := _label_holder(container_id, labels):
        raise _label_conflict(holder, _REMOVE_FIRST)


def _other_prefix(container_id: str, labels: Sequence[str], session: str) -> str:
    """What to do about a conflict: a prefix with which these labels are free, after the session where that fits."""
    longest = max(map(len, labels))
    prefixes = [f"{session}-", *(f"{session}-{number}-" for number in range(2, 10)), f"{names.new_id()[:8]}-"]
    free = (
        prefix
        for prefix in prefixes
        if len(prefix) + longest <= names.LONGEST
        and not _label_holder(container_id, [prefix + label for label in labels])
    )
    example = next((f", for example --label-prefix {prefix}" for prefix in free), "")
    return f"remove that one, or choose labels of your own with --label-prefix{example}"


def _session_exists(settings: Settings, bench: benches.Bench, session: str) -> bool:
    """Whether tmux has it. It is judged in the transaction only: it may be that of a request that came first."""
    faults.point("accept.session_check.before")
    exists = tmux_in(settings, bench).session_exists(session, monotonic() + settings.times.session_check)
    faults.point("accept.session_check.after")
    return exists


def _insert_layout(
    bench: Bench,
    request: CreateLayout,
    template: Template,
    planned: Sequence[PlannedPane],
    commands: Sequence[_Command],
) -> tuple[Layout, int]:
    now = clock.now()
    layout = Layout.create(
        layout_id=names.new_id(),
        container_id=bench.container_id,
        template_name=request.template_name,
        arrangement=template.arrangement,
        tmux_session_name=request.tmux_session_name,
        state=states.CREATING,
        intended_pane_count=len(planned),
        idempotency_key=request.idempotency_key,
        recovery_epoch=bench.epoch,
        created_at=now,
        updated_at=now,
    )
    created = events.LayoutCreated(
        template_name=request.template_name,
        container_id=bench.container_id,
        intended_pane_count=len(planned),
    )
    about = {"container_id": bench.container_id, "layout_id": layout.layout_id}
    events.record(created, actor=events.OPERATOR, **about)
    changed = events.LayoutStateChanged(prev_state=None, new_state=states.CREATING)
    events.record(changed, actor=events.OPERATOR, **about)
    token = request.idempotency_key
    ids = [_insert_pane(layout, pane, command, token) for pane, command in zip(planned, commands, strict=True)]
    return layout, jobs.submit(jobs.SPAWN, bench.container_id, layout_id=layout.layout_id, pane_ids=ids)


def _insert_pane(layout: Layout, planned: PlannedPane, command: _Command, token: str | None) -> str:
    pane = panes.create(
        layout,
        events.OPERATOR,
        pane_id=names.new_id(),
        slot=planned.slot,
        role=planned.role,
        capability=planned.capability,
        label=planned.label,
        pending_marker_token=token or names.new_id(),
        **_columns(command),
    )
    return str(pane.pane_id)


def _columns(command: _Command) -> dict[str, object]:
    return {
        "launch_command_ref": command.ref,
        "argv": list(command.argv),
        "working_dir": command.working_dir,
        "env_keys": list(command.env_keys),
    }


def remove_pane(pane_id: str) -> int | None:
    """Accept the removal of a pane; returns its job, None where it is removed already.

    Raises ManagedPaneNotFound, ManagedPaneProtectedAdopted, ManagedPaneIllegalTransition.
    """
    with _accepting():
        pane = find_pane(pane_id)
        if pane.state == states.REMOVED:
            return None
        if pane.state == states.CREATING:
            raise errors.ManagedPaneIllegalTransition(pane_id, pane.state, "remove")
        job_id = jobs.submit(
            jobs.REMOVE, pane.container_id, layout_id=pane.layout_id, pane_id=pane_id, pane_ids=[pane_id]
        )
    jobs.wake(job_id)
    return job_id


def remove_layout(layout_id: str) -> int | None:
    """Accept the removal of every pane of a layout; returns its job, None where it is removed already.

    Raises ManagedLayoutNotFound. Which panes there are is looked at again when the job runs.
    """
    with _accepting():
        layout = find_layout(layout_id)
        if layout.state == states.REMOVED:
            return None
        ids = [pane.pane_id for pane in _newest(layout_id) if pane.state != states.REMOVED]
        job_id = jobs.submit(jobs.REMOVE, layout.container_id, layout_id=layout_id, pane_ids=ids)
    jobs.wake(job_id)
    return job_id


def recreate_pane(
    settings: Settings, predecessor_pane_id: str, launch_command_override: str | None, idempotency_key: str | None
) -> Recreated:
    """Accept a successor of a removed or failed pane.

    Raises the errors of recreate; nothing is written then.
    """
    with models.snapshot():
        predecessor = find_pane(predecessor_pane_id)
        if replayed := _replay_recreate(predecessor_pane_id, idempotency_key):
            return replayed
        _check_source(settings, predecessor)
    command = _command_again(settings, catalog.load(settings), predecessor, launch_command_override)
    taken = _look_into_bench(settings, predecessor.layout_id)
    with _accepting():
        if replayed := _replay_recreate(predecessor_pane_id, idempotency_key):
            return replayed
        predecessor = find_pane(predecessor_pane_id)
        _check_source(settings, predecessor)
        layout = _check_place(settings, predecessor.layout_id, [predecessor.label], taken=taken)
        pane_id = _insert_successor(layout, predecessor, command, idempotency_key)
        job_id = _submit_recreate(layout, [pane_id])
    jobs.wake(job_id)
    return Recreated(pane_id, replay=False)


def check_recreate(settings: Settings, pane_id: str, launch_command_override: str | None) -> Pane:
    """The pane, where a recreate would be accepted once it is removed; writes nothing.

    Raises what the recreate would be refused with as things are now.
    """
    pane = find_pane(pane_id)
    _check_newest(pane)
    _check_depth(settings, pane)
    _command_again(settings, catalog.load(settings), pane, launch_command_override)
    if _look_into_bench(settings, pane.layout_id):
        layout = find_layout(pane.layout_id)
        raise errors.ManagedSessionNameConflict(layout.container_id, layout.tmux_session_name)
    if pane.state not in states.LIVE:
        _check_labels_again(pane.container_id, [pane.label])
    return pane


def recreate_layout(settings: Settings, layout_id: str) -> list[str]:
    """Accept successors for every slot of a layout whose newest pane is removed or failed; returns their ids.

    Slots that live are left alone, and so is one whose chain has reached its depth, as long as any other can come
    back. Raises the errors of recreate; nothing is written then.
    """
    models.connect()
    find_layout(layout_id)
    sources = _dead(settings, layout_id)
    if not sources:
        return []
    known = catalog.load(settings)
    commands = {source.pane_id: _command_again(settings, known, source, None) for source in sources}
    taken = _look_into_bench(settings, layout_id)
    with _accepting():
        sources = [source for source in _dead(settings, layout_id) if source.pane_id in commands]
        if not sources:
            return []
        layout = _check_place(settings, layout_id, [source.label for source in sources], taken=taken)
        ids = [_insert_successor(layout, source, commands[source.pane_id], None) for source in sources]
        job_id = _submit_recreate(layout, ids)
    jobs.wake(job_id)
    return ids


def _submit_recreate(layout: Layout, pane_ids: Sequence[str]) -> int:
    panes.derive(layout.layout_id, events.OPERATOR)
    return jobs.submit(jobs.RECREATE, layout.container_id, layout_id=layout.layout_id, pane_ids=pane_ids)


def _replay_recreate(predecessor_id: str, key: str | None) -> Recreated | None:
    if key is None:
        return None
    known = Pane.get_or_none((Pane.predecessor_id == predecessor_id) & (Pane.idempotency_key == key))
    return Recreated(known.pane_id, replay=True) if known else None


def _check_source(settings: Settings, predecessor: Pane) -> None:
    _check_newest(predecessor)
    if predecessor.state not in (states.REMOVED, states.FAILED):
        raise errors.ManagedPaneIllegalRecreateSource(predecessor.pane_id, predecessor.state)
    _check_depth(settings, predecessor)


def _check_newest(predecessor: Pane) -> None:
    successor = Pane.get_or_none((Pane.predecessor_id == predecessor.pane_id) & Pane.state.in_(states.LIVE))
    if successor:
        raise errors.ManagedPaneConcurrentRecreate(predecessor.pane_id, successor.pane_id)
    if not predecessor.newest:
        raise errors.ManagedPaneIllegalRecreateSource(predecessor.pane_id, predecessor.state)


def _check_depth(settings: Settings, predecessor: Pane) -> None:
    if predecessor.chain_depth >= settings.limits.chain_depth:
        raise errors.ManagedPaneRecreateChainTooDeep(
            predecessor.pane_id, predecessor.chain_depth, settings.limits.chain_depth + 1
        )


def _command_again(settings: Settings, known: Catalog, predecessor: Pane, override: str | None) -> _Command:
    return _command(settings, known, override or predecessor.launch_command_ref)


def _look_into_bench(settings: Settings, layout_id: str) -> bool:
    """Whether the session of a removed layout is another's by now; raises unless the bench is active.

    Its own may live on: an operator may have panes in it.
    """
    layout = find_layout(layout_id)
    bench = registry.resolve(settings, layout.container_id, may_refresh=False)
    running = registry.require_active(settings, bench)
    if layout.state != states.REMOVED:
        return False
    listing = tmux_in(settings, running).listing(monotonic() + settings.times.session_check)
    return listing.has_other_session(layout.tmux_session_name, layout_id)


def _check_place(settings: Settings, layout_id: str, labels: Sequence[str], *, taken: bool) -> Layout:
    """The layout, after the checks of create that a recreate needs: all of them once it was removed."""
    layout = find_layout(layout_id)
    if layout.state == states.REMOVED:
        _check_session(layout.container_id, layout.tmux_session_name, taken=taken)
    _check_labels_again(layout.container_id, labels)
    if layout.state == states.REMOVED:
        _check_capacity(settings)
    return layout


def _insert_successor(layout: Layout, predecessor: Pane, command: _Command, key: str | None) -> str:
    pane = panes.create(
        layout,
        events.OPERATOR,
        pane_id=names.new_id(),
        slot=predecessor.slot,
        role=predecessor.role,
        capability=predecessor.capability,
        label=predecessor.label,
        predecessor_id=predecessor.pane_id,
        chain_depth=predecessor.chain_depth + 1,
        idempotency_key=key,
        pending_marker_token=key or names.new_id(),
        **_columns(command),
    )
    return str(pane.pane_id)


def _dead(settings: Settings, layout_id: str) -> list[Pane]:
    """The panes of a layout that may be recreated.

    Raises ManagedPaneRecreateChainTooDeep when there are some, and every one has reached the depth of a chain.
    """
    dead = [pane for pane in _newest(layout_id) if pane.state in (states.REMOVED, states.FAILED)]
    shallow = [pane for pane in dead if pane.chain_depth < settings.limits.chain_depth]
    for pane in dead if not shallow else []:
        _check_depth(settings, pane)
    return shallow


def _newest(layout_id: str) -> list[Pane]:
    return list(
        Pane.select()
        .where((Pane.layout_id == layout_id) & (Pane.newest == True))  # noqa: E712 - SQL
        .order_by(Pane.slot)
    )


def find_pane(pane_id: str) -> Pane:
    """The managed pane of that id.

    Raises ManagedPaneProtectedAdopted for an adopted agent's id, ManagedPaneNotFound for any other.
    """
    models.connect()
    pane = Pane.get_or_none(Pane.pane_id == pane_id)
    if pane is None:
        if Agent.select().where((Agent.agent_id == pane_id) & (Agent.origin == "adopted")).exists():
            raise errors.ManagedPaneProtectedAdopted(pane_id)
        raise errors.ManagedPaneNotFound(pane_id)
    return pane


def find_layout(layout_id: str) -> Layout:
    """The layout of that id.

    Raises ManagedLayoutNotFound.
    """
    models.connect()
    layout = Layout.get_or_none(Layout.layout_id == layout_id)
    if layout is None:
        raise errors.ManagedLayoutNotFound(layout_id)
    return layout
