"""The state database: peewee models over the schema in migrations/, and the two ways to use it.

One SQLite file in WAL mode with synchronous=FULL, so that what was committed outlives a power cut. Each thread
has a connection of its own and keeps it. `snapshot()` is one moment's view for several reads; `writing()` is one
immediate transaction, the only way in which anything is written.
"""

import importlib.resources
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import msgspec
from peewee import (
    AutoField,
    BooleanField,
    CompositeKey,
    FloatField,
    IntegerField,
    Model,
    ModelDelete,
    SqliteDatabase,
    TextField,
)
from peewee import (
    DatabaseError as DatabaseError,
)

from tower import locks
from tower.config import Settings
from tower.names import new_id

db = SqliteDatabase(None, lock_type="IMMEDIATE", autoconnect=False)


class JsonField(TextField):
    """A JSON value in a text column."""

    def db_value(self, value: Any) -> str:
        return msgspec.json.encode(value).decode()

    def python_value(self, value: str) -> Any:
        return msgspec.json.decode(value)


class _Table(Model):
    class Meta:
        database = db
        legacy_table_names = False


Row = TypeVar("Row", bound=_Table)


class Identity(_Table):
    """The id of this tower's state; tmux panes carry it, so that two states never touch each other's."""

    instance = TextField()


class Bench(_Table):
    """A container, or the host; `epoch` grows each time that it comes back, or the server starts.

    `epoch_pane` is the number of the newest pane when it did: what is newer has not been through it.
    `scan_problem` is why its panes could not be looked at the last time; null where they could.
    """

    container_id = TextField(primary_key=True)
    name = TextField()
    runtime = TextField()
    state = TextField()
    container_state = TextField(null=True)
    image = TextField(null=True)
    started_at = TextField(null=True)
    epoch = IntegerField(default=0)
    epoch_pane = IntegerField(default=0)
    first_seen_at = TextField()
    last_scanned_at = TextField()
    scan_problem = TextField(null=True)


class Layout(_Table):
    """A set of panes in one tmux session; its state follows from its panes."""

    number = AutoField()
    layout_id = TextField()
    container_id = TextField()
    template_name = TextField()
    arrangement = TextField()
    tmux_session_name = TextField()
    state = TextField()
    failed_stage = TextField(null=True)
    intended_pane_count = IntegerField()
    idempotency_key = TextField(null=True)
    recovery_epoch = IntegerField(default=-1)
    created_at = TextField()
    updated_at = TextField()


class Pane(_Table):
    """One pane of a layout; `newest` marks the row that counts for its slot."""

    number = AutoField()
    pane_id = TextField()
    layout_id = TextField()
    container_id = TextField()
    slot = IntegerField()
    role = TextField()
    capability = TextField()
    label = TextField()
    state = TextField()
    failed_stage = TextField(null=True)
    reason = TextField(null=True)
    stage_before_kill = TextField(null=True)
    reason_before_kill = TextField(null=True)
    newest = BooleanField(default=True)
    pending_marker_token = TextField(null=True)
    launch_command_ref = TextField(null=True)
    argv = JsonField()
    working_dir = TextField(null=True)
    env_keys = JsonField()
    tmux_pane_id = TextField(null=True)
    server = TextField(null=True)
    agent_id = TextField(null=True)
    log_path = TextField(null=True)
    log_attached = BooleanField(default=False)
    launched_at = TextField(null=True)
    exit_code = IntegerField(null=True)
    exit_signal = IntegerField(null=True)
    exited_at = TextField(null=True)
    last_output = TextField(null=True)
    observed_at = TextField(null=True)
    predecessor_id = TextField(null=True)
    chain_depth = IntegerField(default=0)
    idempotency_key = TextField(null=True)
    created_at = TextField()
    updated_at = TextField()


