"""Where agents live: the host itself, or a container.

A bench runs a command with input and a deadline, knows its user, and maps a log file. That is the
whole seam; everything above it is tmux and does not know which runtime it talks to.

    local.py     the host's own tmux
    docker.py    a container of the engine (Docker, or Podman's compatible socket)
    engine.py    the Engine API over a socket; wire.py: its HTTP
    facts.py     who the bench user is, read once per bench and container start
    logs.py      which file on the host is which file in the bench
    registry.py  which benches there are; the only writer of the Bench table
    peers.py     from which bench does this connection come?

Deadlines are absolute ``time.monotonic()`` seconds everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

LOCAL = "local"
"""The ``container_id`` of the host's own bench."""

OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes of output that one command may give, standard output and error together."""


class Completed(NamedTuple):
    """A command that ended: its exit status (128 + n after signal n) and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


class Later(NamedTuple):
    """Input that a command gets at a time: it is started before, so that its start costs no time then."""

    data: bytes
    at: float
    """In monotonic seconds."""


Input = bytes | Later


@dataclass(frozen=True)
class Facts:
    """What the tower knows of a bench user."""

    user: str
    uid: int
    gid: int
    home: str
    shell: str
    path: str
    """PATH of the user's login shell."""
    locale: str
    tmux: str
    """Absolute path of tmux in the bench."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The container's own variables; empty for the host."""


@dataclass(frozen=True)
class LogTarget:
    """A pane's log file on both sides of the bench's wall.

    ``host_path`` is None when the log is kept inside the container. ``problem`` is one sentence that
    names the mount or the owner to set; ``bench_path`` is None then.
    """

    host_path: Path | None
    bench_path: str | None
    problem: str | None = None


class Bench(Protocol):
    """One bench, as its user."""

    @property
    def container_id(self) -> str:
        """``local``, or the full id of the container."""

    @property
    def name(self) -> str:
        """``local``, or the name of the container."""

    @property
    def runtime(self) -> str:
        """``local`` or ``docker``."""

    def run(self, argv: Sequence[str], *, stdin: Input = b"", deadline: float, limit: int = OUTPUT_LIMIT) -> Completed:
        """Run a command as the bench user; ``argv[0]`` equal to ``tmux`` is the bench's own tmux.

        Raises BenchTimeout at the deadline (on a container the command itself may go on),
        DockerUnavailable, ContainerNotFound, ContainerInactive, and TmuxUnavailable when the bench
        has no tmux, cannot start the command, or gives more than ``limit`` bytes.
        """

    def facts(self, deadline: float) -> Facts:
        """The bench user's facts, read once per start of the bench; raises what ``run`` raises."""

    def log_target(self, pane_id: str) -> LogTarget:
        """Where a pane's log belongs; makes its directory on the host."""

    def tmux_command(self) -> list[str]:
        """The words that begin every tmux command of this bench, for ``run``."""
