"""The rows of the `app.*` lists: which query each is, and how a row of it goes to the wire."""

from typing import Any, Final

import msgspec
from peewee import JOIN, Case, fn

from tower import clock, jobs
from tower.models import Agent, Bench, Event, Job, JobPane, Pane, SeenPane
from tower.server.app_lists import Table, short

_ROLES: Final = ("master", "slave", "swarm", "test-runner", "shell")
_ACTIVE: Final = "active"


def _agent_of_seen() -> Any:
    """The agent that a seen pane is."""
    return (
        (Agent.container_id == SeenPane.container_id)
        & (Agent.server == SeenPane.server)
        & (Agent.tmux_pane_id == SeenPane.tmux_pane_id)
        & (Agent.active == True)  # noqa: E712 - SQL
    )


def _bench_state() -> Any:
    """An active bench whose panes could not be looked at is told apart."""
    unseen = (Bench.state == _ACTIVE) & Bench.scan_problem.is_null(False)
    return Case(None, [(unseen, "degraded_scan")], Bench.state)


def _containers() -> Any:
    seen = SeenPane.select(fn.count(SeenPane.tmux_pane_id)).where(SeenPane.container_id == Bench.container_id)
    agents = Agent.select(fn.count(Agent.agent_id)).where(
        (Agent.container_id == Bench.container_id) & (Agent.active == True)  # noqa: E712 - SQL
    )
    return Bench.select(
        Bench.container_id,
        Bench.name,
        _bench_state().alias("state"),
        Bench.image,
        Bench.first_seen_at,
        Bench.last_scanned_at,
        seen.alias("pane_count"),
        agents.alias("registered_agent_count"),
        Bench.runtime,
        Bench.container_state,
        Bench.scan_problem,
    )


def _container_wire(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("key_")}


CONTAINERS: Final = Table(
    name="app.container.list",
    query=_containers,
    wire=_container_wire,
    orders={
        "name": [short(Bench.name)],
        "state": [_bench_state(), short(Bench.name)],
        "first_seen_at": [Bench.first_seen_at],
        "last_scanned_at": [Bench.last_scanned_at],
    },
    default="name:asc",
    key=[Bench.container_id],
    filters={"state": lambda state: _bench_state() == state},
)


def _panes() -> Any:
    return (
        SeenPane.select(
            SeenPane.tmux_pane_id.alias("pane_id"),
            SeenPane.container_id,
            Bench.name.alias("container_name"),
            SeenPane.tmux_socket,
            SeenPane.session_name,
            SeenPane.window_index,
            SeenPane.pane_index,
            Agent.agent_id,
            SeenPane.discovered_at,
            SeenPane.last_seen_at,
            SeenPane.managed_pane_id,
            SeenPane.dead,
        )
        .join(Bench, on=(Bench.container_id == SeenPane.container_id))
        .join(Agent, JOIN.LEFT_OUTER, on=_agent_of_seen())
    )


def _pane_wire(row: dict[str, Any]) -> dict[str, Any]:
    names = ("pane_id", "container_id", "container_name", "tmux_socket", "session_name", "window_index", "pane_index")
    times = ("discovered_at", "last_seen_at")
    return {
        **{name: row[name] for name in names},
        "registered": row["agent_id"] is not None,
        "agent_id": row["agent_id"],
        **{name: row[name] for name in times},
        "managed_pane_id": row["managed_pane_id"],
        "dead": bool(row["dead"]),
    }


_PLACE: Final = [short(SeenPane.session_name), SeenPane.window_index, SeenPane.pane_index]

