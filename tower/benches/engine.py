"""The Engine API, as far as the tower needs it: list, inspect, and exec with input, output and a deadline.

Podman's Docker-compatible socket answers the same. The engine is the one that `tower up` found, for its
processes: what DOCKER_HOST names, else the current docker context, else /var/run/docker.sock.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlsplit

from tower.benches import Completed, Input, Later
from tower.benches.stream import Stream
from tower.benches.wire import Address, Answer, Connection
from tower.errors import (
    BenchTimeout,
    ContainerInactive,
    ContainerNotFound,
    DockerUnavailable,
    TmuxUnavailable,
)

ENGINE: Final = "TOWER_ENGINE"
"""The variable in which `tower up` tells its processes which engine is meant."""

_DEFAULT: Final = "unix:///var/run/docker.sock"
_ADDRESSES: Final = "correct it to unix:///PATH, or to tcp://HOST:PORT without TLS"
_SIGNALLED, _KILLED = 128, 137
_PATIENCE: Final = 1.0
"""Seconds of silence about one container after which the list of all tells of it."""
_AFTERMATH: Final = 0.5
"""Seconds from the death of a container's processes until the engine calls it exited."""
_LOOK_BEFORE: Final = 0.02
"""Seconds before a command gets the input that was kept back, in which its container is looked at."""
_NOT_STARTED: Final = (126, 127)
_ATTACHED: Final = b'{"Detach":false,"Tty":false}'
_CONTAINER: Final = re.compile(r"/containers/([^/?]+)/")
_FAULT: Final = re.compile(rb"^(OCI runtime exec failed|unable to find (user|group))|: (unknown|not found)\s*$")
"""The engine's own words, given as the output of a command that it could not start: runc's and containerd's."""
_PAUSED: Final = re.compile(r"cannot exec in a paused")
_ENDING: Final = re.compile(r"in a stopped|not running|init-p|namespace path|setns process|not created|^task |ttrpc")
"""What they say where the container ended while the command was being started, though it may run again by now."""


@dataclass(frozen=True)
class Execution:
    """A command for a container, as one of its users; ``who`` names the bench in messages.

    ``started`` is the ``StartedAt`` of the container for which the command is meant, where that is known.
    """

    container_id: str
    who: str
    argv: Sequence[str]
    user: str
    variables: Mapping[str, str]
    stdin: Input
    limit: int
    started: str | None = None


