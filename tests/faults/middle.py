"""Work of each kind that stands still in the middle of each stage, for whatever then happens to it."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
import pytest

from tests.faults.audit import problems
from tests.faults.points import Points
from tests.harness import Place, Tower, eventually

LONG = "TOWER_TEST_LONG" in os.environ
"""Whether every verb is tried at every point and with SPEC.md's own times; tests/faults/run.sh does so."""

SHORT_STAGES = {"TOWER_TIMES_SETTLE": "0.3", "TOWER_TIMES_STAGE": "6"}
PACE = SHORT_STAGES | {"TOWER_TIMES_RETRY_DELAYS": "[0.2, 0.4]"}
BOUND = 3 * 6 + 0.6 + 5 + 10.0
"""Seconds within which a stage that fails each time has ended: three tries, two delays, a takeover, a busy machine."""

STAGES = ("pane_create", "launch_command", "registration", "log_attach")
ENGINE = ("engine.spawn", "engine.settle", "engine.finish")


@dataclass(frozen=True)
class Middle:
    """A job of that verb, and the point where it stands still."""

    verb: str
    point: str

    def __str__(self) -> str:
        return f"{self.verb}-{self.point}"


def _points(*names: str) -> Iterator[str]:
    for name in names:
        yield from (f"{name}.before", f"{name}.after")


_SPAWNING = [f"stage.{stage}.{when}" for stage in STAGES for when in ("taken", "before_commit")]
ALL = [
    *(Middle(verb, point) for verb in ("create", "recreate") for point in (*_SPAWNING, *_points(*ENGINE))),
    *(Middle("recreate", point) for point in _points("engine.look")),
    *(Middle("remove", f"stage.tmux_kill.{when}") for when in ("taken", "before_commit")),
    *(Middle("remove", point) for point in _points("engine.kill")),
]


def at(*chosen: tuple[str, str]) -> pytest.MarkDecorator:
    """Parametrise a test with these, or with all of them in a long run."""
    return pytest.mark.parametrize("middle", ALL if LONG else [Middle(*each) for each in chosen], ids=str)


def make(tower: Tower, place: Place, session: str, prefix: str) -> str:
    """The id of a layout that is ready."""
    layout_id = tower.create(place.container_id, session=session, label_prefix=prefix)
    tower.ready(layout_id)
    return layout_id


def ready_for(tower: Tower, place: Place, middle: Middle) -> str | None:
    """The layout that is there before the verb: with a pane killed by hand where it is to be recreated."""
    if middle.verb == "create":
        return None
    layout_id = make(tower, place, "alpha", "a-")
    if middle.verb == "recreate":
        place.tmux("kill-pane", "-t", tower.layout(layout_id)["panes"][1]["tmux_pane_id"])
        tower.cli("container", "scan", check=True)
        assert tower.layout(layout_id)["state"] == "failed"
    return layout_id


def begin(tower: Tower, place: Place, middle: Middle, layout_id: str | None) -> str:
    """Give the order; returns its layout."""
    if layout_id is None:
        return tower.create(place.container_id, session="alpha", label_prefix="a-")
    wait = {"wait": False} if middle.verb == "remove" else {}
    tower.call(f"managed.layout.{middle.verb}", layout_id=layout_id, **wait)
    return layout_id


@contextmanager
def standing(tower: Tower, place: Place, middle: Middle) -> Iterator[str]:
    """The layout of a job that stands still at its point until the end of the block."""
    points = Points(tower)
    before = ready_for(tower, place, middle)
    points.arm(middle.point, "STOP")
    layout_id = begin(tower, place, middle, before)
    with points.stopped_at(middle.point):
        yield layout_id


def ended(tower: Tower, layout_id: str, within: float = BOUND) -> None:
    """Wait until no job of the layout is unfinished, nor a pane of it creating."""
    query = "SELECT count(*) FROM job WHERE layout_id = ? AND state IN ('queued', 'running')"
    eventually(lambda: tower.rows(query, layout_id)[0][0] == 0, within=within, what="its jobs ended")
    assert tower.layout(layout_id)["state"] != "creating"


def comes_right(tower: Tower, middle: Middle, layout_id: str) -> None:
    """What was asked for is had by asking again, whatever an outage left of it."""
    tower.cli("container", "scan", check=True)
    if middle.verb == "remove":
        assert tower.call("managed.layout.remove", layout_id=layout_id)["state"] == "removed"
        return
    layout = tower.layout(layout_id)
    for pane in layout["panes"]:
        if pane["state"] == "degraded":
            tower.call("managed.pane.remove", pane_id=pane["pane_id"])
    if layout["state"] != "ready":
        tower.call("managed.layout.recreate", layout_id=layout_id)
    tower.ready(layout_id)


def told(tower: Tower, layout_id: str) -> list[tuple[str, str, str]]:
    """Who the panes of a layout are, and how they are; not when they were last looked at."""
    return [(pane["pane_id"], pane["tmux_pane_id"], pane["state"]) for pane in tower.layout(layout_id)["panes"]]


def well(tower: Tower, *places: Place) -> None:
    """The audit finds nothing, now or in a moment."""
    tower.idle()
    found: Sequence[str] = ()

    def look() -> bool:
        nonlocal found
        found = problems(tower, places)
        return not found

    try:
        eventually(look, within=20)
    except AssertionError as error:
        raise AssertionError(f"not well: {found}") from error


SIGNAL_TMUX = "kill -$1 $(ps -e | sed -n 's/^ *\\([0-9]*\\) .*tmux: server.*/\\1/p')"


def signal_tmux(place: Place, name: str) -> None:
    """Send a signal to the bench's tmux server."""
    if place.container_id == "local":
        mine = str(place.tower.tmux_dir)
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if process.name() == "tmux: server" and process.environ().get("TMUX_TMPDIR") == mine:
                    process.send_signal(signal.Signals[f"SIG{name}"])
    else:
        assert place.run("sh", "-c", SIGNAL_TMUX, "sh", name).returncode == 0


def delete_socket(place: Place) -> None:
    """What a cleaner of /tmp does."""
    if place.container_id == "local":
        next(place.tower.tmux_dir.glob("tmux-*/default")).unlink()
    else:
        assert place.run("rm", "/tmp/tmux-1000/default").returncode == 0
