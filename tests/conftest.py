"""Fixtures: a tower, and a bench on each runtime."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Container, Place, Tower
from tests.spots import Spot, quick_tower
from tests.yard import Yard, host_for_tests


def pytest_configure(config: pytest.Config) -> None:
    """What goes for every test of the run."""
    config.addinivalue_line("markers", "docker: needs a container engine (TOWER_TEST_DOCKER_HOST)")


@pytest.fixture(scope="session")
def engine_host() -> str:
    """The private engine; its absence is a failure in CI and a skip on a person's machine."""
    host = host_for_tests()
    if host is None:
        if os.environ.get("CI"):
            pytest.fail("no container engine: TOWER_TEST_DOCKER_HOST is not set")
        pytest.skip("no container engine (tests/run.sh starts one)")
    return host


@pytest.fixture
def tower() -> Iterator[Tower]:
    """A tower that runs, with the local bench only."""
    made = Tower()
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture
def down_tower() -> Iterator[Tower]:
    """A tower that was never started."""
    made = Tower()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shared_tower() -> Iterator[Tower]:
    """A tower that the tests of a module share; they take care not to meet."""
    made = Tower()
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture
def yard(engine_host: str) -> Iterator[Yard]:
    """Containers that go with the test."""
    made = Yard(engine_host)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def docker_tower(engine_host: str) -> Iterator[Tower]:
    """A tower that runs, and sees the private engine."""
    made = Tower(docker_host=engine_host)
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A bench of each runtime with a running tower: the same test holds on both."""
    if request.param == "local":
        yield Place(request.getfixturevalue("tower"))
    else:
        tower = request.getfixturevalue("docker_tower")
        yield Container(tower, request.getfixturevalue("yard"))


@pytest.fixture(scope="module")
def quick() -> Iterator[Tower]:
    """A running tower with a short settle time, which the tests of a module share."""
    made = quick_tower(host_for_tests())
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture(scope="module", params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def spot(request: pytest.FixtureRequest, quick: Tower) -> Iterator[Spot]:
    """A bench of each runtime that the tests of a module share."""
    if request.param == "local":
        yield Spot(Place(quick))
        return
    made = Yard(request.getfixturevalue("engine_host"))
    try:
        yield Spot(Container(quick, made))
    finally:
        made.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What went wrong before a test that was run again: a failure that passes is worth a look all the same."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"before it was run again: {report.nodeid}", sep="_")
        terminalreporter.write_line(report.longreprtext)
