"""Kill the tower's processes, again and again, at points drawn from a seed, and look whether anything was lost.

    python -m tests.faults.campaign --bench local --kills 60 --seed 7

Most kills are at a named point: whoever passes it stands still there, then it is killed, alone or with others. The rest
are by time. After each kill everything must come to rest by itself (after `tower up` where supervisord was killed),
every accepted order carried out, and the audit must find nothing. The seed is printed; the same seed draws the same
kills.
"""

import argparse
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.faults.audit import problems, projected_events
from tests.faults.orders import BRIEF, ONE, Clerk, Order, give
from tests.faults.points import Points
from tests.faults.promises import broken
from tests.harness import Container, Place, Tower, eventually
from tests.yard import Yard, host_for_tests


def _around(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}.{when}" for name in names for when in ("before", "after"))


def _commits(*stages: str) -> tuple[str, ...]:
    return tuple(f"stage.{stage}.{when}_commit" for stage in stages for when in ("before", "after"))


ACCEPTING = ("accept.before_commit", "accept.after_commit", *_around("enqueue"))
TAKING = ("take.before", "take.before_commit", "take.after_commit", "events.before_append", "events.after_append")
SPAWNING = (
    *_commits("pane_create", "launch_command", "registration", "log_attach"),
    *_around("engine.spawn", "engine.settle", "engine.finish"),
)
SCENES: dict[str, tuple[int, tuple[str, ...]]] = {
    "create": (6, (*ACCEPTING, *_around("accept.session_check"), *TAKING, *SPAWNING)),
    "recreate": (4, (*ACCEPTING, *TAKING, *SPAWNING, *_around("engine.look"))),
    "remove": (3, (*ACCEPTING, *TAKING, *_commits("tmux_kill"), *_around("engine.kill"))),
    "reconcile": (2, (*TAKING[:3], *_commits("reconcile"), *_around("engine.reconcile"))),
    "orphan": (1, _around("engine.orphans")),
    "brief": (1, _around("engine.capture")),
    "sweep": (1, (*_commits("sweep"), *_around("engine.sweep"))),
}
"""The orders that lead past a point, how often they are drawn, and the points."""

AT_POINT = 0.8
"""The share of the kills that are at a point."""

WITH = (*("nobody",) * 7, "its kind", "both", "supervisord", "all")
"""Who is killed with the process that has passed a point; of supervisord's it is supervisord instead."""

BY_TIME = ("serve", "one worker", "work", "supervisord", "both", "all")
PATIENCE = 6.0
"""Seconds until nobody will pass a point any more."""

PACE = {
    "TOWER_TIMES_SETTLE": "0.3",
    "TOWER_TIMES_STAGE": "20",
    "TOWER_TIMES_SWEEP_AFTER": "0",
    "TOWER_LIMITS_CHAIN_DEPTH": "100000",
    "TOWER_LIMITS_LAYOUTS": "1000",
}


@dataclass
class Report:
    """What a campaign found."""

    bench: str
    seed: int
    kills: int = 0
    by_point: int = 0
    accepted: int = 0
    problems: list[str] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)
    """Seconds from the death of a job's holder until another claims the job, where one was left alive to do so."""
    passed: set[str] = field(default_factory=set)
    """The points at which somebody was killed."""
    missed: list[str] = field(default_factory=list)
    """The points that nobody has passed in time."""

    def add(self, other: "Report") -> None:
        """Count what another found, too."""
        self.kills += other.kills
        self.by_point += other.by_point
        self.accepted += other.accepted
        self.problems += other.problems
        self.resumed += other.resumed
        self.passed |= other.passed
        self.missed += other.missed

    def as_json(self) -> dict[str, Any]:
        """The numbers of the report."""
        return {
            "bench": self.bench,
            "seed": self.seed,
            "kills": self.kills,
            "at_points": self.by_point,
            "different_points": len(self.passed),
            "missed_points": sorted(self.missed),
            "accepted_orders": self.accepted,
            "resumptions": len(self.resumed),
            "resumption_p50_s": round(statistics.median(self.resumed), 2) if self.resumed else None,
            "resumption_worst_s": round(max(self.resumed), 2) if self.resumed else None,
            "problems": self.problems,
        }

    def row(self) -> str:
        """The row of the README's table."""
        numbers = self.as_json()
        names = ("bench", "kills", "at_points", "accepted_orders", "resumption_p50_s", "resumption_worst_s")
        return f"| {' | '.join(str(numbers[name]) for name in names)} | {len(self.problems)} |"


