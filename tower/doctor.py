"""What may be wrong with a machine, and what to do about it.

It looks by itself, so that it works when nothing runs. It changes nothing but to make a bench's log folder where that
is missing: the database is opened for reading only.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tower import catalog, health, models, supervision
from tower.benches import LOCAL, Bench
from tower.benches.docker import DockerBench
from tower.benches.local import LocalBench
from tower.client import Client, Refused, ServerUnreachable
from tower.config import Settings
from tower.errors import TowerError
from tower.jobs import UNFINISHED
from tower.reach import tmux_in, why_incomplete

OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"

PATIENCE: Final = 8.0
"""Seconds that a bench, or the engine, may take."""

LITTLE: Final = 1 << 30
TOO_LITTLE: Final = 100 << 20
"""Bytes free below which the disk is worth a word, and below which it is a problem."""

_MARKS_OF_A_CONTAINER: Final = ("/.dockerenv", "/run/.containerenv")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do where it is not well."""

    check: str
    level: str
    text: str
    advice: str | None = None


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; from inside a bench only at what is a bench's own matter."""
    answer = _ask(settings)
    if answer == "host_only" or (answer is None and _in_container(settings)):
        return [*_inside_tmux(), _inside_socket(settings, answer)]
    database = _database(settings)
    known = database.level != PROBLEM and settings.database_path.exists()
    return [
        *_config(settings),
        _tmux(settings),
        _docker(known),
        _supervisord(settings),
        _socket(settings, answer),
        _workers(settings),
        database,
        *([_queue()] if known else []),
        _disk(settings),
        *_files(settings),
        *_benches(settings, known),
    ]


def _ask(settings: Settings) -> str | None:
    """`ok`, the code of a refusal, or None when nobody answers."""
    try:
        Client(settings.socket_path).call("app.preflight", {}, PATIENCE)
    except Refused as error:
        return error.code
    except ServerUnreachable:
        return None
    return OK


def _in_container(settings: Settings) -> bool:
    """Whether this is a container in which no tower of its own was ever started."""
    return any(Path(mark).exists() for mark in _MARKS_OF_A_CONTAINER) and not settings.run_dir.exists()


def _inside_tmux() -> Iterator[Finding]:
    if shutil.which("tmux") is None:
        yield Finding("tmux", PROBLEM, "there is no tmux in this bench", "install tmux here")
    else:
        yield Finding("tmux", OK, "tmux is here")


def _inside_socket(settings: Settings, answer: str | None) -> Finding:
    path = settings.socket_path
    if answer is not None:
        return Finding("socket", OK, f"{path} answers; from here this bench's own layouts are open")
    if path.exists():
        return Finding("socket", PROBLEM, f"nobody answers at {path}", "have the tower looked at on the host")
    advice = "mount the host's socket into this container and name it in TOWER_SOCKET"
    return Finding("socket", PROBLEM, f"there is no socket at {path}", advice)


def _config(settings: Settings) -> Iterator[Finding]:
    if settings.warning:
        advice = f"correct {settings.config_path}; until then the last good values count"
        yield Finding("config", PROBLEM, settings.warning, advice)
    elif settings.config_path.exists():
        yield Finding("config", OK, f"{settings.config_path} is fine")
    else:
        yield Finding("config", OK, f"no {settings.config_path}; the defaults count")


def _tmux(settings: Settings) -> Finding:
    try:
        bench = LocalBench(settings)
        deadline = time.monotonic() + PATIENCE
        done = bench.run(["tmux", "-V"], deadline=deadline)
    except TowerError as error:
        return Finding("tmux", PROBLEM, error.message, "install tmux 3.0 or newer, for example: apt-get install tmux")
    return Finding("tmux", OK, f"{done.stdout.decode().strip()} at {bench.facts(deadline).tmux}")


def _docker(known: bool) -> Finding:
    """`known`: whether there is a database that says which benches there are."""
    fault = health.engine_fault(time.monotonic() + PATIENCE)
    if fault is None:
        return Finding("docker", OK, "the engine answers")
    if known and health.engine_needed():
        return Finding("docker", PROBLEM, fault, "start the engine, or correct DOCKER_HOST")
    if os.environ.get("DOCKER_HOST"):
        return Finding("docker", WARNING, fault, "correct DOCKER_HOST, or unset it where no container is wanted")
    return Finding("docker", OK, "no engine answers, and none is needed for the host's own bench")


def _supervisord(settings: Settings) -> Finding:
    pid = supervision.running(settings)
    if pid is None:
        return Finding("processes", PROBLEM, "supervisord does not run", "run `tower up`")
    under = supervision.processes(settings)
    bad = [f"{one.name} is {one.state.lower()}" for one in under if one.state not in ("STARTING", "RUNNING")]
    if bad:
        folder = settings.process_logs_dir
        return Finding("processes", PROBLEM, ", ".join(bad), f"see its log in {folder}; it is started again and again")
    difference = supervision.difference(settings)
    if difference:
        return Finding("processes", WARNING, difference, "restart at a time that suits you; agents do not notice")
    return Finding("processes", OK, f"supervisord runs, pid {pid}, and all under it")


