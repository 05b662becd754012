"""Which file on the host is which file in a bench, and the host directory that holds it.

A log is readable by the operator, writable by the bench user and closed to others. So a bench's folder
belongs to the bench user (0700) where the operator is root or is that user; where neither is so, it must be
the operator's and opens to that one user by a POSIX ACL, whose default part lets the operator read the files
made in it. The bench user is meant as the host knows it, which in a user namespace is another uid.
"""

import contextlib
import errno
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tower.benches import LOCAL
from tower.config import Settings

_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY: Final = 0xFFFFFFFF
_READ_WRITE, _ALL = 6, 7


@dataclass(frozen=True)
class Mount:
    """One mount of a container: a directory of the host, and where it stands in the container."""

    source: str
    target: str
    writable: bool


def folder_name(container_name: str, container_id: str) -> str:
    """A bench's log folder: named as the container, so that it can be mounted before there is an id."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", container_name).lstrip(".")
    if container_id == LOCAL or (safe and safe != LOCAL):
        return safe
    return f"container-{container_id[:12]}"


def make_folder(settings: Settings, name: str, uid: int) -> Path:
    """Make the log folder of a bench, writable by that uid of the host; raises OSError where that cannot be."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.pane_logs_dir.mkdir(mode=0o711, exist_ok=True)
    folder = settings.pane_logs_dir / name
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _open_to(folder, uid)
    return folder


def remedy(error: OSError, folder: Path, uid: int) -> str:
    """What to do where `make_folder` cannot open a folder to that uid."""
    ours = os.getuid()
    owner = ours or uid
    if error.errno == errno.EPERM:
        return f"make uid {owner} its owner (chown {owner} {folder})"
    if error.errno == errno.ENOTSUP:
        return f"keep the state directory on a file system with POSIX ACLs, or give the bench user uid {ours}"
    return f"put that right on the host, where the tower is uid {ours}"


def host_uid(uid: int, pid: int) -> int:
    """What a uid in a container is on the host, by the user namespace of a process in it (user_namespaces(7)).

    It is the same where that process, or a mapping of that uid, cannot be seen.
    """
    try:
        lines = Path(f"/proc/{pid}/uid_map").read_text("ascii").splitlines()
    except OSError:
        return uid
    for line in lines:
        inside, outside, count = map(int, line.split())
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid


def mapped(file: Path, mounts: Sequence[Mount]) -> tuple[str, Mount] | None:
    """A host file's path in the container, and the mount that carries it; None where no mount does.

    Of several mounts the longest source wins; one that another mount covers in the container does not count.
    """
    resolved = Path(os.path.realpath(file))
    for mount in sorted(mounts, key=lambda mount: len(mount.source), reverse=True):
        source = Path(os.path.realpath(mount.source))
        if resolved.is_relative_to(source):
            inside = PurePosixPath(mount.target) / resolved.relative_to(source)
            if _carrier(inside, mounts) is mount:
                return str(inside), mount
    return None


def _carrier(inside: PurePosixPath, mounts: Sequence[Mount]) -> Mount:
    covering = [mount for mount in mounts if inside.is_relative_to(mount.target)]
    return max(covering, key=lambda mount: len(mount.target))


def _open_to(folder: Path, uid: int) -> None:
    owner, ours = folder.stat().st_uid, os.getuid()
    if ours == 0 and owner != uid:
        os.chown(folder, uid, -1, follow_symlinks=False)
    elif ours not in (0, owner):
        raise PermissionError(errno.EPERM, f"it belongs to uid {owner}", str(folder))
    elif owner != uid:
        _share(folder, uid)


def _share(folder: Path, uid: int) -> None:
    """Let one other user in by ACL (acl(5)); files that either makes there are open to both."""
    ours = os.getuid()
    os.setxattr(folder, "system.posix_acl_access", _acl(_ALL, {uid: _ALL}))
    os.setxattr(folder, "system.posix_acl_default", _acl(_ALL, {ours: _READ_WRITE, uid: _READ_WRITE}))


def _acl(owner: int, users: dict[int, int]) -> bytes:
    """An ACL as Linux stores it: version 2, then entries of tag, permissions and id."""
    named = [(_USER, users[uid], uid) for uid in sorted(users)]
    entries = [
        (_USER_OBJ, owner, _NOBODY),
        *named,
        (_GROUP_OBJ, 0, _NOBODY),
        (_MASK, _ALL, _NOBODY),
        (_OTHER, 0, _NOBODY),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
