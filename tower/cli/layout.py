"""`tower layout`."""

from collections.abc import Sequence
from typing import Any

import click

from tower import addresses, errors, names, states
from tower.cli import catalogs, output, requests, views
from tower.cli.console import Console
from tower.cli.framework import TowerGroup, pass_console
from tower.cli.requests import no_wait_option, timeout_option, yes_option
from tower.client import Refused, ServerUnreachable


@click.group(cls=TowerGroup)
def layout() -> None:
    """Layouts: a set of panes in one tmux session of a bench."""


@layout.command("create", example="tower layout create local -t 1m+2s -s alpha -l slave=shell")
@click.argument("bench", required=False)
@click.option("-t", "--template", required=True, help="The template's name (`tower template list`).")
@click.option("-s", "--session", required=True, help="The tmux session to make.")
@click.option("-l", "--launch", multiple=True, help="role=PROFILE or role:label=PROFILE; may be repeated.")
@click.option("--label-prefix", help="Put before every label, so that two layouts may stand in one bench.")
@click.option("--idempotency-key", help="The same key in the same bench gives the first layout back.")
@no_wait_option
@timeout_option
@pass_console
def create(  # noqa: PLR0913 - the options of the command
    console: Console,
    bench: str | None,
    template: str,
    session: str,
    launch: tuple[str, ...],
    label_prefix: str | None,
    idempotency_key: str | None,
    no_wait: bool,
    timeout: float,
) -> int:
    """Create a layout and wait until each of its panes has settled.

    BENCH is a container's name or id, or `local`; left out it is the host, and inside a bench that bench.
    """
    key = names.new_id() if idempotency_key is None else idempotency_key
    overrides = _expanded(console, output.profile_of(launch), template, session)
    accepted = _accept(
        console,
        container_id=_default_bench(console) if bench is None else bench,
        template_name=template,
        tmux_session_name=session,
        launch_command_overrides=overrides or None,
        label_prefix=label_prefix,
        idempotency_key=key,
    )
    if accepted["replay"]:
        console.say(f"layout {accepted['layout_id']} is there already")
    if no_wait:
        return requests.accepted(console, accepted, f"layout {accepted['layout_id']} is accepted")
    extra = {"replay": accepted["replay"]}
    status = requests.settle_layout(console, accepted["layout_id"], timeout, extra)
    if status == output.TIMED_OUT:
        console.say(f"`tower layout wait {output.short(accepted['layout_id'])}` looks again")
    return status


def _default_bench(console: Console) -> str | None:
    return None if console.inside else "local"


def _accept(console: Console, **params: Any) -> dict[str, Any]:
    try:
        return console.call("managed.layout.create", **params)
    except ServerUnreachable as error:
        key = params["idempotency_key"]
        hint = f"{error}; should it have been accepted, --idempotency-key {key} gives that layout and no second one"
        raise type(error)(hint) from error
    except Refused as error:
        bench = params["container_id"]
        if error.code != "docker_unavailable" or bench is None:
            raise
        text = f"Bench {bench!r} cannot be looked for or reached: {error.message}"
        raise Refused(error.code, text, error.details) from error


def _expanded(console: Console, overrides: dict[str, str], template: str, session: str) -> dict[str, str]:
    """Keys that are a role alone, spelled out for each pane of that role."""
    if all(":" in key for key in overrides):
        return overrides
    slots = _slots(console, template, session)
    found: dict[str, str] = {}
    for key, profile in overrides.items():
        if ":" not in key:
            found |= dict.fromkeys(_keys_of(key, slots, template), profile)
    return found | {key: profile for key, profile in overrides.items() if ":" in key}


def _keys_of(wanted: str, slots: Sequence[tuple[str, str]], template: str) -> list[str]:
    """The override keys of a role's panes; raises click.BadParameter where the template has no such role."""
    keys = [f"{role}:{label}" for role, label in slots if role == wanted]
    if not keys:
        roles = ", ".join(dict.fromkeys(role for role, _ in slots))
        raise click.BadParameter(f"template {template} has no role {wanted!r}; its roles are {roles}", param_hint="-l")
    return keys


