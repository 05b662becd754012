"""The managed methods of panes."""

from tower import errors, lifecycle
from tower.server import scope, views
from tower.server.fields import (
    BENCH_ERRORS,
    KILL_ERRORS,
    OCCUPIED,
    Id,
    Identifier,
    Limit,
    Name,
    State,
    States,
    pending,
    until_job,
    wanted_states,
)
from tower.server.methods import Call, Request, managed


class List(Request, frozen=True):
    """Which panes to list."""

    container_id: Name | None = None
    layout_id: Id | None = None
    state: State | States | None = None
    limit: Limit = views.LIMIT
    after: str | None = None


class Detail(Request, frozen=True):
    """One pane."""

    pane_id: Id
    include_predecessor_chain: bool = False


class Remove(Request, frozen=True):
    """A pane to be removed."""

    pane_id: Id
    wait: bool = True


class Recreate(Request, frozen=True):
    """A removed or failed pane to be made anew, with its own launch profile or another."""

    predecessor_pane_id: Id
    launch_command_override: Name | None = None
    idempotency_key: Identifier | None = None
    check_only: bool = False
    """Answer whether it would be accepted once the pane is removed, and write nothing."""


class Promote(Request, frozen=True):
    """An adopted agent that would become a managed pane."""

    agent_id: Id


@managed("pane.list", List, errors=(errors.ContainerNotFound, errors.ManagedLayoutNotFound))
def list_(call: Call, request: List) -> object:
    """A page of panes, by state, layout and slot."""
    bench = scope.bench_of(call.caller, request.container_id)
    if request.layout_id is not None:
        scope.require(call.caller, request.layout_id, "layout")
        views.layout(request.layout_id)
    return views.panes(bench, request.layout_id, wanted_states(request.state), request.limit, request.after)


@managed("pane.detail", Detail, errors=(errors.ManagedPaneNotFound,))
def detail(call: Call, request: Detail) -> object:
    """One pane, with those whose place it took when asked for."""
    scope.require(call.caller, request.pane_id, "pane")
    return views.pane_detail(request.pane_id, include_predecessor_chain=request.include_predecessor_chain)


@managed(
    "pane.remove",
    Remove,
    errors=(
        errors.ManagedPaneNotFound,
        errors.ManagedPaneProtectedAdopted,
        errors.ManagedPaneIllegalTransition,
        *KILL_ERRORS,
    ),
    waits=True,
)
def remove(call: Call, request: Remove) -> object:
    """Remove a pane, and answer when that is done."""
    scope.require(call.caller, request.pane_id, "pane", "agent")
    job_id = lifecycle.remove_pane(request.pane_id)

    def answer(ended: bool) -> object:
        return {"pane_id": request.pane_id, "state": views.pane(request.pane_id).state} | pending(job_id, ended)

    return until_job(call, job_id, wait=request.wait, answer=answer)


@managed(
    "pane.recreate",
    Recreate,
    errors=(
        errors.ManagedPaneNotFound,
        errors.ManagedPaneProtectedAdopted,
        errors.ManagedPaneIllegalRecreateSource,
        errors.ManagedPaneRecreateChainTooDeep,
        errors.ManagedPaneConcurrentRecreate,
        *OCCUPIED,
        *BENCH_ERRORS,
    ),
    waits=True,
)
def recreate(call: Call, request: Recreate) -> object:
    """Accept a successor of a removed or failed pane."""
    scope.require(call.caller, request.predecessor_pane_id, "pane", "agent")
    if request.check_only:
        checked = lifecycle.check_recreate(call.settings, request.predecessor_pane_id, request.launch_command_override)
        return _recreated(views.pane(checked.pane_id), replay=False) | {"pane_id": None}
    made = lifecycle.recreate_pane(
        call.settings, request.predecessor_pane_id, request.launch_command_override, request.idempotency_key
    )
    return _recreated(views.pane(made.pane_id), replay=made.replay)


def _recreated(pane: views.PaneView, *, replay: bool) -> dict[str, object]:
    return {
        "pane_id": pane.pane_id,
        "predecessor_id": pane.predecessor_id,
        "chain_depth": pane.chain_depth,
        "state": pane.state,
        "replay": replay,
    }


@managed("pane.promote_from_adopted", Promote, errors=(errors.ReservedTransition,))
def promote_from_adopted(call: Call, request: Promote) -> object:
    """Reserved: the name stands, the transition does not exist yet."""
    scope.require(call.caller, request.agent_id, "agent")
    raise errors.ReservedTransition
