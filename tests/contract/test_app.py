"""The `app.*` methods around the managed ones, against a real server, real workers and real tmux."""

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Refused, Tower, eventually, read_line

IDENTITY = ("container_id", "tmux_socket", "session_name", "window_index", "pane_index", "pane_id")


def tmux(tower: Tower, *words: str) -> str:
    """What tmux prints."""
    done = subprocess.run(["tmux", "-u", *words], env=tower.environ, capture_output=True, text=True, check=True)
    return done.stdout


def stranger(tower: Tower, command: str = "cat") -> dict[str, Any]:
    """A pane of somebody else's, as the tower sees it."""
    session = f"own-{uuid.uuid4().hex[:8]}"
    tmux(tower, "new-session", "-d", "-s", session, command)
    tower.call("app.scan.panes")
    return next(row for row in rows(tower, "app.pane.list") if row["session_name"] == session)


def rows(tower: Tower, method: str, **params: Any) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = tower.call(method, cursor_next=cursor, **params)
        found += page["rows"]
        cursor = page["cursor_next"]
        if cursor is None:
            return found


def adopt(tower: Tower, row: Mapping[str, Any], **more: Any) -> Any:
    """Register a pane as an agent."""
    about = {"role": "shell", "capability": "terminal", "label": "mine", **more}
    return tower.call("app.agent.register_from_pane", **{name: row[name] for name in IDENTITY}, **about)


def refusal(tower: Tower, method: str, **params: Any) -> Refused:
    """The error that a request gets."""
    with pytest.raises(Refused) as raised:
        tower.call(method, **params)
    return raised.value


def team(tower: Tower, session: str) -> Any:
    """A ready layout with labels of its own."""
    return tower.ready(tower.create("local", session=session, label_prefix=f"{session}-"))


# session and readiness


def test_preflight_and_hello(shared_tower: Tower) -> None:
    assert shared_tower.call("app.preflight") == {
        "socket_reachable": True,
        "daemon_reachable": True,
        "code": "ok",
    }
    first, second = (shared_tower.call("app.hello", client_id="test", unknown=1) for _ in range(2))
    assert uuid.UUID(first["app_session_token"]).version == 4
    assert first["app_session_token"] != second["app_session_token"]
    assert first["app_session_id"] < second["app_session_id"]
    assert first["app_contract_version"] == "1.1"
    assert first["supported_minor_range"] == {"min": 0, "max": 1}
    assert first["state"] == "ok"
    assert {"daemon_version", "schema_version", "host_user_id", "capability_flags"} <= set(first)


def test_hello_refuses_another_major_and_long_names(shared_tower: Tower) -> None:
    refused = refusal(shared_tower, "app.hello", client_app_contract_major=2)
    assert refused.code == "app_contract_major_unsupported"
    assert refused.details == {"daemon_app_contract_version": "1.1", "client_app_contract_major": 2}
    assert refusal(shared_tower, "app.hello", client_id="x" * 129).details["field"] == "client_id"
    assert refusal(shared_tower, "app.hello", client_version="x" * 65).details["field"] == "client_version"


def test_every_answer_carries_the_contract_version_and_takes_a_token_anywhere(shared_tower: Tower) -> None:
    line = json.dumps({"method": "app.preflight", "params": {"app_session_token": "x"}, "app_session_token": "x"})
    assert shared_tower.raw(line.encode() + b"\n")["app_contract_version"] == "1.1"
    refused = shared_tower.ask("app.nothing")
    assert (refused["ok"], refused["app_contract_version"]) == (False, "1.1")
    assert refused["error"]["code"] == "unknown_method"


def test_readiness_names_each_part(shared_tower: Tower) -> None:
    found = shared_tower.call("app.readiness")
    parts = {part["name"]: part for part in found["subsystems"]}
    assert {"docker", "tmux_discovery", "sqlite", "jsonl", "log_attachment_workers", "workers", "queue"} == set(parts)
    assert found["state"] == "ready", found
    assert all(set(part) == {"name", "status", "reason", "hint"} for part in found["subsystems"])
    for hint in found["hints"]:
        assert set(hint) == {"code", "severity", "message", "target"}
        assert set(hint["target"]) == {"kind", "id"}


