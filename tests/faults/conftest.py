"""Towers that are soon done, for whatever then happens to them."""

import os
from collections.abc import Iterator

import pytest

from tests.faults.middle import SHORT_STAGES
from tests.faults.points import Points
from tests.harness import COVERAGE, Container, Place, Tower


@pytest.fixture(scope="module", autouse=True)
def _unmeasured() -> Iterator[None]:
    """What is killed leaves no coverage behind: it runs without, a fifth faster."""
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith(COVERAGE)]:
            patch.delenv(key)
        yield


@pytest.fixture
def quick() -> Iterator[Tower]:
    """A tower that runs, with the local bench only, its points ready to be armed."""
    made = Tower(environ=SHORT_STAGES)
    Points(made)
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def quick_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A bench of each runtime."""
    docker = request.param == "docker"
    made = Tower(docker_host=request.getfixturevalue("engine_host") if docker else None, environ=SHORT_STAGES)
    try:
        made.up()
        yield Container(made, request.getfixturevalue("yard")) if docker else Place(made)
    finally:
        made.close()