class Engine:
    """A client of one engine; it keeps no connection, so threads may share it."""

    def __init__(self, host: str) -> None:
        self.host = host

    def containers(self, deadline: float) -> list[dict[str, Any]]:
        """All containers, stopped ones too, as ``GET /containers/json`` lists them."""
        found: list[dict[str, Any]] = self.ask("GET", "/containers/json?all=true", deadline=deadline)
        return found

    def listed(self, container_id: str, deadline: float) -> dict[str, Any] | None:
        """A container as `containers` lists it, which waits for nothing in it; None where it is gone."""
        filters = quote(json.dumps({"id": [container_id]}))
        found = self.ask("GET", f"/containers/json?all=true&filters={filters}", deadline=deadline)
        return next((entry for entry in found if entry["Id"] == container_id), None)

    def inspect(self, container_id: str, deadline: float) -> dict[str, Any]:
        """A container's ``GET /containers/ID/json``.

        Raises ContainerNotFound, and ContainerInactive for a paused one of which only the list tells.
        """
        found: dict[str, Any] = self._about(container_id, "GET", f"/containers/{quote(container_id)}/json", deadline)
        return found

    def ask(self, method: str, target: str, body: object = None, *, deadline: float) -> Any:
        """One request, its answer decoded; None where the answer is empty.

        Raises BenchTimeout, DockerUnavailable, and ContainerNotFound or ContainerInactive when the engine
        says so of the container in ``target``.
        """
        data = None if body is None else json.dumps(body).encode()
        return _decoded(self.send(method, target, data, deadline=deadline))

    def send(self, method: str, target: str, data: bytes | None, *, deadline: float) -> Answer:
        """One request with a body of bytes; raises what `ask` raises."""
        with self._translated(), closing(Connection(self.address, deadline)) as connection:
            return self._checked(target, connection.request(method, target, data))

    def run(self, execution: Execution, deadline: float) -> Completed:
        """Execute a command in a running container and wait for its end.

        At the deadline BenchTimeout is raised; the command may go on, for the engine has no verb to end it.
        """
        target = f"/containers/{quote(execution.container_id)}/exec"
        number = self._make(execution, target, deadline)
        with self._translated(f"Bench {execution.who}"), closing(Connection(self.address, deadline)) as connection:
            self._checked(target, connection.request("POST", f"/exec/{number}/start", _ATTACHED, upgrade=True))
            stdin, at = execution.stdin if isinstance(execution.stdin, Later) else (execution.stdin, 0.0)
            stream = Stream(connection, stdin, execution.limit)
            self._hold(stream, execution, at, deadline)
            stream.until_end(deadline, lambda: self._exec(execution, number, deadline)["Running"])
            status = self._status(execution, number, deadline)
        done = Completed(status, bytes(stream.stdout), bytes(stream.stderr))
        if status in _NOT_STARTED and _FAULT.search(done.stdout):
            self._explain(execution, " ".join(done.stdout.decode("utf-8", "replace").split()), deadline)
        if status > _SIGNALLED:
            self._check_survived(execution, deadline)
        return done

    def _explain(self, execution: Execution, said: str, deadline: float) -> NoReturn:
        """Raise why a command could not be started: it or its user is not there, or the container is ending."""
        if _PAUSED.search(said):
            raise ContainerInactive(container_id=execution.container_id, container_state="paused")
        if execution.argv[0] not in said and not said.startswith("unable to find"):
            self._check_survived(execution, deadline)
            if _ENDING.search(said):
                raise DockerUnavailable(reason=said[:300])
        raise TmuxUnavailable(reason=_why_not_started(execution, said))

    def _about(self, container_id: str, method: str, target: str, deadline: float, body: object = None) -> Any:
        """One request about a container, of which alone the engine may be silent; raises what `ask` raises.

        It is where the container was paused while an exec began, for runc then waits for the freezer: the list tells
        of that. It is also while the container starts, and that is waited for.
        """
        now = time.monotonic()
        try:
            return self.ask(method, target, body, deadline=now + min(_PATIENCE, (deadline - now) / 2))
        except BenchTimeout:
            self._check_listed(container_id, deadline)
        try:
            return self.ask(method, target, body, deadline=deadline)
        except BenchTimeout:
            raise BenchTimeout(what=f"Container {container_id[:12]}", engine=True) from None

    def _check_listed(self, container_id: str, deadline: float) -> None:
        """Raise ContainerNotFound or ContainerInactive where the list says that a container is gone or paused."""
        entry = self.listed(container_id, deadline)
        if entry is None:
            raise ContainerNotFound(container_id=container_id)
        if entry["State"] == "paused":
            raise ContainerInactive(container_id=container_id, container_state="paused")

    def _make(self, execution: Execution, target: str, deadline: float) -> str:
        """Make an exec, which starts nothing yet; returns its id."""
        return str(self._about(execution.container_id, "POST", target, deadline, _exec_body(execution))["Id"])

    def _hold(self, stream: Stream, execution: Execution, at: float, deadline: float) -> None:
        """Keep the input back until its time; a container that was paused meanwhile would take it when it goes on.

        Raises ContainerInactive.
        """
        if at <= time.monotonic():
            return
        stream.hold(min(at, deadline) - _LOOK_BEFORE)
        state = self.inspect(execution.container_id, deadline)["State"]["Status"]
        if state == "paused":
            raise ContainerInactive(container_id=execution.container_id, container_state=state)
        stream.hold(min(at, deadline))

    @property
    def address(self) -> Address:
        """Where the engine listens; raises DockerUnavailable for what is no address, or none of a kind spoken here."""
        try:
            parts = urlsplit(self.host)
            port = parts.port
        except ValueError as error:
            raise DockerUnavailable(reason=f"{self.host} is no address, {error}; {_ADDRESSES}") from None
        if parts.scheme == "unix":
            return Address(parts.netloc + parts.path)
        if parts.scheme in ("tcp", "http") and parts.hostname and not os.environ.get("DOCKER_TLS_VERIFY"):
            return Address(None, parts.hostname, port or 2375)
        raise DockerUnavailable(reason=f"{self.host} is of no kind that is spoken here; {_ADDRESSES}")

    def _status(self, execution: Execution, number: str, deadline: float) -> int:
        """The exit status; the engine may learn of it an instant after the output's end."""
        pause = 0.002
        while (seen := self._exec(execution, number, deadline))["Running"]:
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(2 * pause, 0.1)
        return _KILLED if seen["ExitCode"] is None else int(seen["ExitCode"])

    def _exec(self, execution: Execution, number: str, deadline: float) -> dict[str, Any]:
        """What the engine knows of an exec; it forgets it together with its container."""
        try:
            found: dict[str, Any] = self._about(execution.container_id, "GET", f"/exec/{number}/json", deadline)
        except DockerUnavailable:
            self._check_running(execution, deadline)
            raise
        return found

    def _check_survived(self, execution: Execution, deadline: float) -> None:
        """Tell a command that was killed from one whose container ended, which shows an instant later."""
        until = min(deadline, time.monotonic() + _AFTERMATH)
        while time.monotonic() < until:
            self._check_running(execution, deadline)
            time.sleep(0.02)

    def _check_running(self, execution: Execution, deadline: float) -> None:
        """Raise ContainerInactive or ContainerNotFound where the container has ended, though it may run anew."""
        state = self.inspect(execution.container_id, deadline)["State"]
        if state["Status"] not in ("running", "paused"):
            raise ContainerInactive(container_id=execution.container_id, container_state=state["Status"])
        if execution.started and state.get("StartedAt") != execution.started:
            raise ContainerInactive(container_id=execution.container_id, container_state="restarting")

    def _checked(self, target: str, answer: Answer) -> Answer:
        if answer.status < 400:
            return answer
        message, named = _message(answer), _CONTAINER.match(target)
        if named and answer.status == 409:
            raise ContainerInactive(container_id=named[1], container_state=_state_in(message))
        if named and answer.status == 404:
            raise ContainerNotFound(container_id=named[1])
        raise DockerUnavailable(reason=message)

    @contextmanager
    def _translated(self, who: str = "The container engine") -> Iterator[None]:
        """Time-outs, as those of ``who``, and faults of the connection as the tower's errors."""
        try:
            yield
        except TimeoutError:
            raise BenchTimeout(what=who, engine=True) from None
        except OSError as error:
            raise DockerUnavailable(reason=f"{self.host}: {error.strerror or error}") from error
        except UnicodeError as error:
            raise DockerUnavailable(reason=f"{self.host} names no host, {error}; {_ADDRESSES}") from None