def test_readiness_is_degraded_without_a_worker(tower: Tower) -> None:
    tower.kill("supervisord")
    tower.kill("work")
    hint = eventually(lambda: _hint_of_workers(tower), what="a hint")
    assert hint["severity"] == "action_required"
    assert "tower up" in hint["message"]
    assert tower.call("app.readiness")["state"] == "degraded"


def _hint_of_workers(tower: Tower) -> Any:
    """What there is to say when none of them lives any more."""
    hints = tower.call("app.readiness")["hints"]
    return next((hint for hint in hints if hint["code"] == "workers_unavailable"), None)


# lists


LISTS = [
    "app.container.list",
    "app.pane.list",
    "app.agent.list",
    "app.event.list",
    "app.job.list",
    "app.template.list",
    "app.profile.list",
]


@pytest.mark.parametrize("method", LISTS)
def test_a_list_has_its_form_and_pages_give_each_row_once(shared_tower: Tower, method: str) -> None:
    team(shared_tower, f"l{uuid.uuid4().hex[:6]}")
    for number in range(3):
        shared_tower.profile(f"p{number}", ["true"])
    shared_tower.call("app.scan.panes")
    page = shared_tower.call(method, limit=2)
    assert set(page) >= {"rows", "total", "total_estimate", "cursor_next", "ordering"}
    assert (page["total"] is None) != (page["total_estimate"] is None)
    found = rows(shared_tower, method, limit=2)
    assert found[: len(page["rows"])] == page["rows"]
    assert not any(key.startswith("key_") for row in found for key in row)
    texts = [json.dumps(row) for row in found]
    assert len(texts) == len(set(texts)) >= page["total"]


@pytest.mark.parametrize("method", LISTS)
def test_a_forged_cursor_or_a_strange_order_is_refused(shared_tower: Tower, method: str) -> None:
    for cursor in ("x", "", "ü", "A" * 512, "A" * 513):
        refused = refusal(shared_tower, method, cursor_next=cursor)
        assert (refused.code, refused.details["field"]) == ("validation_failed", "cursor_next")
    for order in ("nothing", "name:up", "", "name:asc:asc"):
        assert refusal(shared_tower, method, order_by=order).details["field"] == "order_by"
    for limit in (0, 201, True, "1"):
        assert refusal(shared_tower, method, limit=limit).details["field"] == "limit"


def test_a_cursor_belongs_to_its_list_order_and_filters(shared_tower: Tower) -> None:
    team(shared_tower, f"c{uuid.uuid4().hex[:6]}")
    cursor = shared_tower.call("app.event.list", limit=1)["cursor_next"]
    strange: list[tuple[str, dict[str, Any]]] = [
        ("app.event.list", {"order_by": "observed_at:asc"}),
        ("app.event.list", {"filters": {"event_type": "managed_pane_created"}}),
        ("app.job.list", {}),
    ]
    for method, params in strange:
        assert refusal(shared_tower, method, cursor_next=cursor, **params).details["field"] == "cursor_next"
    assert shared_tower.call("app.event.list", cursor_next=cursor, limit=1)["rows"]


def test_events_are_filtered_and_newest_first(shared_tower: Tower) -> None:
    layout = team(shared_tower, f"e{uuid.uuid4().hex[:6]}")
    found = rows(shared_tower, "app.event.list", filters={"layout_id": layout["layout_id"]}, limit=7)
    sequences = [row["sequence"] for row in found]
    assert sequences == sorted(sequences, reverse=True)
    assert found[-1]["event_type"] == "managed_layout_created"
    assert {"event_id", "agent_id", "observed_at", "excerpt", "classifier_rule_id", "summary"} <= set(found[0])
    pane = layout["panes"][0]
    of_agent = rows(shared_tower, "app.event.list", filters={"agent_id": pane["agent_id"]})
    assert {row["pane_id"] for row in of_agent} == {pane["pane_id"]}
    detail = shared_tower.call("app.event.detail", event_id=found[0]["event_id"])
    assert detail["row"] == found[0]
    assert refusal(shared_tower, "app.event.detail", event_id="nothing").code == "not_found"


