"""What a careful client does: every order has a key, and is given again until it is answered."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.harness import PATIENCE, Place, Refused, Tower, pane

WRONG_BUT_FAIR = {
    "managed_session_name_conflict",
    "managed_pane_label_conflict",
    "managed_pane_illegal_transition",
    "managed_pane_illegal_recreate_source",
    "managed_pane_concurrent_recreate",
    "managed_pane_recreate_chain_too_deep",
    "managed_layout_capacity_exceeded",
}
"""What a random order may be answered when others came first."""

ASK_AGAIN = {"scan_timeout"}
"""What a server says that was told to stop: a scan goes on, and its end is not waited for."""

BRIEF = "brief"
"""The template of a pane whose command ends at once: its layout becomes degraded, as it should."""

ONE = "one"
CROWDED = 4
"""Layouts of a bench from which on removes are drawn more often than creates."""

_LIVE = ("creating", "ready", "degraded", "failed")

Order = Callable[[], object]


@dataclass(frozen=True)
class Accepted:
    """An order that was accepted: its target, the job of a remove, the panes that a create or recreate makes."""

    method: str
    target: str
    job_id: int | None = None
    panes: tuple[str, ...] = ()


@dataclass
class Clerk:
    """Gives random orders for a set of benches, and remembers what was asked, what was accepted and what it broke."""

    tower: Tower
    places: list[Place]
    dice: random.Random
    accepted: list[Accepted] = field(default_factory=list)
    asked_to_remove: set[str] = field(default_factory=set)
    """Layouts and panes, whether or not the order was answered."""
    killed: set[str] = field(default_factory=set)
    """Panes that it has killed by hand."""
    refusals: list[str] = field(default_factory=list)
    """Answers that no order should get."""
    by_hand: bool = False
    """Whether something was done in tmux that only a look will find."""
    _sessions: int = 0

    def prepare(self) -> None:
        """Write the templates that the orders name."""
        self.tower.profile(BRIEF, ["sh", "-c", "echo so brief; exit 3"])
        self.tower.template(BRIEF, [pane("{session}-{ordinal}", BRIEF)])
        self.tower.template(ONE, [pane("{session}-{ordinal}")])

    def draw(self, count: int) -> list[Order]:
        """So many random orders; those on the same session get in each other's way."""
        return [self._draw() for _ in range(count)]

    def _draw(self) -> Order:
        place, pick = self.dice.choice(self.places), self.dice.random()
        crowded = len(self.layouts(place, _LIVE)) >= CROWDED
        kinds = {
            self.create: 1 if crowded else 5,
            self.remove: 6 if crowded else 2,
            self.recreate: 2,
            self.remove_pane: 2,
            self.recreate_pane: 2,
            self.kill_by_hand: 1,
        }
        order = self.dice.choices(list(kinds), list(kinds.values()))[0]
        if order == self.create:
            return self.creation(place, session=f"s{self.dice.randrange(3)}")
        return lambda: order(place, pick)  # type: ignore[call-arg, misc]

    # orders

    def creation(self, place: Place, template: str = "1m+2s", session: str | None = None) -> Order:
        """A create, in a session that nobody has unless one is named."""
        self._sessions += 1
        session = session or f"t{self._sessions}"
        key = f"k{self.dice.getrandbits(60):x}"
        return lambda: self.create(place, template, session, key)

    def create(self, place: Place, template: str, session: str, key: str) -> None:
        """Create a layout."""
        prefix = {"label_prefix": f"{session}-"} if template == "1m+2s" else {}
        order = {"template_name": template, "tmux_session_name": session, "idempotency_key": key} | prefix
        result = self.insist("managed.layout.create", container_id=place.container_id, **order)
        if result:
            ids = tuple(made["pane_id"] for made in result["panes"])
            self.accepted.append(Accepted("layout.create", result["layout_id"], panes=ids))

    def remove(self, place: Place, pick: float) -> None:
        """Remove a layout that is not removed."""
        for layout in _one(self.layouts(place, _LIVE), pick):
            self.remove_layout(layout["layout_id"])

    def remove_layout(self, layout_id: str) -> None:
        """Remove that layout."""
        self.asked_to_remove.add(layout_id)
        result = self.insist("managed.layout.remove", layout_id=layout_id, wait=False)
        if result:
            self.accepted.append(Accepted("layout.remove", layout_id, result.get("job_id")))

    def recreate(self, place: Place, pick: float) -> None:
        """Recreate what is dead of a layout."""
        for layout in _one(self.layouts(place, ("failed", "removed", "ready"))[:6], pick):
            self._recreate(layout["layout_id"])

    def recreate_dead(self, place: Place) -> None:
        """Recreate what is dead of the newest layout that has failed."""
        for layout in self.layouts(place, ("failed",))[:1]:
            self._recreate(layout["layout_id"])

    def _recreate(self, layout_id: str) -> None:
        result = self.insist("managed.layout.recreate", layout_id=layout_id)
        if result:
            ids = tuple(made["pane_id"] for made in result["panes"])
            self.accepted.append(Accepted("layout.recreate", layout_id, panes=ids))

    def remove_pane(self, place: Place, pick: float) -> None:
        """Remove a pane that lives."""
        for row in _one(self.panes(place, ("ready", "degraded", "failed")), pick):
            self.asked_to_remove.add(row["pane_id"])
            result = self.insist("managed.pane.remove", pane_id=row["pane_id"], wait=False)
            if result:
                self.accepted.append(Accepted("pane.remove", row["pane_id"], result.get("job_id")))

    def recreate_pane(self, place: Place, pick: float) -> None:
        """Recreate a pane that is dead, of a layout that lives."""
        for row in _one(self.panes(place, ("failed", "removed")), pick):
            key = f"k{pick}-{row['pane_id']}"
            params = {"predecessor_pane_id": row["pane_id"], "idempotency_key": key}
            result = self.insist("managed.pane.recreate", **params)
            if result:
                self.accepted.append(Accepted("pane.recreate", row["pane_id"], panes=(result["pane_id"],)))

    # what happens in tmux without the tower

    def kill_by_hand(self, place: Place, pick: float) -> None:
        """Kill a ready pane in tmux."""
        for row in _one(self.panes(place, ("ready",)), pick):
            self.by_hand = True
            self.killed.add(row["pane_id"])
            there = f"#{{==:#{{@tower_pane}},{row['pane_id']}}}"
            target = row["tmux_pane_id"]
            place.tmux("if-shell", "-F", "-t", target, there, f"kill-pane -t {target}")

    def stray(self, place: Place) -> None:
        """Make a tmux pane that carries the id of a removed one, as something done twice would have left it."""
        query = "SELECT pane_id FROM pane WHERE container_id = ? AND state = 'removed' ORDER BY number DESC LIMIT 1"
        for (pane_id,) in self.tower.rows(query, place.container_id):
            self._sessions += 1
            self.by_hand = True
            identity = (("@tower_pane", pane_id), ("@tower_instance", self.tower.instance()))
            options = [word for key, value in identity for word in (";", "set-option", "-p", key, value)]
            place.tmux("new-session", "-d", "-s", f"stray{self._sessions}", "sleep 1000000", *options)

    # looking

    def scan(self) -> None:
        """Have every bench reconciled."""
        self.insist("app.scan.containers")

    def layouts(self, place: Place, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
        """The newest layouts of a bench in these states, straight from the database."""
        query = "SELECT layout_id, state FROM layout WHERE container_id = ? ORDER BY number DESC LIMIT 40"
        return [dict(row) for row in self.tower.rows(query, place.container_id) if row["state"] in wanted]

    def panes(self, place: Place, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
        """The panes that count of the layouts of a bench that are not removed."""
        query = (
            "SELECT p.pane_id, p.tmux_pane_id, p.state FROM pane p JOIN layout l ON l.layout_id = p.layout_id"
            " WHERE p.container_id = ? AND p.newest AND l.state != 'removed' ORDER BY p.number"
        )
        return [dict(row) for row in self.tower.rows(query, place.container_id) if row["state"] in wanted]

    def insist(self, method: str, **params: object) -> dict[str, Any] | None:
        """The answer, however often the server goes away; None when the order was refused, fairly or not."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                return dict(self.tower.call(method, **params))
            except (OSError, ConnectionError):
                time.sleep(0.02)
            except Refused as refused:
                if refused.code in ASK_AGAIN:
                    continue
                if refused.code not in WRONG_BUT_FAIR:
                    self.refusals.append(f"{method}: {refused.code}: {refused.message}")
                return None
        self.refusals.append(f"{method}: no answer for {PATIENCE:.0f} s")
        return None


def give(orders: list[Order]) -> list[threading.Thread]:
    """Give these orders at once, each from a thread of its own."""
    threads = [threading.Thread(target=order, daemon=True) for order in orders]
    for thread in threads:
        thread.start()
    return threads


def _one(rows: list[dict[str, Any]], pick: float) -> list[dict[str, Any]]:
    return [rows[int(pick * len(rows))]] if rows else []
