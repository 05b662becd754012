"""The queue and what runs from it. Nothing outside this package names a storage of the queue.

    queue.py     the huey instance; its storage wakes workers instead of letting them poll
    registry.py  every task by its stage, for whoever wakes a worker
    steps.py     one stage of one job: take, run, retry, settle
    spawn.py     the tasks of spawn and recreate jobs, a stage each
    remove.py    the task of remove jobs
    periodic.py  reconcile and sweep
    consumer.py  `tower work`
"""
