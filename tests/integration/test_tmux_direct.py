"""The tmux verbs on real tmux: every promise that rests on how tmux itself behaves."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.direct import Direct, Dump, eventually, neighbours, seen_by_id
from tower.errors import TmuxUnavailable
from tower.tmux import FinishPane, Listing, Neighbour, NewPane, Outcome, Overtaken, Remains, Spawn, sending
from tower.tmux.scripts import ARRANGEMENTS

HOSTILE = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "\\",
    "\\\\n",
    "$HOME",
    "`id`",
    "$(id)",
    "#{pane_id}",
    "#(id)",
    "##",
    "#",
    ";",
    "\\;",
    "a;b",
    "{}",
    "{",
    "}",
    "~",
    "%1",
    "%%",
    "*",
    "line\n  # indented\nend",
    "\n",
    "\t",
    "ünïcödé ✓ 漢字 🗼",
    "-x",
    "--",
    "=",
    "!",
    "&&",
    "|",
    "<>",
    "\x1b[31m",
    "\x01\x7f",
    os.fsdecode(bytes(range(1, 256))),
]

CONF = """\
set -g base-index 3
set -g pane-base-index 5
set -g renumber-windows on
set -g automatic-rename on
set -g allow-rename on
set -g default-command 'sleep 77'
set -g default-shell /bin/false
set -g destroy-unattached off
set -g prefix C-a
set -g pane-border-status top
set -g status off
set -g main-pane-width 170
set-hook -g after-new-session 'kill-pane'
set-hook -g after-split-window 'kill-pane'
set-hook -g after-set-hook 'run-shell "echo #{hook_arguments} >>OUTER"'
set-hook -g after-select-layout 'rename-window broken'
set-hook -g after-kill-pane 'run-shell "echo killed >>HOOKS"'
set-hook -g after-pipe-pane 'kill-pane'
set-hook -g after-select-pane 'kill-pane'
set-hook -g after-list-panes 'run-shell "echo listed >>HOOKS"'
set-hook -g after-display-message 'kill-session -t work'
set-hook -g after-load-buffer 'run-shell "echo loaded >>HOOKS"'
set-hook -g after-list-buffers 'run-shell "echo buffers >>HOOKS"'
set-hook -g after-paste-buffer 'run-shell "echo pasted >>HOOKS"'
"""


@pytest.fixture
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tmx", dir="/tmp"))
    yield folder
    eventually(lambda: _removed(folder))


def _removed(folder: Path) -> bool:
    """A pane that just ended may still write there."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: what is known of the bench user is kept there, and costs a login shell."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def direct(root: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Direct]:
    made = Direct(root, TOWER_STATE_DIR=str(state_dir), TOWER_LOGS_MAX_BYTES="4096", TOWER_LOGS_KEEP="2")
    monkeypatch.setenv("TMUX_TMPDIR", str(made.sockets))
    yield made
    made.end()


@pytest.fixture
def layout() -> str:
    return str(uuid.uuid4())


def test_without_a_server_there_is_nothing_and_none_is_started(direct: Direct) -> None:
    assert direct.tmux.listing(direct.deadline()) == Listing.empty()
    assert direct.tmux.settle(direct.deadline()).panes == ()
    assert not direct.tmux.session_exists("work", direct.deadline())
    assert direct.tmux.kill([Remains("x", "%3")], 7, direct.deadline()) == Listing.empty()
    assert direct.tmux.capture(["%1"], direct.deadline()) == {}
    assert direct.tmux.send("%1", None, b"x", True, direct.deadline()).outcome is Outcome.REFUSED
    assert not direct.tmux.restore_socket(direct.deadline())
    assert not list(direct.sockets.rglob("default"))


def test_a_tmux_that_cannot_be_reached_says_why(direct: Direct) -> None:
    folder = direct.sockets / f"tmux-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(TmuxUnavailable, match=r"permissions|unsafe"):
        direct.tmux.listing(direct.deadline())


# spawn


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("count", [1, 3, 16])
def test_a_new_session_has_its_panes_in_order(direct: Direct, layout: str, count: int, arrangement: str) -> None:
    panes = [direct.pane(slot, layout) for slot in range(count)]
    listing = direct.spawn(panes, arrangement=arrangement)
    seen = sorted(listing.panes, key=lambda pane: pane.pane_index)
    assert [pane.pane_id for pane in seen] == [pane.pane_id for pane in panes]
    assert [pane.marker for pane in seen] == [pane.marker for pane in panes]
    assert {(pane.session_name, pane.instance, pane.layout_id) for pane in seen} == {("work", direct.instance, layout)}
    assert not any(pane.dead for pane in direct.tmux.settle(direct.deadline()).panes)
    active = direct.sh("display-message", "-p", "-t", "=work:", "#{@tower_pane} #{window_name}").split()
    assert active == [panes[0].pane_id, "work"]
    assert listing.fence == direct.fence
    assert listing.messages == ()


@pytest.mark.parametrize("chosen", ["", "set -g main-pane-width 40"])
def test_the_main_pane_is_wide_enough_for_whoever_attaches(direct: Direct, layout: str, chosen: str) -> None:
    direct.begin("")
    if chosen:
        direct.sh(*chosen.split())
    panes = [direct.pane(slot, layout) for slot in range(3)]
    direct.spawn(panes, arrangement="main-vertical")
    assert direct.sh("show-options", "-wv", "-t", "=work:", "main-pane-width").strip() == ("40" if chosen else "110")
    direct.sh("resize-window", "-t", "=work:", "-x", "80", "-y", "24")
    widths = direct.sh("list-panes", "-t", "=work:", "-F", "#{pane_width}").split()
    assert chosen or int(widths[0]) >= 38


