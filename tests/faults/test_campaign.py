"""Sixty kills on each runtime; the seed is in the name of the test and draws the same kills again."""

import os

import pytest

from tests.faults import campaign

SEED = int(os.environ.get("TOWER_TEST_SEED", "2026"))
RESUMED = 5.0
"""Seconds from the death of a job's holder until a living worker carries it on, at most."""

READING = 0.5
"""Seconds that a busy machine may take to show it."""


def lost_nothing(bench: str, seed: int) -> None:
    """Fails with what twenty kills have lost."""
    report = campaign.run(bench, kills=20, seed=seed)
    assert report.problems == [], f"seed {seed}"
    assert report.kills == 20
    assert report.by_point >= 10, f"seed {seed}: only {report.by_point} kills were at a point"
    assert report.resumed, f"seed {seed}: no holder of a job was killed beside a living worker"
    assert max(report.resumed) < RESUMED + READING, f"seed {seed}: {report.resumed}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", [1, 2, 3])
def test_sixty_kills_on_the_local_bench_lose_nothing(part: int) -> None:
    lost_nothing("local", SEED + part)


@pytest.mark.docker
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.usefixtures("engine_host")
def test_sixty_kills_on_containers_lose_nothing(part: int) -> None:
    lost_nothing("docker", SEED + 10 + part)
