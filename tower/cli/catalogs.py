"""What `tower template` and `tower profile` share: telling what is wrong with a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tower.cli import output
from tower.cli.console import Console
from tower.cli.output import Row

if TYPE_CHECKING:
    from tower.yaml_lines import Problem


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