def test_events_since_and_until(shared_tower: Tower) -> None:
    team(shared_tower, f"u{uuid.uuid4().hex[:6]}")
    assert shared_tower.call("app.event.list", filters={"since": 0})["rows"]
    assert not shared_tower.call("app.event.list", filters={"until": 1000})["rows"]
    refused = refusal(shared_tower, "app.event.list", filters={"since": 2, "until": 1})
    assert refused.code == "validation_failed"
    assert refusal(shared_tower, "app.event.list", filters={"colour": 1}).code == "validation_failed"


def test_container_job_template_and_profile(shared_tower: Tower) -> None:
    layout = team(shared_tower, f"j{uuid.uuid4().hex[:6]}")
    container = shared_tower.call("app.container.detail", container_id="local")["row"]
    assert {"container_id", "name", "state", "image", "first_seen_at", "last_scanned_at"} <= set(container)
    assert container["registered_agent_count"] >= 3
    assert refusal(shared_tower, "app.container.detail", container_id="nowhere").code == "container_not_found"
    (job,) = rows(shared_tower, "app.job.list", filters={"layout_id": layout["layout_id"]})
    assert (job["kind"], job["state"], len(job["pane_ids"])) == ("spawn", "done", 3)
    assert shared_tower.call("app.job.detail", job_id=job["job_id"])["row"] == job
    assert refusal(shared_tower, "app.job.detail", job_id=10**9).code == "not_found"


def test_a_profiles_env_shows_by_name_only_and_broken_files_are_told(shared_tower: Tower) -> None:
    shared_tower.profile("keyed", ["true"], env={"API_KEY": "hush-hush"})
    shared_tower.write("launch_commands/broken.yaml", "name: broken\ncommand: claude\n")
    page = shared_tower.call("app.profile.list")
    row = next(row for row in page["rows"] if row["name"] == "keyed")
    assert row["env_keys"] == ["API_KEY"]
    assert "hush-hush" not in json.dumps(page)
    (problem,) = [problem for problem in page["problems"] if problem["file"].endswith("broken.yaml")]
    assert (problem["line"], problem["field"]) == (2, "command")
    (shared_tower.config / "launch_commands/broken.yaml").unlink()


# scans


def test_scans_are_shared_and_remembered(shared_tower: Tower) -> None:
    for kind in ("containers", "panes"):
        done = shared_tower.call(f"app.scan.{kind}")
        assert done["state"] == "completed"
        status = shared_tower.call("app.scan.status", scan_id=done["scan_id"])
        assert (status["state"], status["scan_kind"]) == ("completed", kind)
        assert status["completed_at"] >= status["started_at"]
        begun = shared_tower.call(f"app.scan.{kind}", wait=False)
        assert begun["state"] in ("running", "completed")
        shared_tower.call(f"app.scan.{kind}")
    assert refusal(shared_tower, "app.scan.status", scan_id="nothing").details == {"scan_id": "nothing"}


def test_two_scans_at_once_are_one(shared_tower: Tower) -> None:
    found: list[str] = []
    begin = threading.Barrier(8)

    def scan() -> None:
        begin.wait()
        found.append(shared_tower.call("app.scan.containers")["scan_id"])

    threads = [threading.Thread(target=scan) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) < 8


def test_a_scan_over_time_is_told_and_goes_on() -> None:
    made = Tower(environ={"TOWER_TIMES_SCAN": "0.5"})
    try:
        made.up()
        with made.halted("work"):
            refused = refusal(made, "app.scan.containers")
            assert refused.code == "scan_timeout"
            scan_id = refused.details["scan_id"]
            assert made.call("app.scan.status", scan_id=scan_id)["state"] == "running"
        eventually(lambda: made.call("app.scan.status", scan_id=scan_id)["state"] != "running")
    finally:
        made.close()


