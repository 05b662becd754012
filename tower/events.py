"""The audit log: the catalogue of events, their recording, and their projection to events.jsonl.

An event is written in the transaction of the change it tells of, so that the one exists exactly when the other
does. The projection copies the table to the file, in order and each once: whoever projects holds a lock, and its
cursor is the file's last whole line, so that it does not matter which process does it, nor when it dies.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from tower import clock, faults, locks, models
from tower.config import Settings
from tower.names import new_id

OPERATOR = "operator"
DAEMON = "daemon"

log = logging.getLogger(__name__)


class EventBase(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an event are its payload."""

    event_type: ClassVar[str]


class LayoutCreated(EventBase, frozen=True):
    """A create was accepted."""

    event_type: ClassVar[str] = "managed_layout_created"
    template_name: str
    container_id: str
    intended_pane_count: int


class LayoutStateChanged(EventBase, frozen=True):
    """The derived state of a layout changed with one of its panes."""

    event_type: ClassVar[str] = "managed_layout_state_changed"
    prev_state: str | None
    new_state: str


class LayoutRecoveryReattached(EventBase, frozen=True):
    """After a start or a return of the bench, these panes were found alive."""

    event_type: ClassVar[str] = "managed_layout_recovery_reattached"
    reattached_pane_ids: list[str]


class LayoutRecoveryFailed(EventBase, frozen=True):
    """After a start or a return of the bench, these panes were gone."""

    event_type: ClassVar[str] = "managed_layout_recovery_failed"
    failed_pane_ids: list[str]
    failed_stage: str


class PaneCreated(EventBase, frozen=True):
    """The row of a pane exists."""

    event_type: ClassVar[str] = "managed_pane_created"
    role: str
    label: str
    tmux_session_name: str
    tmux_pane_index: int


class PaneStateChanged(EventBase, frozen=True):
    """A pane moved."""

    event_type: ClassVar[str] = "managed_pane_state_changed"
    prev_state: str | None
    new_state: str
    failed_stage: str | None


class PaneLaunched(EventBase, frozen=True):
    """The tmux pane exists and its command was started."""

    event_type: ClassVar[str] = "managed_pane_launched"
    tmux_pane_id: str


class PaneRegistered(EventBase, frozen=True):
    """The pane became an agent."""

    event_type: ClassVar[str] = "managed_pane_registered"
    agent_id: str


class PaneLogAttached(EventBase, frozen=True):
    """The pane's output goes to this file."""

    event_type: ClassVar[str] = "managed_pane_log_attached"
    log_path: str


class PaneLogAttachFailed(EventBase, frozen=True):
    """The pane's output could not be logged, or stopped being logged."""

    event_type: ClassVar[str] = "managed_pane_log_attach_failed"
    reason: str


class PaneRecreated(EventBase, frozen=True):
    """The pane takes the place of another."""

    event_type: ClassVar[str] = "managed_pane_recreated"
    predecessor_id: str
    chain_depth: int


class PaneRemoved(EventBase, frozen=True):
    """The pane was removed; false when there was nothing left to kill."""

    event_type: ClassVar[str] = "managed_pane_removed"
    tmux_kill_succeeded: bool


class PendingMarkerSet(EventBase, frozen=True):
    """The pane is being made; no scan adopts it."""

    event_type: ClassVar[str] = "managed_pane_pending_marker_set"
    marker_token: str


class PendingMarkerCleared(EventBase, frozen=True):
    """The pane is being made no more."""

    event_type: ClassVar[str] = "managed_pane_pending_marker_cleared"
    marker_token: str


class PaneLaunchCommandExited(EventBase, frozen=True):
    """The command ended; both null when tmux does not know how. A reason where the launcher knows one."""

    event_type: ClassVar[str] = "managed_pane_launch_command_exited"
    exit_code: int | None
    exit_signal: int | None
    elapsed_ms: int
    reason: str | None = None


class PaneOrphanKilled(EventBase, frozen=True):
    """A tmux pane whose row was removed or superseded was killed."""

    event_type: ClassVar[str] = "managed_pane_orphan_killed"
    tmux_pane_id: str


def record(
    event: EventBase,
    *,
    actor: str,
    container_id: str,
    layout_id: str | None = None,
    pane_id: str | None = None,
) -> None:
    """Write an event; to be called inside the transaction of the change that it tells of."""
    models.insert(
        models.Event,
        id=new_id(),
        timestamp=clock.now(),
        event_type=event.event_type,
        actor=actor,
        container_id=container_id,
        layout_id=layout_id,
        pane_id=pane_id,
        payload=msgspec.json.encode(event).decode(),
    )


def last(layout_id: str, *kinds: type[EventBase]) -> str | None:
    """When an event of one of these kinds was last written about a layout."""
    of_kind = models.Event.event_type.in_([kind.event_type for kind in kinds])
    query = models.Event.select(models.Event.timestamp).where((models.Event.layout_id == layout_id) & of_kind)
    found = query.order_by(models.Event.sequence.desc()).first()
    return str(found.timestamp) if found else None


