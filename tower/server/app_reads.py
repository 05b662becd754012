"""List and detail of containers, panes, agents, events, jobs, templates and launch profiles."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from msgspec import Meta

from tower import catalog
from tower.catalog import Catalog, Profile, Template
from tower.errors import AgentNotFound, ContainerNotFound, NotFound, PaneNotFound, ValidationFailed
from tower.models import Agent, Bench, Event, Job, SeenPane
from tower.server import scope
from tower.server.app_lists import Filters, ListRequest, one, page, page_of_names
from tower.server.app_tables import AGENTS, CONTAINERS, EVENTS, JOBS, PANES
from tower.server.fields import Id, Name
from tower.server.methods import Call, Request, app

Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_000)]


class ContainerFilters(Filters, frozen=True):
    """Which containers."""

    state: Literal["active", "inactive", "degraded_scan"] | None = None


class ContainerList(ListRequest, frozen=True):
    """A page of containers."""

    filters: ContainerFilters | None = None


class ContainerDetail(Request, frozen=True):
    """One container."""

    container_id: Name


class PaneFilters(Filters, frozen=True):
    """Which of the panes that tmux has."""

    container_id: Name | None = None
    registered: bool | None = None


class PaneList(ListRequest, frozen=True):
    """A page of panes."""

    filters: PaneFilters | None = None


class PaneDetail(Request, frozen=True):
    """One pane that tmux has."""

    pane_id: Id
    container_id: Name | None = None
    tmux_socket: Name | None = None


class AgentFilters(Filters, frozen=True):
    """Which agents; those whose panes were removed only when `registered` is false."""

    role: Name | None = None
    capability: Name | None = None
    container_id: Name | None = None
    log_attached: bool | None = None
    origin: Literal["managed", "adopted"] | None = None
    registered: bool | None = True


class AgentList(ListRequest, frozen=True):
    """A page of agents."""

    filters: AgentFilters | None = None


class AgentDetail(Request, frozen=True):
    """One agent."""

    agent_id: Id


class EventFilters(Filters, frozen=True):
    """Which events; times in unix milliseconds."""

    event_type: Name | None = None
    agent_id: Id | None = None
    layout_id: Id | None = None
    pane_id: Id | None = None
    container_id: Name | None = None
    since: Millis | None = None
    until: Millis | None = None


class EventList(ListRequest, frozen=True):
    """A page of events."""

    filters: EventFilters | None = None


class EventDetail(Request, frozen=True):
    """One event."""

    event_id: Id


class JobFilters(Filters, frozen=True):
    """Which jobs."""

    state: Literal["queued", "running", "done", "failed"] | None = None
    kind: Literal["spawn", "remove", "recreate", "sweep", "reconcile"] | None = None
    container_id: Name | None = None
    layout_id: Id | None = None
    pane_id: Id | None = None


class JobList(ListRequest, frozen=True):
    """A page of jobs."""

    filters: JobFilters | None = None


class JobDetail(Request, frozen=True):
    """One job."""

    job_id: Annotated[int, Meta(ge=1, le=2**63 - 1)]


@app("container.list", ContainerList)
def container_list(call: Call, request: ContainerList) -> object:
    """A page of benches."""
    return page(call, CONTAINERS, request, request.filters or ContainerFilters())


@app("container.detail", ContainerDetail, errors=(ContainerNotFound,))
def container_detail(call: Call, request: ContainerDetail) -> object:
    """One bench, by id, name or prefix."""
    container_id = scope.bench_of(call.caller, request.container_id)
    return {"row": one(CONTAINERS, Bench.container_id == container_id)}


@app("pane.list", PaneList)
def pane_list(call: Call, request: PaneList) -> object:
    """A page of the panes that tmux was last seen to have, whoever made them."""
    return page(call, PANES, request, request.filters or PaneFilters())


@app("pane.detail", PaneDetail, errors=(PaneNotFound, ContainerNotFound))
def pane_detail(call: Call, request: PaneDetail) -> object:
    """One pane; a tmux pane id is unique in one tmux server only."""
    conditions = [SeenPane.tmux_pane_id == request.pane_id]
    if request.container_id is not None:
        conditions.append(SeenPane.container_id == scope.bench_of(call.caller, request.container_id))
    if request.tmux_socket is not None:
        conditions.append(SeenPane.tmux_socket == request.tmux_socket)
    row = one(PANES, *conditions)
    if row is None:
        raise PaneNotFound(request.pane_id)
    if SeenPane.select().where(*conditions).count() > 1:
        raise ValidationFailed("container_id", f"several benches have a pane {request.pane_id}; say which")
    return {"row": row}


@app("agent.list", AgentList)
def agent_list(call: Call, request: AgentList) -> object:
    """A page of agents, spawned and adopted."""
    return page(call, AGENTS, request, request.filters or AgentFilters())


@app("agent.detail", AgentDetail, errors=(AgentNotFound,))
def agent_detail(call: Call, request: AgentDetail) -> object:  # noqa: ARG001 - every method's form
    """One agent."""
    return {"row": agent(request.agent_id)}


def agent(agent_id: str) -> dict[str, Any]:
    """An agent as it goes to the wire; raises AgentNotFound."""
    row = one(AGENTS, Agent.agent_id == agent_id)
    if row is None:
        raise AgentNotFound(agent_id)
    return row


@app("event.list", EventList, waits=True)
def event_list(call: Call, request: EventList) -> object:
    """A page of the audit log."""
    filters = request.filters or EventFilters()
    if filters.since is not None and filters.until is not None and filters.since > filters.until:
        raise ValidationFailed("filters.since", "it is later than filters.until")
    return page(call, EVENTS, request, filters)


@app("event.detail", EventDetail, errors=(NotFound,))
def event_detail(call: Call, request: EventDetail) -> object:  # noqa: ARG001 - every method's form
    """One event."""
    row = one(EVENTS, Event.id == request.event_id)
    if row is None:
        raise NotFound("event", request.event_id)
    return {"row": row}


@app("job.list", JobList, waits=True)
def job_list(call: Call, request: JobList) -> object:
    """A page of jobs, newest first."""
    return page(call, JOBS, request, request.filters or JobFilters())


@app("job.detail", JobDetail, errors=(NotFound,))
def job_detail(call: Call, request: JobDetail) -> object:  # noqa: ARG001 - every method's form
    """One job."""
    row = one(JOBS, Job.id == request.job_id)
    if row is None:
        raise NotFound("job", str(request.job_id))
    return {"row": row}


class TemplateList(ListRequest, frozen=True):
    """A page of templates."""


class ProfileList(ListRequest, frozen=True):
    """A page of launch profiles."""


@app("template.list", TemplateList)
def template_list(call: Call, request: TemplateList) -> object:
    """A page of templates, and what is wrong with the operator's files."""
    known = catalog.load(call.settings)
    rows = [_template(template) for template in known.templates.values()]
    return page_of_names("app.template.list", rows, request) | _problems(known)


@app("profile.list", ProfileList)
def profile_list(call: Call, request: ProfileList) -> object:
    """A page of launch profiles, and what is wrong with the operator's files."""
    known = catalog.load(call.settings)
    rows = [_profile(profile) for profile in known.profiles.values()]
    return page_of_names("app.profile.list", rows, request) | _problems(known)


def _template(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "arrangement": template.arrangement,
        "pane_count": len(template.panes),
        "panes": [{"slot": slot, **asdict(pane)} for slot, pane in enumerate(template.panes)],
        "built_in": template.source is None,
        "source": template.source and str(template.source),
    }


def _profile(profile: Profile) -> dict[str, Any]:
    """A launch profile without the values of its env."""
    return {
        "name": profile.name,
        "command": list(profile.command),
        "env_keys": list(profile.env),
        "working_dir": profile.working_dir,
        "source": profile.source and str(profile.source),
    }


def _problems(known: Catalog) -> dict[str, Any]:
    return {"problems": [{**asdict(problem), "file": str(problem.file)} for problem in known.problems]}
