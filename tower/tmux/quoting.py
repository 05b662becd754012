"""The one way in which a word enters a tmux script.

Exact for every byte but NUL: double quotes, with each byte that is not plainly harmless as an octal escape.
Plain quotes are not enough, since tmux drops blanks after a newline inside them and takes ``#`` for a comment there.
"""

import os
import string
from collections.abc import Iterable
from typing import Final

_HARMLESS: Final = frozenset((string.ascii_letters + string.digits + "_/.,:=@%+-").encode())
_QUOTED: Final = tuple(chr(byte) if byte in _HARMLESS else f"\\{byte:03o}" for byte in range(256))


def word(text: str | bytes) -> str:
    """One word of a script, as it is; raises ValueError for a NUL, which no argument can hold."""
    raw = os.fsencode(text)
    if 0 in raw:
        raise ValueError("a NUL byte cannot be part of a tmux command")
    return '"' + "".join([_QUOTED[byte] for byte in raw]) + '"'


def literal(text: str) -> str:
    """Text for a word that tmux expands as a format, so that it comes out as it is."""
    return text.replace("#", "##")


def literal_time(text: str) -> str:
    """As `literal`, for a word that tmux also gives to strftime(3), as ``pipe-pane`` and ``display-message`` do."""
    return literal(text).replace("%", "%%")


def command(name: str, *words: str | bytes) -> str:
    """One command with its words quoted."""
    return " ".join([name, *map(word, words)])


def group(*commands: str) -> str:
    """Commands of which a failing one drops those after it, and only those."""
    return " ; ".join(commands)


def when(condition: str, then: Iterable[str], otherwise: Iterable[str] = (), *, target: str | None = None) -> str:
    """Lines that run where a format, expanded for ``target``, is neither empty nor 0.

    A target that is not there is no error: the format is then that of what some attached client looks at, so it has to
    name the target itself (`at`). None is the pane of the command before.
    """
    aim = f" -t {word(target)}" if target else ""
    return f"if-shell -F{aim} {word(condition)} {_block(then)} {_block(otherwise)}"


def at(tmux_pane_id: str) -> str:
    """A condition: the target is this pane, and so there."""
    return equal("#{pane_id}", tmux_pane_id)


def both(left: str, right: str) -> str:
    """A condition: two others hold."""
    return f"#{{&&:{left},{right}}}"


def equal(left: str, right: str) -> str:
    """A condition: two formats expand to the same."""
    return f"#{{==:{left},{right}}}"


def _block(lines: Iterable[str]) -> str:
    return "{\n" + "".join(f"{line}\n" for line in lines) + "}"
