"""40 layouts over 10 benches, accepted at once."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.benchmarks import floors
from tests.benchmarks.figures import Figure, amount, p50
from tests.benchmarks.ground import SETTLE, Ground

COUNT = 40
_EXECS = 4


def burst(ground: Ground, made: list[str]) -> Iterator[Figure]:
    """Accept them all at once, and wait until all are ready; they stay, and their ids go into ``made``."""
    floor = p50([ground.engine_exec() for _ in range(5)])
    crowd = COUNT * _EXECS * crowded(ground)
    begun = time.perf_counter()
    made.extend(accepted(ground))
    taken = time.perf_counter() - begun
    for layout_id in made:
        ground.wait(layout_id)
    took = time.perf_counter() - begun
    limit = 4 * (SETTLE + 3 * floor) / 1000 + 2
    note = f"all {len(made)} accepted after {amount(taken)} s"
    what = f"40 layouts over {len(ground.benches)} benches accepted at once, all ready"
    shown = f"E {amount(floor)} ms; {COUNT * _EXECS} bare execs {amount(crowd)} s"
    yield Figure("burst", what, "s", took, limit, "4 (S + 3E) + 2 s", shown, note=note)


def crowded(ground: Ground) -> float:
    """Seconds that an exec costs the engine when as many are asked for at once as there are benches."""
    ids = [bench.container_id for bench in ground.benches] * _EXECS
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(ground.benches)) as clients:
        list(clients.map(partial(floors.engine_exec, ground.yard.engine.host), ids))
    return (time.perf_counter() - begun) / len(ids)


def accepted(ground: Ground) -> list[str]:
    """Create 40 layouts from 40 clients at the same moment; each must be accepted."""
    benches = [ground.benches[number % len(ground.benches)].container_id for number in range(COUNT)]
    with ThreadPoolExecutor(COUNT) as clients:
        return list(clients.map(ground.create, benches))
