"""Layouts that come and go: create to answer, to running, to ready; remove."""

import time
from collections.abc import Iterator
from functools import partial

from tests.benchmarks.figures import Figure, amount, p50, spread
from tests.benchmarks.ground import SETTLE, Ground, timed

_FEW, _SOME = 7, 15
_QUEUED, _APART = 4, 0.15


def execs(ground: Ground) -> Iterator[Figure]:
    """Engine execs of a layout, by the engine's own events."""
    since = time.time()
    layout_id = ground.create(ground.bench)
    ground.wait(layout_id)
    count = len(ground.yard.execs_since(since, ground.bench))
    ground.remove([layout_id])
    yield Figure("execs", "engine execs, 3 panes, docker, create to ready", "execs", count, 4, "4 execs")


def create(ground: Ground) -> Iterator[Figure]:
    """Create to answer on both runtimes, with the bench idle and with it busy."""
    for bench, name in ((ground.bench, "docker"), ("local", "local")):
        for busy in (False, True):
            took, floor, commit = _creates(ground, bench, busy=busy)
            limit = 15 + (floor if bench != "local" else 0)
            what = f"create to answer, {name}{', while that bench spawns' if busy else ''}, p50"
            required = "E + 15 ms" if bench != "local" else "15 ms"
            shown = f"{'E' if bench != 'local' else 'tmux'} {amount(floor)} ms, commit {amount(commit)} ms"
            row = f"create-{name}{'-busy' if busy else ''}"
            yield Figure(row, what, "ms", p50(took), limit, required, shown, note=spread(took))


def _creates(ground: Ground, bench: str, *, busy: bool) -> tuple[list[float], float, float]:
    """Times of creates, and the medians of the floors taken between them.

    A busy bench has spawns of 16 panes to do all the while, and the creates meet them at any of their moments.
    """
    took, floors, commits, made = [], [], [], []
    if busy:
        made = [ground.create(bench, "plain16") for _ in range(_QUEUED)]
    for number in range(_SOME):
        time.sleep(_APART + 0.01 * number)
        floors.append(ground.engine_exec() if bench != "local" else ground.tmux())
        commits.append(ground.commit())
        took.append(timed(lambda: made.append(ground.create(bench, "1m+2s"))))
        if not busy:
            ground.wait(made[-1])
            ground.remove([made.pop()])
    for layout_id in made:
        ground.wait(layout_id)
    ground.remove(made)
    return took, p50(floors), p50(commits)


def ready(ground: Ground) -> Iterator[Figure]:
    """Request to ready of a layout in a container, and of one that is recreated."""
    for template, extra, panes in (("1m+2s", 100, 3), ("plain16", 200, 16)):
        took, again, whole, floors = [], [], [], []
        for _ in range(_FEW):
            floors.append(ground.engine_exec())
            begun = time.perf_counter()
            layout_id = ground.create(ground.bench, template)
            ground.wait(layout_id)
            took.append((time.perf_counter() - begun) * 1000)
            pane_id = ground.tower.layout(layout_id)["panes"][0]["pane_id"]
            ground.tower.call("managed.pane.remove", pane_id=pane_id)
            floors.append(ground.engine_exec())
            request = ("managed.pane.recreate", {"predecessor_pane_id": pane_id})
            again.append(recreated(ground, layout_id, *request))
            ground.remove([layout_id])
            floors.append(ground.engine_exec())
            request = ("managed.layout.recreate", {"layout_id": layout_id})
            whole.append(recreated(ground, layout_id, *request))
            ground.remove([layout_id])
        floor = p50(floors)
        required, limit = f"S + 3E + {extra} ms", SETTLE + 3 * floor + extra
        shown = f"E {amount(floor)} ms, S 1000 ms"
        for row, what, values in (
            (f"ready-{panes}", f"create to ready, {panes} panes, docker, p50", took),
            (f"recreate-pane-{panes}", f"recreate of one of {panes} panes to ready, docker, p50", again),
            (f"recreate-layout-{panes}", f"recreate of a removed layout of {panes}, docker, p50", whole),
        ):
            yield Figure(row, what, "ms", p50(values), limit, required, shown, note=spread(values))


def recreated(ground: Ground, layout_id: str, method: str, params: dict[str, str]) -> float:
    """Milliseconds from the request for a recreation to the layout's being ready."""
    begun = time.perf_counter()
    ground.tower.call(method, **params)
    ground.wait(layout_id)
    return (time.perf_counter() - begun) * 1000


def running(ground: Ground) -> Iterator[Figure]:
    """Request to the moment at which the last command of a layout on the host has said that it runs."""
    for panes, limit in ((3, 80), (16, 130)):
        took, floors = running_times(ground, panes, _FEW)
        what = f"request to {panes} commands running, local, p50"
        shown = f"tmux {amount(p50(floors))} ms"
        row = f"running-{panes}"
        yield Figure(row, what, "ms", p50(took), limit, f"{limit} ms", shown, note=spread(took))


def running_times(ground: Ground, panes: int, count: int) -> tuple[list[float], list[float]]:
    """Times, and those of the floor between them."""
    took, floors = [], []
    with ground.listening() as heard:
        for _ in range(count):
            floors.append(ground.tmux())
            begun = time.perf_counter()
            layout_id = ground.create("local", f"tell{panes}")
            heard(panes)
            took.append((time.perf_counter() - begun) * 1000)
            ground.wait(layout_id)
            ground.remove([layout_id])
    return took, floors


def remove(ground: Ground) -> Iterator[Figure]:
    """Request to answer of the removal of a ready pane in a container."""
    took, floors = remove_times(ground, _FEW)
    floor = p50(floors)
    shown = f"E {amount(floor)} ms"
    what = "remove of a ready pane, docker, p50"
    yield Figure("remove", what, "ms", p50(took), 2 * floor + 50, "2E + 50 ms", shown, note=spread(took))


def remove_times(ground: Ground, count: int) -> tuple[list[float], list[float]]:
    """Times of the removal of three panes of each of so many layouts, and those of the floor between them."""
    took, floors = [], []
    for _ in range(count):
        layout_id = ground.create(ground.bench)
        ground.wait(layout_id)
        for each in ground.tower.layout(layout_id)["panes"]:
            floors.append(ground.engine_exec())
            took.append(timed(partial(ground.tower.call, "managed.pane.remove", pane_id=each["pane_id"])))
    return took, floors
