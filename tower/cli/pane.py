"""`tower pane`."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from tower import addresses, states
from tower.cli import output, requests, views
from tower.cli.console import Console
from tower.cli.framework import TowerCommand, TowerGroup, pass_console
from tower.cli.output import Row
from tower.cli.requests import no_wait_option, timeout_option, yes_option
from tower.client import Refused, ServerUnreachable

profile_option = click.option("-l", "--launch", metavar="PROFILE", help="Another launch profile than before.")

FIELDS = {
    "pane": "pane_id",
    "layout": "layout_id",
    "bench": "container_name",
    "label": "label",
    "role": "role",
    "capability": "capability",
    "state": "condition",
    "reason": "reason",
    "session": "tmux_session_name",
    "slot": "tmux_pane_index",
    "tmux pane": "tmux_pane_id",
    "command": "launch_command_ref",
    "exit": "exit",
    "exited": "exited_at",
    "agent": "agent_id",
    "log": "log_path",
    "log attached": "log_attached",
    "observed": "observed_at",
    "created": "created_at",
    "predecessor": "predecessor_id",
    "chain depth": "chain_depth",
}


@click.group(cls=TowerGroup)
def pane() -> None:
    """Panes: one agent each. ID is an id or a prefix of it, or LAYOUT/label, for example alpha/m1."""


@pane.command("list", example="tower pane list --layout alpha")
@click.option("--bench", help="Only those of this bench.")
@click.option("--layout", help="Only those of this layout.")
@click.option("--state", "wanted", multiple=True, type=click.Choice(states.STATES), help="May be repeated.")
@click.option("--all", "everything", is_flag=True, help="Removed ones too, and failed ones whose place is taken.")
@pass_console
def list_panes(
    console: Console, bench: str | None, layout: str | None, wanted: tuple[str, ...], everything: bool
) -> None:
    """List the panes that are not removed, the newest of each place."""
    layout_id = addresses.layout_id(console, layout) if layout else None
    state = list(wanted) or (None if everything else addresses.UNREMOVED)
    rows = list(console.items("managed.pane.list", container_id=bench, layout_id=layout_id, state=state))
    shown = rows if everything else _newest(console, rows)
    console.result({"items": shown, "next": None}, views.panes(shown, where=True))


def _newest(console: Console, rows: Sequence[Row]) -> list[Row]:
    """Without those that failed and that another pane has taken the place of."""
    layouts = {row["layout_id"] for row in rows if row["state"] == states.FAILED}
    standing = {pane["pane_id"] for layout_id in layouts for pane in requests.detail(console, layout_id)["panes"]}
    return [row for row in rows if row["state"] != states.FAILED or row["pane_id"] in standing]


@pane.command("show", example="tower pane show alpha/m1")
@click.argument("pane_id", metavar="ID")
@click.option("--chain", is_flag=True, help="With the panes whose place it took.")
@pass_console
def show(console: Console, pane_id: str, chain: bool) -> None:
    """Show a pane, with the last lines of one that has ended."""
    found = addresses.pane_id(console, pane_id)
    row = console.call("managed.pane.detail", pane_id=found, include_predecessor_chain=chain)
    console.result(row, _described(row))


def _described(row: Row) -> str:
    shown = {**row, "condition": output.condition(row), "exit": _exit(row)}
    parts = [output.fields(shown, FIELDS)]
    if row["last_output"]:
        parts.append("last output:\n" + str(row["last_output"]).rstrip("\n"))
    if row.get("predecessor_chain"):
        parts.append("before it:\n" + views.panes(row["predecessor_chain"]))
    return "\n\n".join(parts)


def _exit(row: Row) -> str | None:
    if row["exit_signal"] is not None:
        return f"signal {row['exit_signal']}"
    return None if row["exit_code"] is None else str(row["exit_code"])


@pane.command("remove", example="tower pane remove alpha/s2 --yes")
@click.argument("pane_id", metavar="ID")
@no_wait_option
@yes_option
@timeout_option
@pass_console
def remove(console: Console, pane_id: str, no_wait: bool, yes: bool, timeout: float) -> int:
    """Kill a pane; its history and its log stay."""
    found = addresses.pane_id(console, pane_id)
    row = _removable(console, found)
    requests.ask_to_kill([row], yes)
    if no_wait:
        answer = console.call("managed.pane.remove", pane_id=found, wait=False)
        return requests.accepted(console, answer, f"the removal of pane {found} is accepted")
    status = _remove(console, row, timeout)
    after = console.call("managed.pane.detail", pane_id=found)
    console.result(after, f"pane {found} is {after['state']}")
    return status


def _removable(console: Console, pane_id: str) -> dict[str, Any]:
    """The pane; for an adopted agent's id the server's refusal to remove it."""
    try:
        return console.call("managed.pane.detail", pane_id=pane_id)
    except Refused:
        return console.call("managed.pane.remove", pane_id=pane_id, wait=False)


def _remove(console: Console, row: Row, seconds: float) -> int:
    found = row["pane_id"]
    request = {"pane_id": found}
    return requests.remove(console, row["layout_id"], {found}, seconds, "managed.pane.remove", request)[1]


@pane.command("recreate", example="tower pane recreate alpha/s2 -l shell")
@click.argument("pane_id", metavar="ID")
@profile_option
@click.option("--idempotency-key", help="The same key for the same pane gives the first successor back.")
@no_wait_option
@timeout_option
@pass_console
def recreate(  # noqa: PLR0913 - the options of the command
    console: Console, pane_id: str, launch: str | None, idempotency_key: str | None, no_wait: bool, timeout: float
) -> int:
    """Put a new pane into the place of a removed or failed one."""
    found = addresses.pane_id(console, pane_id)
    answer = _recreate(console, found, launch, idempotency_key=idempotency_key)
    if no_wait:
        return requests.accepted(console, answer, f"pane {answer['pane_id']} is accepted")
    return _settle(console, answer, timeout)


def _recreate(console: Console, pane_id: str, launch: str | None, **more: Any) -> dict[str, Any]:
    return console.call(
        "managed.pane.recreate", predecessor_pane_id=pane_id, launch_command_override=launch, **more
    )


def _settle(console: Console, answer: Row, seconds: float) -> int:
    row = console.call("managed.pane.detail", pane_id=answer["pane_id"])
    panes, status = requests.settle_panes(console, row["layout_id"], [answer["pane_id"]], seconds)
    console.result({**(panes[0] if panes else row), "replay": answer["replay"]}, "\n" + views.panes(panes))
    return status


@pane.command("restart", example="tower pane restart alpha/s2 --yes")
@click.argument("pane_id", metavar="ID")
@profile_option
@yes_option
@timeout_option
@pass_console
def restart(console: Console, pane_id: str, launch: str | None, yes: bool, timeout: float) -> int:
    """Remove a pane, then recreate it; nothing is killed where the recreation would be refused."""
    found = addresses.pane_id(console, pane_id)
    row = _removable(console, found)
    _recreate(console, found, launch, check_only=True)
    requests.ask_to_kill([row], yes)
    status = _remove(console, row, timeout) if row["state"] != states.REMOVED else output.DONE
    if status != output.DONE:
        return _only_removed(console, found, status)
    return _settle(console, _recreate(console, found, launch), timeout)


def _only_removed(console: Console, pane_id: str, status: int) -> int:
    """Print a pane whose removal took too long to be followed by its recreation."""
    row = console.call("managed.pane.detail", pane_id=pane_id)
    console.result(row, "\n" + views.panes([row]))
    done = "is removed" if row["state"] == states.REMOVED else "will be removed"
    click.echo(f"pane {pane_id} {done} and is not recreated; `tower pane recreate {pane_id}` does that", err=True)
    return status


@pane.command("attach", example="tower pane attach alpha/m1")
@click.argument("pane_id", metavar="ID")
@pass_console
def attach(console: Console, pane_id: str) -> None:
    """Attach this terminal to a pane's tmux session, with the pane selected."""
    from tower.cli.attach import attach_to  # noqa: PLC0415 - loads the benches

    found = addresses.pane_id(console, pane_id)
    row = console.call("managed.pane.detail", pane_id=found)
    if row["tmux_pane_id"] is None or row["state"] == states.REMOVED:
        raise click.ClickException(f"pane {found} is {row['state']} and has nothing in tmux to attach to")
    attach_to(console, row, row["tmux_pane_id"])