def test_a_scan_of_containers_sees_what_was_killed_by_hand(shared_tower: Tower) -> None:
    layout = team(shared_tower, f"k{uuid.uuid4().hex[:6]}")
    tmux(shared_tower, "kill-pane", "-t", layout["panes"][1]["tmux_pane_id"])
    shared_tower.call("app.scan.containers")
    states = [pane["state"] for pane in shared_tower.layout(layout["layout_id"])["panes"]]
    assert states == ["ready", "failed", "ready"]


def test_the_agent_of_a_lost_pane_says_so_until_its_successor_is_there(shared_tower: Tower) -> None:
    layout = team(shared_tower, f"g{uuid.uuid4().hex[:6]}")
    lost = layout["panes"][1]
    tmux(shared_tower, "kill-pane", "-t", lost["tmux_pane_id"])
    shared_tower.call("app.scan.containers")
    before = shared_tower.call("app.container.detail", container_id="local")["row"]["registered_agent_count"]
    (row,) = [row for row in rows(shared_tower, "app.agent.list") if row["agent_id"] == lost["agent_id"]]
    assert (row["state"], row["pane_active"], row["log_attached"]) == ("failed", False, False)
    assert row["log_path"] == lost["log_path"]
    shared_tower.call("managed.layout.recreate", layout_id=layout["layout_id"])
    shared_tower.ready(layout["layout_id"])

    def of_this_place(**filters: Any) -> list[Any]:
        found = rows(shared_tower, "app.agent.list", filters=filters)
        return [row["agent_id"] for row in found if row["label"] == lost["label"]]

    (successor,) = of_this_place(registered=True)
    assert successor != lost["agent_id"]
    assert of_this_place(log_attached=True, registered=None) == [successor]
    assert of_this_place(log_attached=False, registered=None) == [lost["agent_id"]]
    assert shared_tower.call("app.container.detail", container_id="local")["row"]["registered_agent_count"] == before


def test_a_scan_registers_nothing_and_shows_everything(shared_tower: Tower) -> None:
    layout = team(shared_tower, f"s{uuid.uuid4().hex[:6]}")
    agents = len(rows(shared_tower, "app.agent.list"))
    row = stranger(shared_tower)
    assert (row["registered"], row["agent_id"], row["managed_pane_id"]) == (False, None, None)
    assert len(rows(shared_tower, "app.agent.list")) == agents
    seen = {row["managed_pane_id"]: row for row in rows(shared_tower, "app.pane.list", filters={"registered": True})}
    for pane in layout["panes"]:
        assert seen[pane["pane_id"]]["agent_id"] == pane["agent_id"]
        assert seen[pane["pane_id"]]["pane_id"] == pane["tmux_pane_id"]
    detail = shared_tower.call("app.pane.detail", **{name: row[name] for name in ("pane_id", "container_id")})
    assert detail["row"] == row
    assert refusal(shared_tower, "app.pane.detail", pane_id="%9999").details["pane_id"] == "%9999"


# adoption


def test_a_pane_is_adopted_once_and_left_as_it_is(shared_tower: Tower) -> None:
    row = stranger(shared_tower)
    before = options(shared_tower, row["pane_id"])
    agent = adopt(shared_tower, row, label="notes", project_path="/srv/x")
    assert (agent["origin"], agent["pane_active"], agent["log_attached"]) == ("adopted", True, False)
    assert (agent["pane_id"], agent["label"], agent["project_path"]) == (row["pane_id"], "notes", "/srv/x")
    assert agent["role_priority"] == 5
    assert shared_tower.call("app.agent.detail", agent_id=agent["agent_id"])["row"] == agent["row"]
    with pytest.raises(Refused) as raised:
        adopt(shared_tower, row)
    assert raised.value.code == "pane_already_registered"
    assert raised.value.details == {"agent_id": agent["agent_id"]}
    shared_tower.call("app.scan.containers")
    assert options(shared_tower, row["pane_id"]) == before


