"""The projection: in order, each once, whatever happened to the file."""

import json
import threading

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.unit import rows
from tower import events, models
from tower.config import Settings
from tower.models import Event


def write(count: int) -> None:
    """Write so many events."""
    with models.writing():
        rows.bench()
        for number in range(count):
            events.record(events.PaneLaunched(tmux_pane_id=f"%{number}"), actor=events.DAEMON, container_id="local")


def projected(settings: Settings) -> list[int]:
    return [json.loads(line)["sequence"] for line in settings.events_path.read_text().splitlines()]


def recorded() -> list[int]:
    return [event.sequence for event in Event.select().order_by(Event.sequence)]


def test_a_line_is_what_the_row_is(settings: Settings) -> None:
    write(1)
    events.project(settings)
    line = json.loads(settings.events_path.read_text())
    assert line["payload"] == {"tmux_pane_id": "%0"}
    assert line["origin"] == "managed"
    keys = "id sequence timestamp origin event_type actor container_id layout_id pane_id payload"
    assert list(line) == keys.split()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(cut=st.integers(min_value=0, max_value=6000), junk=st.binary(max_size=40))
def test_a_torn_tail_is_cut_and_written_again(settings: Settings, cut: int, junk: bytes) -> None:
    write(5)
    events.project(settings)
    whole = settings.events_path.read_bytes()
    settings.events_path.write_bytes(whole[: len(whole) - min(cut, len(whole))] + junk.replace(b"\n", b""))
    events.project(settings)
    assert settings.events_path.read_bytes() == whole


def test_an_empty_or_missing_file_is_written_whole(settings: Settings) -> None:
    write(1200)
    events.project(settings)
    assert projected(settings) == recorded()
    settings.events_path.unlink()
    events.project(settings)
    assert projected(settings) == recorded()


def test_many_projectors_write_each_event_once(settings: Settings) -> None:
    write(50)

    def project() -> None:
        for _ in range(5):
            events.project(settings)
        models.db.close()

    threads = [threading.Thread(target=project) for _ in range(4)]
    for thread in threads:
        thread.start()
    write(300)
    for thread in threads:
        thread.join()
    events.project(settings)
    assert projected(settings) == recorded()


def test_damage_in_the_middle_is_found_and_kept_aside(settings: Settings) -> None:
    write(20)
    events.project(settings)
    assert events.verify(settings)
    lines = settings.events_path.read_bytes().splitlines(keepends=True)
    settings.events_path.write_bytes(b"".join([*lines[:7], b"\0" * len(lines[7]), *lines[8:]]))
    assert not events.verify(settings)
    assert projected(settings) == recorded()
    assert len(list(settings.events_path.parent.glob("events.jsonl.damaged-*"))) == 1


def test_a_file_that_is_behind_agrees(settings: Settings) -> None:
    write(3)
    events.project(settings)
    write(3)
    assert events.verify(settings)
    assert len(projected(settings)) == 3


@pytest.mark.usefixtures("settings")
def test_every_event_type_is_named_once() -> None:
    types = [event.event_type for event in events.EventBase.__subclasses__()]
    assert len(types) == len(set(types)) == 16