_COLUMNS = "sequence, id, timestamp, event_type, actor, container_id, layout_id, pane_id, payload"
_BATCH = 500


def _line(row: tuple[Any, ...]) -> bytes:
    sequence, event_id, timestamp, event_type, actor, container_id, layout_id, pane_id, payload = row
    entry = {
        "id": event_id,
        "sequence": sequence,
        "timestamp": timestamp,
        "origin": "managed",
        "event_type": event_type,
        "actor": actor,
        "container_id": container_id,
        "layout_id": layout_id,
        "pane_id": pane_id,
        "payload": msgspec.Raw(payload.encode()),
    }
    return msgspec.json.encode(entry) + b"\n"


def _rows_after(sequence: int) -> list[tuple[Any, ...]]:
    query = models.Event.raw(
        f"SELECT {_COLUMNS} FROM event WHERE sequence > ? ORDER BY sequence LIMIT {_BATCH}",  # noqa: S608 - constants
        sequence,
    )
    return list(query.tuples())


def project(settings: Settings) -> None:
    """Append to events.jsonl what it lacks; a torn tail is cut first.

    Raises OSError when the file cannot be written; nothing is lost then, the next call takes it up.
    """
    models.connect()
    with locks.locked(settings.run_dir / "events.lock"):
        handle = os.open(settings.events_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _append_missing(handle, _cursor(handle))
        finally:
            os.close(handle)


def _append_missing(handle: int, sequence: int) -> None:
    while rows := _rows_after(sequence):
        faults.point("events.before_append")
        _write_all(handle, b"".join(map(_line, rows)))
        os.fdatasync(handle)
        faults.point("events.after_append")
        sequence = rows[-1][0]


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _cursor(handle: int) -> int:
    """The sequence of the file's last whole line, 0 for none; what stands behind it is cut away."""
    end = os.lseek(handle, 0, os.SEEK_END)
    sequence = None
    while end > 0:
        start = _line_start(handle, end)
        sequence = _sequence_of(os.pread(handle, end - start, start))
        if sequence is not None:
            break
        end = start
    _cut(handle, end)
    return sequence or 0


def _line_start(handle: int, end: int) -> int:
    """Where the line that ends at this offset begins."""
    stop = end - 1
    while stop > 0:
        start = max(0, stop - 65536)
        newline = os.pread(handle, stop - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        stop = start
    return 0


def _sequence_of(line: bytes) -> int | None:
    if not line.endswith(b"\n"):
        return None
    try:
        sequence = msgspec.json.decode(line, type=dict).get("sequence")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return sequence if isinstance(sequence, int) else None


def _cut(handle: int, length: int) -> None:
    if os.fstat(handle).st_size != length:
        log.warning("events.jsonl: cut a torn tail of %d bytes", os.fstat(handle).st_size - length)
        os.ftruncate(handle, length)
    os.lseek(handle, length, os.SEEK_SET)


def verify(settings: Settings) -> bool:
    """Compare the whole file with the table; a file that differs is put aside and written anew.

    Returns whether the file was as it should be. Lines that are not projected yet do not count.
    """
    models.connect()
    with locks.locked(settings.run_dir / "events.lock"):
        if _agrees(settings.events_path):
            return True
        aside = settings.events_path.with_name(f"events.jsonl.damaged-{clock.now()}")
        settings.events_path.rename(aside)
    log.error("events.jsonl did not agree with the database; it is kept as %s and written anew", aside)
    project(settings)
    return False


def _agrees(path: Path) -> bool:
    rows = _all_lines()
    try:
        with path.open("rb") as file:
            return all(line == next(rows, b"") for line in file if line.endswith(b"\n"))
    except FileNotFoundError:
        return True


def _all_lines() -> Iterator[bytes]:
    sequence = 0
    while rows := _rows_after(sequence):
        yield from map(_line, rows)
        sequence = rows[-1][0]


class Projector:
    """A thread that projects soon after `nudge`, and in any case every `times.look` seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def start(self, *, verify_first: bool = False) -> None:
        """Begin; with verify_first after a comparison of the whole file."""
        self._verify_first = verify_first
        self._thread.start()

    def nudge(self) -> None:
        """There may be something to project."""
        self._wanted.set()

    def stop(self) -> None:
        """Project what there is and end."""
        self._stop = True
        self._wanted.set()
        self._thread.join(timeout=self._settings.times.database)

    def _run(self) -> None:
        if self._verify_first:
            self._attempt(verify)
        while not self._stop:
            self._wanted.wait(timeout=self._settings.times.look)
            self._wanted.clear()
            self._attempt(project)
        models.db.close()

    def _attempt(self, action: Callable[[Settings], object]) -> None:
        try:
            action(self._settings)
        except Exception as error:  # noqa: BLE001 - the projection rests on this thread: nothing may end it
            log.error(  # noqa: TRY400 - the message says it all
                "events.jsonl cannot be brought up to date (%s); nothing is lost: free space or make %s"
                " writable, and it will be",
                error,
                self._settings.events_path,
            )