def options(tower: Tower, tmux_pane_id: str) -> str:
    """Everything of a pane that the tower could have touched."""
    formats = "#{pane_title} #{pane_pipe} #{window_layout} #{window_name} #{session_name} #{pane_pid} #{history_limit}"
    shown = tmux(tower, "display-message", "-p", "-t", tmux_pane_id, formats)
    return shown + tmux(tower, "show-options", "-p", "-t", tmux_pane_id)


def test_each_field_of_the_identity_must_be_right(shared_tower: Tower) -> None:
    row = stranger(shared_tower)
    wrong: dict[str, Any] = {
        "pane_id": "%9999",
        "tmux_socket": "/tmp/nowhere",
        "session_name": "other",
        "window_index": 7,
        "pane_index": 7,
    }
    for name, value in wrong.items():
        with pytest.raises(Refused) as raised:
            adopt(shared_tower, {**row, name: value})
        assert raised.value.code == "pane_not_found"
        expected = value if name == "pane_id" else row["pane_id"]
        assert raised.value.details == {"pane_id": expected, "mismatch_field": name}
    with pytest.raises(Refused) as unknown:
        adopt(shared_tower, row, parent_agent_id="nobody")
    assert (unknown.value.code, unknown.value.details) == ("agent_not_found", {"agent_id": "nobody"})
    with pytest.raises(Refused) as bench:
        adopt(shared_tower, {**row, "container_id": "nowhere"})
    assert bench.value.code in ("container_not_found", "docker_unavailable")


def test_the_towers_own_panes_are_taken(shared_tower: Tower) -> None:
    layout = team(shared_tower, f"t{uuid.uuid4().hex[:6]}")
    shared_tower.call("app.scan.panes")
    pane = layout["panes"][0]
    row = next(r for r in rows(shared_tower, "app.pane.list") if r["managed_pane_id"] == pane["pane_id"])
    with pytest.raises(Refused) as raised:
        adopt(shared_tower, row)
    assert raised.value.details == {"agent_id": pane["agent_id"]}


def test_a_log_is_attached_only_where_no_pipe_is_on(shared_tower: Tower) -> None:
    row = stranger(shared_tower)
    agent = adopt(shared_tower, row, attach_log=True)
    assert agent["log_attached"]
    tmux(shared_tower, "send-keys", "-t", row["pane_id"], "to-the-log", "Enter")
    eventually(lambda: "to-the-log" in Path(agent["log_path"]).read_text())
    piped = stranger(shared_tower)
    theirs = shared_tower.root / "theirs"
    tmux(shared_tower, "pipe-pane", "-t", piped["pane_id"], f"cat >{theirs}")
    other = adopt(shared_tower, piped, attach_log=True)
    assert not other["log_attached"]
    assert "pipe" in other["log_problem"]
    tmux(shared_tower, "send-keys", "-t", piped["pane_id"], "still-theirs", "Enter")
    eventually(lambda: "still-theirs" in theirs.read_text())


def test_an_adopted_pane_that_goes_is_told_as_gone(shared_tower: Tower) -> None:
    row = stranger(shared_tower)
    agent = adopt(shared_tower, row)
    tmux(shared_tower, "kill-pane", "-t", row["pane_id"])
    shared_tower.call("app.scan.panes")
    found = shared_tower.call("app.agent.detail", agent_id=agent["agent_id"])["row"]
    assert (found["pane_active"], found["state"]) == (False, "gone")
    refused = refusal(shared_tower, "app.send_input", target_agent_id=agent["agent_id"], payload={"text": "x"})
    assert refused.code == "permission_denied"
    assert "gone" in refused.details["reason"]
    for method in ("managed.pane.remove", "managed.pane.recreate"):
        name = "pane_id" if method.endswith("remove") else "predecessor_pane_id"
        assert refusal(shared_tower, method, **{name: agent["agent_id"]}).code == "managed_pane_protected_adopted"


# input


