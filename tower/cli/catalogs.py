"""What `tower template` and `tower profile` share: their lists, and telling what is wrong with a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tower.cli import output
from tower.cli.console import PAGE, Console
from tower.cli.output import Row
from tower.client import Refused
from tower.errors import WireError

if TYPE_CHECKING:
    from tower.yaml_lines import Problem


def listed(console: Console, method: str) -> Row:
    """The whole of an `app.*` list of names with its problems, as one page."""
    page = first = console.call(method, limit=PAGE)
    rows = list(first["rows"])
    while page["cursor_next"] is not None:
        page = console.call(method, limit=PAGE, cursor_next=page["cursor_next"])
        rows += page["rows"]
    return {**first, "rows": rows, "cursor_next": None}


def named(page: Row, name: str, missing: WireError, folder: str) -> Row:
    """The row of that name in a whole list.

    Raises the error that says it is missing, or Refused with its code where a file of that folder is there and broken.
    """
    for row in page["rows"]:
        if row["name"] == name:
            return dict(row)
    for problem in page["problems"]:
        file = Path(problem["file"])
        if (file.parent.name, file.stem) == (folder, name):
            text = f"{name!r} cannot be used until its file is corrected: {_line(problem)}."
            raise Refused(missing.code, text, missing.details)
    raise missing


def names(page: Row) -> list[str]:
    """The names in a whole list."""
    return sorted(row["name"] for row in page["rows"])


def problem_lines(page: Row) -> str:
    """The problems that a list carries, a line each, below its table."""
    problems: Sequence[Any] = page.get("problems") or ()
    return "".join(f"\n{click.style('problem:', fg='red')} {_line(problem)}" for problem in problems)


def _line(problem: Row) -> str:
    place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
    field = f" {problem['field']}:" if problem["field"] else ""
    return f"{place}:{field} {problem['text']}"


def report_file(console: Console, file: Path, problems: Sequence["Problem"]) -> int:
    """Say whether a file can be used; exit status 1 where it cannot."""
    told = [
        {"file": str(one.file), "line": one.line, "field": one.field, "text": one.text} for one in problems
    ]
    text = "\n".join(_line(one) for one in told) or f"{file} is fine"
    console.result({"file": str(file), "valid": not told, "problems": told}, text)
    return output.REFUSED if told else output.DONE
