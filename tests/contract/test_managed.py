"""The managed methods through both namespaces: a real server, real workers, real tmux."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.contract import serving
from tests.fields import LAYOUT_FIELDS, PANE_FIELDS
from tests.harness import Tower, eventually, pane
from tests.spots import Spot, at_once, quick_tower
from tower import errors
from tower.server import served
from tower.server.methods import MANAGED

NAMES = {"managed": "managed.{}", "app": "app.managed_{}"}


class Wire(NamedTuple):
    """One of the two namespaces of a tower."""

    tower: Tower
    kind: str

    def ask(self, method: str, **params: Any) -> Any:
        """The whole answer."""
        name = method if self.kind == "managed" else method.replace(".", "_")
        answer = self.tower.ask(NAMES[self.kind].format(name), params)
        assert answer.pop("app_contract_version", None) == ("1.1" if self.kind == "app" else None)
        return answer

    def call(self, method: str, **params: Any) -> Any:
        """The result."""
        answer = self.ask(method, **params)
        assert answer["ok"], answer
        return answer["result"]

    def refused(self, method: str, **params: Any) -> tuple[str, Any]:
        """Code and details of the error, which leaves nothing behind; the message is one sentence for a person."""
        before = self._written()
        answer = self.ask(method, **params)
        assert not answer["ok"], answer
        assert self._written() == before
        assert answer["error"]["message"].endswith(".")
        return answer["error"]["code"], answer["error"]["details"]


    def _written(self) -> list[int]:
        """How much of what requests write there is."""
        queries = (
            "SELECT count(*) FROM layout",
            "SELECT count(*) FROM pane",
            "SELECT count(*) FROM job WHERE kind IN ('spawn', 'remove', 'recreate')",
            "SELECT count(*) FROM event WHERE actor = 'operator'",
            "SELECT count(*) FROM agent WHERE origin = 'adopted'",
        )
        return [self.tower.rows(query)[0][0] for query in queries]


@pytest.fixture(scope="module")
def tower() -> Iterator[Tower]:
    """A tower with short times, which the tests of this module share."""
    made = quick_tower(TOWER_LIMITS_CHAIN_DEPTH="2")
    made.profile("gone", ["/no/such/program"])
    made.template("dead", [pane("d{ordinal}", "gone")])
    made.template("lost", [pane("l{ordinal}", "lost")])
    made.template("orphan", [pane("o{ordinal}", "no-such-profile")])
    made.profile("lost", ["sleep", "1000"], working_dir="/no/such/folder")
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture(params=["managed", "app"])
def wire(request: pytest.FixtureRequest, tower: Tower) -> Wire:
    """Each namespace."""
    return Wire(tower, request.param)


def create(wire: Wire, template: str = "one", **more: Any) -> Any:
    """A new layout, settled."""
    session = more.pop("session", None) or Spot.name()
    params = {"container_id": "local", "template_name": template, "tmux_session_name": session}
    made = wire.call("layout.create", label_prefix=f"{session}-", **params, **more)
    return wire.tower.settled(made["layout_id"])


def removed_pane(wire: Wire) -> Any:
    """A pane that was ready and is removed."""
    row = create(wire)["panes"][0]
    wire.call("pane.remove", pane_id=row["pane_id"])
    return row


def test_create_answers_with_the_panes_to_be(wire: Wire) -> None:
    session = Spot.name()
    params = {
        "container_id": "local",
        "template_name": "three",
        "tmux_session_name": session,
        "idempotency_key": session,
    }
    made = wire.call("layout.create", label_prefix=f"{session}-", **params)
    assert set(made) == {"layout_id", "state", "intended_pane_count", "panes", "replay"}
    assert (made["state"], made["intended_pane_count"], made["replay"]) == ("creating", 3, False)
    assert [row["label"] for row in made["panes"]] == [f"{session}-p{number}" for number in (1, 2, 3)]
    assert all(set(row) == {"pane_id", "role", "label", "state"} for row in made["panes"])
    wire.tower.ready(made["layout_id"])
    again = wire.call("layout.create", **(params | {"template_name": "none", "tmux_session_name": "other"}))
    assert (again["layout_id"], again["state"], again["replay"]) == (made["layout_id"], "ready", True)
    wire.call("layout.remove", layout_id=made["layout_id"])
    assert wire.call("layout.create", **params)["state"] == "removed"


def test_rows_have_every_field(wire: Wire) -> None:
    made = create(wire, "three")
    detail = wire.call("layout.detail", layout_id=made["layout_id"])
    assert set(detail) == LAYOUT_FIELDS | {"panes"}
    assert all(set(row) == PANE_FIELDS for row in detail["panes"])
    listed = wire.call("layout.list", state="ready", limit=200)["items"]
    assert [row for row in listed if row["layout_id"] == made["layout_id"]] == [
        {key: value for key, value in detail.items() if key != "panes"}
    ]
    assert wire.call("pane.list", layout_id=made["layout_id"])["items"] == detail["panes"]
    row = wire.call("pane.detail", pane_id=detail["panes"][1]["pane_id"])
    assert row.pop("predecessor_chain") == []
    assert row == detail["panes"][1]
    assert row["log_attached"] is True


def test_both_namespaces_read_the_same(tower: Tower) -> None:
    made = create(Wire(tower, "managed"), "three")
    about = {"layout_id": made["layout_id"]}
    for method, params in (
        ("layout.detail", about),
        ("layout.detail", about | {"include_terminal_panes": True}),
        ("pane.list", about),
        ("pane.detail", {"pane_id": made["panes"][0]["pane_id"], "include_predecessor_chain": True}),
        ("layout.detail", {"layout_id": "none"}),
    ):
        assert Wire(tower, "managed").ask(method, **params) == Wire(tower, "app").ask(method, **params)


def test_pages_go_on_where_the_last_one_ended(wire: Wire) -> None:
    made = create(wire, "three")
    found: list[Any] = []
    after: dict[str, str] = {}
    while True:
        page = wire.call("pane.list", layout_id=made["layout_id"], limit=1, **after)
        found += page["items"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert [row["pane_id"] for row in found] == [row["pane_id"] for row in made["panes"]]
    code, details = wire.refused("layout.list", after=after["after"])
    assert (code, details["field"]) == ("validation_failed", "after")


def test_remove_answers_when_it_is_done(wire: Wire) -> None:
    made = create(wire, "three")
    first = made["panes"][0]["pane_id"]
    assert wire.call("pane.remove", pane_id=first) == {"pane_id": first, "state": "removed"}
    assert wire.call("pane.remove", pane_id=first) == {"pane_id": first, "state": "removed"}
    done = wire.call("layout.remove", layout_id=made["layout_id"])
    assert set(done) == {"layout_id", "state", "panes"}
    assert [row["state"] for row in done["panes"]] == ["removed"] * 3
    assert wire.call("layout.remove", layout_id=made["layout_id"])["state"] == "removed"


def test_remove_without_waiting_answers_with_its_job(wire: Wire) -> None:
    made = create(wire)
    row = made["panes"][0]["pane_id"]
    answer = wire.call("pane.remove", pane_id=row, wait=False)
    assert isinstance(answer["job_id"], int)
    eventually(lambda: wire.call("pane.detail", pane_id=row)["state"] == "removed")
    made = create(wire)
    answer = wire.call("layout.remove", layout_id=made["layout_id"], wait=False)
    assert isinstance(answer["job_id"], int)
    eventually(lambda: wire.call("layout.detail", layout_id=made["layout_id"])["state"] == "removed")


def test_remove_of_a_layout_waits_behind_its_spawn(wire: Wire) -> None:
    session = Spot.name()
    params = {"container_id": "local", "template_name": "three", "tmux_session_name": session}
    made = wire.call("layout.create", label_prefix=f"{session}-", **params)
    assert wire.call("layout.remove", layout_id=made["layout_id"])["state"] == "removed"


def test_recreate_tells_of_the_successor(wire: Wire) -> None:
    row = removed_pane(wire)
    made = wire.call("pane.recreate", predecessor_pane_id=row["pane_id"], idempotency_key="again")
    assert set(made) == {"pane_id", "predecessor_id", "chain_depth", "state", "replay"}
    assert (made["predecessor_id"], made["chain_depth"], made["replay"]) == (row["pane_id"], 1, False)
    again = wire.call("pane.recreate", predecessor_pane_id=row["pane_id"], idempotency_key="again")
    assert (again["pane_id"], again["replay"]) == (made["pane_id"], True)
    wire.tower.settled(row["layout_id"])
    detail = wire.call("pane.detail", pane_id=made["pane_id"], include_predecessor_chain=True)
    assert [old["pane_id"] for old in detail["predecessor_chain"]] == [row["pane_id"]]


def test_recreate_of_a_layout_tells_of_the_new_panes(wire: Wire) -> None:
    made = create(wire, "three")
    gone = made["panes"][1]
    wire.call("pane.remove", pane_id=gone["pane_id"])
    answer = wire.call("layout.recreate", layout_id=made["layout_id"])
    assert set(answer) == {"layout_id", "state", "panes"}
    assert [row["predecessor_id"] for row in answer["panes"]] == [gone["pane_id"]]
    wire.tower.ready(made["layout_id"])
    assert wire.call("layout.recreate", layout_id=made["layout_id"])["panes"] == []


def test_a_remove_that_nobody_works_on_is_answered_at_once() -> None:
    alone = Tower()
    try:
        with serving.serving(alone):
            wire = Wire(alone, "managed")
            made = wire.call("layout.create", container_id="local", template_name="1m+2s", tmux_session_name="a")
            answer = wire.call("layout.remove", layout_id=made["layout_id"])
            assert answer["state"] == "creating"
            assert isinstance(answer["job_id"], int)
    finally:
        alone.close()


def test_a_capacity_of_layouts_is_never_passed() -> None:
    alone = Tower(environ={"TOWER_LIMITS_LAYOUTS": "4"})
    alone.template("one", [pane("p{ordinal}")])
    try:
        with serving.serving(alone):
            wire = Wire(alone, "managed")
            about = {"container_id": "local", "template_name": "one"}

            def one(name: str) -> Any:
                return wire.ask("layout.create", tmux_session_name=name, label_prefix=f"{name}-", **about)

            answers = at_once(*(lambda name=f"s{number}": one(name) for number in range(12)))
            refused = [answer["error"] for answer in answers if not answer["ok"]]
            assert len(refused) == 8
            assert {error["code"] for error in refused} == {"managed_layout_capacity_exceeded"}
            assert all(error["details"] == {"current_count": 4, "limit": 4} for error in refused)
            assert len(wire.call("layout.list")["items"]) == 4
    finally:
        alone.close()


# Every code that a managed method declares is provoked, in both namespaces, with exactly its details.


def _create(wire: Wire, **changed: Any) -> tuple[str, Any]:
    params = {"container_id": "local", "template_name": "one", "tmux_session_name": Spot.name()}
    return wire.refused("layout.create", **(params | changed))


def _template(wire: Wire) -> tuple[Any, Any]:
    known = ["1m+2s", "2m+2s", "dead", "lost", "one", "orphan", "three"]
    return _create(wire, template_name="none"), {"template_name": "none", "known_templates": known}


def _profile(wire: Wire) -> tuple[Any, Any]:
    found = _create(wire, launch_command_overrides={"slave:p1": "none"})
    return found, {"profile_name": "none", "known_profiles": ["gone", "idle", "lost", "tick"]}


def _session(wire: Wire) -> tuple[Any, Any]:
    session = Spot.name()
    subprocess.run(["tmux", "new-session", "-d", "-s", session, "cat"], env=wire.tower.environ, check=True)
    found = _create(wire, tmux_session_name=session)
    return found, {"container_id": "local", "tmux_session_name": session}


def _session_of_ours(wire: Wire) -> tuple[Any, Any]:
    session = create(wire)["tmux_session_name"]
    return _create(wire, tmux_session_name=session), {"container_id": "local", "tmux_session_name": session}


def _label(wire: Wire) -> tuple[Any, Any]:
    row = create(wire)["panes"][0]
    found = _create(wire, label_prefix=row["label"].removesuffix("p1"))
    return found, {"container_id": "local", "label": row["label"]}


def test_a_label_conflict_names_a_prefix_that_avoids_it(tower: Tower) -> None:
    about = {"container_id": "local", "template_name": "one"}
    first, second = Spot.name(), Spot.name()
    for prefix in ("", f"{second}-"):
        tower.call("managed.layout.create", tmux_session_name=Spot.name(), label_prefix=f"{prefix}{first}", **about)
    error = tower.ask("managed.layout.create", about | {"tmux_session_name": second, "label_prefix": first})["error"]
    assert error["code"] == "managed_pane_label_conflict"
    advised = error["message"].rstrip(".").split("--label-prefix ")[-1]
    tower.call("managed.layout.create", tmux_session_name=second, label_prefix=advised, **about)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tmux_session_name": "a.b"},
        {"label_prefix": "p" * 64},
        {"launch_command_overrides": {"nobody:nobody": "cat"}},
    ],
)
@pytest.mark.parametrize("key", [{}, {"idempotency_key": "never-used"}])
def test_what_is_wrong_with_a_create_is_told_before_the_engine_is_asked(tower: Tower, wrong: Any, key: Any) -> None:
    about = {"container_id": "nobody", "template_name": "1m+2s", "tmux_session_name": Spot.name()}
    assert tower.ask("managed.layout.create", about)["error"]["code"] == "docker_unavailable"
    assert tower.ask("managed.layout.create", about | wrong | key)["error"]["code"] == "validation_failed"


def _engine(wire: Wire) -> tuple[Any, Any]:
    code, details = _create(wire, container_id="none")
    assert set(details) == {"reason"}
    return (code, {}), {}


def _dotted(wire: Wire) -> tuple[Any, Any]:
    code, details = _create(wire, tmux_session_name="a.b")
    assert details["field"] == "tmux_session_name"
    assert "a_b" in details["reason"]
    return (code, {}), {}


def _no_bench(wire: Wire) -> tuple[Any, Any]:
    return wire.refused("layout.list", container_id="none"), {"container_id": "none"}


def _no_bench_of_panes(wire: Wire) -> tuple[Any, Any]:
    return wire.refused("pane.list", container_id="none"), {"container_id": "none"}


def _no_layout(method: str) -> "Provoke":
    return lambda wire: (wire.refused(method, layout_id="none"), {"layout_id": "none"})


def _no_pane(method: str, field: str = "pane_id") -> "Provoke":
    return lambda wire: (wire.refused(method, **{field: "none"}), {"pane_id": "none"})


def _adopted(method: str, field: str) -> "Provoke":
    def provoke(wire: Wire) -> tuple[Any, Any]:
        session = Spot.name()
        subprocess.run(["tmux", "new-session", "-d", "-s", session, "cat"], env=wire.tower.environ, check=True)
        wire.tower.call("app.scan.panes")
        rows = wire.tower.call("app.pane.list", limit=200)["rows"]
        found = next(row for row in rows if row["session_name"] == session)
        names = ("container_id", "tmux_socket", "session_name", "window_index", "pane_index", "pane_id")
        about = {name: found[name] for name in names} | {"role": "shell", "capability": "terminal", "label": session}
        agent = wire.tower.call("app.agent.register_from_pane", **about)["row"]["agent_id"]
        return wire.refused(method, **{field: agent}), {"agent_id": agent, "is_adopted": True}

    return provoke


def _creating(wire: Wire) -> tuple[Any, Any]:
    session = Spot.name()
    params = {"container_id": "local", "template_name": "three", "tmux_session_name": session}
    row = wire.call("layout.create", label_prefix=f"{session}-", **params)["panes"][0]["pane_id"]
    details = {"pane_id": row, "current_state": "creating", "requested_action": "remove"}
    return wire.refused("pane.remove", pane_id=row), details


def _live_source(wire: Wire) -> tuple[Any, Any]:
    row = create(wire)["panes"][0]["pane_id"]
    found = wire.refused("pane.recreate", predecessor_pane_id=row)
    return found, {"predecessor_pane_id": row, "current_state": "ready"}


def _concurrent(wire: Wire) -> tuple[Any, Any]:
    row = removed_pane(wire)["pane_id"]
    winner = wire.call("pane.recreate", predecessor_pane_id=row)["pane_id"]
    found = wire.refused("pane.recreate", predecessor_pane_id=row)
    return found, {"predecessor_pane_id": row, "in_flight_successor_pane_id": winner}


def _deep(wire: Wire) -> Any:
    """The pane at the end of a chain that is as long as it may be, removed."""
    row = removed_pane(wire)
    for _ in range(2):
        row = wire.call("pane.recreate", predecessor_pane_id=row["pane_id"]) | {"layout_id": row["layout_id"]}
        wire.tower.settled(row["layout_id"])
        wire.call("pane.remove", pane_id=row["pane_id"])
    return row


def _too_deep(wire: Wire) -> tuple[Any, Any]:
    row = _deep(wire)["pane_id"]
    found = wire.refused("pane.recreate", predecessor_pane_id=row)
    return found, {"predecessor_pane_id": row, "predecessor_chain_depth": 2, "limit": 3}


def test_a_slot_that_is_too_deep_keeps_the_others_of_its_layout_from_nothing(wire: Wire) -> None:
    session = Spot.name()
    made = wire.call(
        "layout.create",
        container_id="local",
        template_name="three",
        tmux_session_name=session,
        label_prefix=f"{session}-",
    )
    layout_id = made["layout_id"]
    wire.tower.ready(layout_id)
    row = made["panes"][0]
    for _ in range(2):
        wire.call("pane.remove", pane_id=row["pane_id"])
        row = wire.call("pane.recreate", predecessor_pane_id=row["pane_id"])
        wire.tower.ready(layout_id)
    refused, details = wire.refused("pane.recreate", predecessor_pane_id=row["pane_id"], check_only=True)
    assert (refused, details["predecessor_chain_depth"]) == ("managed_pane_recreate_chain_too_deep", 2)
    wire.call("layout.remove", layout_id=layout_id)
    answer = wire.call("layout.recreate", layout_id=layout_id)
    assert len(answer["panes"]) == 2
    wire.tower.settled(layout_id)
    states = [pane["state"] for pane in wire.call("layout.detail", layout_id=layout_id)["panes"]]
    assert states == ["ready", "ready"]
    wire.call("layout.remove", layout_id=layout_id)


def _layout_too_deep(wire: Wire) -> tuple[Any, Any]:
    row = _deep(wire)
    found = wire.refused("layout.recreate", layout_id=row["layout_id"])
    return found, {"predecessor_pane_id": row["pane_id"], "predecessor_chain_depth": 2, "limit": 3}


def _taken_session(method: str) -> "Provoke":
    """Recreating into a removed layout whose session's name somebody else has by now."""

    def provoke(wire: Wire) -> tuple[Any, Any]:
        row = removed_pane(wire)
        session = wire.call("layout.detail", layout_id=row["layout_id"])["tmux_session_name"]
        subprocess.run(["tmux", "new-session", "-d", "-s", session, "cat"], env=wire.tower.environ, check=True)
        return wire.refused(method, **_source(method, row)), {"container_id": "local", "tmux_session_name": session}

    return provoke