PANES: Final = Table(
    name="app.pane.list",
    query=_panes,
    wire=_pane_wire,
    orders={
        "container_name": [short(Bench.name), *_PLACE],
        "session_name": _PLACE,
        "discovered_at": [SeenPane.discovered_at],
        "last_seen_at": [SeenPane.last_seen_at],
    },
    default="container_name:asc",
    key=[fn.substr(SeenPane.container_id, 1, 24), SeenPane.tmux_pane_id],
    filters={
        "container_id": lambda container_id: SeenPane.container_id == container_id,
        "registered": lambda registered: Agent.agent_id.is_null(not registered),
    },
    ordering="container_name:asc,session_name:asc,window_index:asc,pane_index:asc",
)


def _priority() -> Any:
    return Case(Agent.role, [(role, number) for number, role in enumerate(_ROLES, 1)], len(_ROLES) + 1)


def _log_attached() -> Any:
    """Of the tower's own panes the pane knows."""
    return fn.COALESCE(Pane.log_attached, Agent.log_attached)


def _agents() -> Any:
    seen = (SeenPane.container_id == Agent.container_id) & (SeenPane.server == Agent.server)
    return (
        Agent.select(
            Agent,
            _priority().alias("role_priority"),
            Bench.name.alias("container_name"),
            Bench.state.alias("bench_state"),
            Pane.state.alias("pane_state"),
            Pane.exited_at,
            _log_attached().alias("attached"),
            fn.COALESCE(Pane.log_path, Agent.log_path).alias("log_file"),
            SeenPane.dead,
        )
        .join(Bench, on=(Bench.container_id == Agent.container_id))
        .join(Pane, JOIN.LEFT_OUTER, on=(Pane.pane_id == Agent.managed_pane_id))
        .join(SeenPane, JOIN.LEFT_OUTER, on=(seen & (SeenPane.tmux_pane_id == Agent.tmux_pane_id)))
    )


def _agent_wire(row: dict[str, Any]) -> dict[str, Any]:
    state = row["pane_state"] or _adopted_state(row)
    alive = row["exited_at"] is None and not row["dead"] and state in ("creating", "ready", "degraded", _ACTIVE)
    return {
        "agent_id": row["agent_id"],
        "role": row["role"],
        "role_priority": row["role_priority"],
        "capability": row["capability"],
        "label": row["label"],
        "project_path": row["project_path"],
        "parent_agent_id": row["parent_agent_id"],
        "container_id": row["container_id"],
        "pane_id": row["tmux_pane_id"],
        "registered_at": row["registered_at"],
        "log_attached": bool(row["attached"]),
        "pane_active": alive and row["bench_state"] == _ACTIVE,
        "origin": row["origin"],
        "state": state,
        "container_name": row["container_name"],
        "tmux_pane_id": row["tmux_pane_id"],
        "tmux_socket": row["tmux_socket"],
        "tmux_session_name": row["tmux_session_name"],
        "managed_pane_id": row["managed_pane_id"],
        "log_path": row["log_file"],
    }


def _adopted_state(row: dict[str, Any]) -> str:
    """What the last look at its bench says of an adopted pane."""
    if row["dead"] is None or row["bench_state"] != _ACTIVE:
        return "gone"
    return "exited" if row["dead"] else _ACTIVE


AGENTS: Final = Table(
    name="app.agent.list",
    query=_agents,
    wire=_agent_wire,
    orders={
        "role_priority": [_priority(), Agent.registered_at],
        "registered_at": [Agent.registered_at],
        "role": [short(Agent.role), Agent.registered_at],
        "label": [short(Agent.label), Agent.registered_at],
    },
    default="role_priority:asc",
    key=[Agent.number],
    filters={
        "role": lambda role: Agent.role == role,
        "capability": lambda capability: Agent.capability == capability,
        "container_id": lambda container_id: Agent.container_id == container_id,
        "log_attached": lambda attached: _log_attached() == attached,
        "origin": lambda origin: Agent.origin == origin,
        "registered": lambda registered: Agent.active == registered,
    },
    ordering="role_priority:asc,registered_at:asc",
)


