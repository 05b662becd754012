"""What an operator sees of panes that end by themselves, and the command line that brings them back."""

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Place, Tower, eventually, pane
from tests.spots import Spot


def _of(spot: Spot, layout: Any, state: str) -> Any:
    """The layout, with that state and failed stage of it."""
    row = spot.tower.layout(layout["layout_id"])
    return (row["state"], row["failed_stage"]) if row["state"] == state else row


def test_a_pane_killed_by_hand_shows_at_once_after_a_scan(spot: Spot) -> None:
    layout = spot.make("three")
    gone = layout["panes"][1]
    spot.kill(gone)
    done = spot.tower.cli("container", "scan")
    assert done.returncode == 0, done.stderr
    row = spot.pane(gone["pane_id"])
    assert (row["state"], row["failed_stage"]) == ("failed", "recovery_reattach")
    assert row["reason"]
    assert row["log_attached"] is False
    assert _of(spot, layout, "failed") == ("failed", "recovery_reattach")
    states = [spot.pane(one["pane_id"])["state"] for one in layout["panes"]]
    assert states == ["ready", "failed", "ready"]
    done = spot.tower.cli("layout", "wait", layout["tmux_session_name"])
    assert done.returncode == 4
    done = spot.tower.cli("layout", "recreate", layout["tmux_session_name"])
    assert done.returncode == 0, done.stderr
    assert _of(spot, layout, "ready") == ("ready", None)
    spot.remove_layout(layout["layout_id"])


def test_an_agent_that_exits_later_shows_its_code_and_its_last_words(spot: Spot) -> None:
    spot.tower.profile("later", ["sh", "-c", "echo my last words; sleep 1.5; exit 7"])
    spot.tower.profile("felled", ["sh", "-c", "sleep 1.5; kill -TERM $$"])
    spot.tower.template("later", [pane("a", "later"), pane("b", "felled"), pane("c", "idle")])
    layout = spot.make("later")
    rows = layout["panes"]
    dead = ("list-panes", "-s", "-t", f"={layout['tmux_session_name']}", "-F", "#{pane_dead}")
    eventually(lambda: spot.place.tmux(*dead).split() == ["1", "1", "0"])
    spot.tower.cli("container", "scan", check=True)
    first, second, third = (spot.pane(row["pane_id"]) for row in rows)
    assert (first["state"], first["failed_stage"], first["exit_code"]) == ("degraded", "launch_command", 7)
    assert first["exit_signal"] is None
    assert "my last words" in first["last_output"]
    assert "7" in first["reason"]
    assert (second["state"], second["exit_code"], second["exit_signal"]) == ("degraded", None, 15)
    assert third["state"] == "ready"
    assert _of(spot, layout, "degraded") == ("degraded", "launch_command")
    told = spot.events("managed_pane_launch_command_exited", pane_id=first["pane_id"])
    assert 500 <= told[0]["payload"]["elapsed_ms"] < 30_000, "it ran for 1.5 s, and tmux tells whole seconds"
    assert first["exited_at"] < first["observed_at"]
    assert [one["payload"]["exit_code"] for one in told] == [7]
    spot.scan()
    assert len(spot.events("managed_pane_launch_command_exited", pane_id=first["pane_id"])) == 1
    shown = spot.tower.cli("pane", "show", f"{layout['tmux_session_name']}/{first['label']}")
    assert "my last words" in shown.stdout
    assert spot.tower.cli("layout", "wait", layout["layout_id"]).returncode == 3
    done = spot.tower.cli("pane", "restart", first["pane_id"], "--yes", "-l", "idle")
    assert done.returncode == 0, done.stderr
    spot.remove_layout(layout["layout_id"])


def test_the_periodic_reconcile_sees_it_too(quick: Tower) -> None:
    spot = Spot(Place(quick))
    layout = spot.make("one")
    spot.kill(layout["panes"][0])
    eventually(lambda: spot.tower.layout(layout["layout_id"])["state"] == "failed", within=150)
    spot.remove_layout(layout["layout_id"])


def test_the_state_of_a_layout_follows_its_panes_through_everything(spot: Spot) -> None:
    layout_id = spot.accept("three")
    assert spot.tower.layout(layout_id)["state"] == "creating"
    layout = spot.tower.ready(layout_id)
    first, second, third = (row["pane_id"] for row in layout["panes"])
    spot.remove(first)
    assert _of(spot, layout, "ready") == ("ready", None)
    spot.kill(layout["panes"][1])
    spot.scan()
    assert _of(spot, layout, "failed") == ("failed", "recovery_reattach")
    made = spot.tower.call("managed.pane.recreate", predecessor_pane_id=first)["pane_id"]
    assert _of(spot, layout, "creating") == ("creating", None)
    spot.settled(made)
    assert _of(spot, layout, "failed") == ("failed", "recovery_reattach")
    spot.remove(second)
    assert _of(spot, layout, "ready") == ("ready", None)
    spot.remove(third)
    spot.remove(made)
    assert _of(spot, layout, "removed") == ("removed", None)
    told = spot.events("managed_layout_state_changed", layout_id=layout_id)
    after = [one["payload"]["new_state"] for one in told]
    assert after == ["creating", "ready", "failed", "creating", "failed", "ready", "removed"]