def engine(environ: Mapping[str, str] | None = None) -> Engine:
    """The engine that the docker command line would use; raises DockerUnavailable where a context is broken."""
    env = os.environ if environ is None else environ
    return Engine(env.get(ENGINE) or env.get("DOCKER_HOST") or _context_host(env) or _DEFAULT)


def _context_host(env: Mapping[str, str]) -> str | None:
    """The host of the current docker context; None for the default one."""
    folder = Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME") or Path.home()) / ".docker")
    name = env.get("DOCKER_CONTEXT") or _json(folder / "config.json").get("currentContext")
    if not name or name == "default":
        return None
    file = folder / "contexts" / "meta" / hashlib.sha256(os.fsencode(str(name))).hexdigest() / "meta.json"
    try:
        host = _json(file)["Endpoints"]["docker"]["Host"]
    except (KeyError, TypeError):
        host = None
    if not host or not isinstance(host, str):
        remedy = "choose another with `docker context use`, or set DOCKER_HOST"
        raise DockerUnavailable(reason=f"docker context {name}: {file} is missing or names no host; {remedy}")
    return host


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _exec_body(execution: Execution) -> dict[str, Any]:
    return {
        "AttachStdin": bool(execution.stdin),
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "User": execution.user,
        "Env": [f"{name}={value}" for name, value in execution.variables.items()],
        "Cmd": list(execution.argv),
    }


def _decoded(answer: Answer) -> Any:
    try:
        return json.loads(answer.body) if answer.body.strip() else None
    except ValueError:
        raise DockerUnavailable(reason="it answers something other than JSON") from None


def _message(answer: Answer) -> str:
    try:
        said = json.loads(answer.body)["message"]
    except (ValueError, KeyError, TypeError):
        said = f"it answers with status {answer.status}"
    return " ".join(str(said).split())[:500]


def _state_in(message: str) -> str:
    return next((state for state in ("paused", "restarting") if state in message), "exited")


def _why_not_started(execution: Execution, said: str) -> str:
    if said.startswith("unable to find"):
        known = "name one that it has with the label tower.user"
        return f"bench {execution.who} has no user {execution.user}: {known}"
    if execution.argv[0] in said and ("no such file" in said or "not found" in said):
        return f"bench {execution.who} has no {execution.argv[0]}, which the tower needs there"
    return f"bench {execution.who} cannot run {execution.argv[0]}: {said[:300]}"
