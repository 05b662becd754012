"""What the tower costs while nothing happens, and how fast it wakes from that."""

import time
from collections.abc import Iterator
from datetime import datetime

import psutil

from tests.benchmarks.figures import Figure, amount, p50, spread
from tests.benchmarks.ground import Ground
from tests.harness import Tower

_IDLE = 60.0
"""Seconds over which idle CPU is counted: a reconcile and a sweep fall into them."""

_MB = 1e6


def pickup(ground: Ground) -> Iterator[Figure]:
    """Job accepted to its first stage running, by the job rows, with the workers idle before each."""
    took, floors = pickup_times(ground, 15)
    what, shown = "job accepted to first stage running, p50", f"commit {amount(p50(floors))} ms"
    yield Figure("pickup", what, "ms", p50(took), 10, "10 ms", shown, note=spread(took))


def pickup_times(ground: Ground, count: int) -> tuple[list[float], list[float]]:
    """Times of the removals of panes on the host, and of commits between them."""
    took, floors = [], []
    layout_id = ground.create("local", "plain16")
    ground.wait(layout_id)
    for each in ground.tower.layout(layout_id)["panes"][:count]:
        time.sleep(0.1)
        floors.append(ground.commit())
        ground.tower.call("managed.pane.remove", pane_id=each["pane_id"])
        took.append(_waited(ground.tower, each["pane_id"]))
    ground.remove([layout_id])
    return took, floors


def _waited(tower: Tower, pane_id: str) -> float:
    query = "SELECT created_at, started_at FROM job WHERE kind = 'remove' AND pane_id = ?"
    created, started = (datetime.fromisoformat(stamp) for stamp in tower.rows(query, pane_id)[0])
    return (started - created).total_seconds() * 1000


def idle(ground: Ground) -> Iterator[Figure]:
    """CPU of all processes together over a minute in which nobody asks for anything."""
    processes = ground.tower.processes()
    before = sum(map(_cpu, processes))
    begun = time.perf_counter()
    time.sleep(_IDLE)
    share = (sum(map(_cpu, processes)) - before) / (time.perf_counter() - begun) * 100
    note = f"{len(processes)} processes, {_IDLE:.0f} s, {len(ground.benches)} benches"
    yield Figure("idle-cpu", "idle CPU of all processes together", "%", share, 2, "2 %", note=note)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def memory(ground: Ground, row: str, when: str, limit: float) -> Figure:
    """Resident memory of all processes together: the sum of their RSS, which counts shared pages each time."""
    resident, note = resident_memory(ground.tower)
    what = f"resident memory of all processes together, {when}"
    return Figure(row, what, "MB", resident, limit, f"{limit} MB", note=note)


def resident_memory(tower: Tower) -> tuple[float, str]:
    """The sum of RSS in MB, and what it consists of."""
    seen = [process.memory_full_info() for process in tower.processes()]
    rss, pss, uss = (sum(getattr(each, name) for each in seen) / _MB for name in ("rss", "pss", "uss"))
    each = " + ".join(f"{info.rss / _MB:.0f}" for info in seen)
    return rss, f"RSS {each}; PSS {pss:.0f}, USS {uss:.0f}"


def idle_memory(ground: Ground) -> Iterator[Figure]:
    """Memory with no layout, after each process has done everything once."""
    yield memory(ground, "memory-idle", "idle", 180)
