"""`tower doctor`."""

from dataclasses import asdict

import click

from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerCommand, pass_console

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command("doctor", cls=TowerCommand, example="tower doctor")
@pass_console
def doctor(console: Console) -> int:
    """Check the machine and the tower, and say what to do about each thing that is wrong.

    Exit status 1 when there is a problem.
    """
    from tower.doctor import PROBLEM, examine  # noqa: PLC0415 - loads nearly everything

    findings = examine(console.settings)
    width = max(len(one.check) for one in findings)
    lines = []
    for one in findings:
        lines.append(f"{click.style(f'{one.level:<7}', fg=_COLOURS[one.level])}  {one.check:<{width}}  {one.text}")
        if one.advice:
            lines.append(f"{'':<7}  {'':<{width}}  → {one.advice}")
    well = all(one.level != PROBLEM for one in findings)
    console.result({"ok": well, "findings": [asdict(one) for one in findings]}, "\n".join(lines))
    return output.DONE if well else output.REFUSED
