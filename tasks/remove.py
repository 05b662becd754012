"""The stage of remove jobs."""

from tasks.steps import step
from tower import kills
from tower.work import Work


@step
def tmux_kill(work: Work) -> None:
    """Kill the panes and mark them removed."""
    kills.tmux_kill(work)
