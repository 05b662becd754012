"""A bench whose tmux stands still, and many requests for it: nobody else waits for them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.harness import Container, Place, Tower, eventually, pane
from tests.yard import Yard
from tower.server.pool import SIZE

SOON = 4.0
"""Seconds that a busy machine may take for what waits for nobody; each of the hung requests takes longer."""


@contextmanager
def crowded(place: Place) -> Iterator[None]:
    """Its tmux server stands still while the block runs, with a request for each thread of the server's pool."""
    place.tower.template("one", [pane("{session}")])
    threads = [threading.Thread(target=create, args=(place, number)) for number in range(SIZE + 4)]
    pid = int(place.tmux("display-message", "-p", "#{pid}"))
    os.kill(pid, signal.SIGSTOP)
    try:
        for thread in threads:
            thread.start()
        time.sleep(1)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join()


def create(place: Place, number: int) -> None:
    """Ask for a layout there, whatever the answer."""
    request = {"container_id": place.container_id, "template_name": "one", "tmux_session_name": f"hung{number}"}
    place.tower.ask("managed.layout.create", request)


def seconds(action: Callable[[], object]) -> float:
    """How long this takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def test_what_looks_into_no_bench_is_answered_meanwhile(tower: Tower) -> None:
    pane_id = tower.ready(tower.create("local"))["panes"][0]["pane_id"]
    with crowded(Place(tower)):
        took = seconds(lambda: tower.call("managed.pane.remove", pane_id=pane_id, wait=False))
    assert took < SOON
    eventually(lambda: tower.call("managed.pane.detail", pane_id=pane_id)["state"] == "removed", what="it is removed")


@pytest.mark.docker
def test_another_bench_is_served_meanwhile(docker_tower: Tower, yard: Yard) -> None:
    tower, container = docker_tower, Container(docker_tower, yard)
    tower.ready(tower.create("local"))
    tower.ready(tower.create(container.container_id, session="warm", label_prefix="w-"))
    with crowded(Place(tower)):
        took = seconds(lambda: tower.create(container.container_id, session="well", label_prefix="g-"))
    assert took < SOON
