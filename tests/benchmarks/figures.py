"""A row of the table: what was asked, what was measured, and the floor that it stands on."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One figure; ``limit`` is what it may be at most, or with ``at_least`` what it must be."""

    row: str
    what: str
    unit: str
    measured: float
    limit: float
    required: str
    floor: str = ""
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the promise holds in this run."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def p50(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """How far the samples lie apart, in words for a note."""
    return f"{len(values)} samples, {amount(min(values))} to {amount(max(values))}"


def amount(value: float) -> str:
    """A number with three significant figures, a large one whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The rows as plain data."""
    return [asdict(figure) | {"met": figure.met} for figure in figures]


def as_markdown(figures: Sequence[Figure]) -> str:
    """The rows as the README has them."""
    lines = ["| what | required | measured | floor in the same run |", "|---|---|---|---|"]
    for figure in figures:
        measured = f"{amount(figure.measured)} {figure.unit}{'' if figure.met else ' (missed)'}"
        lines.append(f"| {figure.what} | {_required(figure)} | {measured} | {figure.floor} |")
    return "\n".join(lines)


def _required(figure: Figure) -> str:
    bound = f"{amount(figure.limit)} {figure.unit}"
    return bound if figure.required == bound else f"{figure.required} = {bound}"


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table("what", "required", "measured", "floor", "met", "note", show_lines=False)
    for figure in figures:
        colour = "green" if figure.met else "red"
        table.add_row(
            f"{figure.row}: {figure.what}",
            _required(figure),
            f"[{colour}]{amount(figure.measured)} {figure.unit}[/]",
            figure.floor,
            f"[{colour}]{'yes' if figure.met else 'NO'}[/]",
            figure.note,
        )
    console.print(table)
