"""From which bench does this connection come? As the host's kernel tells it, and nothing else.

The peer's process is pinned with a pidfd (SO_PEERPIDFD, Linux 6.5; pidfd_open before), its cgroup is read,
and only then is it asked whether that process still lives, so that no number can have been given away in
between. One that has exited, a zombie too, is refused: the kernel shows it outside its container.

A container that may write to the host's cgroups can leave its own, but never its PID namespace: a process that no
cgroup shows in a container is the host's only at the server's own depth of PID namespaces.

Of nested containers the outermost below the server's own decides. That path is the engine's; what lies deeper
can be made by the container itself, with any name it likes.
"""

import contextlib
import errno
import os
import re
import signal
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from tower.benches import registry
from tower.errors import HostOnly, PermissionDenied

_SO_PEERPIDFD: Final = 77
_PF_EXITING: Final = 0x4
_CREDENTIALS: Final = struct.Struct("3i")
_ID: Final = re.compile(r"(?:^|[-_:])([0-9a-f]{64})(?:\.scope|\.slice)?$")
_OTHER: Final = re.compile(r"lxc|lxc\.payload.*|machine-.*\.scope|kubepods.*")
"""Containers of other makers; no bench is ever one of them."""
_POD: Final = re.compile(r"/(?:[^/]*libpod_pod_[0-9a-f]{64}\.slice|(?<=/libpod_parent/)[0-9a-f]{64})(?=/libpod-)")
"""Podman's pod above one of its containers."""
_NESTED: Final = re.compile(r"^NSpid:(.*)$", re.MULTILINE)


class _Seen(NamedTuple):
    """What the kernel shows of a process: ``/proc/PID/cgroup``, and its depth of PID namespaces below ours."""

    cgroup: str
    depth: int


@dataclass(frozen=True)
class HostPeer:
    """A process of the host, or of the very container that the server runs in."""

    pid: int


@dataclass(frozen=True)
class BenchPeer:
    """A process in a bench."""

    pid: int
    container_id: str


def identify(connection: socket.socket) -> HostPeer | BenchPeer:
    """Whose connection this is, of a connected Unix socket.

    Raises PermissionDenied for another user's process and for one that has exited, HostOnly for one in a
    container that is not exactly one registered bench, or in another PID namespace that no container explains.
    """
    pid, uid = _credentials(connection)
    if uid not in (0, os.getuid()):
        raise PermissionDenied(reason=f"this socket is uid {os.getuid()}'s, and you are uid {uid}")
    seen, own = _living(connection, pid), _own()
    found = containers_in(seen.cgroup, own.cgroup)
    if found:
        return BenchPeer(pid, only_bench(found, registry.docker_ids()))
    if seen.depth != own.depth:
        raise HostOnly
    return HostPeer(pid)


def containers_in(cgroup: str, own: str) -> frozenset[tuple[str, ...]]:
    """The chains of containers, outermost first, in a ``/proc/PID/cgroup``, below those that ``own`` shows.

    Empty for a process of the host, or of the container that ``own`` is the cgroup of.
    """
    ours = _chains(own)
    below = set()
    for hierarchy, chain in _chains(cgroup).items():
        shared = ours.get(hierarchy, ())
        below.add(chain[len(shared) :] if chain[: len(shared)] == shared else chain)
    return frozenset(below - {()})


def only_bench(chains: Collection[tuple[str, ...]], registered: Collection[str]) -> str:
    """The one bench that all chains agree on; raises HostOnly where there is not exactly one."""
    outermost = {chain[0] for chain in chains}
    named = {name for chain in chains for name in chain if name in registered}
    if len(outermost) != 1 or outermost != named:
        raise HostOnly
    return outermost.pop()


def _chains(cgroup: str) -> dict[str, tuple[str, ...]]:
    """The containers along the path of each hierarchy, by its controllers (cgroups(7), /proc/PID/cgroup)."""
    lines = (line.split(":", 2) for line in cgroup.splitlines())
    return {parts[1]: _chain(parts[2]) for parts in lines if len(parts) == 3}


def _chain(path: str) -> tuple[str, ...]:
    names = (_container(part) for part in _POD.sub("", path).split("/"))
    return tuple(name for name in names if name)


def _container(part: str) -> str | None:
    found = _ID.search(part)
    if found:
        return found[1]
    return part if _OTHER.fullmatch(part) else None


def _credentials(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of whoever connected (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if pid <= 0:
        raise PermissionDenied(reason="your process cannot be seen from here")
    return pid, uid


def _living(connection: socket.socket, pid: int) -> _Seen:
    """What is seen of a process that still lived afterwards."""
    try:
        pidfd = _pidfd(connection, pid)
    except OSError as error:
        raise _exited() from error
    try:
        seen = _see(str(pid))
        stat = _read(str(pid), "stat")
        with contextlib.suppress(PermissionError):  # root's process: it lives, and is not ours to signal
            signal.pidfd_send_signal(pidfd, 0)
    except OSError as error:
        raise _exited() from error
    finally:
        os.close(pidfd)
    if not _alive(stat):
        raise _exited()
    return seen


def _see(process: str) -> _Seen:
    nested = _NESTED.search(_read(process, "status"))
    return _Seen(_read(process, "cgroup"), len(nested[1].split()) if nested else 0)


def _read(process: str, file: str) -> str:
    return Path("/proc", process, file).read_text("utf-8", "surrogateescape")


def _pidfd(connection: socket.socket, pid: int) -> int:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    return os.pidfd_open(pid)


def _alive(stat: str) -> bool:
    """Whether a ``/proc/PID/stat`` shows a process that runs: no zombie, and not on its way out."""
    fields = stat.rpartition(")")[2].split()
    return fields[0] not in "ZXx" and not int(fields[6]) & _PF_EXITING


def _exited() -> PermissionDenied:
    return PermissionDenied(reason="the calling process has exited; let it wait for the answer")


@cache
def _own() -> _Seen:
    return _see("self")