class Agent(_Table):
    """A program in a tmux pane that somebody can be told about: spawned by the tower, or adopted."""

    number = AutoField()
    agent_id = TextField()
    container_id = TextField()
    origin = TextField()
    managed_pane_id = TextField(null=True)
    tmux_pane_id = TextField()
    tmux_socket = TextField()
    server = TextField()
    tmux_session_name = TextField()
    role = TextField()
    capability = TextField()
    label = TextField()
    project_path = TextField(null=True)
    parent_agent_id = TextField(null=True)
    active = BooleanField(default=True)
    log_attached = BooleanField(default=False)
    log_path = TextField(null=True)
    """Of an adopted pane; a managed one's log stands in `Pane`."""
    registered_at = TextField()


class Job(_Table):
    """A row of the ledger (tower.jobs)."""

    id = AutoField()
    kind = TextField()
    container_id = TextField()
    layout_id = TextField(null=True)
    pane_id = TextField(null=True)
    state = TextField(default="queued")
    stage = TextField()
    attempts = IntegerField(default=0)
    not_before = FloatField(null=True)
    claim = IntegerField(default=0)
    holder = TextField(null=True)
    deadline = FloatField(null=True)
    boot_id = TextField(null=True)
    error = TextField(null=True)
    created_at = TextField()
    updated_at = TextField()
    started_at = TextField(null=True)
    finished_at = TextField(null=True)


class JobPane(_Table):
    """A pane that a job names."""

    job_id = IntegerField()
    pane_id = TextField()

    class Meta:
        primary_key = CompositeKey("job_id", "pane_id")


class Event(_Table):
    """One entry of the audit log."""

    sequence = AutoField()
    id = TextField()
    timestamp = TextField()
    event_type = TextField()
    actor = TextField()
    container_id = TextField(null=True)
    layout_id = TextField(null=True)
    pane_id = TextField(null=True)
    payload = TextField()


class SeenPane(_Table):
    """A tmux pane as the last scan of its bench saw it, whoever made it."""

    container_id = TextField()
    tmux_socket = TextField()
    tmux_pane_id = TextField()
    server = TextField()
    session_name = TextField()
    window_index = IntegerField()
    pane_index = IntegerField()
    managed_pane_id = TextField(null=True)
    instance = TextField()
    dead = BooleanField()
    discovered_at = TextField()
    last_seen_at = TextField()

    class Meta:
        primary_key = CompositeKey("container_id", "tmux_socket", "tmux_pane_id")


class Message(_Table):
    """What became of an input to an agent; never the input itself."""

    message_id = TextField(primary_key=True)
    agent_id = TextField()
    idempotency_key = TextField(null=True)
    state = TextField()
    created_at = TextField()


def use(settings: Settings) -> None:
    """Point this process at the state database of these settings, bringing its schema up to date.

    Raises sqlite3.Error or OSError when the file cannot be used.
    """
    migrate(settings)
    db.init(
        str(settings.database_path),
        timeout=math.ceil(settings.times.database),
        pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1, "cache_size": -500},
    )


def migrate(settings: Settings) -> None:
    """Run the migrations that the database has not seen; whichever process comes first does it, once.

    Raises RuntimeError when the database is of a newer version of the tower.
    """
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locks.locked(settings.run_dir / "migrate.lock"):
        connection = sqlite3.connect(settings.database_path, timeout=settings.times.database, isolation_level=None)
        try:
            settings.database_path.chmod(0o600)
            connection.execute("PRAGMA journal_mode = wal")
            _migrate(connection)
        finally:
            connection.close()


def _migrate(connection: sqlite3.Connection) -> None:
    done = connection.execute("PRAGMA user_version").fetchone()[0]
    scripts = _scripts()
    if done > len(scripts):
        raise RuntimeError(f"the state database has schema {done}, this tower knows {len(scripts)}: upgrade the tower")
    for number, script in enumerate(scripts[done:], done + 1):
        connection.executescript(f"BEGIN IMMEDIATE;{script}\nPRAGMA user_version = {number};COMMIT;")
    connection.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (new_id(),))


def schema_version() -> int:
    """The version of the schema that this code works with."""
    return len(_scripts())


