"""Rendering: tables, states, times and errors, the same for every command."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
DEGRADED: Final = 3
FAILED: Final = 4
TIMED_OUT: Final = 5
UNREACHABLE: Final = 6

STATUS_OF: Final = {"ready": DONE, "degraded": DEGRADED, "failed": FAILED, "removed": REFUSED, "creating": TIMED_OUT}
"""The exit status for a layout or pane that was to become ready."""

_COLOURS: Final = {
    "ready": "green",
    "active": "green",
    "ok": "green",
    "running": "green",
    "creating": "cyan",
    "degraded": "yellow",
    "failed": "red",
    "unavailable": "red",
    "removed": "bright_black",
    "inactive": "bright_black",
}

_BREAKS: Final = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})

Row = Mapping[str, Any]


def table(columns: Mapping[str, str], rows: Sequence[Row], empty: str) -> str:
    """Rows as aligned columns under their headings; `columns` maps heading to key."""
    if not rows:
        return empty
    lines = [list(columns), *([_one_line(cell(row.get(key))) for key in columns.values()] for row in rows)]
    widths = [max(len(click.unstyle(line[n])) for line in lines) for n in range(len(columns))]
    return "\n".join(_padded(line, widths) for line in lines)


def _one_line(text: str) -> str:
    return text.translate(_BREAKS)


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = (text + " " * (width - len(click.unstyle(text))) for text, width in zip(line, widths, strict=True))
    return "  ".join(cells).rstrip()


def fields(row: Row, keys: Mapping[str, str]) -> str:
    """One entity, a line a field; fields without a value are left out."""
    shown = {name: row.get(key) for name, key in keys.items() if row.get(key) not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    return "\n".join(f"{name:<{width}}  {cell(value)}" for name, value in shown.items())


def cell(value: Any) -> str:
    """A value for a person; states in their colour."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value) or "-"
    text = str(value)
    return click.style(text, fg=_COLOURS[text]) if text in _COLOURS else text


def short(identifier: str | None) -> str | None:
    """The first eight characters of an id: a prefix long enough to be typed."""
    return identifier[:12] if identifier and len(identifier) == 64 else identifier and identifier[:8]


def age(timestamp: str | None) -> str | None:
    """How long ago that was: 12s, 5m, 3h, 2d."""
    if timestamp is None:
        return None
    return span((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def count(number: int, one: str, more: str | None = None) -> str:
    """So many of something; more than one are called by an s, or as given."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def condition(row: Row) -> str:
    """A state with where it broke: `degraded (launch_command)`."""
    stage = row.get("failed_stage")
    return cell(row["state"]) + (f" ({stage})" if stage else "")


def profile_of(overrides: Sequence[str]) -> dict[str, str]:
    """`KEY=PROFILE` words as a mapping.

    Raises click.BadParameter for a word without both.
    """
    pairs = [word.partition("=") for word in overrides]
    for word, (key, _, profile) in zip(overrides, pairs, strict=True):
        if not key or not profile:
            raise click.BadParameter(f"{word!r} is not role=PROFILE or role:label=PROFILE")
    return {key: profile for key, _, profile in pairs}
