"""The host's own tmux: commands as subprocesses of the tower, with a clean environment.

Nothing of the tower's own environment passes but TMUX_TMPDIR, which says where this host's tmux sockets are.
"""

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from tower.benches import LOCAL, Completed, Input, Later, LogTarget
from tower.benches import logs as log_files
from tower.benches.base import UserBench
from tower.benches.process import execute
from tower.config import Settings

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELLS_READ: Final = (".profile", ".bash_profile", ".bash_login", ".bashrc", ".zshenv", ".zprofile")


class LocalBench(UserBench):
    """The host."""

    runtime = "local"

    def __init__(self, settings: Settings) -> None:
        super().__init__(LOCAL, LOCAL, settings)

    def log_target(self, pane_id: str) -> LogTarget:
        """As in `Bench`: the same file on both sides."""
        folder = self.settings.pane_logs_dir / LOCAL
        file = folder / f"{pane_id}.log"
        try:
            log_files.make_folder(self.settings, LOCAL, os.getuid())
        except OSError as error:
            remedy = log_files.remedy(error, folder, os.getuid())
            return LogTarget(file, None, f"{folder} cannot hold logs ({error.strerror}): {remedy}.")
        return LogTarget(file, str(file))

    def _execute(
        self, argv: Sequence[str], variables: Mapping[str, str], stdin: Input, deadline: float, limit: int
    ) -> Completed:
        if isinstance(stdin, Later):
            time.sleep(max(0.0, min(stdin.at, deadline) - time.monotonic()))
            stdin = stdin.data
        kept = {name: os.environ[name] for name in ("TMUX_TMPDIR",) if name in os.environ}
        return execute(argv, {**kept, **variables}, stdin, deadline, limit)

    def _start(self, deadline: float) -> str:  # noqa: ARG002 - nothing here waits
        """The host's boot, and the last change of what its login shell reads."""
        home = Path(_home())
        files = (Path("/etc/profile"), home / ".local/bin", *(home / name for name in _SHELLS_READ))
        stamp = sha256(repr([_changed(file) for file in files]).encode()).hexdigest()
        return f"{_boot()} {stamp[:16]}"

    def _first_environment(self, deadline: float) -> Mapping[str, str]:  # noqa: ARG002 - nothing here waits
        return {"PATH": _PATH, "HOME": _home(), "tower_wait": str(self.settings.times.login_path)}

    def _own_environment(self, deadline: float) -> Mapping[str, str]:  # noqa: ARG002 - nothing here waits
        return {}


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


@cache
def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return os.environ.get("HOME", "/")


def _changed(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None