def _scripts() -> list[str]:
    folder = importlib.resources.files("tower.migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [f.read_text("utf-8") for f in files]


def connect() -> None:
    """Open this thread's connection, unless it is open."""
    db.connect(reuse_if_open=True)


def delete_from(table: type[Model]) -> ModelDelete:
    """A DELETE of the table's rows that the caller's `where` chooses; the stubs of `Model.delete` fit no subclass."""
    return ModelDelete(table)


@contextmanager
def writing() -> Iterator[None]:
    """One immediate transaction: committed at the end, rolled back when anything is raised; nests."""
    connect()
    with db.atomic():
        yield


def insert(table: type[Model], **values: Any) -> int:
    """Insert a row inside `writing()` and return its number; columns left out get the schema's defaults.

    `create()` does the same and builds its statement anew each time, which takes longer than SQLite does.
    """
    fields = table._meta.fields
    row = [fields[name].db_value(value) for name, value in values.items()]
    return int(_run(_insertion(table, tuple(values)), row).lastrowid or 0)


def update(table: type[Model], where: Mapping[str, Any], **values: Any) -> int:
    """Update the rows whose columns have these values (of a tuple: one of them); returns how many; fast as `insert`."""
    fields = table._meta.fields
    row = [fields[name].db_value(value) for name, value in values.items()]
    return int(_run(_change(table, tuple(values), _shape(where)), [*row, *_flat(where)]).rowcount)


def pick(table: type[Model], columns: tuple[str, ...], **where: Any) -> list[tuple[Any, ...]]:
    """These columns of the rows whose columns have these values, as SQLite has them; as fast as `insert`."""
    return list(_run(_choice(table, columns, _shape(where)), _flat(where)))


def find(table: type[Row], **where: Any) -> list[Row]:
    """The rows whose columns have these values, as models; as fast as `insert`."""
    fields = list(table._meta.fields.values())
    rows = pick(table, tuple(field.name for field in fields), **where)
    named = ([(field.name, field.python_value(cell)) for field, cell in zip(fields, row, strict=True)] for row in rows)
    return [table(**dict(columns)) for columns in named]


def _run(statement: str, values: list[Any]) -> sqlite3.Cursor:
    cursor: sqlite3.Cursor = db.execute_sql(statement, values)  # type: ignore[no-untyped-call]
    return cursor


def _shape(where: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((name, len(value) if isinstance(value, tuple) else 1) for name, value in where.items())


def _flat(where: Mapping[str, Any]) -> list[Any]:
    return [each for value in where.values() for each in (value if isinstance(value, tuple) else (value,))]


def _condition(shape: tuple[tuple[str, int], ...]) -> str:
    """By equality where there is one value: an index that holds for some rows only is not used for a list."""
    tests = {name: "= ?" if count == 1 else f"IN ({', '.join('?' * count)})" for name, count in shape}
    return " AND ".join(f"{name} {test}" for name, test in tests.items())


@cache
def _change(table: type[Model], columns: tuple[str, ...], shape: tuple[tuple[str, int], ...]) -> str:
    changes = ", ".join(f"{name} = ?" for name in columns)
    return f"UPDATE {table._meta.table_name} SET {changes} WHERE {_condition(shape)}"  # noqa: S608 - our own names


@cache
def _choice(table: type[Model], columns: tuple[str, ...], shape: tuple[tuple[str, int], ...]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table._meta.table_name} WHERE {_condition(shape)}"  # noqa: S608 - our own names


@cache
def _insertion(table: type[Model], columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table._meta.table_name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - our own names


@contextmanager
def snapshot() -> Iterator[None]:
    """What is read within is of one moment, though others write meanwhile; nothing may be written in it."""
    connect()
    connection = db.connection()  # type: ignore[no-untyped-call] # peewee's stub lacks it
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def instance() -> str:
    """The id of this tower's state, made with its database."""
    connect()
    return str(Identity.get().instance)
