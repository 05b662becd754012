"""Which benches there are. The only writer of the Bench table.

A running container is a bench when it carries the label ``tower.bench=true`` or its name contains one of
config ``benches.name_contains``. Once known it stays known: a paused one stays active with
``container_state`` ``paused``, a stopped or vanished one becomes inactive. A container built anew under an
old name has another id, so it is another bench. An engine that does not answer changes nothing.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from peewee import fn

from tower import clock, models
from tower.benches import LOCAL, Bench, facts
from tower.benches.docker import DockerBench
from tower.benches.engine import Engine, engine
from tower.benches.local import LocalBench
from tower.config import Settings
from tower.errors import BenchTimeout, ContainerInactive, ContainerNotFound, DockerUnavailable, TowerError

Row = models.Bench

LABEL: Final = "tower.bench"
ACTIVE, INACTIVE = "active", "inactive"
VANISHED: Final = "removed"
"""The ``container_state`` of a container that the engine no longer has."""
PREFIX: Final = 12
"""Hexadecimal digits from which on a prefix may stand for an id."""
_EACH: Final = 2.0
"""Seconds for the engine to describe one container, of all those at the same time."""
_AT_ONCE: Final = 8
_ALIVE: Final = frozenset({"running", "paused"})


@dataclass
class Refreshed:
    """What a refresh found: ids of benches, and why the engine could not be asked, if so."""

    appeared: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    """Known benches that were started since the last look; their panes of before are gone."""
    lost: list[str] = field(default_factory=list)
    """Benches that were active and are stopped or gone."""
    problem: DockerUnavailable | BenchTimeout | None = None

    @property
    def changed(self) -> bool:
        """Whether any bench came, returned or went."""
        return bool(self.appeared or self.returned or self.lost)


@dataclass(frozen=True)
class _Seen:
    container_id: str
    name: str
    image: str | None
    container_state: str
    started_at: str | None
    """None where the engine did not say."""


def refresh(settings: Settings, deadline: float) -> Refreshed:
    """Look at the engine and write down what is there; an engine that fails is told in the result."""
    models.connect()
    found = Refreshed()
    _refresh_local(found)
    try:
        seen = _look(settings, engine(), deadline)
    except (DockerUnavailable, BenchTimeout) as error:
        found.problem = error
        return found
    with models.writing():
        for container in seen.values():
            _write(container, found)
        gone = [row for row in _docker_rows() if row.container_id not in seen]
        for row in gone:
            _mark_vanished(row, found)
    for row in gone:
        facts.forget(settings.run_dir / "facts", row.container_id)
    return found


def resolve(settings: Settings, text: str, *, may_refresh: bool) -> Row:
    """The bench that ``text`` names: exact id, ``local``, exact name, unique prefix of at least 12 of an id.

    With ``may_refresh`` an unknown or inactive one is looked for at the engine first. Raises
    ContainerNotFound, and DockerUnavailable or BenchTimeout where the engine cannot tell of an unknown one.
    """
    models.connect()
    row = _find(text)
    replaced = bool(may_refresh and row and row.state == ACTIVE and _replaced(settings, row, text))
    if not may_refresh or (row and row.state == ACTIVE and not replaced):
        return _required(row, text)
    problem = refresh(settings, time.monotonic() + settings.times.session_check).problem
    row = _find(text)
    if problem is not None and (row is None or replaced):
        raise problem
    return _required(row, text)


def require_active(settings: Settings, row: Row) -> Bench:
    """The bench, after asking the engine, without an exec, whether it runs.

    Raises ContainerInactive, DockerUnavailable or BenchTimeout.
    """
    bench = open_bench(row.container_id, settings)
    if not isinstance(bench, DockerBench):
        return bench
    try:
        bench.check_running(time.monotonic() + settings.times.session_check)
    except ContainerNotFound:
        raise ContainerInactive(container_id=row.container_id, container_state=VANISHED) from None
    if row.state != ACTIVE:  # it came back, and nobody has looked since
        refresh(settings, time.monotonic() + settings.times.session_check)
    return bench


def open_bench(container_id: str, settings: Settings) -> Bench:
    """The bench of a full id, for one request or stage; talks to nobody."""
    if container_id == LOCAL:
        return LocalBench(settings)
    models.connect()
    row = Row.get_or_none(Row.container_id == container_id)
    return DockerBench(container_id, row.name if row else container_id[:PREFIX], settings)


def note_scan(container_id: str, problem: str | None) -> None:
    """Keep why the panes of a bench could not be looked at; None where they could."""
    with models.writing():
        Row.update(scan_problem=problem).where(
            (Row.container_id == container_id) & (Row.scan_problem.is_null(False) | (problem is not None))
        ).execute()


def begin_epoch() -> None:
    """Count a start of the server as a return of every active bench."""
    with models.writing():
        Row.update(epoch=Row.epoch + 1, epoch_pane=_newest_pane()).where(Row.state == ACTIVE).execute()


def _newest_pane() -> int:
    return int(models.Pane.select(fn.MAX(models.Pane.number)).scalar() or 0)


def docker_ids() -> frozenset[str]:
    """The full ids of all containers that are known as benches, running or not."""
    models.connect()
    return frozenset(row.container_id for row in _docker_rows())


def _find(text: str) -> Row | None:
    exact = Row.get_or_none(Row.container_id == text)
    if exact is None and text == LOCAL:
        _refresh_local(Refreshed())
        exact = Row.get(Row.container_id == LOCAL)
    if exact:
        return exact
    named = list(Row.select().where(Row.name == text).order_by(Row.state, Row.last_scanned_at.desc()))
    if named:
        return named[0]
    if len(text) < PREFIX:
        return None
    matching = list(Row.select().where(fn.substr(Row.container_id, 1, len(text)) == text))
    return matching[0] if len(matching) == 1 else None


def _required(row: Row | None, text: str) -> Row:
    if row is None:
        raise ContainerNotFound(container_id=text)
    return row


def _replaced(settings: Settings, row: Row, text: str) -> bool:
    """Whether a name's container is gone or bears another name, so that the name may be another one's by now."""
    if row.container_id == LOCAL or row.name != text:
        return False
    try:
        entry = engine().listed(row.container_id, time.monotonic() + settings.times.session_check)
    except TowerError:
        return False
    return entry is None or text not in _names(entry)


def _look(settings: Settings, client: Engine, deadline: float) -> dict[str, _Seen]:
    """Known containers in whatever state, and running ones that are benches, by id."""
    known = {row.container_id for row in _docker_rows()}
    listed = client.containers(deadline)
    ours = [entry for entry in listed if entry["Id"] in known or _is_bench(entry, settings)]
    each = min(deadline, time.monotonic() + _EACH)
    with ThreadPoolExecutor(_AT_ONCE, "inspect") as threads:
        described = list(threads.map(lambda entry: _describe(entry, client, each), ours))
    return {seen.container_id: seen for seen in described if seen}


def _is_bench(entry: Mapping[str, Any], settings: Settings) -> bool:
    if entry["State"] not in _ALIVE:
        return False
    labelled = (entry.get("Labels") or {}).get(LABEL) == "true"
    return labelled or any(part in name for part in settings.benches.name_contains for name in _names(entry))


def _names(entry: Mapping[str, Any]) -> list[str]:
    """A container's own names, without those that links gave it."""
    return [name.lstrip("/") for name in entry.get("Names") or [] if "/" not in name.lstrip("/")]