def _slots(console: Console, name: str, session: str) -> list[tuple[str, str]]:
    """Role and label of each pane of a template.

    Raises what `catalogs.named` does, click.BadParameter for one that cannot be looked up inside a bench.
    """
    from tower.catalog import BUILT_IN, PaneSpec  # noqa: PLC0415 - only where a role stands for its panes
    from tower.catalog_files import Template  # noqa: PLC0415

    template = next((template for template in BUILT_IN if template.name == name), None)
    if not console.inside:
        page = catalogs.listed(console, "app.template.list")
        missing = errors.ManagedTemplateNotFound(name, catalogs.names(page))
        row = catalogs.named(page, name, missing, "managed_templates")
        panes = (PaneSpec(pane["role"], pane["capability"], pane["label_pattern"]) for pane in row["panes"])
        template = Template(row["name"], row["arrangement"], tuple(panes))
    elif template is None:
        raise click.BadParameter(f"the roles of {name} are known on the host only; say role:label", param_hint="-l")
    return list(zip((pane.role for pane in template.panes), template.labels(session), strict=True))


@layout.command("list", example="tower layout list --state degraded")
@click.option("--bench", help="Only those of this bench.")
@click.option("--state", "wanted", multiple=True, type=click.Choice(states.STATES), help="May be repeated.")
@click.option("--all", "everything", is_flag=True, help="Removed ones too.")
@pass_console
def list_layouts(console: Console, bench: str | None, wanted: tuple[str, ...], everything: bool) -> None:
    """List the layouts that are not removed."""
    state = list(wanted) or (None if everything else addresses.UNREMOVED)
    rows = list(console.items("managed.layout.list", container_id=bench, state=state))
    empty = "no layouts; `tower layout create -t 1m+2s -s NAME` makes one"
    console.result({"items": rows, "next": None}, views.layouts(rows, empty))


@layout.command("show", example="tower layout show alpha")
@click.argument("layout_id", metavar="ID")
@click.option("--all", "everything", is_flag=True, help="Removed and superseded panes too.")
@pass_console
def show(console: Console, layout_id: str, everything: bool) -> None:
    """Show a layout with its panes. ID is an id or a prefix of it, a session name, or BENCH:session."""
    found = addresses.layout_id(console, layout_id)
    row = requests.detail(console, found, everything)
    if not row["panes"]:
        row = requests.detail(console, found, everything=True)
    console.result(row, views.layout(row))


@layout.command("wait", example="tower layout wait alpha --until ready --timeout 30")
@click.argument("layout_id", metavar="ID")
@click.option("--until", type=click.Choice(["ready", "settled"]), default="settled", show_default=True)
@timeout_option
@pass_console
def wait(console: Console, layout_id: str, until: str, timeout: float) -> int:
    """Wait until a layout is ready, or has settled in any state. Exit status as of create.

    A layout that has settled without being ready does not become so by itself: `--until ready` ends then too.
    """
    status = requests.settle_layout(console, addresses.layout_id(console, layout_id), timeout)
    return output.DONE if until == "settled" and status == output.REFUSED else status


@layout.command("remove", example="tower layout remove alpha --yes")
@click.argument("layout_id", metavar="ID")
@no_wait_option
@yes_option
@timeout_option
@pass_console
def remove(console: Console, layout_id: str, no_wait: bool, yes: bool, timeout: float) -> int:
    """Kill every pane of a layout; its history and its logs stay."""
    found = addresses.layout_id(console, layout_id)
    panes = requests.detail(console, found)["panes"]
    requests.ask_to_kill(panes, yes)
    if no_wait:
        accepted = console.call("managed.layout.remove", layout_id=found, wait=False)
        return requests.accepted(console, accepted, f"the removal of layout {found} is accepted")
    ids = {pane["pane_id"] for pane in panes}
    row, status = requests.remove(console, found, ids, timeout, "managed.layout.remove", {"layout_id": found})
    console.result(row, f"layout {found} is {row['state']}")
    return status


@layout.command("recreate", example="tower layout recreate alpha")
@click.argument("layout_id", metavar="ID")
@no_wait_option
@timeout_option
@pass_console
def recreate(console: Console, layout_id: str, no_wait: bool, timeout: float) -> int:
    """Recreate every pane of a layout that is removed or failed; the others are left alone."""
    found = addresses.layout_id(console, layout_id)
    accepted = console.call("managed.layout.recreate", layout_id=found)
    if not accepted["panes"]:
        console.say("nothing to recreate: no pane of it is removed or failed")
    if no_wait:
        return requests.accepted(console, accepted, f"the recreation of layout {found} is accepted")
    return requests.settle_layout(console, found, timeout)


@layout.command("attach", example="tower layout attach alpha")
@click.argument("layout_id", metavar="ID")
@pass_console
def attach(console: Console, layout_id: str) -> None:
    """Attach this terminal to a layout's tmux session."""
    from tower.cli.attach import attach_to  # noqa: PLC0415 - loads the benches

    row = requests.detail(console, addresses.layout_id(console, layout_id))
    attach_to(console, row, None)