def test_the_operators_tmux_conf_changes_nothing(direct: Direct, layout: str) -> None:
    hooks, outer = direct.root / "hooks", direct.root / "outer"
    conf = direct.root / "hostile.conf"
    conf.write_text(CONF.replace("HOOKS", str(hooks)).replace("OUTER", str(outer)))
    direct.begin("")
    assert direct.client("source-file", str(conf)).returncode == 0
    pane, out = direct.dumping(0, layout, env={"MINE": "secret-value"}, log_path=str(direct.root / "log"))
    listing = direct.spawn([pane, *(direct.pane(slot, layout) for slot in range(1, 16))], arrangement="main-vertical")
    assert len(seen_by_id(listing)) == 16
    assert seen_by_id(listing)[pane.pane_id].piped
    assert Dump(out).env[b"MINE"] == b"secret-value"
    finishing = [FinishPane(one.pane_id, one.tmux_pane_id, "done") for one in seen_by_id(listing).values()]
    assert {one.title for one in direct.tmux.finish(finishing, 90, direct.deadline()).panes if one.pane_id} == {"done"}
    assert direct.sh("list-windows", "-t", "=work:", "-F", "#{window_name} #{window_index}") == "work 3\n"
    sent = direct.tmux.send(finishing[1].tmux_pane_id, finishing[1].pane_id, b"x", True, direct.deadline())
    assert sent.outcome is Outcome.DELIVERED
    assert not hooks.exists()
    assert not outer.exists() or "secret-value" not in outer.read_text()


