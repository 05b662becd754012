"""`python -m tests.benchmarks`: measure, and print the table."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from tests import engine
from tests.benchmarks import figures, ground, history, making, many, resting, serving
from tests.benchmarks.figures import Figure
from tests.benchmarks.ground import Ground
from tests.yard import Yard

BENCHES = 10

Part = Callable[[], Iterator[Figure]]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--markdown", is_flag=True, help="Print the rows as the README has them.")
@click.option("--only", multiple=True, metavar="ROW", help="Only the parts of the run with rows that begin so.")
def main(as_json: bool, markdown: bool, only: tuple[str, ...]) -> None:
    """Measure each promise about speed beside its floor.

    The machine should do nothing else meanwhile. Needs root and dockerd, or TOWER_TEST_DOCKER_HOST.
    """
    told = Console(stderr=True)
    found: list[Figure] = []
    with _engine() as host, _grounds(host) as (plain, other):
        for name, part in _parts(plain, other, only):
            told.log(f"{name} (load {os.getloadavg()[0]:.2f})", highlight=False)
            found += part()
    wanted = [row for row in found if not only or row.row.startswith(only)]
    if as_json:
        click.echo(json.dumps({"load": os.getloadavg(), "rows": figures.as_json(wanted)}, indent=2))
    elif markdown:
        click.echo(figures.as_markdown(wanted))
    else:
        figures.show(wanted, Console(width=max(160, Console().width)))


def _parts(plain: Ground, other: Ground, only: tuple[str, ...]) -> list[tuple[str, Part]]:
    """What is to be run, in the order in which one thing needs another."""
    made: list[str] = []
    four: list[str] = []
    parts: list[tuple[str, tuple[str, ...], Part]] = [
        ("idle memory", ("memory-idle",), lambda: resting.idle_memory(plain)),
        ("execs", ("execs",), lambda: making.execs(plain)),
        ("create", ("create",), lambda: making.create(plain)),
        ("ready", ("ready", "recreate"), lambda: making.ready(plain)),
        ("running", ("running",), lambda: making.running(plain)),
        ("remove", ("remove",), lambda: making.remove(plain)),
        ("pick-up", ("pickup",), lambda: resting.pickup(plain)),
        ("start with 4", ("start-4",), lambda: _start_four(plain, four)),
        ("40 layouts", ("burst", "memory-40", "detail", "list", "cli", "start-40", "idle", "past"), _nothing),
    ]
    with_forty: list[tuple[str, tuple[str, ...], Part]] = [
        ("burst", (), lambda: many.burst(plain, made)),
        ("memory with 40", (), lambda: iter([resting.memory(plain, "memory-40", "with 40 layouts", 200)])),
        ("reads", ("detail", "list"), lambda: serving.reads(plain, made[0])),
        ("command line", ("cli",), lambda: serving.command_line(plain)),
        ("idle CPU", ("idle",), lambda: resting.idle(plain)),
        ("start with 40", ("start-40",), lambda: serving.start(plain, many.COUNT, 3)),
        ("10,000 removed layouts", ("past",), lambda: history.past(plain, other, made)),
    ]
    chosen = [(name, part) for name, rows, part in parts[:-1] if _asked(rows, only)]
    if _asked(parts[-1][1], only):
        chosen += [(name, part) for name, rows, part in with_forty if not rows or _asked(rows, only)]
    return chosen


def _nothing() -> Iterator[Figure]:
    return iter(())


def _asked(rows: tuple[str, ...], only: tuple[str, ...]) -> bool:
    return not only or any(row.startswith(word) or word.startswith(row) for row in rows for word in only)


def _start_four(plain: Ground, four: list[str]) -> Iterator[Figure]:
    four.extend(plain.create(bench.container_id) for bench in plain.benches[:4])
    for layout_id in four:
        plain.wait(layout_id)
    yield from serving.start(plain, 4, 1.5)
    plain.remove(four)


@contextmanager
def _engine() -> Iterator[str]:
    """The engine that TOWER_TEST_DOCKER_HOST names, else one of this run's own."""
    given = os.environ.get("TOWER_TEST_DOCKER_HOST")
    if given:
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="twe", dir="/tmp"))
    try:
        yield engine.start(folder)
    finally:
        engine.stop(folder)


@contextmanager
def _grounds(host: str) -> Iterator[tuple[Ground, Ground]]:
    yard = Yard(host)
    plain, other = ground.site(host, yard, BENCHES)
    try:
        ground.begin(plain)
        yield plain, other
    finally:
        yard.close()
        plain.tower.close()
        other.tower.close()


if __name__ == "__main__":
    main()
