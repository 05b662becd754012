"""Whether the tower can do its work now: each part looked at, cheaply, and what to do about one that cannot.

Docker that is neither there nor needed takes nothing away: the main job runs on the host alone.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from tower import catalog, health, models
from tower.benches import LOCAL, registry
from tower.config import Settings
from tower.errors import TowerError
from tower.models import Event, Pane
from tower.server.methods import Call, Request, app

READY: Final = "ready"
DEGRADED: Final = "degraded"
UNAVAILABLE: Final = "unavailable"

_LOOK: Final = 2.0
"""Seconds that the engine, and tmux on the host, may take."""

_LAG: Final = 30.0
"""Seconds that an event may be missing from events.jsonl."""


@dataclass(frozen=True)
class Subsystem:
    """A part of the tower, and what to do when it is not ready."""

    name: str
    status: str = READY
    reason: str | None = None
    hint: str | None = None
    needed: bool = True

    def wire(self) -> dict[str, Any]:
        """As it goes to the wire."""
        return {"name": self.name, "status": self.status, "reason": self.reason, "hint": self.hint}


@dataclass(frozen=True)
class Hint:
    """Something that a person should know or do."""

    code: str
    severity: str
    message: str
    target: dict[str, str]


class Readiness(Request, frozen=True):
    """Nothing."""


@app("readiness", Readiness, waits=True)
def readiness(call: Call, request: Readiness) -> object:  # noqa: ARG001 - every method's form
    """The state of each part, and of all together."""
    workers = _workers(call.settings)
    subsystems = [
        _docker(call.settings),
        _tmux(call.settings),
        _sqlite(),
        _jsonl(call.settings),
        Subsystem("log_attachment_workers", workers.status, workers.reason, workers.hint),
        workers,
        _queue(),
    ]
    return {
        "state": _overall(subsystems),
        "subsystems": [subsystem.wire() for subsystem in subsystems],
        "hints": [asdict(hint) for hint in _hints(call.settings, subsystems)],
    }


def _overall(subsystems: list[Subsystem]) -> str:
    states = {subsystem.name: subsystem.status for subsystem in subsystems if subsystem.needed}
    if states["sqlite"] == UNAVAILABLE:
        return UNAVAILABLE
    return READY if set(states.values()) == {READY} else DEGRADED


def _docker(settings: Settings) -> Subsystem:
    fault = health.engine_fault(time.monotonic() + min(_LOOK, settings.times.scan))
    if fault is None:
        return Subsystem("docker")
    hint = "Start the engine or correct DOCKER_HOST; benches on the host need none."
    return Subsystem("docker", UNAVAILABLE, fault, hint, needed=health.engine_needed())


def _tmux(settings: Settings) -> Subsystem:
    try:
        registry.open_bench(LOCAL, settings).facts(time.monotonic() + settings.times.login_path + _LOOK)
    except TowerError as error:
        return Subsystem("tmux_discovery", UNAVAILABLE, error.message, "Install tmux on the host.")
    return Subsystem("tmux_discovery")


def _sqlite() -> Subsystem:
    try:
        with models.writing():
            pass
    except (models.DatabaseError, OSError) as error:
        hint = "Free space on the disk of the state directory, or make it writable."
        return Subsystem("sqlite", UNAVAILABLE, f"the state database cannot be written: {error}", hint)
    return Subsystem("sqlite")


def _jsonl(settings: Settings) -> Subsystem:
    path = settings.events_path
    last = Event.select().order_by(Event.sequence.desc()).first()
    if last is None or health.age(last.timestamp) < _LAG:
        return Subsystem("jsonl")
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            written = last.id.encode() in file.read()
    except OSError as error:
        return Subsystem("jsonl", UNAVAILABLE, f"{path}: {error.strerror}", "Make it readable and writable.")
    if written:
        return Subsystem("jsonl")
    hint = f"Free space or make {path} writable; nothing is lost, and it catches up."
    return Subsystem("jsonl", DEGRADED, "the newest events are not in events.jsonl yet", hint)


def _workers(settings: Settings) -> Subsystem:
    living, wanted = health.workers(settings)
    if not living:
        return Subsystem("workers", UNAVAILABLE, "no worker is running; jobs wait", "Start them: `tower up`.")
    if living < wanted:
        hint = "See `tower status` and work.log; supervisord starts the missing ones again."
        return Subsystem("workers", DEGRADED, f"{living} of {wanted} workers run", hint)
    return Subsystem("workers")


def _queue() -> Subsystem:
    stuck = health.stuck_job()
    if stuck is None:
        return Subsystem("queue")
    job, idle = stuck
    reason = f"job {job.id} ({job.kind}) has not moved for {idle:.0f} s"
    return Subsystem("queue", DEGRADED, reason, f"Look at it: `tower job show {job.id}`.")


def _hints(settings: Settings, subsystems: list[Subsystem]) -> Iterator[Hint]:
    for part in subsystems:
        if part.status != READY and part.name != "log_attachment_workers":
            severity = "action_required" if part.needed else "info"
            message = f"{part.reason or part.name}".rstrip(".") + f". {part.hint}"
            yield Hint(f"{part.name}_{part.status}", severity, message, {"kind": "subsystem", "id": part.name})
    if settings.warning:
        yield Hint("config_invalid", "warning", settings.warning, {"kind": "file", "id": str(settings.config_path)})
    for problem in catalog.load(settings).problems:
        yield Hint("catalog_file_invalid", "warning", str(problem), {"kind": "file", "id": str(problem.file)})
    yield from _broken_panes()


def _broken_panes() -> Iterator[Hint]:
    """A word on each layout with panes that are failed or degraded."""
    broken = Pane.select(Pane.container_id, Pane.layout_id).where(Pane.state.in_(("failed", "degraded")))
    for layout_id in sorted({row.layout_id for row in broken.where(Pane.newest == True)}):  # noqa: E712 - SQL
        message = f"Layout {layout_id} has panes that need you; see `tower layout show {layout_id}`."
        yield Hint("layout_unhealthy", "info", message, {"kind": "layout", "id": layout_id})