def _taken_label(method: str) -> "Provoke":
    """Recreating a pane whose label another one has by now."""

    def provoke(wire: Wire) -> tuple[Any, Any]:
        row = removed_pane(wire)
        prefix = row["label"].removesuffix("p1")
        about = {"container_id": "local", "template_name": "one", "tmux_session_name": Spot.name()}
        wire.call("layout.create", label_prefix=prefix, **about)
        return wire.refused(method, **_source(method, row)), {"container_id": "local", "label": row["label"]}

    return provoke


def _source(method: str, row: Mapping[str, Any]) -> dict[str, Any]:
    if method == "layout.recreate":
        return {"layout_id": row["layout_id"]}
    return {"predecessor_pane_id": row["pane_id"]}


def _override(wire: Wire) -> tuple[Any, Any]:
    row = removed_pane(wire)["pane_id"]
    found = wire.refused("pane.recreate", predecessor_pane_id=row, launch_command_override="none")
    return found, {"profile_name": "none", "known_profiles": ["gone", "idle", "lost", "tick"]}


def _lost_profile(wire: Wire) -> tuple[Any, Any]:
    name = Spot.name()
    wire.tower.profile(name, ["sleep", "1000"])
    made = create(wire, launch_command_overrides={"slave:p1": name})
    wire.call("layout.remove", layout_id=made["layout_id"])
    (wire.tower.config / "launch_commands" / f"{name}.yaml").unlink()
    found = wire.refused("layout.recreate", layout_id=made["layout_id"])
    return found, {"profile_name": name, "known_profiles": ["gone", "idle", "lost", "tick"]}


