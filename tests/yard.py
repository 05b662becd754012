"""Containers for tests: made, paused, killed and removed through the Engine API.

The product never writes to an engine, so these verbs live here. Every container carries the label
``tower.test`` with the name of the yard that made it, and goes when its yard closes.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine import IMAGE
from tower.benches.engine import Engine, Execution
from tower.errors import DockerUnavailable, TowerError

OWNER = "tower.test"


@dataclass(frozen=True)
class Plan:
    """What a container is to be; mounts are ``{host path: path inside}``, with ``:ro`` for read-only."""

    name: str | None = None
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: {"tower.bench": "true"})
    env: Sequence[str] = ()
    mounts: Mapping[Path | str, str] = field(default_factory=dict)
    command: Sequence[str] = ("sleep", "infinity")
    entrypoint: Sequence[str] | None = None
    image: str = IMAGE
    hostname: str = ""
    init: bool = False
    read_only: bool = False
    tmpfs: Mapping[str, str] = field(default_factory=dict)


class Yard:
    """The containers of one test on one engine."""

    def __init__(self, host: str) -> None:
        self.engine = Engine(host)
        self.name = uuid.uuid4().hex[:12]

    def start(self, plan: Plan | None = None) -> str:
        """Create and start a container; returns its full id."""
        container_id = self.create(plan or Plan())
        self.act(container_id, "start")
        return container_id

    def create(self, plan: Plan) -> str:
        """Create a container without starting it; returns its full id."""
        name = plan.name or f"bench-{uuid.uuid4().hex[:8]}"
        made = self._ask("POST", f"/containers/create?name={name}", _body(plan, self.name))
        return str(made["Id"])

    def act(self, container_id: str, verb: str) -> None:
        """start, stop, pause, unpause, kill or restart a container; stop and restart wait no time at all.

        The engine gives up on a pause for which the kernel needs long (runc, "unable to freeze"): that is asked again.
        """
        wait = "?t=0" if verb in ("stop", "restart") else ""
        for turn in range(5):
            try:
                self._ask("POST", f"/containers/{container_id}/{verb}{wait}")
            except DockerUnavailable as error:
                if turn == 4 or "unable to freeze" not in error.reason:
                    raise
            else:
                return

    def remove(self, container_id: str) -> None:
        """Remove a container, running or not."""
        self._ask("DELETE", f"/containers/{container_id}?force=true&v=true")

    def rename(self, container_id: str, name: str) -> None:
        """Give a container another name."""
        self._ask("POST", f"/containers/{container_id}/rename?name={name}")

    def commit(self, container_id: str, repository: str) -> str:
        """Make an image of a container; returns the image's name."""
        self._ask("POST", f"/commit?container={container_id}&repo={repository}&tag=latest", {})
        return f"{repository}:latest"

    def remove_image(self, image: str) -> None:
        """Remove an image."""
        self._ask("DELETE", f"/images/{image}?force=true")

    def sh(self, container_id: str, script: str, user: str = "root") -> str:
        """Run a shell script in a container; returns its output and fails when it fails."""
        execution = Execution(container_id, "test", ("/bin/sh", "-c", script), user, {}, b"", 1 << 22)
        done = self.engine.run(execution, time.monotonic() + 20)
        assert done.status == 0, (done.status, done.stderr.decode())
        return done.stdout.decode()

    def write(self, container_id: str, path: str, text: str, mode: str = "0755") -> None:
        """Write a file into a container, making its folder."""
        words = ("/bin/sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1" && chmod "$2" "$1"', "sh", path, mode)
        execution = Execution(container_id, "test", words, "root", {}, text.encode(), 1 << 16)
        done = self.engine.run(execution, time.monotonic() + 20)
        assert done.status == 0, done.stderr.decode()

    def execs_since(self, since: float, container_id: str) -> list[str]:
        """The commands of the execs that the engine started in a container from that clock time on."""
        filters = json.dumps({"container": [container_id], "event": ["exec_start"]})
        target = f"/events?since={since:.9f}&until={time.time():.9f}&filters={filters.replace(' ', '')}"
        raw = self.engine.send("GET", target.replace('"', "%22"), None, deadline=time.monotonic() + 20).body
        return [json.loads(line)["Action"] for line in raw.decode().splitlines() if line]

    def close(self) -> None:
        """Remove every container of this yard."""
        filters = f"%7B%22label%22:%5B%22{OWNER}={self.name}%22%5D%7D"
        for found in self._ask("GET", f"/containers/json?all=true&filters={filters}"):
            try:
                self.remove(found["Id"])
            except TowerError:
                continue

    def _ask(self, method: str, target: str, body: object = None) -> Any:
        return self.engine.ask(method, target, body, deadline=time.monotonic() + 30)


def python_mounts(*folders: Path) -> dict[Path | str, str]:
    """Mounts that give a container this Python with its packages, and these folders, each at its own path."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    parts = (base / "lib" / version, base / "bin" / version) if str(base) == "/usr" else (base,)
    return {part: f"{part}:ro" for part in (*parts, Path(sys.prefix), *folders)}


def host_for_tests() -> str | None:
    """The engine that the tests may use, from TOWER_TEST_DOCKER_HOST."""
    return os.environ.get("TOWER_TEST_DOCKER_HOST") or None


def _body(plan: Plan, yard: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Image": plan.image,
        "Cmd": list(plan.command),
        "User": plan.user,
        "Env": list(plan.env),
        "Hostname": plan.hostname,
        "Labels": {**plan.labels, OWNER: yard},
        "HostConfig": {
            "NetworkMode": "none",
            "Binds": [f"{host}:{inside}" for host, inside in plan.mounts.items()],
            "Init": plan.init,
            "ReadonlyRootfs": plan.read_only,
            "Tmpfs": dict(plan.tmpfs),
        },
    }
    return body if plan.entrypoint is None else {**body, "Entrypoint": list(plan.entrypoint)}
