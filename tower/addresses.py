"""What an operator types for a layout, a pane or an agent, to the id that it means.

An id may be shortened to any unique prefix. A layout also goes by its session name, `BENCH:session` where several
benches have it; a pane by `LAYOUT/label`. Live ones come first: a removed one is meant only where no live one fits.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from tower import states
from tower.errors import ManagedLayoutNotFound, ManagedPaneNotFound, PermissionDenied, ValidationFailed

UNREMOVED: Final = [state for state in states.STATES if state != states.REMOVED]

Row = dict[str, Any]


class Server(Protocol):
    """Who is asked."""

    @property
    def inside(self) -> bool:
        """Whether the caller is inside a bench, where no `app.*` method is open."""

    def call(self, method: str, /, **params: Any) -> Row:
        """The result of a method."""

    def items(self, method: str, /, **params: Any) -> Iterator[Row]:
        """Every row of a `managed.*` list."""

    def rows(self, method: str, /, **params: Any) -> Iterator[Row]:
        """Every row of an `app.*` list."""


def layout_id(server: Server, word: str) -> str:
    """The id of the layout that is called so.

    Raises ManagedLayoutNotFound, and ValidationFailed naming the candidates where several are meant.
    """
    if _whole(word):
        return word
    _require(word, "layout")
    for wanted in (UNREMOVED, [states.REMOVED]):
        rows = list(server.items("managed.layout.list", state=wanted))
        for fits in (_is_session, _begins("layout_id")):
            if found := [row for row in rows if fits(row, word)]:
                return str(_only(word, "layout", found, _layout_words)["layout_id"])
    raise ManagedLayoutNotFound(word)


def pane_id(server: Server, word: str) -> str:
    """The id of the managed pane that is called so; the id of an adopted agent stays one.

    Raises ManagedPaneNotFound, ManagedLayoutNotFound, and ValidationFailed where several are meant.
    """
    if _whole(word):
        return word
    _require(word, "pane")
    found = _pane_by_label(server, word) if "/" in word else _pane_by_prefix(server, word)
    if found is None and not server.inside:
        found = _agent(server, word)
    if found is None:
        raise ManagedPaneNotFound(word)
    return found


def agent_id(server: Server, word: str) -> str:
    """The id of the agent in the pane that is called so, or of the agent itself.

    Raises PermissionDenied for a pane that has none, and what `pane_id` raises.
    """
    found = pane_id(server, word)
    if any(row["agent_id"] == found for row in server.rows("app.agent.list", filters={"registered": None})):
        return found
    pane = server.call("managed.pane.detail", pane_id=found)
    if pane["agent_id"] is None:
        raise PermissionDenied(_why_no_agent(pane))
    return str(pane["agent_id"])


def _why_no_agent(pane: Row) -> str:
    if pane["state"] == states.CREATING:
        return f"pane {pane['label']} is still being created; wait for it with `tower layout wait`"
    verb = "restart" if pane["state"] == states.DEGRADED else "recreate"
    return f"pane {pane['label']} is {pane['state']}; `tower pane {verb}` brings it back"


def is_bench(row: Row, word: str) -> bool:
    """Whether the row's bench is called so: by its name, its id, or 12 characters of that and more."""
    container_id = str(row["container_id"])
    return word in (container_id, row["container_name"]) or (len(word) >= 12 and container_id.startswith(word))


def _require(word: str, kind: str) -> None:
    """Raise ValidationFailed for an empty word, which every id begins with."""
    if not word:
        raise ValidationFailed(kind, "it is empty; name one by its id, the beginning of that, or its session")


def _whole(word: str) -> bool:
    try:
        return str(uuid.UUID(word)) == word
    except ValueError:
        return False


def _is_session(row: Row, word: str) -> bool:
    bench, colon, session = word.rpartition(":")
    return row["tmux_session_name"] == session and (not colon or is_bench(row, bench))


def _begins(key: str) -> Callable[[Row, str], bool]:
    return lambda row, word: str(row[key]).startswith(word)


def _pane_by_prefix(server: Server, word: str) -> str | None:
    for wanted in (UNREMOVED, [states.REMOVED]):
        rows = server.items("managed.pane.list", state=wanted)
        if found := [row for row in rows if row["pane_id"].startswith(word)]:
            return str(_only(word, "pane", found, _pane_words)["pane_id"])
    return None


def _pane_by_label(server: Server, word: str) -> str | None:
    layout, _, label = word.rpartition("/")
    try:
        found = layout_id(server, layout)
    except ManagedLayoutNotFound:
        if server.inside or _agent(server, word) is None:
            raise
        return None
    panes = server.call("managed.layout.detail", layout_id=found, include_terminal_panes=True)["panes"]
    named = [pane for pane in panes if pane["label"] == label]
    newest = max(named, key=lambda pane: (pane["state"] in states.LIVE, pane["created_at"]), default=None)
    return newest and str(newest["pane_id"])


def _agent(server: Server, word: str) -> str | None:
    rows = server.rows("app.agent.list", filters={"origin": "adopted"})
    session, _, label = word.rpartition("/")
    found = [
        row
        for row in rows
        if row["agent_id"].startswith(word) or (session, label) == (row["tmux_session_name"], row["label"])
    ]
    return str(_only(word, "agent", found, _agent_words)["agent_id"]) if found else None


def _only(word: str, kind: str, found: list[Row], words: Callable[[Row], str]) -> Row:
    if len(found) > 1:
        candidates = "; ".join(sorted(_some(words(row) for row in found)))
        raise ValidationFailed(kind, f"{word!r} means {len(found)} of them, say which: {candidates}")
    return found[0]


def _some(words: Iterable[str]) -> list[str]:
    known = list(words)
    return known if len(known) <= 10 else [*known[:10], "…"]


def _layout_words(row: Row) -> str:
    return f"{row['layout_id']} ({row['container_name']}:{row['tmux_session_name']}, {row['state']})"


def _pane_words(row: Row) -> str:
    return f"{row['pane_id']} ({row['container_name']}:{row['tmux_session_name']}/{row['label']}, {row['state']})"


def _agent_words(row: Row) -> str:
    return f"{row['agent_id']} ({row['tmux_session_name']}/{row['label']})"
