"""What every stage works with, and what stages share: the bench and tmux of a job, and the time that is left."""

import time
from dataclasses import dataclass

import msgspec

from tower import clock, errors, models, states
from tower.benches import Bench
from tower.config import Settings
from tower.jobs import Claim
from tower.models import Layout, Pane
from tower.reach import tmux_of
from tower.tmux import Listing, SeenPane, Tmux

GONE_STATES = ("exited", "dead", "removing", "removed", "created", "restarting")
"""The states of a container in which its processes, panes included, exist no more (Engine API, ContainerInspect)."""


@dataclass(frozen=True)
class Work:
    """What a stage works with."""

    settings: Settings
    claim: Claim
    bench: Bench
    tmux: Tmux
    deadline: float
    """In monotonic seconds."""

    @property
    def may_retry(self) -> bool:
        """Whether the stage is tried again after a transient failure."""
        return self.claim.job.attempts < len(self.settings.times.retry_delays)

    @property
    def layout(self) -> Layout:
        """The layout of the job."""
        return models.find(Layout, layout_id=self.claim.job.layout_id)[0]

    def creating(self) -> list[Pane]:
        """The panes of the job that are still creating, by slot."""
        found = models.find(Pane, pane_id=tuple(self.claim.pane_ids()), state=states.CREATING)
        return sorted(found, key=lambda pane: (pane.slot, pane.number))


def open_work(settings: Settings, claim: Claim) -> Work:
    """The bench and tmux of a job, and the time that the stage has left.

    Once a job has been begun, a tmux server may live there though no row tells of a pane in it yet.
    """
    deadline = time.monotonic() + max(0.0, claim.deadline - clock.boot_seconds())
    again = claim.number > 1
    tmux = tmux_of(settings, str(claim.job.container_id), expected=again)
    return Work(settings, claim, tmux.bench, tmux, deadline)


def sorted_panes(condition: object) -> list[Pane]:
    """The panes of a condition, by slot, the older row of a slot first."""
    return list(Pane.select().where(condition).order_by(Pane.slot, Pane.number))


def container_gone(error: errors.WireError) -> bool:
    """Whether the engine says that the container, and so every pane in it, exists no more; a paused one does."""
    return isinstance(error, errors.ContainerNotFound) or (
        isinstance(error, errors.ContainerInactive) and error.container_state in GONE_STATES
    )


def by_tower_id(listing: Listing, instance: str) -> dict[str, SeenPane]:
    """The panes of this tower in a listing; of two with one id the elder."""
    found: dict[str, SeenPane] = {}
    for seen in sorted(listing.panes, key=lambda pane: int(pane.tmux_pane_id[1:])):
        if seen.instance == instance and seen.pane_id:
            found.setdefault(seen.pane_id, seen)
    return found


def encode_error(error: errors.WireError) -> str:
    """An error as a job row keeps it, for whoever waits for the job."""
    return msgspec.json.encode({"code": error.code, "message": error.message, "details": error.details}).decode()


def on_the_wire(error: errors.TowerError) -> errors.WireError:
    """An error of the closed set, for whoever waits for the job."""
    if isinstance(error, errors.WireError):
        return error
    if isinstance(error, errors.BenchTimeout):
        return error.on_the_wire()
    return errors.InternalError()
