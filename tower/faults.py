"""Named points at which a test may kill or stop a process; they cost one look at a constant when off.

A point is armed by a file in the folder that TOWER_FAULTS names: `POINT.SIGNAL.N` sends SIGNAL to this process the
N-th time that any process passes POINT. Whoever sends it has renamed the file first, so it is sent once. It goes to
the thread that passes: one that goes to the process may let that thread run on for a while.
"""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

_FOLDER = os.environ.get("TOWER_FAULTS")
_passed: Counter[str] = Counter()
_lock = threading.Lock()


def point(name: str) -> None:
    """Pass the point of this name."""
    if _FOLDER is not None:
        _pass(Path(_FOLDER), name)


def _pass(folder: Path, name: str) -> None:
    with _lock:
        _passed[name] += 1
        passed = _passed[name]
    for armed in folder.glob(f"{name}.*.*"):
        _, signame, count = armed.name.rsplit(".", 2)
        if count.isdigit() and passed >= int(count) and _disarm(armed):
            signal.pthread_kill(threading.get_ident(), signal.Signals[f"SIG{signame}"])


def _disarm(armed: Path) -> bool:
    try:
        armed.rename(armed.with_name(f"fired-{os.getpid()}-{armed.name}"))
    except FileNotFoundError:
        return False
    return True