class _Send(TowerCommand):
    """A text may begin with a hyphen: only the command's own options are taken for options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with everything else behind `--`."""
        if "--" not in args:
            known = {name for param in self.get_params(ctx) for name in param.opts if name.startswith("-")}
            args = [*(word for word in args if word in known), "--", *(word for word in args if word not in known)]
        return super().parse_args(ctx, args)


@pane.command(
    "send", cls=_Send, example="tower pane send alpha/m1 'run the tests'\ngit diff | tower pane send alpha/s1 -"
)
@click.argument("pane_id", metavar="ID")
@click.argument("text")
@click.option("--no-enter", is_flag=True, help="Paste only; do not press Enter after it.")
@pass_console
def send(console: Console, pane_id: str, text: str, no_enter: bool) -> int:
    """Send text to the agent in a pane, as one paste and Enter; `-` reads it from standard input.

    Adopted agents take input too. The answer says delivered only when the pane took it. A text that is itself an option
    of this command goes behind `--`.
    """
    from tower.cli.sending import send_text  # noqa: PLC0415 - beside its one use

    agent_id = addresses.agent_id(console, pane_id)
    words = _utf8(sys.stdin.buffer.read() if text == "-" else os.fsencode(text))
    answer = send_text(console, agent_id, words, enter=not no_enter)
    reason = answer.get("reason")
    console.result(answer, f"{answer['state']}: {reason}" if reason else str(answer["state"]))
    return output.DONE if answer["state"] == "delivered" else output.REFUSED


def _utf8(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the text is not UTF-8 at byte {error.start}") from error


@pane.command("logs", example="tower pane logs alpha/m1 -f")
@click.argument("pane_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written later.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="Only the last lines.")
@pass_console
def logs(console: Console, pane_id: str, follow: bool, lines: int | None) -> None:
    """Print a pane's log, the older files of it first; following ends where the pane has ended or is removed."""
    if follow and console.as_json:
        raise click.UsageError("--follow prints what comes as it comes; leave --json out")
    from tower.cli.benches import bench_of  # noqa: PLC0415 - loads the benches
    from tower.logs import PaneLog  # noqa: PLC0415

    found = addresses.pane_id(console, pane_id)
    row = console.call("managed.pane.detail", pane_id=found)
    if row["log_path"] is None:
        raise click.ClickException(f"pane {found} has no log: {row['reason'] or 'none was attached'}")
    log = PaneLog(console.settings, bench_of(row, console.settings), row["log_path"])
    if console.as_json:
        console.json({"pane_id": found, "log_path": row["log_path"], "text": log.text(lines)})
        return
    with suppress(KeyboardInterrupt):
        for chunk in log.chunks(lines, (lambda: _is_over(console, found)) if follow else None):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _is_over(console: Console, pane_id: str) -> bool:
    """Whether nothing will be written to a pane's log any more, as far as the tower knows."""
    try:
        row = console.call("managed.pane.detail", pane_id=pane_id)
    except ServerUnreachable:
        return False
    return row["exited_at"] is not None or row["state"] in (states.FAILED, states.REMOVED)