def _reserved(wire: Wire) -> tuple[Any, Any]:
    return wire.refused("pane.promote_from_adopted", agent_id="any"), {"reserved_since": "FEAT-013"}


Provoke = Callable[[Wire], tuple[Any, Any]]

PROVOKED: list[tuple[str, str, Provoke]] = [
    ("layout.create", "managed_template_not_found", _template),
    ("layout.create", "managed_launch_command_not_found", _profile),
    ("layout.create", "managed_session_name_conflict", _session),
    ("layout.create", "managed_session_name_conflict", _session_of_ours),
    ("layout.create", "managed_pane_label_conflict", _label),
    ("layout.create", "docker_unavailable", _engine),
    ("layout.create", "validation_failed", _dotted),
    ("layout.list", "container_not_found", _no_bench),
    ("layout.detail", "managed_layout_not_found", _no_layout("layout.detail")),
    ("layout.remove", "managed_layout_not_found", _no_layout("layout.remove")),
    ("layout.recreate", "managed_layout_not_found", _no_layout("layout.recreate")),
    ("layout.recreate", "managed_launch_command_not_found", _lost_profile),
    ("layout.recreate", "managed_session_name_conflict", _taken_session("layout.recreate")),
    ("layout.recreate", "managed_pane_label_conflict", _taken_label("layout.recreate")),
    ("layout.recreate", "managed_pane_recreate_chain_too_deep", _layout_too_deep),
    ("pane.list", "container_not_found", _no_bench_of_panes),
    ("pane.list", "managed_layout_not_found", _no_layout("pane.list")),
    ("pane.detail", "managed_pane_not_found", _no_pane("pane.detail")),
    ("pane.remove", "managed_pane_not_found", _no_pane("pane.remove")),
    ("pane.remove", "managed_pane_protected_adopted", _adopted("pane.remove", "pane_id")),
    ("pane.remove", "managed_pane_illegal_transition", _creating),
    ("pane.recreate", "managed_pane_not_found", _no_pane("pane.recreate", "predecessor_pane_id")),
    ("pane.recreate", "managed_pane_protected_adopted", _adopted("pane.recreate", "predecessor_pane_id")),
    ("pane.recreate", "managed_pane_illegal_recreate_source", _live_source),
    ("pane.recreate", "managed_pane_concurrent_recreate", _concurrent),
    ("pane.recreate", "managed_pane_recreate_chain_too_deep", _too_deep),
    ("pane.recreate", "managed_launch_command_not_found", _override),
    ("pane.recreate", "managed_session_name_conflict", _taken_session("pane.recreate")),
    ("pane.recreate", "managed_pane_label_conflict", _taken_label("pane.recreate")),
    ("pane.promote_from_adopted", "not_implemented", _reserved),
]

