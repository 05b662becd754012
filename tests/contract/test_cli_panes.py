"""`tower pane list` and `logs`, and doctor's word about an engine that was named."""

from collections.abc import Iterator

import pytest

from tests.harness import Place, Tower, pane
from tests.spots import quick_tower


@pytest.fixture
def running() -> Iterator[Tower]:
    """A running tower with a profile that says a word and ends when it is told to."""
    made = quick_tower()
    try:
        made.up()
        made.profile("ear", ["sh", "-c", "echo hello; read word; echo bye"])
        made.template("one", [pane("ear", "ear")])
        yield made
    finally:
        made.close()


def test_the_newest_pane_of_a_place_is_listed_and_with_all_the_others(running: Tower) -> None:
    layout_id = running.create("local", "one")
    lost = running.ready(layout_id)["panes"][0]
    Place(running).tmux("kill-pane", "-t", lost["tmux_pane_id"])
    running.cli("container", "scan", check=True)
    assert [row["pane_id"] for row in running.json("pane", "list")["items"]] == [lost["pane_id"]]
    running.call("managed.layout.recreate", layout_id=layout_id)
    newest = running.ready(layout_id)["panes"]
    ids = {row["pane_id"] for row in running.json("pane", "list")["items"]}
    assert lost["pane_id"] not in ids
    assert len(ids) == 1
    assert running.json("pane", "list", "--state", "failed")["items"] == []
    everything = {row["pane_id"] for row in running.json("pane", "list", "--all")["items"]}
    assert everything == {row["pane_id"] for row in newest}


def test_a_followed_log_ends_with_its_pane(running: Tower) -> None:
    row = running.ready(running.create("local", "one"))["panes"][0]
    Place(running).tmux("send-keys", "-t", row["tmux_pane_id"], "now", "Enter")
    running.cli("container", "scan", check=True)
    done = running.cli("pane", "logs", row["pane_id"], "-f", check=True, timeout=30)
    assert "hello" in done.stdout
    assert "bye" in done.stdout
    refused = running.cli("pane", "logs", row["pane_id"], "-f", "--json")
    assert refused.returncode == 2
    assert "--json" in refused.stderr


def test_doctor_warns_of_a_named_engine_that_does_not_answer(running: Tower) -> None:
    told = running.cli("doctor").stdout
    assert next(line for line in told.splitlines() if " docker " in line).startswith("warning")
    assert "correct DOCKER_HOST" in told
