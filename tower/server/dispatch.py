"""A line in, a line out.

What needs only the database is answered in the loop's thread; what writes or waits, in a thread of the pool, where
requests that look into the same bench share a lane: one that hangs holds up no other. Errors become answers here and
nowhere else: a `WireError` as it is, a bench that did not answer in time as the code of its runtime, and anything that
nobody expected as `internal_error`, its cause in the log only.
"""

import errno
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from tower import models
from tower.config import Settings
from tower.errors import (
    BenchTimeout,
    ContainerInactive,
    InternalError,
    MalformedRequest,
    PayloadTooLarge,
    TowerError,
    WireError,
)
from tower.events import Projector
from tower.server import views
from tower.server.framing import LINE_LIMIT, TooLong, Unterminated
from tower.server.methods import Call, Caller, Later, Namespace, Request
from tower.server.pool import Pool
from tower.server.requests import Refused, Understood, namespace_of, understand
from tower.server.waiting import JobFailed, Waiting

log = logging.getLogger(__name__)

Reply = Callable[[bytes], None]
Soon = Callable[[Callable[[], None]], None]


class Dispatcher:
    """Answers lines; `soon` runs a callable in the loop's thread and may be called from any."""

    def __init__(self, settings: Settings, waiting: Waiting, projector: Projector, soon: Soon) -> None:
        self._settings = settings
        self._waiting = waiting
        self._projector = projector
        self._soon = soon
        self._pool = Pool()

    def begin(self, line: bytes | TooLong | Unterminated, caller: Caller | WireError, reply: Reply) -> None:
        """Answer a line of this caller, or of one that is refused; `reply` is called once, in the loop's thread."""
        if isinstance(caller, WireError):
            reply(failure(namespace_of(line) if isinstance(line, bytes) else None, caller))
        elif isinstance(line, TooLong):
            reply(failure(None, PayloadTooLarge(LINE_LIMIT, line.size)))
        elif isinstance(line, Unterminated):
            reply(failure(None, MalformedRequest("the stream ended before the newline")))
        else:
            self._ask(line, caller, reply)

    def _ask(self, line: bytes, caller: Caller, reply: Reply) -> None:
        try:
            understood = understand(line, caller)
        except Refused as refused:
            reply(failure(refused.namespace, refused.error))
        except Exception as error:  # noqa: BLE001 - the socket's edge: one line must not end the server
            reply(failure(None, error))
        else:
            self._answer(understood, Call(self._settings, caller), reply)

    def _answer(self, asked: Understood, call: Call, reply: Reply) -> None:
        if not asked.method.waits:
            self._settle(asked, _run(asked, lambda: asked.method.function(call, asked.request)), reply)
            return

        def answer() -> object:
            models.connect()
            return asked.method.function(call, asked.request)

        def work() -> None:
            outcome = _run(asked, answer)
            self._soon(lambda: self._done(asked, outcome, reply))

        self._pool.submit(work, _lane(asked, call.caller))

    def _done(self, asked: Understood, outcome: bytes | Later, reply: Reply) -> None:
        self._projector.nudge()
        self._settle(asked, outcome, reply)

    def _settle(self, asked: Understood, outcome: bytes | Later, reply: Reply) -> None:
        if isinstance(outcome, bytes):
            reply(outcome)
            return

        def done(error: TowerError | None, ended: bool) -> None:
            if error is not None:
                reply(failure(asked.namespace, error))
            else:
                self._settle(asked, _run(asked, lambda: outcome.answer(ended)), reply)

        self._waiting.add(outcome, done)


_NAMED: Final = (
    ("layout_id", models.Layout, "layout_id"),
    ("predecessor_pane_id", models.Pane, "pane_id"),
    ("target_agent_id", models.Agent, "agent_id"),
)
"""The fields, beside `container_id`, whose row tells into which bench a request looks."""

_UNKNOWN: Final = "unknown"
"""The lane of requests that name what no row tells of: the engine alone may keep them waiting."""


def _lane(asked: Understood, caller: Caller) -> str | None:
    """The lane of the bench that a request looks into, which its method's errors tell; None for one that does not."""
    if ContainerInactive not in asked.method.errors:
        return None
    if caller.bench is not None:
        return caller.bench
    try:
        return _bench_of(asked.request) or _UNKNOWN
    except Exception:  # noqa: BLE001 - the socket's edge: what is wrong becomes an answer where the request is run
        return _UNKNOWN


def _bench_of(request: Request) -> str | None:
    """The full id of the bench that a host peer's request names by itself or by something in it."""
    if named := getattr(request, "container_id", None):
        return views.bench_named(named)
    for field, table, column in _NAMED:
        if named := getattr(request, field, None):
            rows = models.pick(table, ("container_id",), **{column: named})
            return str(rows[0][0]) if rows else None
    return None


def _run(asked: Understood, function: Callable[[], object]) -> bytes | Later:
    try:
        result = function()
        return result if isinstance(result, Later) else _success(asked.namespace, result)
    except Exception as error:  # noqa: BLE001 - the socket's edge: whatever it is becomes an answer
        wire = as_wire(error)
        if wire.code not in asked.method.codes:
            log.error("%s does not declare %s", asked.method.name, wire.code)  # noqa: TRY400 - no fault to trace
        return failure(asked.namespace, wire)


def _success(namespace: Namespace, result: object) -> bytes:
    return msgspec.json.encode({"ok": True, "result": result, **namespace.extra}) + b"\n"


def failure(namespace: Namespace | None, error: Exception) -> bytes:
    """The line that tells of an error."""
    wire = error if isinstance(error, JobFailed) else as_wire(error)
    body = {"code": wire.code, "message": wire.message, "details": wire.details}
    extra = namespace.extra if namespace else {}
    return msgspec.json.encode({"ok": False, "error": body, **extra}) + b"\n"


def as_wire(error: Exception) -> WireError:
    """What of an error goes to the wire; the rest goes to the log."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, BenchTimeout):
        log.warning("%s", error)
        return error.on_the_wire()
    log.error("a request failed", exc_info=error)
    return _Hindered(_hindrance(error)) if isinstance(error, (models.DatabaseError, OSError)) else InternalError()


class _Hindered(InternalError):
    """An internal error whose remedy is the operator's."""

    def __init__(self, remedy: str) -> None:
        super().__init__()
        self._remedy = remedy

    def __str__(self) -> str:
        return self._remedy


_DISK_FULL: Final = "The disk of the tower's state directory is full; nothing was changed: free space and try again."
_READ_ONLY: Final = (
    "The tower's state directory cannot be written; nothing was changed: make it writable and try again."
)
_LOCKED: Final = (
    "Another program holds the tower's database locked; nothing was changed: end that program and try again."
)


def _hindrance(error: Exception) -> str:
    cause = error.__cause__ or error.__context__ or error
    name = getattr(cause, "sqlite_errorname", "")
    number = getattr(cause, "errno", None)
    if name.startswith("SQLITE_FULL") or number == errno.ENOSPC:
        return _DISK_FULL
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR")) or number in (errno.EROFS, errno.EACCES):
        return _READ_ONLY
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _LOCKED
    return InternalError().message