def _describe(entry: Mapping[str, Any], client: Engine, deadline: float) -> _Seen | None:
    """What the registry keeps of a container; None for one that went away since it was listed.

    The engine may be silent about one container alone, such as one that was paused while an exec began (runc waits for
    the freezer): what the list says of it must do then.
    """
    names = _names(entry)
    name = names[0] if names else entry["Id"][:PREFIX]
    try:
        state = client.inspect(entry["Id"], deadline)["State"]
    except ContainerNotFound:
        return None
    except (BenchTimeout, ContainerInactive):
        return _Seen(entry["Id"], name, entry.get("Image"), entry["State"], None)
    return _Seen(entry["Id"], name, entry.get("Image"), state["Status"], state.get("StartedAt"))


def _refresh_local(found: Refreshed) -> None:
    now = clock.now()
    with models.writing():
        if Row.update(last_scanned_at=now).where(Row.container_id == LOCAL).execute() == 0:
            _insert(_Seen(LOCAL, LOCAL, None, "running", None), "local", now)
            found.appeared.append(LOCAL)


def _insert(seen: _Seen, runtime: str, now: str) -> None:
    Row.create(
        container_id=seen.container_id,
        name=seen.name,
        runtime=runtime,
        state=ACTIVE,
        container_state=seen.container_state,
        image=seen.image,
        started_at=seen.started_at,
        first_seen_at=now,
        last_scanned_at=now,
    )


def _write(seen: _Seen, found: Refreshed) -> None:
    """Insert or update one container's row, and note what became of it."""
    row, now = Row.get_or_none(Row.container_id == seen.container_id), clock.now()
    if row is None:
        _insert(seen, "docker", now)
        found.appeared.append(seen.container_id)
        return
    alive = seen.container_state in _ALIVE
    started_anew = seen.started_at and row.started_at and row.started_at != seen.started_at
    restarted = bool(alive and (row.state == INACTIVE or started_anew))
    if restarted:
        found.returned.append(seen.container_id)
    elif row.state == ACTIVE and not alive:
        found.lost.append(seen.container_id)
    Row.update(
        name=seen.name,
        state=ACTIVE if alive else INACTIVE,
        container_state=seen.container_state,
        image=seen.image,
        started_at=seen.started_at or row.started_at,
        epoch=row.epoch + int(restarted),
        epoch_pane=_newest_pane() if restarted else row.epoch_pane,
        last_scanned_at=now,
    ).where(Row.container_id == seen.container_id).execute()


def _mark_vanished(row: Row, found: Refreshed) -> None:
    if row.state == ACTIVE:
        found.lost.append(row.container_id)
    if row.container_state != VANISHED:
        change = Row.update(state=INACTIVE, container_state=VANISHED, last_scanned_at=clock.now())
        change.where(Row.container_id == row.container_id).execute()


def _docker_rows() -> Iterable[Row]:
    return list(Row.select().where(Row.runtime == "docker"))
