"""`tower job`."""

import click

from tower.cli import output
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console
from tower.cli.output import Row

COLUMNS = {
    "JOB": "job_id",
    "KIND": "kind",
    "BENCH": "bench",
    "LAYOUT": "layout",
    "STATE": "state",
    "STAGE": "stage",
    "ATTEMPTS": "attempts",
    "AGE": "age",
    "WAITS FOR": "waits_for",
    "ERROR": "error",
}


@click.group(cls=TowerGroup)
def job() -> None:
    """Jobs: what was accepted and is done, or still to be done."""


@job.command("list", example="tower job list --state queued")
@click.option("--state", type=click.Choice(["queued", "running", "done", "failed"]))
@click.option("-n", "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="The newest ones.")
@pass_console
def list_jobs(console: Console, state: str | None, limit: int) -> None:
    """List jobs, the newest first."""
    page = console.call("app.job.list", limit=limit, filters={"state": state} if state else None)
    console.result(page, output.table(COLUMNS, [_line(row) for row in page["rows"]], "no jobs"))


def _line(row: Row) -> Row:
    return {
        **row,
        "bench": row["container_name"] or output.short(row["container_id"]),
        "layout": output.short(row["layout_id"]),
        "age": output.age(row["created_at"]),
        "error": row["error"] and row["error"]["message"],
    }


@job.command("show", example="tower job show 12")
@click.argument("job_id", metavar="ID", type=int)
@pass_console
def show(console: Console, job_id: int) -> None:
    """Show a job."""
    row = console.call("app.job.detail", job_id=job_id)["row"]
    names = {key.replace("_", " "): key for key in row}
    console.result(row, output.fields({**row, "error": row["error"] and row["error"]["message"]}, names))
