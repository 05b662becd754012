"""What `app.readiness` and `tower doctor` both judge the tower by; each says it in words of its own."""

import time
from datetime import datetime
from typing import Final

from tower import models
from tower.benches import registry
from tower.benches.engine import engine
from tower.config import Settings
from tower.errors import BenchTimeout, DockerUnavailable, TowerError
from tower.jobs import UNFINISHED, Holders
from tower.models import Bench, Job

STUCK: Final = 60.0
"""Seconds without any progress after which an unfinished job is worth a word."""


def engine_fault(deadline: float) -> str | None:
    """Why the engine cannot be used, without advice; None when it can."""
    try:
        engine().ask("GET", "/version", deadline=deadline)
    except DockerUnavailable as error:
        return f"the engine does not answer ({error.reason})"
    except BenchTimeout:
        return "the engine did not answer in time"
    except TowerError as error:
        return error.message
    return None


def engine_needed() -> bool:
    """Whether a container is among the benches."""
    models.connect()
    return bool(Bench.select().where((Bench.runtime == "docker") & (Bench.state == registry.ACTIVE)).exists())


def workers(settings: Settings) -> tuple[int, int]:
    """How many workers live, and how many there should be."""
    return len(Holders(settings).living()), settings.workers.processes


def stuck_job() -> tuple[Job, float] | None:
    """The unfinished job that has not moved for longest, and for how many seconds; None while any job moves."""
    models.connect()
    oldest = Job.select().where(Job.state.in_(UNFINISHED)).order_by(Job.updated_at).first()
    if oldest is None or age(oldest.updated_at) < STUCK:
        return None
    moved = Job.select().where(Job.updated_at > oldest.updated_at).order_by(Job.updated_at.desc()).first()
    if moved is not None and age(moved.updated_at) < STUCK:
        return None
    return oldest, age(oldest.updated_at)


def age(timestamp: str) -> float:
    """Seconds since then."""
    return time.time() - datetime.fromisoformat(timestamp).timestamp()
