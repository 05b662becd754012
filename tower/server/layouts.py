"""The managed methods of layouts."""

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tower import errors, jobs, lifecycle, states
from tower.names import IDENTIFIER
from tower.server import scope, views
from tower.server.methods import Call, Request, UntilJob, managed

Identifier = Annotated[str, Meta(pattern=IDENTIFIER)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
OverrideKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}:[A-Za-z0-9_.-]{1,64}\Z")]
State = Literal["creating", "degraded", "ready", "failed", "removed"]
States = Annotated[list[State], Meta(min_length=1)]
Limit = Annotated[int, Meta(ge=1, le=views.LIMIT_MAX)]

BENCH_ERRORS: Final = (
    errors.ContainerNotFound,
    errors.ContainerInactive,
    errors.DockerUnavailable,
    errors.TmuxUnavailable,
)
"""What a look into a bench may end with."""

KILL_ERRORS: Final = (errors.DockerUnavailable, errors.TmuxUnavailable)
"""What a removal may end with that cannot kill its panes; in a paused container it is tmux that does not answer."""

OCCUPIED: Final = (
    errors.ManagedLaunchCommandNotFound,
    errors.ManagedSessionNameConflict,
    errors.ManagedPaneLabelConflict,
    errors.ManagedLayoutCapacityExceeded,
)
"""What a new pane may run into."""


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


def wanted_states(given: str | list[State] | None) -> list[str]:
    """The states of a filter, each once and in the order of lists; none for all of them."""
    chosen = [given] if isinstance(given, str) else given
    return [state for state in states.STATES if chosen is not None and state in chosen]


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


def until_job(call: Call, job_id: int | None, *, wait: bool, answer: Callable[[bool], object]) -> object:
    """What to return of a request whose job was written: the answer when the job has ended, or the present one."""
    if job_id is None:
        return answer(True)
    if wait and jobs.Holders(call.settings).living():
        return UntilJob(job_id, answer)
    return answer(False)


def pending(job_id: int | None, ended: bool) -> dict[str, object]:
    """What an answer before the end carries besides."""
    return {} if ended else {"job_id": job_id}


@managed(
    "layout.recreate",
    Recreate,
    errors=(
        errors.ManagedLayoutNotFound,
        errors.ManagedPaneIllegalRecreateSource,
        errors.ManagedPaneRecreateChainTooDeep,
        errors.ManagedPaneConcurrentRecreate,
        *OCCUPIED,
        *BENCH_ERRORS,
    ),
    waits=True,
)
def recreate(call: Call, request: Recreate) -> object:
    """Bring back the removed and failed panes of a layout and leave the live ones alone."""
    scope.require(call.caller, request.layout_id, "layout")
    made = set(lifecycle.recreate_layout(call.settings, request.layout_id))
    layout, newest = views.layout_and_newest(request.layout_id)
    panes = [pane for pane in newest if pane.pane_id in made]
    return {"layout_id": request.layout_id, "state": layout.state, "panes": panes}
