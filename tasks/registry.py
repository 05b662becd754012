"""Every task by the stage that it runs, for whoever wakes a worker."""

from tasks import periodic, remove, spawn

_TASKS = {
    "pane_create": spawn.pane_create,
    "launch_command": spawn.launch_command,
    "registration": spawn.registration,
    "log_attach": spawn.log_attach,
    "tmux_kill": remove.tmux_kill,
    "reconcile": periodic.reconcile,
    "sweep": periodic.sweep,
}


def enqueue(job_id: int, stage: str) -> None:
    """Put a stage of a job into the queue."""
    _TASKS[stage](job_id)
