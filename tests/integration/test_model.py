"""Random lives: whatever is done in whatever order, rows, tmux and events tell the same story after each step.

The draws follow from a seed, which is printed; TOWER_TEST_SEED draws others.
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.audit import problems
from tests.harness import Place, Refused, eventually, pane
from tests.integration.test_adopt import Stranger, portrait
from tests.spots import IDLE, Spot, quick_tower
from tower import states

SEED = int(os.environ.get("TOWER_TEST_SEED", "2026"))
EXAMPLES, STEPS = 25, 12
PATIENCE_OF_AUDIT = 20.0

SESSIONS = st.sampled_from(["a", "b", "c"])
TEMPLATES = st.sampled_from(["one", "three", "mixed"])
ANY = st.integers(min_value=0, max_value=99)

RULES = ("create", "remove_pane", "remove_layout", "recreate_pane", "recreate_layout", "kill_by_hand", "agent_exits",
         "adopt", "send", "reconcile")  # fmt: skip

KILLED, ENDED = "killed", "ended"
"""What befell a pane in tmux that its row may not tell of yet."""


class Lives(RuleBasedStateMachine):
    """One bench, some sessions, and an operator who does everything that can be done."""

    spot: ClassVar[Spot]
    done: ClassVar[dict[str, int]] = {}
    """How often each rule had its full effect."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.fates: dict[str, str] = {}
        self.stranger = Stranger(self.spot)
        self.before = [portrait(self.spot, target) for target in self.stranger.ids]
        self.adopted: dict[int, str] = {}
        self.last: dict[str, str] = {}

    # what there is

    def _panes(self) -> list[Any]:
        marks = ",".join("?" * len(self.made))
        query = f"SELECT * FROM pane WHERE layout_id IN ({marks}) ORDER BY number"
        return self.spot.tower.rows(query, *self.made)

    def _layouts(self) -> list[Any]:
        marks = ",".join("?" * len(self.made))
        return self.spot.tower.rows(f"SELECT * FROM layout WHERE layout_id IN ({marks}) ORDER BY number", *self.made)

    def _pick(self, number: int, rows: list[Any]) -> Any:
        return rows[number % len(rows)] if rows else None

    def _call(self, method: str, **params: Any) -> Any:
        """The result, or the code of the refusal; everything that was accepted has been done then."""
        try:
            return self.spot.tower.call(method, **params)
        except Refused as refused:
            return refused.code
        finally:
            self.spot.tower.idle()

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def _doomed(self, rows: list[Any]) -> None:
        """Note the panes whose commands end by themselves, which a busy machine may see late."""
        doomed = [row["pane_id"] for row in rows if row["launch_command_ref"] in ("exits", "nowhere")]
        self.fates = dict.fromkeys(doomed, ENDED) | self.fates

    def _session_taken(self, session: str, but: str | None = None) -> bool:
        held = [row for row in self._layouts() if row["state"] != "removed" and row["layout_id"] != but]
        return any(row["tmux_session_name"] == session for row in held)

    # what the operator does

    @initialize(template=TEMPLATES)
    def begin(self, template: str) -> None:
        self.create("a", template)

    @rule(session=SESSIONS, template=TEMPLATES)
    def create(self, session: str, template: str) -> None:
        taken = self._session_taken(session)
        answer = self._call(
            "managed.layout.create",
            container_id="local",
            template_name=template,
            tmux_session_name=session,
            label_prefix=f"{session}-",
        )
        if taken:
            assert answer == "managed_session_name_conflict"
            return
        self.made.append(answer["layout_id"])
        rows = [row for row in self._panes() if row["layout_id"] == answer["layout_id"]]
        self._doomed(rows)
        assert {row["state"] for row in rows if row["pane_id"] not in self.fates} == {"ready"}
        self._count("create")

    @rule(number=ANY)
    def remove_pane(self, number: int) -> None:
        if row := self._pick(number, self._panes()):
            answer = self._call("managed.pane.remove", pane_id=row["pane_id"])
            assert answer == {"pane_id": row["pane_id"], "state": "removed"}
            self._count("remove_pane")

    @rule(number=ANY)
    def remove_layout(self, number: int) -> None:
        if row := self._pick(number, self._layouts()):
            assert self._call("managed.layout.remove", layout_id=row["layout_id"])["state"] == "removed"
            self._count("remove_layout")

    @rule(number=ANY)
    def recreate_pane(self, number: int) -> None:
        rows = self._panes()
        row = self._pick(number, [one for one in rows if number % 4 == 0 or self._recreation(one) is None] or rows)
        if row is None:
            return
        wanted = self._recreation(row)
        answer = self._call("managed.pane.recreate", predecessor_pane_id=row["pane_id"])
        if wanted:
            assert answer == wanted
            return
        made = next(one for one in self._panes() if one["pane_id"] == answer["pane_id"])
        kept = ("layout_id", "slot", "label", "role", "capability", "launch_command_ref")
        assert [made[key] for key in kept] == [row[key] for key in kept]
        self._doomed([made])
        assert made["state"] == "ready" or made["pane_id"] in self.fates
        self._count("recreate_pane")

    def _recreation(self, row: Any) -> str | None:
        """The code that a recreation must be refused with."""
        successors = [one for one in self._panes() if one["predecessor_id"] == row["pane_id"]]
        if any(one["state"] in states.LIVE for one in successors):
            return "managed_pane_concurrent_recreate"
        if row["state"] not in ("removed", "failed") or not row["newest"]:
            return "managed_pane_illegal_recreate_source"
        layout = next(one for one in self._layouts() if one["layout_id"] == row["layout_id"])
        if layout["state"] == "removed" and self._session_taken(layout["tmux_session_name"]):
            return "managed_session_name_conflict"
        return None

    @rule(number=ANY)
    def recreate_layout(self, number: int) -> None:
        layout = self._pick(number, self._layouts())
        if layout is None:
            return
        rows = [row for row in self._panes() if row["layout_id"] == layout["layout_id"] and row["newest"]]
        dead = [row for row in rows if row["state"] in ("removed", "failed")]
        # where no row tells of a loss the bench is looked at first
        dead = dead or [row for row in rows if self.fates.get(row["pane_id"]) == KILLED]
        answer = self._call("managed.layout.recreate", layout_id=layout["layout_id"])
        if layout["state"] == "removed" and self._session_taken(layout["tmux_session_name"], layout["layout_id"]):
            assert answer == "managed_session_name_conflict"
            return
        assert [row["predecessor_id"] for row in answer["panes"]] == [
            row["pane_id"] for row in sorted(dead, key=lambda row: row["slot"])
        ]
        self._doomed(self._panes())
        self._count("recreate_layout")

    @rule(number=ANY)
    def kill_by_hand(self, number: int) -> None:
        alive = [row for row in self._panes() if row["state"] in ("ready", "degraded") and self._fate(row) != KILLED]
        if row := self._pick(number, alive):
            self.spot.kill(row)
            self.fates[row["pane_id"]] = KILLED
            self._count("kill_by_hand")

    @rule(number=ANY)
    def agent_exits(self, number: int) -> None:
        alive = [row for row in self._panes() if row["state"] == "ready" and self._fate(row) is None]
        if row := self._pick(number, alive):
            shown = self.spot.place.tmux("display-message", "-p", "-t", row["tmux_pane_id"], "#{pane_pid}")
            os.kill(int(shown), signal.SIGTERM)
            dead = ("display-message", "-p", "-t", row["tmux_pane_id"], "#{pane_dead}")
            eventually(lambda: self.spot.place.tmux(*dead).strip() == "1")
            self.fates[row["pane_id"]] = ENDED
            self._count("agent_exits")

    def _fate(self, row: Any) -> str | None:
        return self.fates.get(row["pane_id"])

    @rule(number=st.integers(min_value=0, max_value=1))
    def adopt(self, number: int) -> None:
        if number not in self.adopted:
            self.adopted[number] = self.stranger.adopt(number)["agent_id"]
            self._count("adopt")
            return
        with pytest.raises(Refused) as refused:
            self.stranger.adopt(number)
        assert refused.value.code == "pane_already_registered"
        assert refused.value.details == {"agent_id": self.adopted[number]}

    @rule(number=ANY)
    def send(self, number: int) -> None:
        rows = [row for row in self._panes() if row["agent_id"]]
        row = self._pick(number, [row for row in rows if number % 4 == 0 or row["state"] == "ready"] or rows)
        if row is None:
            return
        answer = self._call("app.send_input", target_agent_id=row["agent_id"], payload={"text": "hello"})
        if row["state"] == "ready" and self._fate(row) is None:
            assert answer["state"] == "delivered"
            self._count("send")
        elif row["state"] != "degraded" or self._fate(row):
            assert answer == "permission_denied"

    @rule()
    def scan(self) -> None:
        assert self._call("app.scan.panes")["state"] == "completed"

    @rule()
    def reconcile(self) -> None:
        assert self._call("app.scan.containers")["state"] == "completed"
        for row in self._panes():
            if self._fate(row) == KILLED and row["state"] != "removed":
                assert row["state"] == "failed"
                assert row["failed_stage"] in ("recovery_reattach", "pane_create")
            elif self._fate(row) == ENDED:
                assert row["state"] in ("degraded", "failed", "removed")
        self.fates = {pane_id: fate for pane_id, fate in self.fates.items() if fate != KILLED}
        self._count("reconcile")

    # what holds after each step

    @invariant()
    def everything_tells_the_same_story(self) -> None:
        until = time.monotonic() + PATIENCE_OF_AUDIT
        killed = [pane_id for pane_id, fate in self.fates.items() if fate == KILLED]
        while found := [one for one in problems(self.spot.tower, [self.spot.place])
                        if not any(pane_id in one for pane_id in killed)]:  # fmt: skip
            assert time.monotonic() < until, found
            time.sleep(0.05)

    @invariant()
    def layouts_follow_from_their_panes(self) -> None:
        rows = self._panes()
        for layout in self._layouts():
            newest = [
                (row["slot"], row["state"], row["failed_stage"])
                for row in rows
                if row["layout_id"] == layout["layout_id"] and row["newest"]
            ]
            assert (layout["state"], layout["failed_stage"]) == states.derive_layout(newest)

    @invariant()
    def nothing_else_has_changed(self) -> None:
        pairs = zip(self.stranger.ids, self.before, strict=True)
        assert [portrait(self.spot, target) ^ before for target, before in pairs] == [set(), set()]

    @invariant()
    def identity_holds(self) -> None:
        """A pane's tmux pane never changes, and a removed one stays removed."""
        for row in self._panes():
            before = self.last.get(row["pane_id"], row["state"])
            assert before != "removed" or row["state"] == "removed"
            self.last[row["pane_id"]] = row["state"]

    def teardown(self) -> None:
        """Leave an empty bench to the next life."""
        for row in self._layouts():
            self.spot.tower.call("managed.layout.remove", layout_id=row["layout_id"], wait=False)
        self.spot.tower.idle()
        assert self.spot.place.panes() == {}
        self.stranger.close()


@pytest.fixture(scope="module")
def lively() -> Iterator[Spot]:
    """A tower for the lives, whose periodic reconcile stays out of the way."""
    tower = quick_tower(TOWER_TIMES_SETTLE="0.05", TOWER_TIMES_RECONCILE_EVERY="3600")
    tower.profile("exits", ["sh", "-c", "exit 3"])
    tower.profile("nowhere", IDLE, working_dir="/no/such/directory")
    tower.template("mixed", [pane("x1", "idle"), pane("x2", "exits"), pane("x3", "nowhere")])
    try:
        spot = Spot(Place(tower.up()))
        spot.remove_layout(spot.make("one")["layout_id"])
        eventually((tower.state / "events.jsonl").exists)
        yield spot
    finally:
        tower.close()


@pytest.mark.timeout(600)
def test_random_lives(lively: Spot) -> None:
    Lives.spot = lively
    Lives.done.clear()
    print(f"TOWER_TEST_SEED={SEED}")  # noqa: T201 - shown with a failure
    run_state_machine_as_test(
        seed(SEED)(Lives),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    print(Lives.done)  # noqa: T201 - shown with a failure
    assert all(Lives.done.get(what, 0) for what in RULES), "each rule had its effect"
