"""Two clocks: the wall clock for people, the boot clock for deadlines.

The boot clock (CLOCK_BOOTTIME) is the same in every process, counts suspended time and never jumps;
a value of it means something only together with the boot id it was taken under.
"""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


def now() -> str:
    """The wall clock as RFC 3339 UTC with microseconds."""
    return stamp(time.time())


def stamp(seconds: float) -> str:
    """Unix seconds as RFC 3339 UTC with microseconds; such texts sort as their times do."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def unix(text: str) -> float:
    """The Unix seconds of such a text."""
    return datetime.fromisoformat(text).timestamp()


def boot_seconds() -> float:
    """Seconds since the machine booted, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """The kernel's id of this boot (random(4), /proc/sys/kernel/random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
