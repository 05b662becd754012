"""A bench of either runtime in which the tests of a module live side by side, each in a session of its own."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness import Place, Tower, eventually, pane

QUICK = {"TOWER_TIMES_SETTLE": "0.3", "TOWER_LIMITS_LAYOUTS": "1000"}
"""For tests that are about neither."""

TICK = ["sh", "-c", "while :; do echo tick; sleep 0.1; done"]
IDLE = ["sleep", "1000000"]

_numbers = itertools.count(1)


def quick_tower(docker_host: str | None = None, **environ: str) -> Tower:
    """A tower that does not run yet, with a short settle time and the templates and profiles below.

    It sees no engine unless it is told of one: on the tests' own it would take other tests' containers for benches.
    """
    tower = Tower(docker_host=docker_host, environ=QUICK | environ)
    tower.profile("tick", TICK)
    tower.profile("idle", IDLE)
    tower.template("one", [pane("p{ordinal}", "idle")])
    tower.template("three", [pane("p{ordinal}", "tick") for _ in range(3)], arrangement="main-vertical")
    return tower


class Spot:
    """A place with a running tower, and what tests do there again and again."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.tower: Tower = place.tower
        self.bench = place.container_id

    @staticmethod
    def name() -> str:
        """A session name that nobody has; with a hyphen it is the prefix of the session's labels."""
        return f"t{next(_numbers)}"

    def accept(self, template: str = "three", **more: Any) -> str:
        """The id of a new layout in a session of its own."""
        session = more.pop("session", None) or self.name()
        return self.tower.create(self.bench, template, session, label_prefix=f"{session}-", **more)

    def make(self, template: str = "three", **more: Any) -> Any:
        """A new layout, ready."""
        return self.tower.ready(self.accept(template, **more))

    def pane(self, pane_id: str) -> Any:
        """A pane as its detail shows it."""
        return self.tower.call("managed.pane.detail", pane_id=pane_id)

    def settled(self, pane_id: str) -> Any:
        """The pane, once it is no longer creating."""

        def look() -> Any:
            row = self.pane(pane_id)
            return None if row["state"] == "creating" else row

        return eventually(look, what=f"pane {pane_id} settled")

    def remove(self, pane_id: str) -> Any:
        """Remove a pane, to the end."""
        return self.tower.call("managed.pane.remove", pane_id=pane_id)

    def remove_layout(self, layout_id: str) -> Any:
        """Remove a layout, to the end."""
        return self.tower.call("managed.layout.remove", layout_id=layout_id)

    def recreate(self, pane_id: str, **more: Any) -> Any:
        """The successor of a pane, ready."""
        made = self.tower.call("managed.pane.recreate", predecessor_pane_id=pane_id, **more)
        row = self.settled(made["pane_id"])
        assert row["state"] == "ready", row
        return row

    def scan(self) -> None:
        """Have every bench reconciled, now."""
        assert self.tower.call("app.scan.containers")["state"] == "completed"

    def kill(self, row: Any) -> None:
        """Kill a pane by hand."""
        self.place.tmux("kill-pane", "-t", row["tmux_pane_id"])

    def in_order(self, session: str) -> list[str]:
        """The tower ids of the panes of a session, as tmux has arranged them: by place, not by age."""
        lines = self.place.tmux("list-panes", "-s", "-t", f"={session}", "-F", "#{pane_index} #{@tower_pane}")
        return [line.split(" ")[1] for line in sorted(lines.splitlines(), key=lambda line: int(line.split(" ")[0]))]

    def events(self, event_type: str, **where: str) -> list[Any]:
        """The events of a type, oldest first."""
        found = self.tower.call("app.event.list", filters={"event_type": event_type, **where}, limit=200)
        return list(reversed(found["rows"]))


def grows(path: str | Path) -> None:
    """Fails unless that file gets longer."""
    before = Path(path).stat().st_size
    eventually(lambda: Path(path).stat().st_size > before, what=f"{path} grows")


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """What these return, or the exceptions that they raise, when they are begun at the same moment."""
    ready = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)

    def run(number: int) -> None:
        ready.wait()
        try:
            results[number] = actions[number]()
        except Exception as error:  # noqa: BLE001 - whatever it is is the result
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
