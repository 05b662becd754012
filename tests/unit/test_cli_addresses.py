"""What an operator types, to the id that it means."""

from collections.abc import Iterator
from typing import Any

import pytest

from tower import addresses
from tower.errors import ManagedLayoutNotFound, ManagedPaneNotFound, ValidationFailed


class Rows:
    """A server that knows these layouts, panes and agents."""

    inside = False

    def __init__(self, layouts: list[dict[str, Any]], agents: list[dict[str, Any]] | None = None) -> None:
        self.layouts, self.agents = layouts, agents or []

    def items(self, method: str, /, **params: Any) -> Iterator[dict[str, Any]]:
        rows = self.layouts if method == "managed.layout.list" else [p for row in self.layouts for p in row["panes"]]
        return (row for row in rows if row["state"] in params["state"])

    def rows(self, method: str, /, **params: Any) -> Iterator[dict[str, Any]]:
        filters = params.get("filters") or {}
        wanted = filters.get("origin")
        return (row for row in self.agents if wanted in (None, row["origin"]))

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        if method == "managed.layout.detail":
            return next(row for row in self.layouts if row["layout_id"] == params["layout_id"])
        return next(p for row in self.layouts for p in row["panes"] if p["pane_id"] == params["pane_id"])


def pane(pane_id: str, label: str, state: str = "ready", created: str = "1") -> dict[str, Any]:
    where = {"container_name": "local", "tmux_session_name": "alpha", "agent_id": f"agent-{pane_id}"}
    return {"pane_id": pane_id, "label": label, "state": state, "created_at": created, **where}


def layout(layout_id: str, session: str, state: str = "ready", bench: str = "local", **more: Any) -> dict[str, Any]:
    where = {"container_id": bench, "container_name": more.get("name", bench), "tmux_session_name": session}
    return {"layout_id": layout_id, "state": state, "panes": more.get("panes", []), **where}


PANES = [pane("p1", "m1"), pane("q2", "s1", "removed", "1"), pane("q3", "s1", created="2")]
ALPHA = layout("abc111", "alpha", panes=PANES)
BETA = layout("abd222", "beta", bench="f" * 64, name="bench-a")


def test_a_whole_id_is_taken_as_it_is() -> None:
    whole = "6a78a8b2-8466-45b3-b539-b0de407d12c1"
    assert addresses.layout_id(Rows([]), whole) == whole
    assert addresses.pane_id(Rows([]), whole) == whole


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("abc", "abc111"),
        ("abd2", "abd222"),
        ("alpha", "abc111"),
        ("local:alpha", "abc111"),
        ("bench-a:beta", "abd222"),
        ("ffffffffffff:beta", "abd222"),
    ],
)
def test_a_layout(word: str, meant: str) -> None:
    assert addresses.layout_id(Rows([ALPHA, BETA]), word) == meant


@pytest.mark.parametrize("word", ["x", "gamma", "local:beta", "fffff:beta", "alph", ""])
def test_no_layout(word: str) -> None:
    with pytest.raises((ManagedLayoutNotFound, ValidationFailed)):
        addresses.layout_id(Rows([ALPHA, BETA]), word)


def test_an_ambiguous_one_names_the_candidates() -> None:
    with pytest.raises(ValidationFailed, match=r"abc111 \(local:alpha, ready\); abd222 \(bench-a:beta, ready\)"):
        addresses.layout_id(Rows([ALPHA, BETA]), "ab")


def test_live_ones_come_first() -> None:
    gone = layout("abc999", "alpha", "removed")
    assert addresses.layout_id(Rows([gone, ALPHA]), "alpha") == "abc111"
    assert addresses.layout_id(Rows([gone]), "alpha") == "abc999"


def test_a_session_comes_before_a_prefix() -> None:
    named = layout("zzz", "abc")
    assert addresses.layout_id(Rows([ALPHA, named]), "abc") == "zzz"


@pytest.mark.parametrize(
    ("word", "meant"), [("p", "p1"), ("alpha/m1", "p1"), ("local:alpha/s1", "q3"), ("abc/s1", "q3")]
)
def test_a_pane(word: str, meant: str) -> None:
    assert addresses.pane_id(Rows([ALPHA]), word) == meant


@pytest.mark.parametrize("word", ["zz", "alpha/zz", "gamma/m1"])
def test_no_pane(word: str) -> None:
    with pytest.raises((ManagedPaneNotFound, ManagedLayoutNotFound)):
        addresses.pane_id(Rows([ALPHA]), word)


AGENT = {"agent_id": "ag7", "origin": "adopted", "tmux_session_name": "mine", "label": "notes"}


def test_an_adopted_agent_goes_where_panes_go() -> None:
    server = Rows([ALPHA], [AGENT])
    assert addresses.pane_id(server, "ag") == "ag7"
    assert addresses.pane_id(server, "mine/notes") == "ag7"
    assert addresses.agent_id(server, "mine/notes") == "ag7"


def test_the_agent_of_a_pane() -> None:
    assert addresses.agent_id(Rows([ALPHA], [AGENT]), "alpha/m1") == "agent-p1"