def _socket(settings: Settings, answer: str | None) -> Finding:
    path = settings.socket_path
    if answer is None:
        return Finding("socket", PROBLEM, f"nobody answers at {path}", "run `tower up`")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Finding("socket", PROBLEM, f"{path} is open to others ({mode:04o})", f"chmod 600 {path}")
    return Finding("socket", OK, f"{path} answers")


def _workers(settings: Settings) -> Finding:
    living, wanted = health.workers(settings)
    if not living:
        return Finding("workers", PROBLEM, "no worker runs: what is accepted waits", "run `tower up`")
    if living < wanted:
        return Finding("workers", WARNING, f"{living} of {wanted} workers run", "see `tower status`")
    return Finding("workers", OK, f"{living} workers run")


def _database(settings: Settings) -> Finding:
    path = settings.database_path
    if not path.exists():
        return Finding("database", OK, f"no {path} yet; the first `tower up` makes it")
    advice = f"run `tower down` and put the last good copy of {path} back; agents in tmux live on"
    try:
        models.db.init(str(path), timeout=5, pragmas={"query_only": 1})
        models.connect()
        verdict, version = models.db.pragma("quick_check"), models.db.pragma("user_version")
    except (models.DatabaseError, OSError) as error:
        return Finding("database", PROBLEM, f"{path}: {error}", advice)
    if verdict != "ok":
        return Finding("database", PROBLEM, f"{path}: {verdict}", advice)
    if int(version) > models.schema_version():
        return Finding("database", PROBLEM, f"{path} is of a newer tower", "upgrade this one")
    return Finding("database", OK, f"{path} is whole")


def _queue() -> Finding:
    unfinished = models.Job.select().where(models.Job.state.in_(UNFINISHED)).count()
    stuck = health.stuck_job()
    if stuck is None:
        return Finding("queue", OK, f"{unfinished} jobs unfinished" if unfinished else "nothing waits")
    job, idle = stuck
    text = f"job {job.id} ({job.kind}) of {unfinished} unfinished has not moved for {idle:.0f} s"
    return Finding("queue", WARNING, text, f"see `tower job show {job.id}`, and whether its bench answers")


def _disk(settings: Settings) -> Finding:
    folder = _existing(settings.state_dir)
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Finding("disk", PROBLEM, f"{folder} cannot be written", "make it writable for you")
    text = f"{free // (1 << 20)} MB free at {folder}"
    if free < TOO_LITTLE:
        return Finding("disk", PROBLEM, text, "free some space: nothing can be accepted on a full disk")
    return Finding("disk", WARNING if free < LITTLE else OK, text, "free some space" if free < LITTLE else None)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _files(settings: Settings) -> Iterator[Finding]:
    known = catalog.read(settings)
    for problem in known.problems:
        yield Finding("templates", PROBLEM, str(problem), "correct this file; until then it is skipped")
    if not known.problems:
        yield Finding("templates", OK, f"{len(known.templates)} templates, {len(known.profiles)} launch profiles")


def _rows() -> list[models.Bench]:
    return list(models.Bench.select().order_by(models.Bench.name))


def _benches(settings: Settings, known: bool) -> Iterable[Finding]:
    """Each active bench, all at the same time: one that hangs delays the others by nothing."""
    if not known:
        return []
    instance, ids = models.instance(), {row.pane_id for row in models.Pane.select(models.Pane.pane_id)}
    looks: list[Callable[[], Finding]] = [
        _look(settings, row, instance, ids) for row in _rows() if row.state == "active"
    ]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda look: look(), looks))


def _look(settings: Settings, row: models.Bench, instance: str, ids: set[str]) -> Callable[[], Finding]:
    local = row.container_id == LOCAL
    bench: Bench = LocalBench(settings) if local else DockerBench(row.container_id, row.name, settings)
    check = f"bench {row.name}"
    tmux = tmux_in(settings, bench)

    def look() -> Finding:
        if row.container_state == "paused":
            return Finding(check, WARNING, "the container is paused", "unpause it")
        try:
            deadline = time.monotonic() + PATIENCE
            listing = tmux.listing(deadline)
            hidden = why_incomplete(tmux, listing, deadline)
            problem = bench.log_target("doctor").problem
        except (TowerError, OSError) as error:
            text = error.message if isinstance(error, TowerError) else str(error)
            return Finding(check, PROBLEM, text, "until then its panes cannot be made, removed or watched")
        if hidden:
            return Finding(check, PROBLEM, hidden, "end the other server, or put the setting back")
        strays = [pane for pane in listing.panes if pane.instance == instance and pane.pane_id not in ids]
        return _of_bench(check, len(listing.panes), problem, [pane.tmux_pane_id for pane in strays])

    return look


def _of_bench(check: str, panes: int, problem: str | None, strays: list[str]) -> Finding:
    if strays:
        names = ", ".join(strays)
        text = f"{names} carry this tower's mark, and the database does not know them (an older copy of it?)"
        return Finding(check, WARNING, text, "look at them with tmux and end them yourself; the tower never will")
    if problem:
        return Finding(check, PROBLEM, problem, "without it panes there end up degraded (log_attach)")
    return Finding(check, OK, f"tmux answers, {panes} panes")
