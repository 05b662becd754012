"""10,000 removed layouts: two towers side by side on the same benches, one of them with a long past.

Each figure is taken in turns from the one and from the other, so that both see the same machine.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence

from tests.benchmarks import making, many, resting, serving
from tests.benchmarks.figures import Figure, amount, p50
from tests.benchmarks.ground import Ground, begin, quiet, timed

LAYOUTS = 10_000
_ALLOWED = 20.0

Take = Callable[[Ground, str], Sequence[float]]


def fill(ground: Ground) -> None:
    """Give a tower that is up the past of 10,000 layouts of three panes, with their agents, jobs and events."""
    database = sqlite3.connect(ground.tower.state / "state.sqlite3", timeout=60, isolation_level=None)
    benches = ["local", *(container.container_id for container in ground.benches)]
    try:
        database.execute("BEGIN IMMEDIATE")
        for number in range(LAYOUTS):
            _one(database, benches[number % len(benches)], number)
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()


def _one(database: sqlite3.Connection, bench: str, number: int) -> None:
    """A layout that was created, became ready and was removed."""
    layout_id, now = str(uuid.uuid4()), "2026-01-01T00:00:00.000000Z"
    session = f"past{number}"
    _insert(
        database, "layout", layout_id=layout_id, container_id=bench, template_name="1m+2s", state="removed",
        arrangement="main-vertical", tmux_session_name=session, intended_pane_count=3, idempotency_key=session,
        created_at=now, updated_at=now,
    )  # fmt: skip
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for slot, pane_id in enumerate(ids):
        agent_id = str(uuid.uuid4())
        _insert(
            database, "pane", pane_id=pane_id, layout_id=layout_id, container_id=bench, slot=slot, role="slave",
            capability="worker", label=f"{session}-{slot}", state="removed", argv="[]", env_keys="[]",
            tmux_pane_id="%1", server="1 1", agent_id=agent_id, created_at=now, updated_at=now,
        )  # fmt: skip
        _insert(
            database, "agent", agent_id=agent_id, container_id=bench, origin="managed", managed_pane_id=pane_id,
            tmux_pane_id="%1", tmux_socket="", server="1 1", tmux_session_name=session, role="slave", active=0,
            capability="worker", label=f"{session}-{slot}", registered_at=now,
        )  # fmt: skip
    for kind, stage in (("spawn", "log_attach"), ("remove", "tmux_kill")):
        done = _insert(
            database, "job", kind=kind, container_id=bench, layout_id=layout_id, state="done", stage=stage, claim=1,
            created_at=now, updated_at=now, started_at=now, finished_at=now,
        )  # fmt: skip
        for pane_id in ids:
            _insert(database, "job_pane", job_id=done, pane_id=pane_id)
    for subject in (None, *ids, *ids):
        _insert(
            database, "event", id=str(uuid.uuid4()), timestamp=now, event_type="managed_pane_state_changed",
            actor="daemon", container_id=bench, layout_id=layout_id, pane_id=subject, payload="{}",
        )  # fmt: skip


def _insert(database: sqlite3.Connection, table: str, **values: object) -> int | None:
    marks = ", ".join("?" * len(values))
    return database.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", [*values.values()]).lastrowid


def past(plain: Ground, other: Ground, made: list[str]) -> Iterator[Figure]:
    """How far each figure lies off with a long past; ``made`` are the 40 layouts of the first tower."""
    begin(other)
    fill(other)
    others = many.accepted(other)
    for layout_id in others:
        other.wait(layout_id)
    for ground in (plain, other):
        quiet(ground.tower)
    for name, unit, rounds, take in _FIGURES:
        without, beside = _compare(plain, made[0], other, others[0], rounds, take)
        off = (p50(beside) / p50(without) - 1) * 100
        if name.endswith("-8"):
            off = (p50(without) / p50(beside) - 1) * 100
        note = f"{amount(p50(without))} {unit} without, {amount(p50(beside))} {unit} with"
        what = f"{name} with 10,000 removed layouts, worse by"
        yield Figure(f"past-{name}", what, "%", off, _ALLOWED, "20 %", note=note)
    yield from _starts(plain, other)


def _compare(
    plain: Ground, mine: str, other: Ground, theirs: str, rounds: int, take: Take
) -> tuple[list[float], list[float]]:
    without: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        without.extend(take(plain, mine))
        beside.extend(take(other, theirs))
    return without, beside


def _starts(plain: Ground, other: Ground) -> Iterator[Figure]:
    for ground in (plain, other):
        ground.tower.down()
    without, beside = _compare(plain, "", other, "", 5, lambda ground, _: [serving.start_seconds(ground.tower)])
    off = (p50(beside) / p50(without) - 1) * 100
    note = f"{amount(p50(without))} s without, {amount(p50(beside))} s with"
    yield Figure("past-start", "start-40 with 10,000 removed layouts, worse by", "%", off, _ALLOWED, "20 %", note=note)


def _creates(ground: Ground, bench: str) -> list[float]:
    made: list[str] = []
    took = [timed(lambda: made.append(ground.create(bench)))]
    ground.wait(made[0])
    ground.remove(made)
    return took


def _readies(ground: Ground, template: str) -> list[float]:
    made: list[str] = []

    def whole() -> None:
        made.append(ground.create(ground.bench, template))
        ground.wait(made[0])

    took = [timed(whole)]
    ground.remove(made)
    return took


def _recreates(ground: Ground) -> list[float]:
    layout_id = ground.create(ground.bench)
    ground.wait(layout_id)
    ground.remove([layout_id])
    took = [making.recreated(ground, layout_id, "managed.layout.recreate", {"layout_id": layout_id})]
    ground.remove([layout_id])
    return took


def _details(ground: Ground, layout_id: str) -> list[float]:
    return serving.read_times(ground.tower, "managed.layout.detail", 200, layout_id=layout_id)


def _hammered_details(ground: Ground, layout_id: str) -> list[float]:
    return [serving.hammered(ground.tower, 1.5, "managed.layout.detail", layout_id=layout_id)]


_FIGURES: tuple[tuple[str, str, int, Take], ...] = (
    ("create-docker", "ms", 7, lambda ground, _: _creates(ground, ground.bench)),
    ("create-local", "ms", 9, lambda ground, _: _creates(ground, "local")),
    ("ready-3", "ms", 5, lambda ground, _: _readies(ground, "1m+2s")),
    ("ready-16", "ms", 3, lambda ground, _: _readies(ground, "plain16")),
    ("recreate-layout-3", "ms", 4, lambda ground, _: _recreates(ground)),
    ("running-3", "ms", 7, lambda ground, _: making.running_times(ground, 3, 1)[0]),
    ("running-16", "ms", 5, lambda ground, _: making.running_times(ground, 16, 1)[0]),
    ("remove", "ms", 4, lambda ground, _: making.remove_times(ground, 1)[0]),
    ("pickup", "ms", 2, lambda ground, _: resting.pickup_times(ground, 10)[0]),
    ("detail", "ms", 4, _details),
    ("list", "ms", 4, lambda ground, _: serving.read_times(ground.tower, "managed.layout.list", 200)),
    ("detail-8", "/s", 3, _hammered_details),
    ("list-8", "/s", 3, lambda ground, _: [serving.hammered(ground.tower, 1.5, "managed.layout.list")]),
    ("cli", "ms", 5, lambda ground, _: serving.command_times(ground.tower, 1)[0]),
    ("memory-40", "MB", 1, lambda ground, _: [resting.resident_memory(ground.tower)[0]]),
)
