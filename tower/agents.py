"""Adopting a pane that the tower did not make.

An adopted pane stays its owner's: nothing is written to it, no option is set on it, and it is never ended. Its log
is attached only on request, and only where no pipe is on.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tower import clock, models, seen
from tower.benches import Bench, registry
from tower.config import Settings
from tower.errors import AgentNotFound, PaneAlreadyRegistered, PaneNotFound, PermissionDenied, TowerError
from tower.models import Agent, Pane
from tower.names import new_id
from tower.reach import tmux_of
from tower.tmux import Listing, SeenPane, Tmux

PIPED = "the pane's output goes into a pipe already, which is left as it is"


@dataclass(frozen=True)
class Identity:
    """Which pane is meant, by everything that tells it from others."""

    container_id: str
    tmux_socket: str
    session_name: str
    window_index: int
    pane_index: int
    pane_id: str


@dataclass(frozen=True)
class Adoption:
    """What the new agent is to be called and do."""

    role: str
    capability: str
    label: str
    project_path: str | None = None
    parent_agent_id: str | None = None
    attach_log: bool = False


@dataclass(frozen=True)
class Adopted:
    """The agent that a pane became; `log_problem` says why a log that was asked for is not attached."""

    agent_id: str
    log_problem: str | None


def register_from_pane(settings: Settings, identity: Identity, adoption: Adoption) -> Adopted:
    """Make an agent of a pane that is in tmux now and nobody's yet.

    Raises PaneNotFound, PaneAlreadyRegistered, AgentNotFound for an unknown parent, PermissionDenied for a pane that
    is being made, ContainerNotFound, ContainerInactive, and what a look into the bench may end with.
    """
    deadline = time.monotonic() + settings.times.session_check
    row = registry.resolve(settings, identity.container_id, may_refresh=True)
    _require_parent(adoption.parent_agent_id)
    registry.require_active(settings, row)
    bench = registry.open_bench(row.container_id, settings)
    tmux = tmux_of(settings, row.container_id)
    listing = tmux.listing(deadline)
    pane = _matching(listing, identity)
    agent_id = new_id()
    with models.writing():
        seen.record(row.container_id, listing)
        _require_free(row.container_id, listing, pane)
        _insert(agent_id, row.container_id, listing, pane, adoption)
    problem = _attach_log(bench, tmux, agent_id, pane, deadline) if adoption.attach_log else None
    return Adopted(agent_id, problem)


def _require_parent(parent_agent_id: str | None) -> None:
    if parent_agent_id is not None and not Agent.select().where(Agent.agent_id == parent_agent_id).exists():
        raise AgentNotFound(parent_agent_id)


def _matching(listing: Listing, wanted: Identity) -> SeenPane:
    """The pane of that identity; raises PaneNotFound with the first field that differs."""
    pane = next((pane for pane in listing.panes if pane.tmux_pane_id == wanted.pane_id), None)
    if pane is None:
        raise PaneNotFound(wanted.pane_id)
    found: Mapping[str, object] = {
        "tmux_socket": listing.socket_path,
        "session_name": pane.session_name,
        "window_index": pane.window_index,
        "pane_index": pane.pane_index,
    }
    for name, value in found.items():
        if getattr(wanted, name) != value:
            raise PaneNotFound(wanted.pane_id, name)
    return pane


def _require_free(container_id: str, listing: Listing, pane: SeenPane) -> None:
    """Raise PaneAlreadyRegistered or PermissionDenied unless the pane is nobody's; inside `writing()`."""
    agent = Agent.get_or_none(
        (Agent.container_id == container_id)
        & (Agent.server == listing.server)
        & (Agent.tmux_pane_id == pane.tmux_pane_id)
        & (Agent.active == True)  # noqa: E712 - SQL
    )
    if agent is not None:
        raise PaneAlreadyRegistered(agent.agent_id)
    if pane.instance == models.instance():
        row = Pane.get_or_none(Pane.pane_id == pane.pane_id)
        if row is not None and row.agent_id:
            raise PaneAlreadyRegistered(row.agent_id)
        raise PermissionDenied("the pane is the tower's own; `tower pane list` and `tower doctor` tell of it")
    if pane.marker:
        raise PermissionDenied("another tower is just making that pane; adopt it once it is made")


def _insert(agent_id: str, container_id: str, listing: Listing, pane: SeenPane, adoption: Adoption) -> None:
    Agent.create(
        agent_id=agent_id,
        container_id=container_id,
        origin="adopted",
        tmux_pane_id=pane.tmux_pane_id,
        tmux_socket=listing.socket_path,
        server=listing.server,
        tmux_session_name=pane.session_name,
        role=adoption.role,
        capability=adoption.capability,
        label=adoption.label,
        project_path=adoption.project_path,
        parent_agent_id=adoption.parent_agent_id,
        registered_at=clock.now(),
    )


def _attach_log(bench: Bench, tmux: Tmux, agent_id: str, pane: SeenPane, deadline: float) -> str | None:
    """Log the pane's output from now on; returns why not."""
    if pane.piped:
        return PIPED
    try:
        target = bench.log_target(agent_id)
        if target.bench_path is None:
            return target.problem
        if not tmux.attach_log(pane.tmux_pane_id, target.bench_path, deadline):
            return PIPED
    except TowerError as error:
        return error.message
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    with models.writing():
        path = str(target.host_path or target.bench_path)
        Agent.update(log_attached=True, log_path=path).where(Agent.agent_id == agent_id).execute()
    return None
