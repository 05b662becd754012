"""The stages of spawn and recreate jobs."""

from tasks.steps import step
from tower import stages
from tower.work import Work


@step
def pane_create(work: Work) -> None:
    """Make the tmux panes."""
    stages.pane_create(work)


@step
def launch_command(work: Work) -> None:
    """See which commands live after the settle time."""
    stages.launch_command(work)


@step
def registration(work: Work) -> None:
    """Make the panes agents."""
    stages.registration(work)


@step
def log_attach(work: Work) -> None:
    """Verify the logs; the panes are ready then."""
    stages.log_attach(work)
