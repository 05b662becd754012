"""The command line against a real server: what it prints, and its exit statuses."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Place, Tower, eventually, pane
from tests.spots import quick_tower

QUICK_EXIT = ["sh", "-c", "echo last words; exit 7"]


@pytest.fixture(scope="module")
def team() -> Iterator[Tower]:
    """A running tower with a layout, which the tests of this module share."""
    made = quick_tower()
    try:
        made.up()
        made.profile("cat", ["cat"])
        made.profile("exits", QUICK_EXIT)
        made.template("one", [pane("o{ordinal}", "cat", role="solo")])
        made.template("broken", [pane("x{ordinal}", "exits", role="solo")])
        made.template("nowhere", [pane("n{ordinal}", "lost", role="solo")])
        made.profile("lost", ["cat"], working_dir="/does/not/exist")
        made.cli("layout", "create", "-t", "1m+2s", "-s", "base", "--label-prefix", "base-", check=True)
        yield made
    finally:
        made.close()


def create(team: Tower, template: str, session: str, *words: str) -> Any:
    return team.cli("layout", "create", "-t", template, "-s", session, "--label-prefix", f"{session}-", *words)


def error(done: Any) -> dict[str, Any]:
    assert done.stdout == ""
    told = json.loads(done.stderr)
    assert set(told) == {"code", "message", "details"}
    return dict(told)


def test_create_shows_each_stage_and_ends_ready(team: Tower) -> None:
    done = create(team, "one", "lines")
    assert done.returncode == 0
    assert "lines-o1  creating  pane_create" in done.stdout
    assert "lines-o1  ready" in done.stdout


def test_create_in_json_is_the_layout(team: Tower) -> None:
    told = json.loads(create(team, "one", "json", "--json").stdout)
    assert (told["state"], told["replay"], len(told["panes"])) == ("ready", False, 1)


def test_a_degraded_layout_exits_3_and_says_why(team: Tower) -> None:
    done = create(team, "broken", "sad")
    assert done.returncode == 3
    assert "degraded (launch_command)" in done.stdout
    shown = team.cli("pane", "show", "sad/sad-x1")
    assert "last words" in shown.stdout
    assert team.cli("layout", "wait", "sad", "--until", "ready").returncode == 3


def test_a_failed_layout_exits_4(team: Tower) -> None:
    done = create(team, "nowhere", "lost")
    assert done.returncode == 4
    assert "failed (pane_create)" in done.stdout


def test_a_refusal_exits_1_with_its_code(team: Tower) -> None:
    done = create(team, "one", "base", "--json")
    assert done.returncode == 1
    assert error(done)["code"] == "managed_session_name_conflict"
    assert "managed_template_not_found" in create(team, "nope", "nope").stderr


@pytest.mark.parametrize(
    "words",
    [
        ("layout", "create"),
        ("layout", "frob"),
        ("layout", "create", "-t", "one", "-s", "x", "-l", "nonsense"),
        ("layout", "wait", "base", "--until", "never"),
        ("job", "show", "x"),
    ],
)
def test_wrong_usage_exits_2(team: Tower, words: tuple[str, ...]) -> None:
    assert team.cli(*words).returncode == 2
    done = team.cli(*words, "--json")
    assert done.returncode == 2
    assert error(done)["code"] == "usage"


def test_a_wait_that_is_too_short_exits_5(team: Tower) -> None:
    done = create(team, "one", "late", "--timeout", "0.01")
    assert done.returncode == 5
    assert "timed out" in done.stderr
    assert team.cli("layout", "wait", "late", "--until", "ready").returncode == 0


def test_without_a_server_the_exit_is_6(down_tower: Tower) -> None:
    done = down_tower.cli("layout", "list")
    assert done.returncode == 6
    assert "tower up" in done.stderr
    assert down_tower.cli("status").returncode == 6
    assert error(down_tower.cli("layout", "list", "--json"))["code"] == "server_unreachable"


def test_the_same_key_gives_the_same_layout(team: Tower) -> None:
    first = json.loads(create(team, "one", "keyed", "--idempotency-key", "k1", "--json").stdout)
    again = json.loads(create(team, "one", "keyed", "--idempotency-key", "k1", "--json").stdout)
    assert (again["layout_id"], again["replay"]) == (first["layout_id"], True)


def test_a_role_stands_for_all_its_panes(team: Tower) -> None:
    words = ["layout", "create", "-t", "1m+2s", "-s", "roles", "--label-prefix", "r-", "-l", "slave=cat", "--json"]
    done = team.cli(*words, "-l", "slave:s2=exits")
    assert done.returncode == 3, done.stderr
    panes = json.loads(done.stdout)["panes"]
    assert [pane["launch_command_ref"] for pane in panes] == [None, "cat", "exits"]
    unknown = team.cli(*words, "-l", "nobody=cat")
    assert unknown.returncode == 2
    assert error(unknown)["code"] == "usage"


def test_layouts_by_session_prefix_and_bench(team: Tower) -> None:
    whole = team.json("layout", "show", "base")["layout_id"]
    for word in (whole, whole[:8], "local:base"):
        assert team.json("layout", "show", word)["layout_id"] == whole
    assert team.cli("layout", "show", "nobody").returncode == 1


def test_lists(team: Tower) -> None:
    layouts = team.json("layout", "ls")
    assert layouts["next"] is None
    assert "base" in [row["tmux_session_name"] for row in layouts["items"]]
    labels = [row["label"] for row in team.json("pane", "ls", "--layout", "base")["items"]]
    assert labels == ["base-m1", "base-s1", "base-s2"]
    assert "base-m1" in team.cli("agent", "list").stdout
    assert [row["name"] for row in team.json("template", "list")["rows"]][:2] == ["1m+2s", "2m+2s"]
    assert "cat" in team.cli("profile", "list").stdout
    assert "local" in [row["container_id"] for row in team.json("container", "list")["rows"]]
    assert team.json("job", "list")["rows"][0]["job_id"] > 0


def test_show_and_validate_files(team: Tower) -> None:
    assert "main-vertical" in team.cli("template", "show", "1m+2s").stdout
    assert team.json("profile", "show", "cat")["command"] == ["cat"]
    assert team.cli("template", "show", "nope").returncode == 1
    good = team.config / "launch_commands/cat.yaml"
    assert team.cli("profile", "validate", str(good)).returncode == 0
    bad = team.root / "bad.yaml"
    bad.write_text("name: x\npanes:\n  - rol: y\n")
    done = team.cli("template", "validate", str(bad))
    assert done.returncode == 1
    assert f"{bad}:3" in done.stdout


def test_a_broken_file_is_told_of(team: Tower) -> None:
    team.write("launch_commands/broken.yaml", "name: broken\ncommand: ls -l\n")
    try:
        team.template("broken", [], colour="red")
        assert "broken.yaml:2" in team.cli("profile", "list").stdout
        told = team.cli("doctor")
        assert told.stdout.count("broken.yaml:2") == 1
        assert told.stderr == ""
        findings = json.loads(team.cli("doctor", "--json").stdout)["findings"]
        findings = [one for one in findings if one["check"] == "templates"]
        assert [("broken.yaml:" in one["text"], one["level"]) for one in findings] == [(True, "problem")] * 2
        for words in (
            ("profile", "show", "broken"),
            ("pane", "recreate", "base/base-s1", "-l", "broken"),
            ("layout", "create", "-t", "one", "-s", "x", "-l", "solo=broken"),
        ):
            done = team.cli(*words, "--json")
            assert done.returncode == 1
            if words[1] != "recreate":
                assert error(done)["code"] == "managed_launch_command_not_found"
                assert "broken.yaml:2" in error(done)["message"]
        for words in (
            ("template", "show", "broken"),
            ("layout", "create", "-t", "broken", "-s", "x"),
            ("layout", "create", "-t", "broken", "-s", "x", "-l", "solo=cat"),
        ):
            told = error(team.cli(*words, "--json"))
            assert told["code"] == "managed_template_not_found"
            assert "broken.yaml:1" in told["message"]
    finally:
        (team.config / "launch_commands/broken.yaml").unlink()
        (team.config / "managed_templates/broken.yaml").unlink()
        team.template("broken", [pane("x{ordinal}", "exits", role="solo")])


def test_remove_recreate_restart(team: Tower) -> None:
    create(team, "one", "cycle")
    assert team.cli("pane", "restart", "cycle/cycle-o1", "--yes").returncode == 0
    shown = team.json("pane", "show", "cycle/cycle-o1", "--chain")
    assert (shown["state"], shown["chain_depth"], len(shown["predecessor_chain"])) == ("ready", 1, 1)
    assert team.cli("pane", "rm", "cycle/cycle-o1", "--yes").returncode == 0
    assert team.cli("pane", "recreate", "cycle/cycle-o1", "-l", "exits").returncode == 3
    assert team.json("layout", "remove", "cycle", "--yes")["state"] == "removed"
    assert team.cli("layout", "recreate", "cycle").returncode == 3
    assert team.cli("layout", "remove", "cycle", "--yes", "--no-wait").returncode == 0


def test_a_restart_that_got_no_further_than_its_removal_says_so(team: Tower) -> None:
    create(team, "one", "slow")
    done = team.cli("pane", "restart", "slow/slow-o1", "--yes", "--json", "--timeout", "0.01")
    assert done.returncode == 5
    row = json.loads(done.stdout)
    assert row["label"] == "slow-o1"
    assert f"is not recreated; `tower pane recreate {row['pane_id']}` does that" in done.stderr
    eventually(lambda: team.json("pane", "show", row["pane_id"])["state"] == "removed")
    assert team.cli("pane", "recreate", row["pane_id"]).returncode == 0


def answered(team: Tower, answer: bytes, *words: str) -> Any:
    """Run `tower` with a terminal as its input, where that is typed."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "tower", *words],
            env=team.environ,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(master, answer)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04"])
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_no_to_the_question_does_nothing(team: Tower, answer: bytes, words: tuple[str, ...]) -> None:
    done = answered(team, answer, "layout", "remove", "base", *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "kill what runs in base-m1, base-s1, base-s2?" in done.stderr
    assert "Nothing was done." in done.stderr
    assert team.json("layout", "show", "base")["state"] == "ready"


def test_a_yes_to_the_question_does_it_and_the_answer_is_json_alone(team: Tower) -> None:
    create(team, "one", "asked")
    done = answered(team, b"y\n", "pane", "remove", "asked/asked-o1", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["state"] == "removed"
    assert "kill what runs in asked-o1?" in done.stderr


def test_a_live_pane_cannot_be_recreated(team: Tower) -> None:
    done = team.cli("pane", "recreate", "base/base-s1", "--json")
    assert done.returncode == 1
    assert error(done)["code"] == "managed_pane_illegal_recreate_source"


def test_send_and_logs(team: Tower) -> None:
    create(team, "one", "talk")
    assert team.cli("pane", "send", "talk/talk-o1", "good morning").stdout.strip() == "delivered"
    eventually(lambda: "good morning\ngood morning" in team.cli("pane", "logs", "talk/talk-o1").stdout)
    logged = team.cli("pane", "logs", "talk/talk-o1").stdout
    assert team.cli("pane", "logs", "talk/talk-o1", "-n", "1").stdout.count("\n") <= 1
    assert team.json("pane", "logs", "talk/talk-o1")["text"].replace("\r\n", "\n") == logged


def test_a_text_that_begins_with_a_hyphen_is_sent(team: Tower) -> None:
    create(team, "one", "minus")
    for text in ("-x", "--frobnicate me", "-hello"):
        assert team.cli("pane", "send", "minus/minus-o1", text).stdout.strip() == "delivered"
        eventually(lambda text=text: f"{text}\n{text}" in team.cli("pane", "logs", "minus/minus-o1").stdout)
    assert team.cli("pane", "send", "--no-enter", "minus/minus-o1", "--", "--json").stdout.strip() == "delivered"
    assert team.cli("pane", "send", "minus/minus-o1").returncode == 2
    assert team.cli("pane", "send", "minus/minus-o1", "a", "--b").returncode == 2
    assert "Example:" in team.cli("pane", "send", "-h").stdout


def test_a_long_text_from_standard_input_arrives_whole(team: Tower) -> None:
    sink = team.root / "sink"
    team.profile("sink", ["sh", "-c", f"stty -echo; cat > {sink}"])
    create(team, "one", "long", "-l", "solo=sink")
    text = "\n".join(f"line {number} é" for number in range(1500))
    assert team.cli("pane", "send", "long/long-o1", "-", stdin=text).returncode == 0
    eventually(lambda: sink.read_text() == text + "\n")


def test_what_is_not_utf8_is_a_usage_error(team: Tower) -> None:
    assert team.cli("pane", "send", "base/base-s1", b"\xff".decode("utf-8", "surrogateescape")).returncode == 2


def test_adopt(team: Tower) -> None:
    place = Place(team)
    place.tmux("new-session", "-d", "-s", "mine", "cat")
    found = place.tmux("list-panes", "-t", "=mine", "-F", "#{pane_id}").strip()
    adopted = team.json("agent", "adopt", "local", found, "--label", "notes")
    assert adopted["origin"] == "adopted"
    assert team.cli("pane", "send", "mine/notes", "hello").stdout.strip() == "delivered"
    done = team.cli("pane", "remove", adopted["agent_id"][:10], "--yes", "--json")
    assert error(done)["code"] == "managed_pane_protected_adopted"
    assert team.cli("agent", "adopt", "local", found).returncode == 1


@pytest.mark.parametrize(("session", "label"), [("my work", "my-work"), ("é/x", "x"), ("l" * 64, "l" * 58)])
def test_adopt_without_a_label_takes_one_from_the_session(team: Tower, session: str, label: str) -> None:
    place = Place(team)
    place.tmux("new-session", "-d", "-s", session, "cat")
    found = place.tmux("list-panes", "-t", f"={session}", "-F", "#{pane_id}").strip()
    made = team.json("agent", "adopt", "local", found)["label"]
    assert made.startswith(label)
    assert made.endswith(f"-{found[1:]}")
    assert len(made) <= 64


def test_adopt_tells_an_unknown_bench_from_an_unknown_pane(team: Tower) -> None:
    assert error(team.cli("agent", "adopt", "nobench", "%1", "--json"))["code"] == "container_not_found"
    assert error(team.cli("agent", "adopt", "local", "%99999", "--json"))["code"] == "pane_not_found"


def test_lists_of_names_are_whole_and_a_row_is_a_line(team: Tower) -> None:
    team.profile("lines", ["sh", "-c", "echo one\necho two"])
    for number in range(205):
        team.profile(f"many-{number}", ["cat"])
    try:
        told = team.cli("profile", "list").stdout
        assert "sh -c 'echo one\\necho two'" in told
        assert told.count("\nmany-") == 205
        rows = team.json("profile", "list")
        assert (len(rows["rows"]), rows["cursor_next"]) == (rows["total"], None)
    finally:
        for number in range(205):
            (team.config / f"launch_commands/many-{number}.yaml").unlink()
        (team.config / "launch_commands/lines.yaml").unlink()


def test_an_engine_that_is_away_is_told_of_once_and_beside_the_bench_that_was_meant() -> None:
    made = quick_tower()
    try:
        made.up()
        (line,) = [line for line in made.cli("status").stdout.splitlines() if "engine" in line]
        assert line.count("DOCKER_HOST") == 1
        assert "1 bench, 1 active" in made.cli("container", "scan").stdout
        done = made.cli("layout", "create", "bench-typo", "-t", "1m+2s", "-s", "x")
        assert done.returncode == 1
        assert "docker_unavailable: Bench 'bench-typo'" in done.stderr
    finally:
        made.close()


def test_events(team: Tower) -> None:
    rows = team.json("events", "--layout", "base", "-n", "200")["rows"]
    assert rows[0]["event_type"] == "managed_layout_created"
    assert [row["sequence"] for row in rows] == sorted(row["sequence"] for row in rows)
    assert "new_state=ready" in team.cli("events", "--layout", "base").stdout


def test_attach_without_a_terminal_says_the_command(team: Tower) -> None:
    done = team.cli("layout", "attach", "base")
    assert done.returncode == 1
    assert "attach-session -t =base" in done.stderr


def test_a_killed_pane_shows_after_a_scan(team: Tower) -> None:
    create(team, "one", "killed")
    tmux_id = team.json("pane", "show", "killed/killed-o1")["tmux_pane_id"]
    Place(team).tmux("kill-pane", "-t", tmux_id)
    assert team.cli("container", "scan").returncode == 0
    assert team.json("layout", "show", "killed")["failed_stage"] == "recovery_reattach"
    assert team.cli("layout", "recreate", "killed").returncode == 0


def test_status_and_doctor(team: Tower) -> None:
    told = team.json("status")
    assert [process["state"] for process in told["processes"]] == ["running"] * 3
    assert (told["answers"], told["queue_depth"]) == (True, 0)
    eventually(lambda: team.cli("doctor").returncode == 0)
    assert all(finding["level"] != "problem" for finding in team.json("doctor")["findings"])


def interrupted(tower: Tower, said: str, *words: str) -> tuple[int, str]:
    """Press Ctrl-C once a command has said that; its exit status, and what it then wrote to standard error."""
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "tower", *words],
        env=tower.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(said in line for line in process.stdout), process.communicate()
    process.send_signal(signal.SIGINT)
    return process.wait(30), process.communicate()[1]


def test_ctrl_c_ends_what_is_followed_without_a_word(team: Tower) -> None:
    create(team, "one", "pressed")
    team.cli("pane", "send", "pressed/pressed-o1", "good evening", check=True)
    assert interrupted(team, "good evening", "pane", "logs", "pressed/pressed-o1", "-f") == (0, "")
    assert interrupted(team, "managed_layout_created", "events", "--layout", "pressed", "-f", "-n", "200") == (0, "")


def test_without_a_worker_a_create_says_that_it_is_queued() -> None:
    made = quick_tower()
    try:
        made.up()
        made.kill("supervisord")
        made.kill("work")
        eventually(lambda: not made.processes("work"))
        done = made.cli("layout", "create", "-t", "1m+2s", "-s", "alone", "--timeout", "3")
        assert done.returncode == 5
        assert "queued: no worker is running (tower up)" in done.stdout
        create = ("layout", "create", "-t", "1m+2s", "-s", "left", "--label-prefix", "b-")
        status, told = interrupted(made, "queued", *create)
        rows = made.json("layout", "list")["items"]
        left = next(row["layout_id"] for row in rows if row["tmux_session_name"] == "left")
        assert (status, left[:8] in told) == (1, True), told
        assert made.cli("doctor").returncode == 1
        told = made.cli("container", "scan").stderr
        assert told.startswith("warning: ")
        assert "No worker is running" in told
        made.up()
        for session in ("alone", "left"):
            assert made.cli("layout", "wait", session, "--until", "ready").returncode == 0
    finally:
        made.close()


def test_a_remove_that_waits_says_for_what() -> None:
    made = quick_tower()
    try:
        made.up()
        made.cli("layout", "create", "-t", "1m+2s", "-s", "first", check=True)
        made.kill("supervisord")
        made.kill("work", signal.SIGSTOP)
        created = made.cli("layout", "create", "-t", "1m+2s", "-s", "second", "--label-prefix", "b-", "--no-wait")
        assert created.returncode == 0
        done = made.cli("layout", "remove", "first", "--yes", "--timeout", "4")
        assert done.returncode == 5
        assert "waits for job" in done.stdout
        made.kill("work", signal.SIGCONT)
    finally:
        made.close()


def test_a_list_is_quick(team: Tower) -> None:
    team.cli("layout", "list")
    begun = time.monotonic()
    team.cli("layout", "list", check=True)
    assert time.monotonic() - begun < 5
