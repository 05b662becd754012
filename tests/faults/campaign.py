"""Kill the tower's processes, again and again, at points drawn from a seed, and look whether anything was lost.

    python -m tests.faults.campaign --bench local --kills 60 --seed 7

After each kill everything must come to rest by itself (after `tower up` where supervisord was killed), every accepted
request settled, and the audit must find nothing. The seed is printed; the same seed draws the same kills.
"""

import argparse
import json
import random
import signal
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults.audit import problems
from tests.faults.orders import Clerk
from tests.harness import Container, Place, Tower, eventually
from tests.yard import Yard, tests_host

SERVER_POINTS = ("accept.before_commit", "accept.after_commit", "enqueue.before", "enqueue.after")
WORKER_POINTS = (
    "take.before_commit",
    "take.after_commit",
    *(
        f"stage.{stage}.{when}_commit"
        for stage in ("pane_create", "launch_command", "registration", "log_attach", "tmux_kill")
        for when in ("before", "after")
    ),
    *(f"engine.{verb}.{when}" for verb in ("spawn", "finish", "kill") for when in ("before", "after")),
    "events.before_append",
    "events.after_append",
    "enqueue.before",
    "enqueue.after",
)
VICTIMS = ("serve", "serve", "one worker", "one worker", "one worker", "work", "supervisord", "both", "all")
PACE = {
    "TOWER_TIMES_SETTLE": "0.3",
    "TOWER_TIMES_STAGE": "20",
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

    def as_json(self) -> dict[str, Any]:
        """The numbers of the report."""
        return {
            "bench": self.bench,
            "seed": self.seed,
            "kills": self.kills,
            "at_points": self.by_point,
            "accepted_creates": self.accepted,
            "resumption_p50_s": round(statistics.median(self.resumed), 2) if self.resumed else None,
            "resumption_worst_s": round(max(self.resumed), 2) if self.resumed else None,
            "problems": self.problems,
        }


class Campaign:
    """One tower, some benches, and a seed."""

    def __init__(self, tower: Tower, places: list[Place], seed: int, bench: str) -> None:
        self.tower = tower
        self.places = places
        self.dice = random.Random(seed)
        self.clerk = Clerk(tower, places, self.dice)
        self.report = Report(bench, seed)
        self.points = Path(tower.environ["TOWER_FAULTS"])

    def run(self, kills: int) -> Report:
        """Kill so often; returns what was found. Ends at the first problem, for then the state is worth a look."""
        while self.report.kills < kills and not self.report.problems:
            self._round()
        self.report.accepted = len(self.clerk.accepted)
        return self.report

    def _round(self) -> None:
        victim = self.dice.choice(VICTIMS)
        before = f"kill {self.report.kills + 1} ({victim})"
        points = {"serve": SERVER_POINTS, "one worker": WORKER_POINTS}.get(victim, ())
        if points:
            threads = self._kill_at_point(victim, self.dice.choice(points))
        else:
            threads = self.clerk.some(self.dice.randint(2, 5))
            time.sleep(self.dice.random() * 0.8)
            self._kill(victim)
        self.report.kills += 1
        if victim in ("supervisord", "all"):
            self.tower.cli("up", check=True)
        for thread in threads:
            thread.join()
        self._rest(before)

    def _kill_at_point(self, victim: str, point: str) -> list[threading.Thread]:
        """Arm the point, give orders, and kill by hand when nobody has passed it after a while."""
        armed = self.points / f"{point}.KILL.1"
        armed.touch()
        threads = self.clerk.some(self.dice.randint(2, 5))
        until = time.monotonic() + 2.5
        while armed.exists() and time.monotonic() < until:
            time.sleep(0.01)
        if armed.exists():
            armed.unlink(missing_ok=True)
            self._kill(victim)
        else:
            self.report.by_point += 1
        return threads

    def _kill(self, victim: str) -> None:
        names = {"both": ("serve", "work"), "all": ("supervisord", "serve", "work"), "one worker": ("work",)}
        found = [process for name in names.get(victim, (victim,)) for process in self.tower.processes(name)]
        if victim == "one worker":
            found = [self._busy_worker(found)] if found else []
        held = self._held_by(found)
        for process in found:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        if victim == "one worker" and held:
            self._time_resumption(held)

    def _busy_worker(self, workers: list[psutil.Process]) -> psutil.Process:
        busy = [worker for worker in workers if self._held_by([worker])]
        return busy[0] if busy else workers[0]

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

    def _rest(self, before: str) -> None:
        """Wait until nothing is under way, then look."""
        try:
            self.tower.idle()
            eventually(self._projected, what="events.jsonl is up to date")
        except (AssertionError, OSError) as error:
            self.report.problems.append(f"{before}: {error}")
        query = "SELECT layout_id, state, failed_stage FROM layout WHERE state IN ('failed', 'degraded')"
        unwell = self.tower.rows(query)
        self.report.problems += [f"{before}: layout {row[0]} is {row[1]} ({row[2]})" for row in unwell]
        known = {row[0] for row in self.tower.rows("SELECT layout_id FROM layout")}
        self.report.problems += [f"{before}: layout {lost} was accepted and is lost"
                                 for lost in self.clerk.accepted if lost not in known]  # fmt: skip
        self.report.problems += [f"{before}: {problem}" for problem in self._look_twice()]
        self.report.problems += [f"{before}: {refusal}" for refusal in self.clerk.refusals]

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
        lines = (self.tower.state / "events.jsonl").read_bytes().splitlines()
        return bool(lines) and json.loads(lines[-1])["sequence"] == last


def run(bench: str, kills: int, seed: int, benches: int = 2) -> Report:
    """A campaign on a tower of its own; raises what goes wrong in making one."""
    tower = Tower(docker_host=tests_host() if bench == "docker" else None, environ=PACE)
    points = tower.root / "points"
    points.mkdir()
    tower.environ["TOWER_FAULTS"] = str(points)
    yard = Yard(tests_host() or "") if bench == "docker" else None
    try:
        places: list[Place] = [Place(tower)]
        if yard:
            places = [Container(tower, yard) for _ in range(benches)]
        tower.up()
        return Campaign(tower, places, seed, bench).run(kills)
    finally:
        tower.close()
        if yard:
            yard.close()


CHUNK = 50
"""Kills of one tower: a new one begins after so many, so that a problem stands near its cause."""


def run_long(bench: str, kills: int, seed: int) -> Report:
    """Campaigns one after the other until there were so many kills; ends at the first problem."""
    whole = Report(bench, seed)
    while whole.kills < kills and not whole.problems:
        report = run(bench, min(CHUNK, kills - whole.kills), seed + whole.kills)
        whole.kills += report.kills
        whole.by_point += report.by_point
        whole.accepted += report.accepted
        whole.problems += report.problems
        whole.resumed += report.resumed
        sys.stderr.write(f"{bench}: {whole.kills} kills, {len(whole.problems)} problems\n")
    return whole


def main() -> int:
    """Run from the command line; the exit status is 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", choices=("local", "docker"), default="local")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    sys.stderr.write(f"bench {options.bench}, seed {options.seed}\n")
    numbers = run_long(options.bench, options.kills, options.seed).as_json()
    sys.stdout.write(json.dumps(numbers, indent=2) + "\n")
    row = [numbers[name] for name in ("bench", "kills", "at_points", "accepted_creates", "resumption_p50_s")]
    cells = [*map(str, row), str(numbers["resumption_worst_s"]), str(len(numbers["problems"]))]
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    return 1 if numbers["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
