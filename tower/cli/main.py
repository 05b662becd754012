"""The root command, and the one place where errors become exit statuses."""

import os
import sys
from typing import Any

import click

from tower import __version__
from tower.cli import output
from tower.cli.framework import LazyGroup
from tower.client import Refused, ServerUnreachable
from tower.config import ConfigError
from tower.errors import TowerError, WireError

COMMANDS = {
    "up": "tower.cli.running:up",
    "down": "tower.cli.running:down",
    "status": "tower.cli.running:status",
    "doctor": "tower.cli.checkup:doctor",
    "container": "tower.cli.container:container",
    "template": "tower.cli.template:template",
    "profile": "tower.cli.profile:profile",
    "layout": "tower.cli.layout:layout",
    "pane": "tower.cli.pane:pane",
    "agent": "tower.cli.agent:agent",
    "job": "tower.cli.job:job",
    "events": "tower.cli.events:events",
    "completion": "tower.cli.completion:completion",
    "serve": "tower.cli.running:serve",
    "work": "tower.cli.running:work",
}


@click.group(cls=LazyGroup, commands_at=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tower")
def tower() -> None:
    """Layouts of command-line agents in tmux, made once, watched, and brought back.

    Exit status: 0 done and ready, 1 refused or failed, 2 usage, 3 settled degraded, 4 settled failed,
    5 timed out waiting, 6 server unreachable.
    """


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        status = tower.main(prog_name="tower", standalone_mode=False)
    except BrokenPipeError:
        _drop_output()
        status = output.REFUSED
    except OSError as error:
        _drop_output()
        status = _report(TowerError(f"{error.filename or 'standard output'}: {error.strerror}"))
    except (click.ClickException, click.Abort, Refused, ServerUnreachable, TowerError) as error:
        status = _report(error)
    sys.exit(status if isinstance(status, int) else output.DONE)


def _drop_output() -> None:
    """What is left of the output cannot be written: Python would try so, and complain, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    code, message, details, status = _told(error)
    if _json_wanted(sys.argv[1:]):
        import msgspec  # noqa: PLC0415 - loaded by those who print JSON

        told = {"code": code, "message": message, "details": details}
        click.echo(msgspec.json.encode(told).decode(), err=True)
    elif isinstance(error, click.UsageError):
        error.show()
    else:
        click.echo(f"{click.style(code, fg='red')}: {message}", err=True)
    return status


def _told(error: Exception) -> tuple[str, str, dict[str, Any], int]:
    if isinstance(error, Refused):
        return error.code, error.message, dict(error.details), output.REFUSED
    if isinstance(error, ServerUnreachable):
        hint = f"{error}; `tower up` starts it, on the host when this is inside a bench."
        return "server_unreachable", hint, {}, output.UNREACHABLE
    if isinstance(error, click.ClickException):
        return "usage" if error.exit_code == output.USAGE else "failed", error.format_message(), {}, error.exit_code
    if isinstance(error, WireError):
        return error.code, error.message, error.details, output.REFUSED
    if isinstance(error, ConfigError):
        return "config_invalid", error.message, {}, output.USAGE
    if isinstance(error, TowerError):
        return "failed", error.message, {}, output.REFUSED
    return "aborted", str(error) or "Aborted; what was accepted goes on.", {}, output.REFUSED


def _json_wanted(words: list[str]) -> bool:
    end = words.index("--") if "--" in words else len(words)
    return "--json" in words[:end]
