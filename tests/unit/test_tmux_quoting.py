"""Words and blocks of a tmux script."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower.tmux.quoting import command, equal, group, literal, literal_time, when, word


def unquoted(quoted: str) -> bytes:
    """What tmux makes of a word in double quotes with octal escapes (tmux(1), COMMAND PARSING AND EXECUTION)."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), quoted[1:-1].encode("ascii"))


@given(st.binary().filter(lambda raw: 0 not in raw))
def test_a_word_holds_exactly_its_bytes_and_nothing_that_tmux_reads(raw: bytes) -> None:
    quoted = word(raw)
    assert unquoted(quoted) == raw
    assert re.fullmatch(r'"(?:[A-Za-z0-9_/.,:=@%+-]|\\[0-7]{3})*"', quoted)


@given(st.text().filter(lambda text: "\0" not in text))
def test_text_is_quoted_as_its_bytes(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert unquoted(word(text)) == text.encode()


@pytest.mark.parametrize("text", ["\0", "a\0b", b"\0"])
def test_a_nul_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="NUL"):
        word(text)


def test_formats_come_out_as_they_are() -> None:
    assert literal("#{a} ## 5%") == "##{a} #### 5%"
    assert literal_time("#{a} 5%H") == "##{a} 5%%H"


def test_commands_groups_and_blocks() -> None:
    kill = command("kill-pane", "-t", "%1")
    assert kill == 'kill-pane "-t" "%1"'
    assert group(kill, "last-pane") == 'kill-pane "-t" "%1" ; last-pane'
    assert equal("#{a}", "b") == "#{==:#{a},b}"
    assert when("1", [kill], target="%1") == f'if-shell -F -t "%1" "1" {{\n{kill}\n}} {{\n}}'