def test_a_server_that_the_tower_starts_reads_the_operators_conf(
    direct: Direct, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = direct.root / "tmux.conf"
    hostile = [line for line in CONF.splitlines() if "HOOKS" not in line]
    conf.write_text(
        "\n".join([*hostile, "set -g no-such-option on", "set -s exit-unattached on", "set -g destroy-unattached on"])
    )
    monkeypatch.setattr(direct.bench, "tmux_command", lambda: ["tmux", "-u", "-f", str(conf)])
    direct.spawn([direct.pane(slot, layout) for slot in range(3)])
    time.sleep(0.3)
    assert len(seen_by_id(direct.tmux.listing(direct.deadline()))) == 3
    assert direct.sh("list-windows", "-a", "-F", "#{window_name} #{window_index}") == "work 3\n"


@pytest.mark.parametrize("line", ["set -g destroy-unattached on", "set -s exit-unattached on"])
def test_a_server_that_would_end_without_a_client_stays(direct: Direct, layout: str, line: str) -> None:
    direct.begin("")
    with direct.attached("own"):
        direct.sh(*line.split())
        direct.spawn([direct.pane(0, layout), direct.pane(1, layout)])
    time.sleep(0.3)
    assert len(seen_by_id(direct.tmux.listing(direct.deadline()))) == 2


def test_a_session_of_somebody_else_is_left_alone(direct: Direct, layout: str) -> None:
    direct.begin("")
    before = direct.sh("list-panes", "-a", "-F", "#{pane_id} #{pane_pid} #{window_layout}")
    listing = direct.spawn([direct.pane(0, layout), direct.pane(1, layout)], session="own")
    assert seen_by_id(listing) == {}
    assert {pane.layout_id for pane in listing.panes} == {""}
    assert direct.sh("list-panes", "-a", "-F", "#{pane_id} #{pane_pid} #{window_layout}") == before
    assert direct.tmux.session_exists("own", direct.deadline())
    assert not direct.tmux.session_exists("ow", direct.deadline())


def test_a_name_that_is_a_prefix_of_another_session_is_free(direct: Direct, layout: str) -> None:
    direct.begin("")
    assert len(seen_by_id(direct.spawn([direct.pane(0, layout)], session="ow"))) == 1


def test_a_spawn_that_runs_twice_makes_nothing_twice(direct: Direct, layout: str) -> None:
    panes = [direct.pane(slot, layout) for slot in range(3)]
    first = direct.spawn(panes[:2])
    assert seen_by_id(direct.spawn(panes)).keys() == {pane.pane_id for pane in panes}
    again = direct.spawn(panes)
    assert len(again.panes) == 3
    assert {pane.pid for pane in first.panes} < {pane.pid for pane in again.panes}


def test_an_unknown_arrangement_never_reaches_tmux(direct: Direct, layout: str) -> None:
    with pytest.raises(ValueError, match="spiral"):
        direct.spawn([direct.pane(0, layout)], arrangement="spiral")


@pytest.mark.parametrize("missing", [{0}, {2}, {1, 2}, {0, 3}, {3, 4}, {0, 1, 2, 3}, {0, 2, 4}])
def test_new_panes_of_a_living_session_stand_in_their_slots(direct: Direct, layout: str, missing: set[int]) -> None:
    panes = [direct.pane(slot, layout) for slot in range(5)]
    there = seen_by_id(direct.spawn(panes))
    left = direct.kill(*(there[panes[slot].pane_id] for slot in missing))
    direct.sh("new-window", "-t", "=work:", "sleep 300")
    made = [direct.pane(slot, layout) for slot in missing]
    listing = direct.spawn(made, neighbours=neighbours(left, panes))
    wanted = {pane.slot: pane.pane_id for pane in [*panes, *made]}
    seen = sorted((pane for pane in listing.panes if pane.pane_id), key=lambda pane: pane.pane_index)
    assert [pane.pane_id for pane in seen] == [wanted[slot] for slot in range(5)]
    assert len({pane.window_index for pane in seen}) == 1


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_window_of_the_operators_is_left_alone_where_no_pane_of_the_layout_is_left(
    direct: Direct, layout: str, arrangement: str
) -> None:
    panes = [direct.pane(slot, layout) for slot in range(4)]
    first = direct.spawn(panes, arrangement=arrangement)
    size = ("list-panes", "-s", "-t", "=work", "-f", "#{@tower_pane}", "-F", "#{pane_width}x#{pane_height}")
    shape = direct.sh(*size)
    direct.sh("new-window", "-t", "=work:5", "-n", "mine", "sleep 300")
    direct.sh("split-window", "-t", "=work:5", "-l", "10", "sleep 300")
    known = neighbours(first, panes)
    direct.kill(*seen_by_id(first).values())
    look = ("list-panes", "-t", "=work:5", "-F", "#{pane_id} #{pane_pid} #{pane_active} #{window_layout}")
    before = direct.sh(*look)
    made = [direct.pane(slot, layout) for slot in range(4)]
    for _ in range(2):
        listing = direct.spawn(made, arrangement=arrangement, neighbours=known)
        assert direct.sh(*look) == before
        seen = sorted((pane for pane in listing.panes if pane.pane_id), key=lambda pane: pane.pane_index)
        assert [pane.pane_id for pane in seen] == [pane.pane_id for pane in made]
        assert {pane.window_index for pane in seen} == {6}
        assert len(listing.panes) == 6, "no blank pane is left"
    assert direct.sh(*size) == shape
    assert direct.sh("display-message", "-p", "-t", "=work:", "#{window_index}").strip() == "5", "the focus stays"
    names = direct.sh("list-windows", "-t", "=work", "-F", "#{window_name} #{automatic-rename}").splitlines()
    assert names == ["mine 0", "work 0"]
    top = direct.sh("display-message", "-p", "-t", "=work:6.", "#{@tower_pane}").strip()
    assert top == made[0].pane_id


def test_a_window_that_cannot_be_filled_goes_and_the_operators_stays_as_it_is(direct: Direct, layout: str) -> None:
    there = direct.spawn([direct.pane(0, layout)]).panes
    direct.sh("new-window", "-t", "=work:", "sleep 300")
    direct.sh("split-window", "-h", "-t", "=work:", "sleep 300")
    direct.kill(*there)
    direct.sh("set-option", "-t", "=work:", "default-size", "1x1")
    look = ("list-panes", "-a", "-F", "#{session_name} #{pane_id} #{pane_active} #{window_layout}")
    before = direct.sh(*look)
    listing = direct.spawn([direct.pane(slot, layout) for slot in range(2)])
    assert seen_by_id(listing) == {}
    assert any("no space" in word for word in listing.messages)
    assert direct.sh(*look) == before


def test_a_pane_of_another_layout_is_no_place_for_this_one(direct: Direct, layout: str) -> None:
    other = direct.pane(0, str(uuid.uuid4()))
    mine = direct.spawn([direct.pane(0, layout)]).panes[0]
    direct.spawn([other], session="other")
    guest = seen_by_id(direct.tmux.listing(direct.deadline()))[other.pane_id].tmux_pane_id
    direct.sh("join-pane", "-d", "-s", guest, "-t", mine.tmux_pane_id)
    listing = direct.kill(mine)
    assert not listing.has_other_session("work", layout), "the session is still this layout's"
    assert listing.has_other_session("work", other.layout_id)
    made = direct.pane(0, layout)
    seen = seen_by_id(direct.spawn([made]))
    assert {pane.session_name for pane in seen.values()} == {"work"}
    assert seen[made.pane_id].window_index != seen[other.pane_id].window_index


def test_the_focus_of_an_operator_does_not_move(direct: Direct, layout: str) -> None:
    panes = [direct.pane(slot, layout) for slot in range(4)]
    there = seen_by_id(direct.spawn(panes))
    left = direct.kill(there[panes[1].pane_id], there[panes[3].pane_id])
    looked_at = there[panes[2].pane_id].tmux_pane_id
    direct.sh("select-pane", "-t", looked_at)
    direct.spawn([direct.pane(1, layout), direct.pane(3, layout)], neighbours=neighbours(left, panes))
    assert direct.sh("display-message", "-p", "-t", "=work:", "#{pane_id}").strip() == looked_at


def test_a_pane_that_is_gone_is_not_mistaken_for_what_an_operator_looks_at(direct: Direct, layout: str) -> None:
    """tmux expands a format for an attached client's own pane where the target does not exist."""
    direct.begin("")
    with direct.attached("own"):
        there = direct.spawn([direct.pane(0, layout)]).panes
        assert len(there) == 2
        assert direct.tmux.send("%99", None, b"x", True, direct.deadline()).reason == "the pane is gone"
        assert direct.tmux.capture(["%99"], direct.deadline()) == {}
        assert not direct.tmux.attach_log("%99", str(direct.root / "log"), direct.deadline())
        direct.sh("switch-client", "-t", "=work:")
        made = direct.pane(1, layout)
        gone = (Neighbour(0, there[1].pane_id, "%99"),)
        assert made.pane_id in seen_by_id(direct.spawn([made], neighbours=gone))
        assert len(direct.tmux.kill([Remains(there[1].pane_id, "%99")], 50, direct.deadline()).panes) == 3


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_an_attached_operator_keeps_the_session_and_the_focus(direct: Direct, layout: str, arrangement: str) -> None:
    """A terminal of 80x24 makes the window as small."""
    panes = [direct.pane(slot, layout) for slot in range(16)]
    there = seen_by_id(direct.spawn(panes, arrangement=arrangement))
    with direct.attached("work") as terminal:
        looked_at = there[panes[9].pane_id].tmux_pane_id
        direct.sh("select-pane", "-t", looked_at)
        left = direct.kill(*(there[panes[slot].pane_id] for slot in (0, 8, 15)))
        made = [direct.pane(slot, layout) for slot in (0, 8, 15)]
        listing = direct.spawn(made, arrangement=arrangement, neighbours=neighbours(left, panes))
        assert len(seen_by_id(listing)) == 16, listing.messages
        assert terminal.poll() is None
        assert direct.sh("list-clients", "-F", "#{pane_id}").strip() == looked_at


def test_a_neighbour_that_is_gone_or_another_does_not_matter(direct: Direct, layout: str) -> None:
    panes = [direct.pane(slot, layout) for slot in range(3)]
    known = neighbours(direct.spawn(panes), panes)
    direct.end()
    direct.spawn([direct.pane(0, str(uuid.uuid4()))], session="other")
    made = [direct.pane(slot, layout) for slot in range(3)]
    seen = [pane for pane in direct.spawn(made, neighbours=known).panes if pane.layout_id == layout]
    assert {pane.session_name for pane in seen} == {"work"}
    assert [pane.pane_id for pane in sorted(seen, key=lambda pane: pane.pane_index)] == [one.pane_id for one in made]


def test_remains_are_killed_first_and_only_if_they_are(direct: Direct, layout: str) -> None:
    panes = [direct.pane(slot, layout) for slot in range(2)]
    there = seen_by_id(direct.spawn(panes))
    wrong = Remains("somebody-else", there[panes[1].pane_id].tmux_pane_id)
    gone = Remains(panes[1].pane_id, "%99")
    right = Remains(panes[0].pane_id, there[panes[0].pane_id].tmux_pane_id)
    made = direct.pane(0, layout)
    listing = direct.spawn([made], remains=(wrong, gone, right))
    assert seen_by_id(listing).keys() == {panes[1].pane_id, made.pane_id}


def test_a_session_whose_last_pane_is_remains_is_made_anew(direct: Direct, layout: str) -> None:
    old = direct.pane(0, layout)
    there = seen_by_id(direct.spawn([old]))[old.pane_id]
    new = direct.pane(0, layout)
    listing = direct.spawn([new], remains=(Remains(old.pane_id, there.tmux_pane_id),))
    assert [pane.pane_id for pane in listing.panes] == [new.pane_id]


def test_no_scan_sees_a_pane_without_its_marker(direct: Direct) -> None:
    direct.begin("")
    over, unmarked = threading.Event(), list[str]()

    def scan() -> None:
        while not over.is_set():
            lines = direct.sh("list-panes", "-a", "-F", "#{session_name}|#{@tower_pane}|#{@tower_marker}").splitlines()
            unmarked.extend(line for line in lines if not line.startswith("own|") and not all(line.split("|")))

    scanner = threading.Thread(target=scan)
    scanner.start()
    try:
        for turn in range(8):
            layout = str(uuid.uuid4())
            direct.spawn([direct.pane(slot, layout) for slot in range(4)], session=f"work{turn}")
    finally:
        over.set()
        scanner.join()
    assert unmarked == []


# the fence


def test_a_lower_claim_does_nothing(direct: Direct, layout: str) -> None:
    pane = direct.pane(0, layout)
    high = 2**50
    direct.tmux.spawn(Spawn(layout, "work", "tiled", (pane,), (), ()), high, direct.deadline())
    before = direct.tmux.listing(direct.deadline())
    assert before.fence == high
    there = before.panes[0]
    low = Spawn(layout, "late", "tiled", (direct.pane(1, layout),), (), ())
    with pytest.raises(Overtaken) as caught:
        direct.tmux.spawn(low, high - 1, direct.deadline())
    assert caught.value.seen_fence == high
    with pytest.raises(Overtaken):
        direct.tmux.kill([Remains(there.pane_id, there.tmux_pane_id)], high - 1, direct.deadline())
    with pytest.raises(Overtaken):
        direct.tmux.finish([FinishPane(there.pane_id, there.tmux_pane_id, "x")], high - 1, direct.deadline())
    assert direct.tmux.listing(direct.deadline()) == before
    assert direct.tmux.kill([], high, direct.deadline()).fence == high


# what the program gets


def test_argv_env_and_directory_arrive_byte_for_byte(direct: Direct, layout: str) -> None:
    env = {f"HOSTILE_{number}": value for number, value in enumerate(HOSTILE)}
    folder = direct.root / "a b'\"\\$HOME`#{pane_id}#(id);~%%\n  # ü✓"
    folder.mkdir()
    pane, out = direct.dumping(0, layout, *HOSTILE, env=env, working_dir=str(folder))
    direct.spawn([pane])
    dump = Dump(out)
    assert dump.argv == [os.fsencode(word) for word in HOSTILE]
    assert {key: dump.env[key.encode()] for key in env} == {key: os.fsencode(value) for key, value in env.items()}
    assert dump.cwd == os.fsencode(folder)


def test_a_large_environment_arrives(direct: Direct, layout: str) -> None:
    env = {f"LARGE_{number}": "ü#" * 20_000 for number in range(4)}
    pane, out = direct.dumping(0, layout, env=env)
    direct.spawn([pane])
    dump = Dump(out)
    assert {key: dump.env[key.encode()].decode() for key in env} == env


def test_a_pane_has_the_bench_users_environment_and_its_own(direct: Direct, layout: str) -> None:
    direct.begin("set -g default-terminal tmux-256color")
    pane, out = direct.dumping(0, layout, env={"MINE": "1"})
    other, other_out = direct.dumping(1, layout, env={"PATH": "/usr/bin:/mine", "SHELL": "/bin/mine", "TERM": "vt100"})
    direct.spawn([pane, other])
    env, facts = Dump(out).env, direct.bench.facts(direct.deadline())
    names = {"PATH": facts.path, "SHELL": facts.shell, "HOME": facts.home, "USER": facts.user, "LANG": facts.locale}
    names |= {"TERM": "tmux-256color", "MINE": "1", "TOWER_PANE_ID": pane.pane_id, "TOWER_LAYOUT_ID": layout}
    names |= {"TOWER_LABEL": "s0", "TOWER_ROLE": "slave"}
    assert {name: env[name.encode()].decode() for name in names} == names
    towers = {b"TOWER_PANE_ID", b"TOWER_LAYOUT_ID", b"TOWER_LABEL", b"TOWER_ROLE"}
    assert {name for name in env if name.startswith(b"TOWER_")} == towers
    theirs = Dump(other_out).env
    assert [theirs[name] for name in (b"PATH", b"SHELL", b"TERM")] == [b"/usr/bin:/mine", b"/bin/mine", b"vt100"]
    assert b"MINE" not in theirs


def test_without_a_directory_it_starts_at_home_and_a_relative_one_is_below(direct: Direct, layout: str) -> None:
    pane, out = direct.dumping(0, layout)
    other, other_out = direct.dumping(1, layout, working_dir=".")
    direct.spawn([pane, other])
    home = os.path.realpath(direct.bench.facts(direct.deadline()).home).encode()
    assert Dump(out).cwd == home
    assert Dump(other_out).cwd == home


def test_values_of_env_show_nowhere_else(direct: Direct, layout: str) -> None:
    secret = f"tower-secret-{uuid.uuid4().hex}"
    direct.begin("set -s message-limit 77")
    pane, out = direct.dumping(0, layout, env={"API_KEY": secret})
    other, other_out = direct.dumping(1, layout)
    plan = Spawn(layout, "work", "tiled", (pane, other), (), ())
    assert secret not in repr(plan)
    listing = direct.tmux.spawn(plan, 5, direct.deadline())
    assert Dump(out).env[b"API_KEY"] == secret.encode()
    assert b"API_KEY" not in Dump(other_out).env
    outputs = [["show-environment", "-g"], ["show-environment", "-t", "=work:"], ["show-messages"], ["list-buffers"]]
    outputs += [["show-options", "-g"], ["show-options", "-s"], ["show-options", "-t", "=work:"]]
    outputs += [["show-options", "-p", "-t", seen.tmux_pane_id] for seen in listing.panes]
    outputs += [["list-panes", "-a", "-F", "#{pane_start_command}#{pane_current_command}"]]
    with direct.attached("own"):
        direct.sh("set-option", "-g", "@noted", "by the message log")
        assert "by the message log" in direct.sh("show-messages")
        assert not [words for words in outputs if secret in direct.sh(*words)]
    assert direct.sh("show-options", "-sv", "message-limit") == "77\n"
    assert not [p.pid for p in psutil.process_iter() if secret in " ".join(_cmdline(p))]


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return []


def test_without_argv_it_is_the_login_shell(direct: Direct, layout: str) -> None:
    pane = direct.pane(0, layout, argv=())
    there = direct.spawn([pane]).panes[0]
    facts = direct.bench.facts(direct.deadline())
    eventually(lambda: psutil.Process(there.pid).cmdline() == [facts.shell, "-l"])
    assert not direct.tmux.settle(direct.deadline()).panes[0].dead


# how it ends


def _settled(direct: Direct, panes: list[NewPane]) -> dict[str, tuple[int | None, int | None, str]]:
    """Exit code, signal and mark of each, once all are dead."""

    def look() -> Listing | None:
        listing = direct.tmux.settle(direct.deadline())
        return listing if all(pane.dead for pane in listing.panes) else None

    listing = eventually(look)
    assert listing is not None
    there = seen_by_id(listing)
    return {
        pane.label: (there[pane.pane_id].exit_code, there[pane.pane_id].exit_signal, there[pane.pane_id].failed_mark)
        for pane in panes
    }


def test_how_a_command_ended_is_told_exactly(direct: Direct, layout: str) -> None:
    plain = direct.root / "plain"
    plain.write_text("no program")
    cases: dict[str, tuple[list[str], str | None]] = {
        "ok": (["true"], None),
        "seven": (["sh", "-c", "exit 7"], None),
        "own127": (["sh", "-c", "exit 127"], None),
        "own126": (["sh", "-c", "exit 126"], None),
        "own125": (["sh", "-c", "exit 125"], None),
        "killed": (["sh", "-c", "kill -9 $$"], None),
        "missing": (["no-such-program"], None),
        "missing path": (["/no/such program", "x"], None),
        "plain": ([str(plain)], None),
        "folder": ([str(direct.root)], None),
        "nowhere": (["true"], "/no/such/dir"),
        "file": (["true"], str(plain)),
    }
    panes = [
        direct.pane(slot, layout, *argv, label=label, working_dir=folder)
        for slot, (label, (argv, folder)) in enumerate(cases.items())
    ]
    direct.spawn(panes)
    assert _settled(direct, panes) == {
        "ok": (0, None, ""),
        "seven": (7, None, ""),
        "own127": (127, None, ""),
        "own126": (126, None, ""),
        "own125": (125, None, ""),
        "killed": (None, 9, ""),
        "missing": (127, None, "exec:127"),
        "missing path": (127, None, "exec:127"),
        "plain": (126, None, "exec:126"),
        "folder": (126, None, "exec:126"),
        "nowhere": (125, None, "working_dir"),
        "file": (125, None, "working_dir"),
    }


def test_exit_codes_are_never_wrong(direct: Direct) -> None:
    for turn in range(5):
        layout = str(uuid.uuid4())
        panes = [direct.pane(slot, layout, "sh", "-c", f"exit {slot + 1}", label=str(slot + 1)) for slot in range(12)]
        direct.spawn(panes, session=f"work{turn}")
        ended = _settled(direct, panes)
        assert ended == {str(slot + 1): (slot + 1, None, "") for slot in range(12)}


def test_what_a_dead_pane_printed_last_stays_readable(direct: Direct, layout: str) -> None:
    text = "i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo line-$i; done; printf 'ünd ✓ end'; sleep 0.3"
    short = "echo tower-; sleep 0.3; exit 3"
    panes = [direct.pane(0, layout, "sh", "-c", text), direct.pane(1, layout, "sh", "-c", short)]
    there = seen_by_id(direct.spawn(panes))
    _settled(direct, panes)
    ids = [there[pane.pane_id].tmux_pane_id for pane in panes]
    pages = direct.tmux.capture([*ids, "%99"], direct.deadline())
    assert pages.keys() == set(ids)
    assert pages[ids[0]].splitlines() == [*(f"line-{number}" for number in range(152, 201)), "ünd ✓ end"]
    assert pages[ids[1]] == "tower-"


# kill and finish


def test_kill_closes_that_pane_only(direct: Direct, layout: str) -> None:
    panes = [direct.pane(slot, layout, log_path=str(direct.root / f"log-{slot}")) for slot in range(3)]
    there = seen_by_id(direct.spawn(panes))
    listing = direct.kill(there[panes[1].pane_id])
    left = seen_by_id(listing)
    assert left.keys() == {panes[0].pane_id, panes[2].pane_id}
    assert all(pane.piped for pane in left.values())
    assert all(left[key].pid == there[key].pid for key in left)
    assert direct.kill(there[panes[1].pane_id]).panes == listing.panes
    assert direct.kill(*left.values()).panes == ()
    assert not direct.tmux.session_exists("work", direct.deadline())


def test_kill_spares_a_pane_that_is_not_ours(direct: Direct, layout: str) -> None:
    pane = direct.pane(0, layout)
    there = direct.spawn([pane]).panes[0]
    direct.sh("set-option", "-p", "-t", there.tmux_pane_id, "@tower_instance", "another-tower")
    assert len(direct.kill(there).panes) == 1
    direct.sh("set-option", "-p", "-t", there.tmux_pane_id, "@tower_instance", direct.instance)
    assert direct.kill(there).panes == ()


def test_finish_takes_the_marker_off_and_sets_the_title(direct: Direct, layout: str) -> None:
    panes = [direct.pane(slot, layout) for slot in range(3)]
    there = seen_by_id(direct.spawn(panes))
    finishing = [
        FinishPane(panes[1].pane_id, there[panes[1].pane_id].tmux_pane_id, "#{pane_id} #H ü;"),
        FinishPane("another", there[panes[2].pane_id].tmux_pane_id, "no"),
        FinishPane(panes[0].pane_id, "%99", "no"),
    ]
    seen = seen_by_id(direct.tmux.finish(finishing, 50, direct.deadline()))
    assert [seen[pane.pane_id].marker for pane in panes] == ["marker-0", "", "marker-2"]
    assert seen[panes[1].pane_id].title == "#{pane_id} #H ü;"
    assert "no" not in [pane.title for pane in seen.values()]
    assert direct.sh("display-message", "-p", "-t", "=work:", "#{@tower_pane}").strip() == panes[0].pane_id


def test_hostile_names_and_titles_do_not_break_the_listing(direct: Direct, layout: str) -> None:
    pane = direct.pane(0, layout)
    there = direct.spawn([pane]).panes[0]
    title = "3:abc tower-pane 4:%%99 | #{pane_id} ünd ✓"
    direct.sh("select-pane", "-t", there.tmux_pane_id, "-T", title.replace("#", "##"))
    direct.sh("new-session", "-d", "-s", "tower-pane 2:%1 ü ✓", "sleep 300")
    direct.sh("new-session", "-d", "-t", "=work:", "-s", "aa-grouped")
    listing = direct.tmux.listing(direct.deadline())
    assert len(listing.panes) == 2
    assert (listing.panes[0].session_name, listing.panes[0].pane_id) == ("work", pane.pane_id)
    assert listing.panes[0].title == title
    assert "ü ✓" in listing.panes[1].session_name
    assert listing.server == f"{listing.server_pid}:{listing.server_start}"
    assert listing.socket_path == str(direct.sockets / f"tmux-{os.getuid()}" / "default")


# logs


def test_a_log_has_the_first_byte_and_every_one_after(direct: Direct, layout: str) -> None:
    name = f"{direct.root}/it's a #{{pane_id}} 100%H%%"
    panes = [
        direct.pane(slot, layout, "sh", "-c", f"printf first-{slot}; sleep 300", log_path=f"{name} {slot}")
        for slot in range(12)
    ]
    direct.spawn(panes)
    for pane in panes:
        file = Path(pane.log_path or "")
        eventually(lambda file=file: file.exists() and file.stat().st_size)  # type: ignore[misc]
        assert file.read_text() == f"first-{pane.slot}"
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_log_shows_output_at_once_and_is_appended_to(direct: Direct, layout: str) -> None:
    file = direct.root / "new folder" / "log"
    pane = direct.pane(0, layout, "cat", log_path=str(file))
    there = direct.spawn([pane]).panes[0]
    for number in range(3):
        direct.sh("send-keys", "-t", there.tmux_pane_id, f"word{number}", "Enter")
        eventually(lambda number=number: file.exists() and file.read_text().count(f"word{number}") == 2)  # type: ignore[misc]
    direct.kill(there)
    before = file.read_text()
    direct.spawn([direct.pane(0, layout, "echo", "again", log_path=str(file))])
    eventually(lambda: file.read_text() == f"{before}again\n")


def test_a_log_is_bounded_while_it_is_written(direct: Direct, layout: str) -> None:
    file = direct.root / "log"
    text = "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo line-$i; done; exec sleep 300"
    direct.spawn([direct.pane(0, layout, "sh", "-c", text, log_path=str(file))])
    files = [file, *(file.with_name(f"log.{number}") for number in (1, 2, 3))]
    largest = 0

    def ended() -> bool:
        nonlocal largest
        largest = max([largest, *(one.stat().st_size for one in files if one.exists())])
        return "line-3000" in _joined(files)

    eventually(ended)
    assert largest <= 4096
    assert not files[3].exists()
    lines = _joined(files).splitlines()[1:]
    assert lines == [f"line-{number}" for number in range(3001 - len(lines), 3001)]
    assert len(lines) > 400


def _joined(files: list[Path]) -> str:
    """A log with its older files before it; empty while they are being moved."""
    try:
        return b"".join(one.read_bytes() for one in reversed(files) if one.exists()).decode()
    except FileNotFoundError:
        return ""


def test_a_log_that_cannot_be_written_shows(direct: Direct, layout: str) -> None:
    panes = [direct.pane(0, layout, log_path="/proc/no/log"), direct.pane(1, layout, log_path=str(direct.root / "log"))]
    direct.spawn(panes)

    def piped() -> list[bool]:
        there = seen_by_id(direct.tmux.listing(direct.deadline()))
        return [there[pane.pane_id].piped for pane in panes]

    eventually(lambda: piped() == [False, True])


# input

READER = """\
import os, sys, termios, time, tty
tty.setraw(0, termios.TCSANOW)
os.write(1, sys.argv[2].encode() + b"ready")
got = b""
with open(sys.argv[1], "wb", buffering=0) as out:
    while True:
        out.write(os.read(0, 65536))
"""


def _reader(direct: Direct, layout: str, first: str = "") -> tuple[NewPane, str, Path]:
    script, out = direct.root / "reader.py", direct.root / f"read-{uuid.uuid4().hex}"
    script.write_text(READER)
    pane = direct.pane(0, layout, sys.executable, str(script), str(out), first)
    there = seen_by_id(direct.spawn([pane], session=f"r{out.name[-6:]}"))[pane.pane_id]
    eventually(lambda: "ready" in direct.sh("capture-pane", "-p", "-t", there.tmux_pane_id))
    return pane, there.tmux_pane_id, out


@pytest.mark.parametrize("bracketed", [False, True])
def test_text_arrives_as_it_was_sent(direct: Direct, layout: str, bracketed: bool) -> None:
    pane, target, out = _reader(direct, layout, "\x1b[?2004h" if bracketed else "")
    text = "two\nlines; #{pane_id} 'ü' ✓ \\".encode() + bytes(range(1, 27)) + b"x" * 150_000
    start, end = (b"\x1b[200~", b"\x1b[201~") if bracketed else (b"", b"")
    sent = direct.tmux.send(target, pane.pane_id, text, True, direct.deadline())
    assert sent.outcome is Outcome.DELIVERED
    assert eventually(lambda: out.read_bytes().endswith(b"\r") and out.read_bytes()) == start + text + end + b"\r"
    assert direct.tmux.send(target, None, b"more", False, direct.deadline()).outcome is Outcome.DELIVERED
    eventually(lambda: out.read_bytes().endswith(b"\r" + start + b"more" + end))
    assert direct.tmux.send(target, None, b"", True, direct.deadline()).outcome is Outcome.DELIVERED
    eventually(lambda: out.read_bytes().endswith(b"more" + end + b"\r"))
    assert direct.sh("list-buffers") == ""


def test_a_text_whose_sender_died_half_way_is_not_pasted(direct: Direct, layout: str) -> None:
    pane, target, out = _reader(direct, layout)
    tmux = [direct.bench.facts(direct.deadline()).tmux, *direct.bench.tmux_command()[1:]]
    words = sending.arguments(tmux, target, pane.pane_id, b"whole text", enter=True)
    assert direct.bench.run(words, stdin=b"whole", deadline=direct.deadline()).status != 0
    assert direct.sh("list-buffers") == ""
    assert direct.tmux.send(target, pane.pane_id, b"next", True, direct.deadline()).outcome is Outcome.DELIVERED
    eventually(lambda: out.read_bytes() == b"next\r")


def test_copy_mode_is_left_first(direct: Direct, layout: str) -> None:
    pane, target, out = _reader(direct, layout)
    direct.sh("copy-mode", "-t", target)
    assert direct.sh("display-message", "-p", "-t", target, "#{pane_in_mode}").strip() == "1"
    assert direct.tmux.send(target, pane.pane_id, b"hello", True, direct.deadline()).outcome is Outcome.DELIVERED
    eventually(lambda: out.read_bytes() == b"hello\r")
    assert direct.sh("display-message", "-p", "-t", target, "#{pane_in_mode}").strip() == "0"


def test_siblings_get_nothing_of_it_when_panes_are_synchronized(direct: Direct, layout: str) -> None:
    pane, target, out = _reader(direct, layout)
    direct.sh("split-window", "-d", "-t", target, "cat")
    direct.sh("set-option", "-w", "-t", target, "synchronize-panes", "on")
    direct.tmux.send(target, pane.pane_id, b"hello", True, direct.deadline())
    eventually(lambda: out.read_bytes() == b"hello\r")
    assert direct.sh("capture-pane", "-p", "-t", f"{target}.{{next}}").strip() == ""


def test_a_pane_that_cannot_take_text_is_refused(direct: Direct, layout: str) -> None:
    pane, target, out = _reader(direct, layout)
    other = direct.tmux.send(target, "another", b"x", True, direct.deadline())
    assert other.outcome is Outcome.REFUSED
    assert "not the pane" in other.reason
    direct.sh("select-pane", "-d", "-t", target)
    assert "switched off" in direct.tmux.send(target, pane.pane_id, b"x", True, direct.deadline()).reason
    direct.sh("select-pane", "-e", "-t", target)
    assert out.read_bytes() == b""
    direct.sh("send-keys", "-t", target, "x")
    eventually(lambda: out.read_bytes() == b"x")
    psutil.Process(direct.tmux.listing(direct.deadline()).panes[0].pid).kill()
    eventually(lambda: direct.tmux.listing(direct.deadline()).panes[0].dead)
    assert "ended" in direct.tmux.send(target, pane.pane_id, b"x", True, direct.deadline()).reason
    assert direct.tmux.send("%99", None, b"x", True, direct.deadline()).reason == "the pane is gone"
    assert direct.sh("list-buffers") == ""


def test_a_pane_that_ends_before_enter_makes_it_unknown(direct: Direct, layout: str) -> None:
    pane = direct.pane(0, layout, "sh", "-c", "stty raw; head -c 1 >/dev/null")
    there = direct.spawn([pane]).panes[0]
    eventually(lambda: psutil.Process(there.pid).children())
    sent = direct.tmux.send(there.tmux_pane_id, pane.pane_id, b"x", True, direct.deadline())
    assert sent.outcome is Outcome.UNKNOWN


# the socket


@pytest.mark.parametrize("folder_too", [False, True])
def test_a_deleted_socket_comes_back(direct: Direct, layout: str, folder_too: bool) -> None:
    pane = direct.pane(0, layout)
    before = direct.spawn([pane])
    Path(before.socket_path).unlink()
    if folder_too:
        Path(before.socket_path).parent.rmdir()
    assert direct.tmux.listing(direct.deadline()) == Listing.empty()
    for _ in range(2):  # of one that is there, it does no harm
        assert direct.tmux.restore_socket(direct.deadline())
        assert direct.tmux.listing(direct.deadline()) == before


def test_another_servers_socket_is_not_taken_for_it(direct: Direct, layout: str) -> None:
    direct.client("-L", "other", "new-session", "-d", "-s", "other", "sleep 300")
    socket = direct.sockets / f"tmux-{os.getuid()}" / "other"
    try:
        socket.unlink()
        assert not direct.tmux.restore_socket(direct.deadline())
        assert not socket.exists()
    finally:
        for process in psutil.process_iter():
            if "other" in _cmdline(process) and str(direct.sockets) in _environ(process).get("TMUX_TMPDIR", ""):
                process.kill()


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return {}


# shells


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox", "mksh"])
def test_the_launcher_is_exact_in_every_shell(direct: Direct, shell: str) -> None:
    """/bin/sh of a bench may be any of them."""
    from tower.tmux.launcher import LAUNCHER  # noqa: PLC0415 - only this test looks inside

    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} on this machine")
    mark = direct.root / "mark"
    tmux = direct.root / "tmux"
    tmux.write_text(f'#!/bin/sh\nprintf "%s" "$6" >{mark}\n')
    tmux.chmod(0o755)
    sh = {"busybox": [path, "sh"], "bash": [path, "--posix"]}.get(shell, [path])
    environ = {"TMUX_PANE": "%1", "TOWER_TMUX": str(tmux), "TOWER_PATH": "/usr/bin:/bin", "TOWER_SHELL": "/bin/x"}
    environ |= {"HOME": "/", "TOWER_CWD": "", "HOSTILE": HOSTILE[-1]}

    def launch(*argv: str, **more: str) -> "subprocess.CompletedProcess[bytes]":
        mark.unlink(missing_ok=True)
        words = [*sh, "-c", LAUNCHER, "tower", *argv]
        return subprocess.run(words, env=environ | more, capture_output=True, check=False)

    shown = launch("printf", "%s\\0", *HOSTILE)
    assert shown.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in HOSTILE]
    env = dict(line.split(b"=", 1) for line in launch("env", "-0").stdout.split(b"\0")[:-1])
    assert (env[b"HOSTILE"], env[b"PATH"], env[b"SHELL"]) == (os.fsencode(HOSTILE[-1]), b"/usr/bin:/bin", b"/bin/x")
    assert [name for name in env if name.startswith(b"TOWER_")] == []
    assert not mark.exists()
    for argv, more, status, text in (
        (("no-such-program",), {}, 127, "exec:127"),
        (("/etc/passwd",), {}, 126, "exec:126"),
        (("true",), {"TOWER_CWD": "/no/such"}, 125, "working_dir"),
    ):
        assert (launch(*argv, **more).returncode, mark.read_text()) == (status, text)
