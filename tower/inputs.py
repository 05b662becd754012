"""Text for an agent: who may get it, that it goes in whole and once, and what became of it.

The text itself is in no database, log, event or command line. A message's row is written before the text is sent, as
`unknown`, and settled afterwards; so a sender that comes back with the same key after a crash is told the truth, and
nothing is sent twice. Senders of all processes take turns by a lock.
"""

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tower import clock, locks, models, states
from tower.benches import registry
from tower.config import Settings
from tower.errors import (
    AgentNotFound,
    BenchTimeout,
    ContainerInactive,
    ContainerNotFound,
    DockerUnavailable,
    PermissionDenied,
    TmuxUnavailable,
)
from tower.models import Agent, Bench, Message, Pane
from tower.names import new_id
from tower.reach import tmux_of
from tower.tmux import Outcome, Tmux

DELIVERED: Final = "delivered"
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"

_LOCKS: Final = 4096
"""Agents share this many lock files, so that there are not as many files as there ever were agents; two agents of
which one hangs seldom share one."""

_STATE_OF: Final = {Outcome.DELIVERED: DELIVERED, Outcome.UNKNOWN: UNKNOWN}


@dataclass(frozen=True)
class Sent:
    """What became of a message; `deduplicated` when an earlier request with the same key has sent it."""

    message_id: str
    state: str
    deduplicated: bool
    reason: str | None = None


def send(settings: Settings, agent_id: str, text: bytes, *, enter: bool, idempotency_key: str | None) -> Sent:
    """Paste a text into an agent's pane as one piece, and press Enter unless told otherwise.

    Raises AgentNotFound, PermissionDenied for a pane that takes no input now, ContainerInactive, and what a look into
    the bench may end with; nothing was sent then.
    """
    models.connect()
    agent = Agent.get_or_none(Agent.agent_id == agent_id)
    if agent is None:
        raise AgentNotFound(agent_id)
    deadline = time.monotonic() + settings.times.stage
    with _turn(settings, agent_id, deadline):
        if earlier := _earlier(agent_id, idempotency_key):
            return earlier
        return _send(settings, agent, text, enter, idempotency_key, deadline)


def _earlier(agent_id: str, key: str | None) -> Sent | None:
    if key is None:
        return None
    known = Message.get_or_none((Message.agent_id == agent_id) & (Message.idempotency_key == key))
    return Sent(known.message_id, known.state, deduplicated=True) if known else None


def _send(  # noqa: PLR0913 - a message and its time
    settings: Settings, agent: Agent, text: bytes, enter: bool, key: str | None, deadline: float
) -> Sent:
    registry.require_active(settings, Bench.get(Bench.container_id == agent.container_id))
    tmux = tmux_of(settings, agent.container_id)
    _require_takes_input(agent, tmux, deadline)
    message_id = _open(str(agent.agent_id), key)
    try:
        delivery = tmux.send(agent.tmux_pane_id, agent.managed_pane_id, text, enter, deadline)
    except TmuxUnavailable as error:
        return _settled(message_id, FAILED, error.message)
    except (BenchTimeout, DockerUnavailable, ContainerInactive, ContainerNotFound) as error:
        return Sent(message_id, UNKNOWN, deduplicated=False, reason=error.message)
    if delivery.outcome is Outcome.REFUSED:
        _forget(message_id)
        raise PermissionDenied(delivery.reason)
    return _settled(message_id, _STATE_OF[delivery.outcome], delivery.reason or None)


def _open(agent_id: str, key: str | None) -> str:
    message_id = new_id()
    with models.writing():
        Message.create(
            message_id=message_id, agent_id=agent_id, idempotency_key=key, state=UNKNOWN, created_at=clock.now()
        )
    return message_id


def _settled(message_id: str, state: str, reason: str | None) -> Sent:
    with models.writing():
        Message.update(state=state).where(Message.message_id == message_id).execute()
    return Sent(message_id, state, deduplicated=False, reason=reason)


def _forget(message_id: str) -> None:
    """Nothing was sent: the same key may be used again."""
    with models.writing():
        models.delete_from(Message).where(Message.message_id == message_id).execute()


def _require_takes_input(agent: Agent, tmux: Tmux, deadline: float) -> None:
    """Raise PermissionDenied with the reason why the agent's pane takes no input."""
    if agent.managed_pane_id is not None:
        reason = _why_managed_not(Pane.get(Pane.pane_id == agent.managed_pane_id))
    else:
        reason = _why_adopted_not(agent, tmux, deadline)
    if reason:
        raise PermissionDenied(reason)


def _why_managed_not(pane: Pane) -> str | None:
    """A pane whose command runs takes input: ready, or degraded by its log alone."""
    if pane.state == states.READY or (pane.state == states.DEGRADED and pane.exited_at is None):
        return None
    if pane.state == states.DEGRADED:
        return f"the command of pane {pane.label} has ended; `tower pane restart` starts it again"
    if pane.state == states.CREATING:
        return f"pane {pane.label} is still being created; wait for it with `tower layout wait`"
    return f"pane {pane.label} is {pane.state}; `tower pane recreate` brings it back"


def _why_adopted_not(agent: Agent, tmux: Tmux, deadline: float) -> str | None:
    """The tmux server of an adopted pane must be the same one still: another one's %7 is another pane."""
    listing = tmux.listing(deadline)
    panes = {pane.tmux_pane_id: pane for pane in listing.panes}
    if listing.server != agent.server or agent.tmux_pane_id not in panes:
        return f"the pane of agent {agent.label} is gone"
    if panes[agent.tmux_pane_id].dead:
        return f"the program in the pane of agent {agent.label} has ended"
    return None


@contextmanager
def _turn(settings: Settings, agent_id: str, deadline: float) -> Iterator[None]:
    """Hold the agent's lock, waiting for other senders; raises TmuxUnavailable at the deadline."""
    folder = settings.run_dir / "input"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = locks.open_file(folder / str(zlib.crc32(agent_id.encode()) % _LOCKS))
    try:
        if not locks.take(handle, deadline - time.monotonic()):
            raise TmuxUnavailable("an earlier input to this agent does not end")
        yield
    finally:
        os.close(handle)
