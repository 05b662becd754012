"""Input to agents: the program gets exactly what was sent, once, and Enter once."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Container, Refused, Tower, eventually, pane
from tests.spots import Spot, at_once
from tests.yard import Yard

RAW = """stty raw -echo
printf "$2"
: >"$1.up"
exec cat >"$1"
"""
BRACKETED = "\\033[?2004h"
HOSTILE = "".join(map(chr, [*range(0x20), 0x7F]))


class Ear:
    """A program in a pane that writes down every byte that reaches it."""

    def __init__(self, spot: Spot, *, printing: str = "", script: str = RAW) -> None:
        name = spot.name()
        self.spot = spot
        self.file: Path = spot.place.path(f"ear-{name}")
        spot.tower.profile(f"ear-{name}", ["sh", "-c", script, "sh", str(self.file), printing])
        spot.tower.template(f"ear-{name}", [pane("p{ordinal}", f"ear-{name}")])
        self.layout = spot.make(f"ear-{name}")
        self.row = self.layout["panes"][0]
        eventually(Path(f"{self.file}.up").exists)

    @property
    def agent(self) -> str:
        """Whom to send to."""
        return str(self.row["agent_id"])

    @property
    def heard(self) -> bytes:
        """All that has come so far."""
        return self.file.read_bytes()

    def send(self, text: str, **more: Any) -> Any:
        """Send over the socket."""
        enter = {} if more.pop("enter", True) else {"enter": False}
        payload = {"text": text, **enter}
        return self.spot.tower.call("app.send_input", target_agent_id=self.agent, payload=payload, **more)

    def hears(self, wanted: bytes) -> None:
        """Fails unless that is exactly what has come, and nothing comes after it."""
        eventually(lambda: len(self.heard) >= len(wanted), what=f"{len(wanted)} bytes")
        self.send("#end", enter=False)
        eventually(lambda: self.heard.endswith(b"#end"))
        assert self.heard == wanted + b"#end"

    def close(self) -> None:
        """Remove its layout."""
        self.spot.remove_layout(self.layout["layout_id"])


@pytest.fixture
def ear(spot: Spot) -> Iterator[Ear]:
    """An ear that asks for nothing special."""
    made = Ear(spot)
    yield made
    made.close()


@pytest.mark.parametrize(
    "text",
    [
        "one line",
        "first\nsecond\n\n\tthird\n",
        "-leading",
        "-t %0 -- ; kill-server \\; #{pane_id} $(id) `id` 'a' \"b\" %d C-c Enter",
        "grüße 漢字 🚀 e\u0301",
        HOSTILE,
        " ",
    ],
    ids=["plain", "lines", "hyphen", "words", "utf8", "control", "blank"],
)
def test_the_program_gets_exactly_what_was_sent_and_one_enter(ear: Ear, text: str) -> None:
    sent = ear.send(text)
    assert (sent["state"], sent["deduplicated"]) == ("delivered", False)
    ear.hears(text.encode() + b"\r")


def test_without_enter_and_enter_alone(ear: Ear) -> None:
    assert ear.send("half", enter=False)["state"] == "delivered"
    assert ear.send(" done", enter=False)["state"] == "delivered"
    assert ear.send("")["state"] == "delivered"
    ear.hears(b"half done\r")


def test_a_program_that_asks_for_it_gets_a_bracketed_paste(spot: Spot) -> None:
    ear = Ear(spot, printing=BRACKETED)
    ear.send("two\nlines")
    eventually(lambda: ear.heard.endswith(b"\r"))
    assert ear.heard == b"\x1b[200~two\nlines\x1b[201~\r"
    ear.close()


def test_a_hundred_kilobytes_from_standard_input(ear: Ear) -> None:
    text = "".join(f"{number:06} grüße \\\"'$#;\n" for number in range(5000))
    assert len(text.encode()) > 100_000
    done = ear.spot.tower.cli("pane", "send", ear.row["pane_id"], "-", stdin=text)
    assert (done.returncode, done.stdout.strip()) == (0, "delivered"), done.stderr
    ear.hears(text.encode() + b"\r")


def test_the_command_line_sends_text_that_begins_with_a_hyphen(ear: Ear) -> None:
    address = f"{ear.layout['tmux_session_name']}/{ear.row['label']}"
    done = ear.spot.tower.cli("pane", "send", address, "--no-enter", "--", "-x --yes")
    assert done.returncode == 0, done.stderr
    done = ear.spot.tower.cli("pane", "send", ear.row["pane_id"][:13], "!", "--json")
    assert done.returncode == 0, done.stderr
    assert '"state":"delivered"' in done.stdout
    ear.hears(b"-x --yes!\r")


def test_copy_mode_is_left_first(ear: Ear) -> None:
    in_mode = ("display-message", "-p", "-t", ear.row["tmux_pane_id"], "#{pane_in_mode}")
    ear.spot.place.tmux("copy-mode", "-t", ear.row["tmux_pane_id"])
    assert ear.spot.place.tmux(*in_mode).strip() == "1"
    assert ear.send("after copy mode")["state"] == "delivered"
    assert ear.spot.place.tmux(*in_mode).strip() == "0", "the operator sees what comes of it"
    ear.hears(b"after copy mode\r")


def test_two_senders_never_interleave(ear: Ear) -> None:
    texts = [letter * 6000 for letter in "abcd"]
    sent = at_once(*[lambda text=text: ear.send(text) for text in texts])
    assert [one["state"] for one in sent] == ["delivered"] * 4, sent
    eventually(lambda: ear.heard.count(b"\r") == 4)
    assert sorted(ear.heard.decode().split("\r")) == sorted([*texts, ""])


def test_an_operator_who_is_attached_and_types_disturbs_nothing(ear: Ear) -> None:
    tmux, watcher = ear.spot.place.tmux, ear.spot.name()
    attach = f"TMUX= tmux -u attach -t '={ear.layout['tmux_session_name']}'"
    tmux("new-session", "-d", "-s", watcher, "-x", "150", "-y", "40", attach)
    session = f"={ear.layout['tmux_session_name']}"
    eventually(lambda: tmux("list-clients", "-t", session, "-F", "#{client_name}").strip())
    ended = threading.Event()

    def type_on() -> None:
        while not ended.wait(0.02):
            tmux("send-keys", "-t", f"={watcher}:", "x")

    typist = threading.Thread(target=type_on)
    typist.start()
    try:
        eventually(lambda: b"x" in ear.heard)
        texts = ["Multi\nline " + "0123456789" * 300, "second"]
        for text in texts:
            assert ear.send(text)["state"] == "delivered"
    finally:
        ended.set()
        typist.join()
    pattern = b"x*" + b"x*".join(re.escape(text.encode()) + b"x*\r" for text in texts) + b"x*"
    eventually(lambda: ear.heard.count(b"\r") == 2)
    assert re.fullmatch(pattern, ear.heard), ear.heard[-300:]
    assert tmux("list-clients", "-t", session, "-F", "#{client_name}").strip(), "the operator is attached still"
    tmux("kill-session", "-t", f"={watcher}")


def test_a_key_sends_once(ear: Ear) -> None:
    first = ear.send("once", idempotency_key="k")
    again = ear.send("once", idempotency_key="k")
    assert again == {**first, "deduplicated": True, "reason": None}
    assert len({one["message_id"] for one in at_once(*[lambda: ear.send("w", idempotency_key="l")] * 3)}) == 1
    ear.hears(b"once\rw\r")


def test_what_is_sent_is_kept_nowhere(ear: Ear) -> None:
    word = "swordfish-5b1d"
    ear.send(word)
    ear.hears(word.encode() + b"\r")
    for file in ear.spot.tower.state.rglob("*"):
        if file.is_file():
            assert word.encode() not in file.read_bytes(), file
    assert word not in ear.spot.place.tmux("list-buffers")
    assert word not in ear.spot.place.tmux("show-messages")


def _refusal(spot: Spot, agent_id: str) -> Refused:
    with pytest.raises(Refused) as refused:
        spot.tower.call("app.send_input", target_agent_id=agent_id, payload={"text": "x"})
    return refused.value


def test_a_dead_a_vanished_and_a_removed_pane_refuse(spot: Spot) -> None:
    spot.tower.profile("ends", ["sh", "-c", "sleep 1.5; exit 7"])
    spot.tower.template("ends", [pane("p{ordinal}", "ends")])
    ending, idle = spot.make("ends"), spot.make("one")
    row = ending["panes"][0]
    dead = ("list-panes", "-s", "-t", f"={ending['tmux_session_name']}", "-F", "#{pane_dead}")
    eventually(lambda: spot.place.tmux(*dead).strip() == "1")
    refusals = [_refusal(spot, row["agent_id"])]
    spot.scan()
    refusals.append(_refusal(spot, row["agent_id"]))
    assert "restart" in refusals[1].message
    row = idle["panes"][0]
    spot.kill(row)
    refusals.append(_refusal(spot, row["agent_id"]))
    spot.scan()
    refusals.append(_refusal(spot, row["agent_id"]))
    spot.remove_layout(idle["layout_id"])
    refusals.append(_refusal(spot, row["agent_id"]))
    assert [error.code for error in refusals] == ["permission_denied"] * 5
    assert all(error.details["reason"] for error in refusals)
    error = _refusal(spot, "nobody")
    assert (error.code, error.details) == ("agent_not_found", {"agent_id": "nobody"})
    done = spot.tower.cli("pane", "send", row["pane_id"], "x")
    assert done.returncode == 1
    assert "permission_denied" in done.stderr


def test_a_pane_that_is_being_made_refuses(spot: Spot) -> None:
    tower = spot.tower
    tower.kill("work", signal.SIGSTOP)
    try:
        layout = tower.layout(spot.accept("one"))
        done = tower.cli("pane", "send", layout["panes"][0]["pane_id"], "x", "--json")
    finally:
        tower.kill("work", signal.SIGCONT)
    assert done.returncode == 1
    error = json.loads(done.stderr)
    assert error["code"] == "permission_denied"
    assert "still being created" in error["message"]
    tower.ready(layout["layout_id"])


def test_it_says_so_when_it_cannot_know(spot: Spot) -> None:
    ear = Ear(spot, script='stty raw -echo\n: >"$1.up"\nhead -c 1 >"$1"\n')
    sent = ear.send("your last")
    assert sent["state"] == "unknown"
    assert sent["reason"]
    ear.close()


@pytest.mark.docker
def test_a_bench_that_is_paused_or_stopped_refuses(quick: Tower, yard: Yard) -> None:
    spot = Spot(Container(quick, yard))
    agent_id = spot.make("one")["panes"][0]["agent_id"]
    for verb, back, state in (("pause", "unpause", "paused"), ("stop", None, "exited")):
        yard.act(spot.bench, verb)
        error = _refusal(spot, agent_id)
        assert (error.code, error.details) == (
            "container_inactive",
            {"container_id": spot.bench, "container_state": state},
        )
        if back:
            yard.act(spot.bench, back)