HEAD = """\
| bench | kills | at points | accepted orders | resumption p50, s | worst, s | problems |
|---|---|---|---|---|---|---|"""


class Campaign:
    """One tower, some benches, and a seed."""

    def __init__(self, tower: Tower, places: list[Place], seed: int, bench: str) -> None:
        self.tower = tower
        self.places = places
        self.dice = random.Random(seed)
        self.clerk = Clerk(tower, places, self.dice)
        self.report = Report(bench, seed)
        self.points = Points(tower)

    def run(self, kills: int) -> Report:
        """Kill so often; returns what was found. Ends at the first problem, for then the state is worth a look."""
        self.clerk.prepare()
        while self.report.kills < kills and not self.report.problems:
            self._round()
        self.report.accepted = len(self.clerk.accepted)
        return self.report

    def _draw(self) -> tuple[str, str | None]:
        """A scene, and a point that it leads past, if any."""
        scene = self.dice.choices(list(SCENES), [weight for weight, _ in SCENES.values()])[0]
        return scene, self.dice.choice(SCENES[scene][1]) if self.dice.random() < AT_POINT else None

    def _round(self) -> None:
        if not self._completes():
            return
        scene, point = self._draw()
        place = self.dice.choice(self.places)
        orders = [*self._orders(scene, place), *self.clerk.draw(self.dice.randint(1, 3))]
        title = f"kill {self.report.kills + 1} ({scene}, {point or 'by time'}"
        if point:
            self.points.arm(point, "STOP")
        threads = give(orders)
        victim = self._kill_at(point) if point else self._kill_by_time()
        self.report.kills += 1
        if victim in ("supervisord", "all"):
            self.tower.cli("up", check=True)
        for thread in threads:
            thread.join()
        self._rest(f"{title}, {victim})")

    # what leads past a point

    def _orders(self, scene: str, place: Place) -> list[Order]:
        """The orders of a scene; what they need is there when this returns."""
        orders: dict[str, Callable[[Place], list[Order]]] = {
            "create": lambda place: [self.clerk.creation(place)],
            "brief": lambda place: [self.clerk.creation(place, BRIEF)],
            "recreate": self._recreating,
            "remove": self._removing,
            "reconcile": lambda _: [self.clerk.scan],
            "orphan": self._orphaning,
            "sweep": self._sweeping,
        }
        return orders[scene](place)

    def _removing(self, place: Place) -> list[Order]:
        pick, single = self.dice.random(), self.dice.random() < 0.5
        self._have(place, lambda: self.clerk.panes(place, ("ready",)))
        return [lambda: (self.clerk.remove_pane if single else self.clerk.remove)(place, pick)]

    def _recreating(self, place: Place) -> list[Order]:
        """A pane is dead, by hand and known to be so, before it is recreated."""
        pick, single = self.dice.random(), self.dice.random() < 0.5
        self._have(place, lambda: self.clerk.panes(place, ("ready",)))
        self.clerk.kill_by_hand(place, pick)
        self.clerk.scan()
        if single:
            return [lambda: self.clerk.recreate_pane(place, pick)]
        return [lambda: self.clerk.recreate_dead(place)]

    def _orphaning(self, place: Place) -> list[Order]:
        if not self.tower.rows("SELECT 1 FROM pane WHERE container_id = ? AND state = 'removed'", place.container_id):
            self._have(place, lambda: self.clerk.panes(place, ("ready",)))
            self.clerk.remove(place, 0.0)
            self.tower.idle()
        self.clerk.stray(place)
        return [self.clerk.scan]

    def _sweeping(self, place: Place) -> list[Order]:
        """A worker that starts looks for panes to sweep; there are some as long as others are being created."""
        for worker in self._workers()[:1]:
            _end([worker])
        return [self._keep_creating(place) for _ in range(2)]

    def _keep_creating(self, place: Place) -> Order:
        orders = [self.clerk.creation(place, ONE) for _ in range(6)]

        def run() -> None:
            eventually(lambda: len(self.tower.processes("work")) == 2, what="the worker is started anew")
            for order in orders:
                if self.points.any_armed():
                    order()
                    time.sleep(0.4)

        return run

    def _have(self, place: Place, what: Callable[[], object]) -> None:
        """Make a layout where there is not what a scene needs."""
        if not what():
            self.clerk.creation(place)()
            self.tower.idle()

    # killing

    def _kill_at(self, point: str) -> str:
        """Kill whoever stands still at the point; by hand when nobody has passed it after a while."""
        pid = self.points.fired_within(point, PATIENCE)
        if pid is None:
            self.points.disarm(point)
            pid = self.points.fired_within(point, 0)  # for one that has passed just then
        if pid is None:
            self.report.missed.append(point)
            return self._kill_by_time()
        self.report.by_point += 1
        self.report.passed.add(point)
        stopped = psutil.Process(pid)
        others = self.dice.choice(WITH)
        self._kill(others, stopped)
        return others

    def _kill_by_time(self) -> str:
        time.sleep(self.dice.random() * 0.6)
        victim = self.dice.choice(BY_TIME)
        self._kill(victim, None)
        return victim

    def _kill(self, victim: str, stopped: psutil.Process | None) -> None:
        """Kill the victims; one that stands still goes with them, or goes on where supervisord alone is killed."""
        found = self._victims(victim, stopped)
        held = self._held_by(found)
        left = {worker.pid for worker in self._workers()} - {process.pid for process in found}
        _end(found)
        if stopped and stopped not in found:
            with suppress(psutil.NoSuchProcess):
                stopped.send_signal(signal.SIGCONT)
        if held and left and victim not in ("supervisord", "all"):
            self._time_resumption(held)

    def _victims(self, victim: str, stopped: psutil.Process | None) -> list[psutil.Process]:
        if victim == "nobody" and stopped:
            return [stopped]
        if victim == "its kind" and stopped:
            return self.tower.processes("work") if stopped in self.tower.processes("work") else [stopped]
        if victim == "one worker":
            workers = self._workers()
            return ([worker for worker in workers if self._held_by([worker])] or workers)[:1]
        names = {"both": ("serve", "work"), "all": ("supervisord", "serve", "work")}.get(victim, (victim,))
        return [process for name in names for process in self.tower.processes(name)]

    def _workers(self) -> list[psutil.Process]:
        """The workers that take jobs."""
        holders = self.tower.state / "run" / "holders"
        names = {path.name.split("-")[0] for path in holders.iterdir()} if holders.is_dir() else set()
        return [process for process in self.tower.processes("work") if str(process.pid) in names]

    def _completes(self) -> bool:
        """Whether a server and two workers run, soon; tells what does where it is otherwise."""
        try:
            return eventually(self._complete, what="a server and two workers run")
        except AssertionError as error:
            there = [f"{process.pid} {process.status()} {process.cmdline()[-1]}" for process in self.tower.processes()]
            status = self.tower.cli("status").stdout
            self.report.problems.append(f"after kill {self.report.kills}: {error}; {there}; {status}")
            return False

    def _complete(self) -> bool:
        return len(self._workers()) == 2 and bool(self.tower.processes("serve"))

    def _held_by(self, processes: list[psutil.Process]) -> dict[int, int]:
        """The jobs that these processes hold, with their claims."""
        pids = {str(process.pid) for process in processes}
        rows = self.tower.rows("SELECT id, claim, holder FROM job WHERE holder IS NOT NULL AND state = 'running'")
        return {row["id"]: row["claim"] for row in rows if row["holder"].split("-")[0] in pids}

    def _time_resumption(self, held: dict[int, int]) -> None:
        begin = time.monotonic()
        waiting = dict(held)
        while waiting and time.monotonic() < begin + 20:
            for job_id, claim in list(waiting.items()):
                row = self.tower.rows("SELECT claim, state FROM job WHERE id = ?", job_id)
                if not row or row[0]["claim"] > claim or row[0]["state"] in ("done", "failed"):
                    self.report.resumed.append(time.monotonic() - begin)
                    del waiting[job_id]
            time.sleep(0.02)
        if waiting:
            self.report.problems.append(f"jobs {sorted(waiting)} were not carried on within 20 s")

    # at rest

    def _rest(self, before: str) -> None:
        """Wait until nothing is under way, then look."""
        found: list[str] = []
        try:
            self.tower.idle()
            if self.clerk.by_hand:
                self.clerk.by_hand = False
                self.clerk.scan()
                self.tower.idle()
            eventually(self._projected, what="events.jsonl is up to date")
        except (AssertionError, OSError) as error:
            found.append(str(error))
        found += [*self._look_twice(), *broken(self.clerk), *self.clerk.refusals]
        self.report.problems += [f"{before}: {problem}" for problem in found]

    def _look_twice(self) -> list[str]:
        """What is wrong now and still a moment later: a projector may be at work, a reconcile may run."""
        for _ in range(20):
            found = problems(self.tower, self.places)
            if not found:
                break
            time.sleep(0.25)
        return found

    def _projected(self) -> bool:
        last = self.tower.rows("SELECT max(sequence) FROM event")[0][0]
        if last is None:
            return True
        return [event["sequence"] for event in projected_events(self.tower)][-1:] == [last]


