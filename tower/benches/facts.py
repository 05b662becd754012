"""Who the bench user is: one script that says so, and where its answer is kept.

The script (facts.sh) runs once per bench and start of the bench. Given a command it becomes that command
afterwards, so that a bench never seen costs no exec of its own. The answer is kept in memory and in
``<state dir>/run/facts``, which the server and the workers share.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from tower.benches import Facts

SCRIPT: Final = (Path(__file__).parent / "facts.sh").read_text("utf-8")
_END: Final = b"\ntower-facts-end\n"
_TERM: Final = "xterm-256color"

_remembered: dict[tuple[Path, str], tuple[str, Facts]] = {}


class _Kept(msgspec.Struct, frozen=True):
    """A file of run/facts; ``start`` names the start of the bench for which the facts hold."""

    start: str
    facts: dict[str, Any]


def introducing(argv: Sequence[str]) -> list[str]:
    """The command line that tells the facts and then becomes ``argv``, if that is not empty."""
    return ["/bin/sh", "-c", SCRIPT, "tower-facts", *argv]


def told(stdout: bytes) -> tuple[Facts | None, bytes]:
    """The facts that stand before a command's output, and that output; None where the script did not end."""
    head, end, rest = stdout.partition(_END)
    if not end:
        return None, stdout
    lines = (line.partition("=") for line in os.fsdecode(head).split("\n"))
    values = {key: value for key, _, value in lines}
    return msgspec.convert(values, Facts, strict=False), rest


def environment_of(facts: Facts) -> dict[str, str]:
    """The variables that every command of the bench user gets beside the container's own."""
    variables = {
        "HOME": facts.home,
        "PATH": facts.path,
        "USER": facts.user,
        "LOGNAME": facts.user,
        "SHELL": facts.shell,
        "TERM": _TERM,
        "LANG": facts.locale,
    }
    overriding = {name: facts.locale for name in ("LC_ALL", "LC_CTYPE") if facts.environment.get(name)}
    return variables | overriding


def recall(folder: Path, container_id: str, start: str) -> Facts | None:
    """The facts of that start of the bench, without the container's own variables; None if not known."""
    kept = _remembered.get((folder, container_id))
    if kept is None or kept[0] != start:
        kept = _read(folder / f"{container_id}.json")
    if kept is None or kept[0] != start:
        return None
    _remembered[folder, container_id] = kept
    return kept[1]


def remember(folder: Path, container_id: str, start: str, facts: Facts) -> None:
    """Keep the facts in memory and on disk; the container's own variables stay out of the file."""
    bare = replace(facts, environment={})
    _remembered[folder, container_id] = start, bare
    text = msgspec.json.encode({"start": start, "facts": asdict(bare)})
    with contextlib.suppress(OSError):
        _write(folder / f"{container_id}.json", text)


def forget(folder: Path, container_id: str) -> None:
    """Drop what is kept of a bench."""
    _remembered.pop((folder, container_id), None)
    with contextlib.suppress(OSError):
        (folder / f"{container_id}.json").unlink(missing_ok=True)


def variables(pairs: Sequence[str]) -> Mapping[str, str]:
    """``KEY=VALUE`` words, as an image's configuration lists them."""
    return dict(pair.partition("=")[::2] for pair in pairs)


def _read(file: Path) -> tuple[str, Facts] | None:
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
        return kept.start, msgspec.convert(kept.facts, Facts)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(file: Path, text: bytes) -> None:
    """Replace a file in one step; mkstemp makes it 0600."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=".facts-")
    with os.fdopen(number, "wb") as out:
        out.write(text)
    Path(name).replace(file)
