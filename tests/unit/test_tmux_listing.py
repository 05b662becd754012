"""The listing's parser, on what tmux prints."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower.errors import TmuxUnavailable
from tower.tmux.listing import _PANE, Listing, formats, parse

ANY_LINE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"))


def record(kind: str, *values: str) -> bytes:
    return f"tower-{kind} ".encode() + b"".join(b"%d:%s" % (len(v.encode()), v.encode()) for v in values) + b"\n"


def server(fence: str = "") -> bytes:
    return record("server", "77", "1700000000", "/tmp/tmux-0/default", fence)


def pane(number: int = 1, /, **changed: str) -> bytes:
    values: Mapping[str, str] = {
        **dict.fromkeys(_PANE, ""),
        "pane_id": f"%{number}",
        "session_name": "work",
        "window_index": "0",
        "pane_index": "1",
        "pane_pid": "123",
        "pane_dead": "0",
        **changed,
    }
    return record("pane", *values.values())


def test_a_server_without_panes() -> None:
    assert parse(server()) == Listing(77, 1700000000, "/tmp/tmux-0/default", 0, ())
    assert parse(server(str(2**50))).fence == 2**50
    assert parse(server()).server == "77:1700000000"
    assert Listing.empty().server == ""


def test_the_fields_of_a_pane() -> None:
    options = {"@tower_pane": "p", "@tower_instance": "i", "@tower_layout": "l", "@tower_marker": "m"}
    state = {"pane_dead": "1", "pane_dead_signal": "9", "pane_pipe": "1", "pane_dead_time": "1700000009"}
    seen = parse(server() + pane(7, **options, **state, **{"@tower_failed": "exec:127"})).panes[0]
    assert (seen.tmux_pane_id, seen.pane_id, seen.instance, seen.layout_id, seen.marker) == ("%7", "p", "i", "l", "m")
    assert (seen.dead, seen.exit_code, seen.exit_signal, seen.piped) == (True, None, 9, True)
    assert seen.dead_since == 1700000009
    assert seen.failed_mark == "exec:127"


@pytest.mark.parametrize(
    ("state", "unexplained"),
    [
        ({}, False),
        ({"pane_dead": "1"}, True),
        ({"pane_dead": "1", "pane_dead_status": "0"}, False),
        ({"pane_dead": "1", "pane_dead_signal": "15"}, False),
    ],
)
def test_a_dead_pane_without_code_and_signal_is_unexplained(state: dict[str, str], unexplained: bool) -> None:
    assert parse(server() + pane(**state)).panes[0].unexplained is unexplained


@given(ANY_LINE, ANY_LINE)
def test_no_name_or_title_can_be_taken_for_anything_else(name: str, title: str) -> None:
    listing = parse(server() + pane(1, session_name=name, pane_title=title) + pane(2))
    assert [(seen.session_name, seen.title) for seen in listing.panes] == [(name, title), ("work", "")]


def test_a_pane_of_linked_sessions_counts_once_in_the_towers_own() -> None:
    copies = pane(session_name="a") + pane(session_name="b", **{"@tower_session": "l"}) + pane(session_name="c")
    assert [seen.session_name for seen in parse(server() + copies).panes] == ["b"]


def test_a_session_is_the_layouts_whose_id_it_has_whoever_is_in_it() -> None:
    own, guest = {"@tower_session": "l", "@tower_layout": "l"}, {"@tower_session": "l", "@tower_layout": "other"}
    away = pane(3, session_name="else", **{"@tower_layout": "l"})
    listing = parse(server() + pane(1, **own) + pane(2, **guest) + away)
    assert not listing.has_other_session("work", "l")
    assert listing.has_other_session("work", "other")
    assert listing.has_other_session("else", "l")
    assert not listing.has_other_session("nobody's", "l")


def test_tmuxs_own_words_are_kept_beside() -> None:
    listing = parse(b"hello\n" + server() + pane(), b"no space for new pane\n")
    assert listing.messages == ("hello", "no space for new pane")
    assert len(listing.panes) == 1


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"-:3: syntax error\n",
        pane(),
        server()[:-9] + b"\n",
        server() + pane()[:-5] + b"\n",
        server() + pane(1, window_index="x"),
        server() + record("pane", *["x"] * len(_PANE)),
        server() + record("pane", "%1"),
        server("x"),
    ],
)
def test_a_listing_that_makes_no_sense_is_none(output: bytes) -> None:
    with pytest.raises(TmuxUnavailable):
        parse(output)


def test_the_reason_is_in_tmuxs_words() -> None:
    with pytest.raises(TmuxUnavailable, match="syntax error"):
        parse(b"-:3: syntax error\n")
    with pytest.raises(TmuxUnavailable, match="no permission"):
        parse(b"", b"no permission\n")


def test_the_format_has_a_length_before_each_field() -> None:
    of_server, of_pane = formats("@fence")
    assert of_server.endswith("#{n:@fence}:#{@fence}")
    assert of_pane.count("#{n:") == len(_PANE)
