"""A container of the engine as a bench: whose tmux is meant, and how host files show inside.

The user is the label ``tower.user``, else the last ``remoteUser`` of the label ``devcontainer.metadata``,
else config ``benches.user``, else the container's configured user, else root.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tower.benches import Completed, Facts, Input, LogTarget
from tower.benches import facts as facts_of
from tower.benches import logs as log_files
from tower.benches.base import UserBench
from tower.benches.engine import Engine, Execution, engine
from tower.config import Settings
from tower.errors import ContainerInactive

LABEL_USER: Final = "tower.user"
LABEL_DEVCONTAINER: Final = "devcontainer.metadata"
_INSIDE: Final = ".local/state/opensoft/agenttower/logs"


class DockerBench(UserBench):
    """A container; what the engine says of it is asked once for the life of this object."""

    runtime = "docker"

    def __init__(self, container_id: str, name: str, settings: Settings) -> None:
        super().__init__(container_id, name, settings)
        self._inspected: dict[str, Any] | None = None

    @cached_property
    def engine(self) -> Engine:
        """The engine that has it; raises DockerUnavailable where that cannot be told."""
        return engine()

    def check_running(self, deadline: float) -> None:
        """Raise ContainerInactive at once where the container is stopped or paused; no exec is made."""
        state = self._inspect(deadline)["State"]
        if not state.get("Running") or state.get("Paused"):
            raise ContainerInactive(container_id=self.container_id, container_state=state["Status"])

    def log_target(self, pane_id: str) -> LogTarget:
        """As in `Bench`: through the container's mounts, or inside the container where config allows it."""
        facts = self.facts(time.monotonic() + self.settings.times.stage)
        name = log_files.folder_name(self.name, self.container_id)
        file = self.settings.pane_logs_dir / name / f"{pane_id}.log"
        found = log_files.mapped(file, self._mounts)
        if found is None and not self.settings.logs.require_host_path:
            return LogTarget(None, f"{facts.home.rstrip('/')}/{_INSIDE}/{pane_id}.log")
        unusable = self._make_folder(name, facts)
        problem = self._problem(found, file.parent, facts) or unusable
        return LogTarget(file, None if problem or found is None else found[0], problem)

    def _problem(self, found: tuple[str, log_files.Mount] | None, folder: Path, facts: Facts) -> str | None:
        """What is wrong with the mount; the bench's own folder alone shows it no logs of other benches."""
        if found is None:
            return (
                f"The log directory is not mounted in {self.name}: mount {folder} into the container at any"
                f" path (docker run -v {folder}:{folder}), or set logs.require_host_path: false."
            )
        if not found[1].writable:
            return (
                f"The mount at {found[1].target} in {self.name} is read-only:"
                f" mount {folder} writable, so that {facts.user} may write."
            )
        return None

    def _make_folder(self, name: str, facts: Facts) -> str | None:
        state = self._inspect(time.monotonic() + self.settings.times.stage)["State"]
        uid = log_files.host_uid(facts.uid, state["Pid"])
        try:
            log_files.make_folder(self.settings, name, uid)
        except OSError as error:
            folder = self.settings.pane_logs_dir / name
            remedy = log_files.remedy(error, folder, uid)
            return f"{folder} cannot be shared with {facts.user} of {self.name} ({error.strerror}): {remedy}."
        return None

    @cached_property
    def _mounts(self) -> list[log_files.Mount]:
        found = self._inspect(time.monotonic() + self.settings.times.stage).get("Mounts") or []
        return [
            log_files.Mount(mount["Source"], mount["Destination"], bool(mount.get("RW", True)))
            for mount in found
            if mount.get("Source") and mount.get("Destination")
        ]

    def _execute(
        self, argv: Sequence[str], variables: Mapping[str, str], stdin: Input, deadline: float, limit: int
    ) -> Completed:
        found = self._inspect(deadline)
        user, started = bench_user(found["Config"], self.settings.benches.user), found["State"]["StartedAt"]
        execution = Execution(self.container_id, self.name, argv, user, variables, stdin, limit, started)
        return self.engine.run(execution, deadline)

    def _start(self, deadline: float) -> str:
        """The container's start and the user that is meant: either changes what the facts are."""
        found = self._inspect(deadline)
        return f"{found['State']['StartedAt']} {bench_user(found['Config'], self.settings.benches.user)}"

    def _first_environment(self, deadline: float) -> Mapping[str, str]:  # noqa: ARG002 - nothing here waits
        return {"tower_wait": str(self.settings.times.login_path)}

    def _own_environment(self, deadline: float) -> Mapping[str, str]:
        return facts_of.variables(self._inspect(deadline)["Config"].get("Env") or [])

    def _inspect(self, deadline: float) -> dict[str, Any]:
        if self._inspected is None:
            self._inspected = self.engine.inspect(self.container_id, deadline)
        return self._inspected


def bench_user(config: Mapping[str, Any], configured: str | None) -> str:
    """Whose tmux server is meant, as the engine takes a user: a name, a uid, or either with a group."""
    labels = config.get("Labels") or {}
    named = labels.get(LABEL_USER) or _remote_user(labels.get(LABEL_DEVCONTAINER) or "")
    return str(named or configured or config.get("User") or "root")


def _remote_user(metadata: str) -> str | None:
    """The last ``remoteUser`` of a devcontainer's metadata: one JSON object, or a list of them."""
    try:
        found = json.loads(metadata)
    except ValueError:
        return None
    parts = found if isinstance(found, list) else [found]
    users = [part["remoteUser"] for part in parts if isinstance(part, dict) and part.get("remoteUser")]
    return users[-1] if users and isinstance(users[-1], str) else None