def test_text_arrives_once_per_key(shared_tower: Tower) -> None:
    file = shared_tower.root / f"got-{uuid.uuid4().hex[:6]}"
    agent = adopt(shared_tower, stranger(shared_tower, f"cat >{file}"))
    request = {"target_agent_id": agent["agent_id"], "payload": {"text": "one\ntwo ünï"}, "idempotency_key": "k"}
    first = shared_tower.call("app.send_input", **request)
    second = shared_tower.call("app.send_input", **request)
    assert (first["state"], first["deduplicated"]) == ("delivered", False)
    assert (second["state"], second["deduplicated"]) == ("delivered", True)
    assert first["message_id"] == second["message_id"]
    eventually(lambda: file.read_text() == "one\ntwo ünï\n")
    shared_tower.call("app.send_input", **(request | {"payload": {"text": "", "enter": True}, "idempotency_key": "l"}))
    eventually(lambda: file.read_text() == "one\ntwo ünï\n\n")


def test_a_long_text_goes_up_in_parts_and_in_whole(shared_tower: Tower) -> None:
    file = shared_tower.root / f"long-{uuid.uuid4().hex[:6]}"
    agent = adopt(shared_tower, stranger(shared_tower, f"cat >{file}"))
    text = "".join(f"{number:07d} äöü\n" for number in range(7000))
    done = shared_tower.cli("pane", "send", agent["agent_id"], "-", stdin=text)
    assert done.returncode == 0, done.stderr
    eventually(lambda: file.read_text() == text + "\n", what="the text, whole")


def test_two_senders_do_not_mix(shared_tower: Tower) -> None:
    file = shared_tower.root / f"mix-{uuid.uuid4().hex[:6]}"
    agent = adopt(shared_tower, stranger(shared_tower, f"cat >{file}"))

    def send(letter: str) -> None:
        payload = {"text": f"{letter * 50}\n" * 20}
        shared_tower.call("app.send_input", target_agent_id=agent["agent_id"], payload=payload)

    threads = [threading.Thread(target=send, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: file.read_text().count("\n") == 84)
    order = "".join(line[:1] or "." for line in file.read_text().splitlines())
    assert sorted(order.strip(".").split(".")) == [letter * 20 for letter in "abcd"]


def test_input_that_cannot_be_taken_is_refused(shared_tower: Tower) -> None:
    shared_tower.profile("ends", ["sh", "-c", "exit 3"])
    layout_id = shared_tower.create(
        "local",
        session=f"d{uuid.uuid4().hex[:6]}",
        label_prefix=f"d{uuid.uuid4().hex[:6]}-",
        launch_command_overrides={"slave:s1": "ends"},
    )
    creating = shared_tower.layout(layout_id)["panes"][0]
    settled = shared_tower.settled(layout_id)
    dead = next(pane for pane in settled["panes"] if pane["state"] == "degraded")
    refused = refusal(shared_tower, "app.send_input", target_agent_id=dead["agent_id"], payload={"text": "x"})
    assert refused.code == "permission_denied"
    assert "ended" in refused.details["reason"]
    assert creating["agent_id"] is None
    refused = refusal(shared_tower, "app.send_input", target_agent_id="nobody", payload={"text": "x"})
    assert refused.details == {"agent_id": "nobody"}
    live = next(pane for pane in settled["panes"] if pane["state"] == "ready")
    shared_tower.call("managed.pane.remove", pane_id=live["pane_id"])
    refused = refusal(shared_tower, "app.send_input", target_agent_id=live["agent_id"], payload={"text": "x"})
    assert "removed" in refused.details["reason"]


BAD_PAYLOADS: list[tuple[Any, str, str]] = [
    ({"text": "x" * 16384}, "payload_too_large", ""),
    ({"text": "ü" * 8192}, "payload_too_large", ""),
    ({}, "validation_failed", "payload.text"),
    ({"text": 1}, "validation_failed", "payload.text"),
    ({"text": "x", "enter": 1}, "validation_failed", "payload.enter"),
    ({"text": "", "enter": False}, "validation_failed", "payload.text"),
    ("x", "validation_failed", "payload"),
    (None, "validation_failed", "payload"),
    ({"text": "x", "upload": "u", "part": 1}, "validation_failed", "payload.upload"),
]


@pytest.mark.parametrize(("payload", "code", "field"), BAD_PAYLOADS)
def test_a_bad_payload_is_refused(shared_tower: Tower, payload: Any, code: str, field: str) -> None:
    refused = refusal(shared_tower, "app.send_input", target_agent_id="nobody", payload=payload)
    assert refused.code == code
    if field:
        assert refused.details["field"] == field
    else:
        assert refused.details["size_limit_bytes"] == 16384


def test_parts_come_in_order(shared_tower: Tower) -> None:
    def part(number: int, upload: str = "up") -> dict[str, Any]:
        payload = {"text": "x", "upload": upload, "part": number, "more": True}
        return dict(shared_tower.call("app.send_input", target_agent_id="nobody", payload=payload))

    assert part(0)["received_bytes"] == 1
    assert part(1)["received_bytes"] == 2
    with pytest.raises(Refused) as raised:
        part(3)
    assert raised.value.details["field"] == "payload.part"


def test_a_text_is_nowhere_but_in_the_pane(shared_tower: Tower) -> None:
    agent = adopt(shared_tower, stranger(shared_tower))
    secret = f"secret{uuid.uuid4().hex}"
    payload = {"text": secret}
    shared_tower.call("app.send_input", target_agent_id=agent["agent_id"], payload=payload, idempotency_key="s")
    for file in shared_tower.state.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    assert secret not in tmux(shared_tower, "list-buffers")
    assert secret not in tmux(shared_tower, "show-options", "-g")


def test_waiting_scans_keep_nobody_waiting(tower: Tower) -> None:
    with tower.halted("work"):
        clients = [tower.connect() for _ in range(40)]
        for client in clients:
            client.sendall(b'{"method": "app.scan.containers"}\n')
        begun = time.monotonic()
        tower.call("app.event.list")
        layout_id = tower.create("local")
        assert time.monotonic() - begun < 10
    answers = [read_line(client)["result"] for client in clients]
    assert {answer["state"] for answer in answers} == {"completed"}
    assert len({answer["scan_id"] for answer in answers}) == 1
    for client in clients:
        client.close()
    tower.ready(layout_id)


def test_a_scan_that_no_worker_can_finish_says_so(tower: Tower) -> None:
    tower.kill("supervisord")
    tower.kill("work")
    result = tower.call("app.scan.containers")["result"]
    assert "tower up" in result["problem"]


def test_an_event_is_within_its_own_millisecond(shared_tower: Tower) -> None:
    team(shared_tower, f"e{uuid.uuid4().hex[:6]}")
    event = shared_tower.call("app.event.list", limit=1)["rows"][0]
    moment = int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1000)
    found = shared_tower.call("app.event.list", filters={"since": moment, "until": moment})["rows"]
    assert event["event_id"] in [row["event_id"] for row in found]


