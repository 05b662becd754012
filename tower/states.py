"""The vocabulary of states: the transition table and the derivation of a layout's state.

Imports nothing of ours, so that everything may import it.
"""

from collections.abc import Iterable
from typing import Final

CREATING: Final = "creating"
READY: Final = "ready"
DEGRADED: Final = "degraded"
FAILED: Final = "failed"
REMOVED: Final = "removed"

STATES: Final = (CREATING, DEGRADED, READY, FAILED, REMOVED)
"""Every state, in the order in which lists show them."""

UNREMOVED: Final = (CREATING, DEGRADED, READY, FAILED)
"""The states in which a layout counts and keeps its session's name.

Asked for as a list, which an index answers, and not as what is not removed: those are ever more."""

LIVE: Final = (CREATING, READY, DEGRADED)
"""The states in which a pane holds its label."""

PANE_CREATE: Final = "pane_create"
LAUNCH_COMMAND: Final = "launch_command"
REGISTRATION: Final = "registration"
LOG_ATTACH: Final = "log_attach"
TMUX_KILL: Final = "tmux_kill"
RECOVERY_REATTACH: Final = "recovery_reattach"

FAILED_STAGES: Final = (PANE_CREATE, LAUNCH_COMMAND, REGISTRATION, LOG_ATTACH, TMUX_KILL, RECOVERY_REATTACH)

TRANSITIONS: Final = frozenset(
    {
        (CREATING, READY),
        (CREATING, DEGRADED),
        (CREATING, FAILED),
        (READY, DEGRADED),
        (READY, FAILED),
        (DEGRADED, FAILED),
        (READY, REMOVED),
        (DEGRADED, REMOVED),
        (FAILED, REMOVED),
    }
)
"""Every legal move of a pane between two states; a new pane begins as creating."""

STAGES_OF: Final = {
    (CREATING, DEGRADED): (LAUNCH_COMMAND, LOG_ATTACH),
    (CREATING, FAILED): (PANE_CREATE, REGISTRATION, RECOVERY_REATTACH),
    (READY, DEGRADED): (LAUNCH_COMMAND, LOG_ATTACH),
    (READY, FAILED): (RECOVERY_REATTACH,),
    (DEGRADED, FAILED): (RECOVERY_REATTACH,),
}
"""The failed stages that a move into degraded or failed may name."""


def may_move(before: str, after: str, failed_stage: str | None) -> bool:
    """Whether a pane may go from one state to another, naming this failed stage."""
    if (before, after) not in TRANSITIONS:
        return False
    stages = STAGES_OF.get((before, after))
    return failed_stage in stages if stages else failed_stage is None


def sources_of(after: str, failed_stage: str | None) -> tuple[str, ...]:
    """The states from which a pane may reach this one, naming this failed stage."""
    return tuple(before for before in STATES if may_move(before, after, failed_stage))


def derive_layout(panes: Iterable[tuple[int, str, str | None]]) -> tuple[str, str | None]:
    """The state and failed stage of a layout, from (slot, state, failed stage) of each slot's newest pane.

    The worst pane decides: creating, failed, degraded, ready, removed, in this order. The failed stage is
    that of the lowest slot among the panes that decided.
    """
    newest = sorted(panes)
    for state in (CREATING, FAILED, DEGRADED, READY):
        stages = [stage for _, pane_state, stage in newest if pane_state == state]
        if stages:
            return state, next(filter(None, stages), None) if state in (FAILED, DEGRADED) else None
    return REMOVED, None