def _events() -> Any:
    return Event.select(Event, Agent.agent_id).join(Agent, JOIN.LEFT_OUTER, on=(Agent.managed_pane_id == Event.pane_id))


def _event_wire(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "event_id": row["id"],
        "event_type": row["event_type"],
        "agent_id": row["agent_id"],
        "observed_at": row["timestamp"],
        "excerpt": None,
        "classifier_rule_id": None,
        "summary": _summary(row),
        "id": row["id"],
        "sequence": row["sequence"],
        "timestamp": row["timestamp"],
        "origin": "managed",
        "actor": row["actor"],
        "container_id": row["container_id"],
        "layout_id": row["layout_id"],
        "pane_id": row["pane_id"],
        "payload": msgspec.Raw(row["payload"].encode()),
    }


def _summary(row: dict[str, Any]) -> str:
    """The event in a line: its type as words, and what changed."""
    words = row["event_type"].removeprefix("managed_").replace("_", " ")
    told = [f"{key} {value}" for key, value in msgspec.json.decode(row["payload"]).items() if value is not None]
    return f"{words}: {', '.join(told)}"[:500] if told else words


EVENTS: Final = Table(
    name="app.event.list",
    query=_events,
    wire=_event_wire,
    orders={"observed_at": [], "sequence": []},
    default="observed_at:desc",
    key=[Event.sequence],
    filters={
        "event_type": lambda kind: Event.event_type == kind,
        "agent_id": lambda agent_id: Agent.agent_id == agent_id,
        "layout_id": lambda layout_id: Event.layout_id == layout_id,
        "pane_id": lambda pane_id: Event.pane_id == pane_id,
        "container_id": lambda container_id: Event.container_id == container_id,
        "since": lambda since: Event.timestamp >= clock.stamp(since / 1000),
        "until": lambda until: Event.timestamp < clock.stamp((until + 1) / 1000),
    },
)


def _jobs() -> Any:
    before = Job.alias()
    waits_for = before.select(fn.min(before.id)).where(
        (before.container_id == Job.container_id)
        & before.state.in_(jobs.UNFINISHED)
        & (before.id < Job.id)
        & Job.state.in_(jobs.UNFINISHED)
    )
    panes = JobPane.select(fn.group_concat(JobPane.pane_id, " ")).where(JobPane.job_id == Job.id)
    return Job.select(
        Job, Bench.name.alias("container_name"), waits_for.alias("waits_for"), panes.alias("pane_ids")
    ).join(Bench, JOIN.LEFT_OUTER, on=(Bench.container_id == Job.container_id))


def _job_wire(row: dict[str, Any]) -> dict[str, Any]:
    names = ("kind", "container_id", "container_name", "layout_id", "pane_id", "state", "stage", "attempts", "holder")
    times = ("created_at", "updated_at", "started_at", "finished_at")
    return {
        "job_id": row["id"],
        **{name: row[name] for name in names},
        "pane_ids": (row["pane_ids"] or "").split(),
        "waits_for": row["waits_for"],
        "error": row["error"] and _error(row["error"]),
        **{name: row[name] for name in times},
    }


def _error(stored: str) -> dict[str, Any]:
    """A job's error, which is an error of the wire or a sentence about the last attempt."""
    try:
        return msgspec.json.decode(stored, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"code": None, "message": stored}


JOBS: Final = Table(
    name="app.job.list",
    query=_jobs,
    wire=_job_wire,
    orders={"job_id": [], "created_at": [], "updated_at": [Job.updated_at]},
    default="job_id:desc",
    key=[Job.id],
    filters={
        "state": lambda state: Job.state == state,
        "kind": lambda kind: Job.kind == kind,
        "container_id": lambda container_id: Job.container_id == container_id,
        "layout_id": lambda layout_id: Job.layout_id == layout_id,
        "pane_id": lambda pane_id: Job.id.in_(JobPane.select(JobPane.job_id).where(JobPane.pane_id == pane_id)),
    },
)