def _end(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def run(bench: str, kills: int, seed: int, benches: int = 2, *, keep: bool = False) -> Report:
    """A campaign on a tower of its own, left as it is where `keep` and something was found.

    Raises what goes wrong in making one.
    """
    tower = Tower(docker_host=host_for_tests() if bench == "docker" else None, environ=PACE)
    campaign, yard = None, Yard(host_for_tests() or "") if bench == "docker" else None
    try:
        places: list[Place] = [Place(tower)]
        if yard:
            places = [Container(tower, yard) for _ in range(benches)]
        campaign = Campaign(tower, places, seed, bench)
        tower.up()
        return campaign.run(kills)
    finally:
        found = campaign.report.problems if campaign else []
        if keep and found:
            found.append(f"the tower of seed {seed} is left in {tower.root}, its processes run")
        else:
            tower.close()
            if yard:
                yard.close()


CHUNK = 25
"""Kills of one tower: a new one begins after so many, so that a problem stands near its cause."""


def run_long(bench: str, kills: int, seed: int, towers: int) -> Report:
    """Campaigns, so many at a time, until there were so many kills; ends at the first problem."""
    whole = Report(bench, seed)
    began = time.monotonic()
    with ProcessPoolExecutor(towers) as pool:
        chunks = [(min(CHUNK, kills - done), seed + done) for done in range(0, kills, CHUNK)]
        runs = [pool.submit(run, bench, count, own, keep=True) for count, own in chunks]
        for ended in as_completed(runs):
            if error := ended.exception():
                whole.problems.append(f"a campaign broke off: {error!r}")
            else:
                whole.add(ended.result())
            pace = (time.monotonic() - began) / max(1, whole.kills)
            sys.stderr.write(f"{bench}: {whole.kills} kills, {pace:.2f} s each, {len(whole.problems)} problems\n")
            if whole.problems:
                pool.shutdown(wait=True, cancel_futures=True)
                break
    return whole


def main() -> int:
    """Run from the command line; the exit status is 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", choices=("local", "docker"), default="local")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--towers", type=int, default=1, help="how many are killed side by side")
    options = parser.parse_args()
    sys.stderr.write(f"bench {options.bench}, seed {options.seed}\n")
    report = run_long(options.bench, options.kills, options.seed, options.towers)
    sys.stderr.write(json.dumps(report.as_json(), indent=2) + "\n")
    sys.stdout.write(report.row() + "\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
