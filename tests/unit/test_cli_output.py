"""Tables, times and what else a command prints."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tower.cli import follow, output, requests, sending, views
from tower.cli.console import Console
from tower.cli.main import tower


def test_a_table_is_aligned_whatever_colour_it_has() -> None:
    rows = [{"name": "m1", "state": "ready"}, {"name": "longer", "state": "failed"}]
    text = click.unstyle(output.table({"LABEL": "name", "STATE": "state", "X": "none"}, rows, "nothing"))
    assert text == "LABEL   STATE   X\nm1      ready   -\nlonger  failed  -"


def test_a_row_is_one_line() -> None:
    assert output.table({"A": "a"}, [{"a": "x\ny\r\tz"}], "") == "A\nx\\ny\\r\\tz"


def test_counts() -> None:
    assert [output.count(number, "bench", "benches") for number in (0, 1, 2)] == ["0 benches", "1 bench", "2 benches"]
    assert [output.count(number, "pane") for number in (1, 2)] == ["1 pane", "2 panes"]


def test_an_empty_table_says_so() -> None:
    assert output.table({"A": "a"}, [], "nothing") == "nothing"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (200_000, "2d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert output.span(seconds) == text


def test_age() -> None:
    assert output.age((datetime.now(UTC) - timedelta(minutes=5, seconds=10)).isoformat()) == "5m"
    assert output.age(None) is None


def test_short_ids() -> None:
    assert output.short("0b5a68c0-93a0-4b2e-8a60-0f3c1f0c7d11") == "0b5a68c0"
    assert output.short("f" * 64) == "f" * 12
    assert output.short(None) is None


@pytest.mark.parametrize("word", ["master", "=x", "master=", "="])
def test_a_bad_override_is_a_usage_error(word: str) -> None:
    with pytest.raises(click.BadParameter):
        output.profile_of([word])


def test_overrides() -> None:
    assert output.profile_of(["master=a", "slave:s1=b=c"]) == {"master": "a", "slave:s1": "b=c"}


PANE = {
    "pane_id": "p",
    "label": "m1",
    "role": "master",
    "state": "degraded",
    "failed_stage": "launch_command",
    "reason": "it exited",
    "tmux_pane_id": "%1",
    "launch_command_ref": None,
    "agent_id": None,
    "exit_code": None,
    "exit_signal": None,
}


def test_the_exit_shows_only_where_something_exited() -> None:
    assert "EXIT" not in views.panes([{**PANE, "state": "ready", "failed_stage": None}])
    assert "signal 9" in views.panes([{**PANE, "exit_signal": 9}])
    line = click.unstyle(views.panes([{**PANE, "exit_code": 0}])).splitlines()[1]
    assert line.split()[-3:] == ["0", "it", "exited"]


@pytest.mark.parametrize(
    ("pane", "stage"),
    [
        ({"state": "creating", "tmux_pane_id": None}, "pane_create"),
        ({"state": "creating"}, "launch_command"),
        ({"state": "creating", "agent_id": "a"}, "log_attach"),
        ({"state": "ready", "failed_stage": None}, ""),
        ({"state": "degraded"}, "launch_command"),
    ],
)
def test_the_stage_of_a_pane(pane: dict[str, str | None], stage: str) -> None:
    assert follow.stage({**PANE, **pane}) == stage


class Taken(Console):
    """A server that takes every payload."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: list[dict[str, Any]] = []

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        assert method == "app.send_input"
        self.payloads.append(params["payload"])
        return {"state": "delivered"}


@given(st.text(max_size=9000))
def test_a_text_arrives_whole_whatever_its_parts(text: str) -> None:
    console = Taken()
    assert sending.send_text(console, "a", text, enter=True) == {"state": "delivered"}
    payloads = console.payloads
    assert "".join(payload["text"] for payload in payloads) == text
    assert [payload.get("more", False) for payload in payloads] == [True] * (len(payloads) - 1) + [False]
    assert [payload.get("part", 0) for payload in payloads] == list(range(len(payloads)))
    assert all(len(json.dumps(payload, ensure_ascii=False).encode()) <= 16 * 1024 for payload in payloads)


@pytest.mark.parametrize(
    ("pane", "runs"),
    [
        ({"state": "ready", "exited_at": None}, True),
        ({"state": "creating", "exited_at": None}, True),
        ({"state": "degraded", "exited_at": None}, True),
        ({"state": "degraded", "exited_at": "2026-01-01T00:00:00Z"}, False),
        ({"state": "failed", "exited_at": None}, False),
        ({"state": "removed", "exited_at": None}, False),
    ],
)
def test_what_may_run_is_asked_about(pane: dict[str, str | None], runs: bool) -> None:
    assert requests._runs(pane) is runs


class Doubtful(Taken):
    """A server that does not know whether the pane took it."""

    inside = False

    def rows(self, method: str, /, filters: Any = None, **params: Any) -> Any:
        return iter([{"agent_id": "0b5a68c0-93a0-4b2e-8a60-0f3c1f0c7d11"}])

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        return {**super().call(method, **params), "state": "unknown", "reason": "tmux did not answer"}


def test_what_became_of_a_text_is_told_with_its_reason() -> None:
    words = ["pane", "send", "0b5a68c0-93a0-4b2e-8a60-0f3c1f0c7d11", "hello"]
    done = CliRunner().invoke(tower, words, obj=Doubtful(), standalone_mode=False)
    assert (done.output, done.return_value) == ("unknown: tmux did not answer\n", 1)