ELSEWHERE = {
    "managed_layout_capacity_exceeded": "a tower of its own, above",
    "container_not_found": "needs an engine that answers",
    "container_inactive": "needs a container",
    "docker_unavailable": "needs a container",
    "tmux_unavailable": "needs a container",
    "host_only": "needs a peer in a container",
    "internal_error": "is a fault",
    "validation_failed": "for every field of every method, where the registry is tested",
}


def test_every_declared_code_is_provoked() -> None:
    assert "managed.layout.create" in served.names()
    provoked = {(method, code) for method, code, _ in PROVOKED}
    declared = {(name, code) for name, method in MANAGED.methods.items() for code in method.codes}
    assert provoked <= declared
    assert {code for _, code in declared - provoked} <= set(ELSEWHERE)
    assert {code for _, code in declared} <= set(errors.by_code())


@pytest.mark.parametrize(
    ("method", "code", "provoke"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{number}") for number, case in enumerate(PROVOKED)],
)
def test_an_error_is_told_exactly(wire: Wire, method: str, code: str, provoke: Provoke) -> None:
    (found, details), expected = provoke(wire)
    assert (method, found) == (method, code)
    assert details == expected


def sessions(tower: Tower) -> list[str]:
    """The sessions that tmux has."""
    done = subprocess.run(["tmux", "list-sessions", "-F", "#S"], env=tower.environ, capture_output=True, check=False)
    return done.stdout.decode().splitlines()


def test_a_refused_create_writes_nothing(wire: Wire) -> None:
    def counted() -> list[int]:
        return [wire.tower.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("layout", "pane", "event")]

    wire.tower.idle()
    before = counted(), sorted(sessions(wire.tower))
    for changed in (
        {"template_name": "none"},
        {"template_name": "orphan"},
        {"tmux_session_name": "a.b"},
        {"tmux_session_name": "a b"},
        {"launch_command_overrides": {"slave:p1": "none"}},
        {"launch_command_overrides": {"slave:p9": "idle"}},
        {"container_id": "none"},
        {"label_prefix": "x" * 64},
        {"no_such_field": 1, "template_name": "none"},
    ):
        params = {"container_id": "local", "template_name": "one", "tmux_session_name": "never"} | changed
        assert not wire.ask("layout.create", **params)["ok"], json.dumps(changed)
    assert (counted(), sorted(sessions(wire.tower))) == before


@pytest.mark.parametrize("in_the_way", ["a file", "a link to nowhere"])
def test_sixteen_panes_whose_logs_cannot_be_written_end_degraded_and_hold_nobody_up(in_the_way: str) -> None:
    tower = quick_tower()
    tower.template("sixteen", [pane(f"p{number}", "idle") for number in range(16)])
    try:
        tower.up()
        folder = tower.state / "logs" / "local"
        if in_the_way == "a file":
            folder.write_text("")
        else:
            folder.symlink_to("/no/such/folder")
        layout = tower.settled(tower.create("local", "sixteen", "crowd"))
        assert (layout["state"], layout["failed_stage"]) == ("degraded", "log_attach")
        assert {row["state"] for row in layout["panes"]} == {"degraded"}
        assert all(str(tower.state / "logs" / "local") in row["reason"] for row in layout["panes"])
        assert tower.rows("SELECT state FROM job WHERE kind = 'spawn'")[0][0] == "done"
    finally:
        tower.close()
