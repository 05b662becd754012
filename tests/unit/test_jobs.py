"""The ledger: who may take a job, and who may write under it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.unit import rows
from tower import clock, jobs, models
from tower.config import Settings
from tower.jobs import Claim, Holders
from tower.models import Job


@pytest.fixture
def holders(settings: Settings) -> Holders:
    return Holders(settings)


def submit(container_id: str = "local", kind: str = jobs.SPAWN) -> int:
    with models.writing():
        return jobs.submit(kind, container_id)


def take(job_id: int, holders: Holders, holder: str = "", seconds: float = 30) -> Claim | None:
    models.connect()
    row = Job.get(Job.id == job_id)
    return jobs.take(job_id, row.stage, holder or holders.enter(), holders, seconds)


def test_a_job_is_taken_once(holders: Holders) -> None:
    job_id = submit()
    assert take(job_id, holders)
    assert take(job_id, holders) is None


def test_a_bench_runs_its_oldest_job_and_others_run_beside_it(holders: Holders) -> None:
    first, second, elsewhere = submit(), submit(), submit("other")
    assert take(second, holders) is None
    claim = take(first, holders)
    assert claim
    assert take(second, holders) is None
    assert take(elsewhere, holders)
    with claim.writing():
        claim.settle(jobs.DONE)
    assert take(second, holders)


def test_nothing_overtakes_a_job_between_its_stages_or_retries(holders: Holders) -> None:
    first, second = submit(), submit()
    claim = take(first, holders)
    assert claim
    with claim.writing():
        claim.proceed("launch_command")
    assert take(second, holders) is None
    claim = take(first, holders)
    assert claim
    claim.retry_after(60, "it did not answer")
    assert take(second, holders) is None
    assert take(first, holders) is None


def test_a_message_of_another_stage_takes_nothing(holders: Holders) -> None:
    job_id = submit()
    assert jobs.take(job_id, "registration", holders.enter(), holders, 30) is None


def test_a_claim_that_was_taken_over_writes_nothing(holders: Holders) -> None:
    job_id = submit()
    late = take(job_id, holders, seconds=0)
    time.sleep(0.01)
    assert late
    assert take(job_id, holders)

    def write() -> None:
        with late.writing():
            rows.bench("written-by-the-late-one")

    with pytest.raises(jobs.ClaimLost):
        write()
    assert not models.Bench.select().exists()


def test_fences_grow_with_claims_and_with_jobs(holders: Holders) -> None:
    first, second = submit(), submit()
    claims = [take(first, holders, seconds=0) for _ in range(3)]
    last = claims[-1]
    assert last
    with last.writing():
        last.settle(jobs.DONE)
    claims.append(take(second, holders))
    fences = [claim.fence for claim in claims if claim]
    assert len(fences) == 4
    assert fences == sorted(set(fences))


def test_a_claim_goes_above_a_fence_from_a_later_state(holders: Holders) -> None:
    job_id = submit()
    claim = take(job_id, holders)
    assert claim
    seen = claim.fence + 5 * jobs.CLAIMS_PER_JOB
    claim.overtake(seen)
    again = take(job_id, holders)
    assert again
    assert again.fence > seen


def test_a_retry_counts_its_attempts_in_the_row(holders: Holders) -> None:
    job_id = submit()
    for attempt in range(3):
        claim = take(job_id, holders)
        assert claim
        assert claim.job.attempts == attempt
        claim.retry_after(0, "again")


def test_a_retry_waits_its_time(holders: Holders) -> None:
    job_id = submit()
    claim = take(job_id, holders)
    assert claim
    claim.retry_after(0.2, "again")
    assert take(job_id, holders) is None
    assert jobs.takeable(holders) == []
    time.sleep(0.25)
    assert jobs.takeable(holders) == [job_id]
    assert take(job_id, holders)


def test_another_boot_frees_what_was_held(holders: Holders) -> None:
    job_id = submit()
    assert take(job_id, holders)
    Job.update(boot_id="the one before", deadline=clock.boot_seconds() + 1e6).execute()
    assert jobs.takeable(holders) == [job_id]
    assert take(job_id, holders)


def test_a_killed_holder_is_dead_at_once(settings: Settings, holders: Holders) -> None:
    script = (
        "import sys, time; from tower import config; from tower.jobs import Holders;"
        "print(Holders(config.load()).enter(), flush=True); time.sleep(60)"
    )
    environ = dict(os.environ, HOME=str(settings.state_dir), TOWER_STATE_DIR=str(settings.state_dir))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout
    name = process.stdout.readline().strip()
    job_id = submit()
    assert take(job_id, holders, name)
    assert holders.alive(name)
    assert jobs.takeable(holders) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not holders.alive(name)
    assert jobs.takeable(holders) == [job_id]


def test_one_unfinished_reconcile_for_each_bench(holders: Holders) -> None:
    job_id = jobs.submit_periodic(jobs.RECONCILE, "local")
    assert job_id
    assert jobs.submit_periodic(jobs.RECONCILE, "local") is None
    assert jobs.submit_periodic(jobs.SWEEP, "local")
    claim = take(job_id, holders)
    assert claim
    with claim.writing():
        claim.forget()
    assert Job.get_or_none(Job.id == job_id) is None
    assert jobs.submit_periodic(jobs.RECONCILE, "local")


def test_panes_of_unfinished_jobs_are_named(holders: Holders) -> None:
    layout = rows.layout(count=2)
    ids = {pane.pane_id for pane in rows.panes_of(layout)}
    with models.writing():
        job_id = jobs.submit(jobs.SPAWN, "local", layout_id=layout.layout_id, pane_ids=sorted(ids))
    assert jobs.named_by_unfinished("local") == ids
    assert jobs.named_by_unfinished("elsewhere") == set()
    claim = take(job_id, holders)
    assert claim
    with claim.writing():
        claim.settle(jobs.DONE)
    assert jobs.named_by_unfinished("local") == set()


def test_a_stage_that_a_living_holder_did_not_end_in_time_was_an_attempt(holders: Holders) -> None:
    job_id, holder = submit(), holders.enter()
    assert take(job_id, holders, holder, seconds=0)
    again = take(job_id, holders)
    assert again
    assert again.job.attempts == 1
    with again.writing():
        again.proceed("launch_command")
    last = take(job_id, holders)
    assert last
    assert last.job.attempts == 0
