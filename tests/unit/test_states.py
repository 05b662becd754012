"""The transition table and the derivation."""

from hypothesis import given
from hypothesis import strategies as st

from tower import states

SPEC = """
creating ready -
creating degraded launch_command
creating degraded log_attach
creating failed pane_create
creating failed registration
creating failed recovery_reattach
ready failed recovery_reattach
degraded failed recovery_reattach
ready degraded launch_command
ready degraded log_attach
ready removed -
degraded removed -
failed removed -
"""


def test_these_moves_and_no_others() -> None:
    allowed = {tuple(line.split()) for line in SPEC.split("\n") if line}
    stages = (None, *states.FAILED_STAGES)
    found = {
        (before, after, stage or "-")
        for before in states.STATES
        for after in states.STATES
        for stage in stages
        if states.may_move(before, after, stage)
    }
    assert found == allowed


def test_sources_are_the_states_that_may_move() -> None:
    assert states.sources_of(states.REMOVED, None) == (states.DEGRADED, states.READY, states.FAILED)
    assert states.sources_of(states.READY, None) == (states.CREATING,)
    assert states.sources_of(states.CREATING, None) == ()


PANES = st.lists(st.tuples(st.sampled_from(states.STATES), st.sampled_from(states.FAILED_STAGES)), max_size=16)


@given(PANES)
def test_the_worst_pane_decides(panes: list[tuple[str, str]]) -> None:
    rows = [
        (slot, state, stage if state in (states.FAILED, states.DEGRADED) else None)
        for slot, (state, stage) in enumerate(panes)
    ]
    state, stage = states.derive_layout(rows)
    present = [row[1] for row in rows]
    order = [states.CREATING, states.FAILED, states.DEGRADED, states.READY]
    expected = next((worst for worst in order if worst in present), states.REMOVED)
    assert state == expected
    lowest = next((row[2] for row in rows if row[1] == state), None)
    assert stage == (lowest if state in (states.FAILED, states.DEGRADED) else None)


def test_no_panes_is_removed() -> None:
    assert states.derive_layout([]) == (states.REMOVED, None)
