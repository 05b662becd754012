"""Sixty kills on each runtime; the seed is in the name of the test and draws the same kills again."""

import os

import pytest

from tests.faults import campaign

SEED = int(os.environ.get("TOWER_TEST_SEED", "2026"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", [1, 2, 3])
def test_sixty_kills_on_the_local_bench_lose_nothing(part: int) -> None:
    report = campaign.run("local", kills=20, seed=SEED + part)
    assert report.problems == [], f"seed {SEED + part}"
    assert report.kills == 20


@pytest.mark.docker
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.usefixtures("engine_host")
def test_sixty_kills_on_containers_lose_nothing(part: int) -> None:
    report = campaign.run("docker", kills=20, seed=SEED + 10 + part)
    assert report.problems == [], f"seed {SEED + 10 + part}"
    assert report.kills == 20