# the command line


def _lines(done: Any) -> list[str]:
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def test_layout_commands_with_their_progress_and_exit_statuses(spot: Spot) -> None:
    layout = spot.make("three")
    session = layout["tmux_session_name"]
    done = spot.tower.cli("layout", "remove", session, "--yes")
    assert done.returncode == 0, done.stderr
    for row in layout["panes"]:
        assert f"{row['label']}  removed" in _lines(done)
    assert _lines(done)[-1] == f"layout {layout['layout_id']} is removed"
    done = spot.tower.cli("layout", "rm", layout["layout_id"][:13], "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "removed")
    done = spot.tower.cli("layout", "recreate", session)
    assert done.returncode == 0, done.stderr
    for row in layout["panes"]:
        assert any(line.startswith(f"{row['label']}  creating") for line in _lines(done))
        assert f"{row['label']}  ready" in _lines(done)
    done = spot.tower.cli("layout", "recreate", session)
    assert done.returncode == 0
    assert "nothing to recreate" in done.stdout
    done = spot.tower.cli("layout", "remove", session, "--no-wait", "--yes", "--json")
    assert json.loads(done.stdout)["job_id"] > 0
    eventually(lambda: spot.tower.layout(layout["layout_id"])["state"] == "removed")
    done = spot.tower.cli("layout", "recreate", layout["layout_id"], "--no-wait", "--json")
    assert len(json.loads(done.stdout)["panes"]) == 3
    spot.tower.ready(layout["layout_id"])
    spot.remove_layout(layout["layout_id"])
    for words in (("remove", "nobody"), ("recreate", "nobody"), ("recreate", "00000000-0000-0000-0000-000000000000")):
        done = spot.tower.cli("layout", *words)
        assert done.returncode == 1
        assert "managed_layout_not_found" in done.stderr


def test_pane_commands_with_their_progress_and_exit_statuses(spot: Spot) -> None:
    spot.tower.profile("fails", ["sh", "-c", "exit 3"])
    layout = spot.make("three")
    session, row = layout["tmux_session_name"], layout["panes"][0]
    address = f"{session}/{row['label']}"
    done = spot.tower.cli("pane", "remove", address, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"{row['label']}  removed" in _lines(done)
    done = spot.tower.cli("pane", "recreate", address, "--json")
    made = json.loads(done.stdout)
    assert (done.returncode, made["state"], made["predecessor_id"]) == (0, "ready", row["pane_id"])
    done = spot.tower.cli("pane", "recreate", address)
    assert done.returncode == 1
    assert "managed_pane_illegal_recreate_source" in done.stderr
    done = spot.tower.cli("pane", "restart", address, "--yes")
    assert done.returncode == 0, done.stderr
    shown = _lines(done)
    assert f"{row['label']}  ready" in shown[shown.index(f"{row['label']}  removed") :]
    done = spot.tower.cli("pane", "restart", address, "--yes", "-l", "fails", "--json")
    assert done.returncode == 3, done.stdout
    assert json.loads(done.stdout)["failed_stage"] == "launch_command"
    done = spot.tower.cli("pane", "restart", address, "--yes", "-l", "nobody-knows-it")
    assert done.returncode == 1
    assert "managed_launch_command_not_found" in done.stderr
    spot.remove_layout(layout["layout_id"])


def test_a_restart_that_would_be_refused_kills_nothing(spot: Spot) -> None:
    spot.tower.profile("lacks", ["cat"], env={"X": "${NOBODY_HAS_SET_THIS}"})
    layout = spot.make("one")
    row = layout["panes"][0]
    for profile in ("nobody-knows-it", "lacks"):
        done = spot.tower.cli("pane", "restart", row["pane_id"], "--yes", "-l", profile)
        assert done.returncode == 1
        assert spot.pane(row["pane_id"])["state"] == "ready"
    spot.remove_layout(layout["layout_id"])


def test_timed_out_waiting_is_status_five(spot: Spot) -> None:
    spot.tower.kill("work", signal.SIGSTOP)
    try:
        layout_id = spot.accept("one")
        assert spot.tower.cli("layout", "wait", layout_id, "--timeout", "0.5").returncode == 5
        done = spot.tower.cli("layout", "remove", layout_id, "--yes", "--timeout", "0.5")
        assert done.returncode == 5
    finally:
        spot.tower.kill("work", signal.SIGCONT)
    eventually(lambda: spot.tower.layout(layout_id)["state"] == "removed")


class Terminal:
    """A command that runs on a terminal of the test's own."""

    def __init__(self, spot: Spot, *words: str) -> None:
        self.place = Place(spot.tower)
        self.session = f"tty-{spot.name()}"
        self.status = spot.tower.root / f"{self.session}.status"
        line = shlex.join([sys.executable, "-m", "tower", *words])
        script = f"{line}; echo $? >{self.status}.new; mv {self.status}.new {self.status}; sleep 100"
        environ = [f"{key}={value}" for key, value in spot.tower.environ.items()]
        command = shlex.join(["env", "-u", "TMUX", *environ, f"PYTHONPATH={Path.cwd()}", "sh", "-c", script])
        self.place.tmux("new-session", "-d", "-s", self.session, "-x", "150", "-y", "50", command)

    def shows(self, text: str) -> None:
        """Fails unless that text appears."""
        eventually(lambda: text in self.screen, what=f"{text!r} on the terminal")

    @property
    def screen(self) -> str:
        """What a person sees."""
        return self.place.screen(f"={self.session}:")

    def types(self, *keys: str) -> None:
        """Press keys."""
        self.place.tmux("send-keys", "-t", f"={self.session}:", *keys)

    def ends(self) -> int:
        """The exit status, once there is one."""
        eventually(self.status.exists, what=f"the end of the command; it shows {self.screen}")
        status = int(self.status.read_text())
        self.place.tmux("kill-session", "-t", f"={self.session}")
        return status


@pytest.mark.parametrize("words", [("layout", "remove"), ("pane", "remove"), ("pane", "restart")])
def test_on_a_terminal_it_asks_before_anything_running_is_killed(spot: Spot, words: tuple[str, str]) -> None:
    layout = spot.make("one")
    row = layout["panes"][0]
    named = layout["layout_id"] if words[0] == "layout" else row["pane_id"]
    terminal = Terminal(spot, *words, named)
    terminal.shows(f"kill what runs in {row['label']}?")
    terminal.types("n", "Enter")
    assert terminal.ends() == 1
    assert spot.pane(row["pane_id"])["state"] == "ready"
    terminal = Terminal(spot, *words, named)
    terminal.shows(f"kill what runs in {row['label']}?")
    terminal.types("y", "Enter")
    terminal.shows("ready" if words[1] == "restart" else "is removed")
    assert terminal.ends() == 0
    assert spot.pane(row["pane_id"])["state"] == "removed"
    if words[1] != "restart":
        terminal = Terminal(spot, *words, named)
        assert terminal.ends() == 0, "there is nothing to ask about"
        spot.tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
        layout = spot.tower.ready(layout["layout_id"])
    label = f"{layout['tmux_session_name']}/{row['label']}"
    terminal = Terminal(spot, *words, layout["layout_id"] if words[0] == "layout" else label, "--yes")
    assert terminal.ends() == 0
    spot.remove_layout(layout["layout_id"])


def test_progress_shows_on_a_terminal(spot: Spot) -> None:
    layout = spot.make("three")
    spot.remove_layout(layout["layout_id"])
    terminal = Terminal(spot, "layout", "recreate", layout["layout_id"])
    for row in layout["panes"]:
        terminal.shows(row["label"])
    terminal.shows("3/3")
    assert terminal.ends() == 0
    spot.remove_layout(layout["layout_id"])


def test_a_pane_without_its_log_whose_command_ends_says_so_too(spot: Spot) -> None:
    script = 'while [ ! -e "$0" ]; do sleep 0.1; done; exit 5'
    spot.tower.profile("waits", ["sh", "-c", script, str(spot.place.path("go"))])
    spot.tower.template("waits", [pane("w", "waits")])
    (row,) = spot.make("waits")["panes"]
    Path(row["log_path"]).unlink()
    spot.scan()
    assert spot.pane(row["pane_id"])["failed_stage"] == "log_attach"
    spot.place.path("go").touch()
    eventually(lambda: spot.scan() or spot.pane(row["pane_id"])["exited_at"], what="the end is known")
    after = spot.pane(row["pane_id"])
    assert (after["state"], after["failed_stage"], after["exit_code"]) == ("degraded", "log_attach", 5)
    assert len(spot.events("managed_pane_launch_command_exited", pane_id=row["pane_id"])) == 1
    agent = spot.tower.call("app.agent.detail", agent_id=row["agent_id"])["row"]
    assert agent["pane_active"] is False
    spot.place.path("go").unlink()
    spot.remove(row["pane_id"])
