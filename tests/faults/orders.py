"""What a careful client does: every order has a key, and is given again until it is answered."""

import random
import threading
import time
from dataclasses import dataclass, field

from tests.harness import PATIENCE, Place, Refused, Tower

WRONG_BUT_FAIR = {
    "managed_session_name_conflict",
    "managed_pane_label_conflict",
    "managed_pane_illegal_transition",
    "managed_pane_illegal_recreate_source",
    "managed_pane_concurrent_recreate",
    "managed_pane_recreate_chain_too_deep",
    "managed_layout_capacity_exceeded",
    "managed_layout_not_found",
}
"""What a random order may be answered when others came first."""


@dataclass
class Clerk:
    """Gives random orders for a set of benches, and remembers what was accepted."""

    tower: Tower
    places: list[Place]
    dice: random.Random
    sessions: int = 3
    accepted: list[str] = field(default_factory=list)
    """Layouts whose create was answered."""
    refusals: list[str] = field(default_factory=list)
    """Answers that no order should get."""

    def some(self, count: int) -> list[threading.Thread]:
        """Give so many orders at once, each from a thread of its own."""
        orders = [self._draw(number) for number in range(count)]
        threads = [threading.Thread(target=order) for order in orders]
        for thread in threads:
            thread.start()
        return threads

    def _draw(self, number: int):  # type: ignore[no-untyped-def]
        place = self.dice.choice(self.places)
        kind = self.dice.choices(["create", "remove", "recreate", "remove_pane", "recreate_pane"], [5, 3, 2, 2, 2])[0]
        key = f"k{self.dice.getrandbits(40):x}-{number}"
        session = f"s{self.dice.randrange(self.sessions)}"
        pick = self.dice.random()
        return lambda: getattr(self, "_" + kind)(place, session, key, pick)

    def _create(self, place: Place, session: str, key: str, _: float) -> None:
        result = self._insist(
            "managed.layout.create",
            container_id=place.container_id,
            template_name="1m+2s",
            tmux_session_name=session,
            label_prefix=f"{session}-",
            idempotency_key=key,
        )
        if result:
            self.accepted.append(result["layout_id"])

    def _remove(self, place: Place, session: str, *_: object) -> None:
        for layout in self._layouts(place, session, ("ready", "degraded", "failed", "creating")):
            self._insist("managed.layout.remove", layout_id=layout["layout_id"], wait=False)

    def _recreate(self, place: Place, session: str, *_: object) -> None:
        for layout in self._layouts(place, session, ("ready", "removed", "failed"))[:1]:
            self._insist("managed.layout.recreate", layout_id=layout["layout_id"])

    def _remove_pane(self, place: Place, session: str, key: str, pick: float) -> None:
        for pane in self._panes(place, session, pick, ("ready", "degraded", "failed")):
            self._insist("managed.pane.remove", pane_id=pane["pane_id"], wait=False)

    def _recreate_pane(self, place: Place, session: str, key: str, pick: float) -> None:
        for pane in self._panes(place, session, pick, ("removed", "failed")):
            self._insist("managed.pane.recreate", predecessor_pane_id=pane["pane_id"], idempotency_key=key)

    def _layouts(self, place: Place, session: str, wanted: tuple[str, ...]) -> list[dict]:  # type: ignore[type-arg]
        result = self._insist("managed.layout.list", container_id=place.container_id, limit=50) or {"items": []}
        found = [row for row in result["items"] if row["tmux_session_name"] == session]
        return [row for row in found if row["state"] in wanted]

    def _panes(self, place: Place, session: str, pick: float, wanted: tuple[str, ...]) -> list[dict]:  # type: ignore[type-arg]
        for layout in self._layouts(place, session, ("ready", "degraded", "failed"))[:1]:
            result = self._insist("managed.layout.detail", layout_id=layout["layout_id"], include_terminal_panes=True)
            panes = [pane for pane in (result or {"panes": []})["panes"] if pane["state"] in wanted]
            return [panes[int(pick * len(panes))]] if panes else []
        return []

    def _insist(self, method: str, **params: object) -> dict | None:  # type: ignore[type-arg]
        """The answer, however often the server goes away; None when the order was refused, fairly or not."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                return dict(self.tower.call(method, **params))
            except (OSError, ConnectionError):
                time.sleep(0.05)
            except Refused as refused:
                if refused.code not in WRONG_BUT_FAIR:
                    self.refusals.append(f"{method}: {refused.code}: {refused.message}")
                return None
        self.refusals.append(f"{method}: no answer for {PATIENCE:.0f} s")
        return None
