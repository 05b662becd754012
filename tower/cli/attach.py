"""Attaching a terminal to a session: this process becomes tmux, on the host or in the container."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from time import monotonic
from typing import NoReturn

import click

from tower.benches import LOCAL
from tower.cli.benches import bench_of
from tower.cli.console import Console
from tower.cli.output import Row
from tower.config import Settings

PATIENCE = 10.0


def attach_to(console: Console, row: Row, tmux_pane_id: str | None) -> NoReturn:
    """Attach to the session of a layout or pane, with this pane selected; does not return.

    Raises click.ClickException where there is no terminal, or no docker command for a container's session.
    """
    session = "=" + str(row["tmux_session_name"])
    words = ["attach-session", "-t", session]
    if tmux_pane_id:
        words = ["select-window", "-t", tmux_pane_id, ";", "select-pane", "-t", tmux_pane_id, ";", *words]
    argv = _argv(console.settings, row, words)
    if not sys.stdin.isatty():
        raise click.ClickException(f"attaching needs a terminal; in one, this does it: {shlex.join(argv)}")
    if shutil.which(argv[0]) is None:
        raise click.ClickException(f"{argv[0]} is not installed here; where it is, this does it: {shlex.join(argv)}")
    os.execvpe(argv[0], argv, _environment())  # noqa: S606 - no shell is wanted


def _argv(settings: Settings, row: Row, words: list[str]) -> list[str]:
    bench = bench_of(row, settings)
    facts = bench.facts(monotonic() + PATIENCE)
    tmux = [facts.tmux, *bench.tmux_command()[1:]]
    if bench.container_id != LOCAL:
        return ["docker", "exec", "-it", "-u", facts.user, bench.name, *tmux, *words]
    if _is_here(settings):
        words = ["switch-client" if word == "attach-session" else word for word in words]
    return [*tmux, *words]


def _is_here(settings: Settings) -> bool:
    """Whether this terminal is inside the very tmux server that is meant."""
    here = os.environ.get("TMUX", "").partition(",")[0]
    folder = Path(os.environ.get("TMUX_TMPDIR") or "/tmp") / f"tmux-{os.getuid()}"  # noqa: S108 - tmux's own
    return bool(here) and Path(here) == folder / (settings.tmux.socket_name or "default")


def _environment() -> dict[str, str]:
    """Without TMUX, tmux may attach inside another server's pane."""
    return {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
