"""What several methods have in common: the types of their fields, the errors that they share, how they wait."""

from collections.abc import Callable
from typing import Annotated, Final, Literal

from msgspec import Meta

from tower import errors, jobs, states
from tower.names import IDENTIFIER
from tower.server import views
from tower.server.methods import Call, UntilJob

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


def wanted_states(given: str | list[State] | None) -> list[str]:
    """The states of a filter, each once and in the order of lists; none for all of them."""
    chosen = [given] if isinstance(given, str) else given
    return [state for state in states.STATES if chosen is not None and state in chosen]


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
