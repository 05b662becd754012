"""What a person does at a terminal: create, list, show, wait, attach, and read what came of it."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.harness import Place, Tower, eventually, pane
from tests.spots import Spot, quick_tower


@pytest.fixture(scope="module")
def desk() -> Iterator[Spot]:
    """A tower on the host, which the tests of this module share."""
    tower = quick_tower()
    tower.profile("greets", ["sh", "-c", "echo hello from $TOWER_LABEL; exec sleep 1000000"])
    tower.profile("ends", ["sh", "-c", "echo oh no; exit 7"])
    tower.profile("lost", ["sleep", "1"], working_dir="/no/such")
    tower.template("ending", [pane("a", "idle"), pane("b", "ends")])
    tower.template("losing", [pane("a", "lost")])
    try:
        yield Spot(Place(tower.up()))
    finally:
        tower.close()


class Terminal:
    """A terminal of a person: a pane of another tmux server, in which the command runs."""

    def __init__(self, tower: Tower, *words: str) -> None:
        self._tower = tower
        self._tmux = ["tmux", "-u", "-f", "/dev/null", "-L", "terminal"]
        shell = " ".join(["python", "-m", "tower", *words]) + "; echo status $?; sleep 1000000"
        self._run("new-session", "-d", "-x", "110", "-y", "30", "sh", "-c", shell)

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], env=self._tower.environ, capture_output=True, check=True)
        return done.stdout.decode()

    def shows(self, text: str) -> str:
        """The screen, once this is on it."""
        return eventually(lambda: (screen := self.screen()) if text in (screen := self.screen()) else "", what=text)

    def screen(self) -> str:
        """What the person sees."""
        return self._run("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys."""
        self._run("send-keys", *keys)

    def close(self) -> None:
        """Close the terminal's window."""
        self._run("kill-server")


@pytest.fixture
def terminal(desk: Spot) -> Iterator[type[Terminal]]:
    """Terminals, one at a time."""
    try:
        yield Terminal
    finally:
        subprocess.run(["tmux", "-L", "terminal", "kill-server"], env=desk.tower.environ, check=False)


def test_create_tells_each_step_and_ends_with_the_table(desk: Spot) -> None:
    done = desk.tower.cli("layout", "create", "-t", "1m+2s", "-s", "told", "--label-prefix", "told-")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for label in ("told-m1", "told-s1", "told-s2"):
        assert f"{label}  ready" in lines
    assert lines.index("told-m1  ready") < next(n for n, line in enumerate(lines) if line.startswith("LAYOUT"))
    assert "3/3" in done.stdout
    listed = desk.tower.cli("layout", "ls").stdout
    shown = desk.tower.cli("layout", "show", "told").stdout
    assert "told" in listed
    assert all(label in shown for label in ("told-m1", "told-s1", "told-s2"))
    assert desk.tower.cli("layout", "wait", "told", "--until", "ready").returncode == 0


def test_the_exit_status_tells_how_it_ended(desk: Spot) -> None:
    degraded = desk.tower.cli("layout", "create", "-t", "ending", "-s", "ending", "--label-prefix", "e-")
    failed = desk.tower.cli("layout", "create", "-t", "losing", "-s", "losing", "--label-prefix", "l-")
    refused = desk.tower.cli("layout", "create", "-t", "nothing", "-s", "nothing")
    assert (degraded.returncode, failed.returncode, refused.returncode) == (3, 4, 1)
    assert "The launch command ended with status 7" in degraded.stdout
    assert "The working directory '/no/such' cannot be entered" in failed.stdout
    assert "There is no template 'nothing'" in refused.stderr
    assert "managed_template_not_found" in refused.stderr
    assert desk.tower.cli("layout", "wait", "ending", "--until", "ready").returncode == 3


def test_a_role_alone_names_each_of_its_panes(desk: Spot) -> None:
    words = ["layout", "create", "-t", "2m+2s", "-s", "roles", "--label-prefix", "r-", "-l", "slave=idle"]
    made = desk.tower.json(*words, "-l", "master:m2=greets")
    assert [row["launch_command_ref"] for row in made["panes"]] == [None, "greets", "idle", "idle"]


def test_a_role_or_template_that_is_not_there_is_told_as_such(desk: Spot) -> None:
    wrong = desk.tower.cli("layout", "create", "-t", "2m+2s", "-s", "wrong", "-l", "boss=idle")
    assert wrong.returncode == 2
    assert "template 2m+2s has no role 'boss'; its roles are master, slave" in " ".join(wrong.stderr.split())
    missing = desk.tower.cli("layout", "create", "-t", "nothing", "-s", "wrong", "-l", "slave=idle")
    assert missing.returncode == 1
    assert "managed_template_not_found" in missing.stderr


def test_the_same_key_says_that_it_is_there_already(desk: Spot) -> None:
    words = ["layout", "create", "-t", "one", "-s", "keyed", "--label-prefix", "k-", "--idempotency-key", "key-1"]
    assert desk.tower.cli(*words).returncode == 0
    again = desk.tower.cli(*words)
    assert again.returncode == 0
    assert "is there already" in again.stdout


def test_progress_on_a_terminal_ends_in_a_table(desk: Spot, terminal: type[Terminal]) -> None:
    words = ("layout", "create", "-t", "1m+2s", "-s", "drawn", "--label-prefix", "d-", "-l", "slave=greets")
    screen = terminal(desk.tower, *words).shows("status 0")
    assert screen.count("d-m1") == 2, screen
    assert "3/3" in screen


def test_attach_shows_the_agents(desk: Spot, terminal: type[Terminal]) -> None:
    layout = desk.make("1m+2s", launch_command_overrides={"slave:s1": "greets"})
    session = layout["tmux_session_name"]
    window = terminal(desk.tower, "layout", "attach", session)
    screen = window.shows(f"hello from {session}-s1")
    assert f"[{session}]" in screen, "the status line of the session"
    window.press("C-b", "d")
    assert "status 0" in window.shows("detached")
    again = desk.tower.layout(layout["layout_id"])
    assert again["state"] == "ready"


def test_attach_to_a_pane_looks_at_that_pane(desk: Spot, terminal: type[Terminal]) -> None:
    layout = desk.make("1m+2s", launch_command_overrides={"slave:s2": "greets"})
    last = layout["panes"][2]
    terminal(desk.tower, "pane", "attach", last["pane_id"]).shows("hello from")
    active = desk.place.tmux("display-message", "-p", "-t", f"={layout['tmux_session_name']}:", "#{pane_id}").strip()
    assert active == last["tmux_pane_id"]
    plain = desk.tower.cli("layout", "attach", layout["layout_id"])
    assert plain.returncode == 1
    assert "attaching needs a terminal" in plain.stderr