def test_a_cursor_that_was_changed_is_forged(shared_tower: Tower) -> None:
    team(shared_tower, f"c{uuid.uuid4().hex[:6]}")
    cursor = shared_tower.call("app.event.list", limit=1)["cursor_next"]
    others = [cursor[:-1] + letter for letter in "ABCDEFGHabcdefgh0123456789-_" if letter != cursor[-1]]
    for forged in (*others, cursor + "=", cursor + "A"):
        refused = refusal(shared_tower, "app.event.list", limit=1, cursor_next=forged)
        assert refused.details["field"] == "cursor_next"


def test_a_client_that_names_no_major_version_is_welcome(shared_tower: Tower) -> None:
    assert shared_tower.call("app.hello", client_id=None, client_app_contract_major=None)["state"] == "ok"


@pytest.mark.parametrize("number", ["1e999", "1" * 5000])
def test_a_payload_with_a_number_out_of_range_is_refused(shared_tower: Tower, number: str) -> None:
    payload = b'{"text": "x", "more_of_it": %s}' % number.encode()
    params = b'{"target_agent_id": "nobody", "payload": %s}' % payload
    answer = shared_tower.raw(b'{"method": "app.send_input", "params": %s}\n' % params)
    assert answer["error"]["code"] in ("validation_failed", "malformed_request")
