"""The managed methods of layouts."""

import msgspec

from tower import errors, lifecycle, recovery
from tower.server import scope, views
from tower.server.fields import (
    BENCH_ERRORS,
    KILL_ERRORS,
    OCCUPIED,
    Id,
    Identifier,
    Limit,
    Name,
    OverrideKey,
    State,
    States,
    pending,
    until_job,
    wanted_states,
)
from tower.server.methods import Call, Request, managed


class Create(Request, frozen=True):
    """A layout to be made; only a peer inside a bench may leave its bench out."""

    template_name: Name
    tmux_session_name: Identifier
    container_id: Name | None = None
    launch_command_overrides: dict[OverrideKey, Name] = msgspec.field(default_factory=dict)
    idempotency_key: Identifier | None = None
    label_prefix: Identifier | None = None


class List(Request, frozen=True):
    """Which layouts to list."""

    container_id: Name | None = None
    state: State | States | None = None
    limit: Limit = views.LIMIT
    after: str | None = None


class Detail(Request, frozen=True):
    """One layout."""

    layout_id: Id
    include_terminal_panes: bool = False


class Remove(Request, frozen=True):
    """A layout to be removed."""

    layout_id: Id
    wait: bool = True


class Recreate(Request, frozen=True):
    """A layout whose removed and failed panes are to come back."""

    layout_id: Id


@managed("layout.create", Create, errors=(errors.ManagedTemplateNotFound, *OCCUPIED, *BENCH_ERRORS), waits=True)
def create(call: Call, request: Create) -> object:
    """Accept a layout and answer with its rows; its panes follow."""
    accepted = lifecycle.create_layout(
        call.settings,
        lifecycle.CreateLayout(
            container_id=_bench_to_create_in(call, request),
            template_name=request.template_name,
            tmux_session_name=request.tmux_session_name,
            launch_command_overrides=request.launch_command_overrides,
            idempotency_key=request.idempotency_key,
            label_prefix=request.label_prefix,
        ),
        may_refresh=call.caller.bench is None,
    )
    layout, panes = views.layout_and_newest(accepted.layout_id)
    return {
        "layout_id": layout.layout_id,
        "state": layout.state,
        "intended_pane_count": layout.intended_pane_count,
        "panes": [_brief(pane) for pane in panes],
        "replay": accepted.replay,
    }


def _bench_to_create_in(call: Call, request: Create) -> str:
    if call.caller.bench is not None:
        return scope.own_bench(call.caller.bench, request.container_id)
    if request.container_id is None:
        raise errors.ValidationFailed("container_id", "it is required: the id or name of a bench, or local")
    return request.container_id


def _brief(pane: views.PaneView) -> dict[str, str]:
    return {"pane_id": pane.pane_id, "role": pane.role, "label": pane.label, "state": pane.state}


@managed("layout.list", List, errors=(errors.ContainerNotFound,))
def list_(call: Call, request: List) -> object:
    """A page of layouts, by state, newest first."""
    bench = scope.bench_of(call.caller, request.container_id)
    return views.layouts(bench, wanted_states(request.state), request.limit, request.after)


@managed("layout.detail", Detail, errors=(errors.ManagedLayoutNotFound,))
def detail(call: Call, request: Detail) -> object:
    """One layout with its panes."""
    scope.require(call.caller, request.layout_id, "layout")
    return views.layout_detail(request.layout_id, include_terminal_panes=request.include_terminal_panes)


@managed(
    "layout.remove",
    Remove,
    errors=(errors.ManagedLayoutNotFound, *KILL_ERRORS),
    waits=True,
)
def remove(call: Call, request: Remove) -> object:
    """Remove every pane of a layout, and answer when that is done."""
    scope.require(call.caller, request.layout_id, "layout")
    job_id = lifecycle.remove_layout(request.layout_id)

    def answer(ended: bool) -> object:
        layout, panes = views.layout_and_newest(request.layout_id)
        return {"layout_id": request.layout_id, "state": layout.state, "panes": panes} | pending(job_id, ended)

    return until_job(call, job_id, wait=request.wait, answer=answer)


@managed(
    "layout.recreate",
    Recreate,
    errors=(
        errors.ManagedLayoutNotFound,
        errors.ManagedPaneRecreateChainTooDeep,
        *OCCUPIED,
        *BENCH_ERRORS,
    ),
    waits=True,
)
def recreate(call: Call, request: Recreate) -> object:
    """Bring back the removed and failed panes of a layout and leave the live ones alone."""
    scope.require(call.caller, request.layout_id, "layout")
    made = set(_recreate(call, request.layout_id))
    layout, newest = views.layout_and_newest(request.layout_id)
    panes = [pane for pane in newest if pane.pane_id in made]
    return {"layout_id": request.layout_id, "state": layout.state, "panes": panes}


def _recreate(call: Call, layout_id: str) -> list[str]:
    """The new panes; where no pane is known to be lost, the bench is looked at before that is believed."""
    made = lifecycle.recreate_layout(call.settings, layout_id)
    if made:
        return made
    recovery.look_now(call.settings, views.layout(layout_id).container_id)
    return lifecycle.recreate_layout(call.settings, layout_id)
