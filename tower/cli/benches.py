"""A bench as the command line itself reaches it: to attach a terminal, and to read a log that is kept inside."""

from tower.benches import LOCAL, Bench
from tower.benches.docker import DockerBench
from tower.benches.local import LocalBench
from tower.cli.output import Row
from tower.config import Settings


def bench_of(row: Row, settings: Settings) -> Bench:
    """The bench of a layout or pane; talks to nobody."""
    container_id = str(row["container_id"])
    if container_id == LOCAL:
        return LocalBench(settings)
    return DockerBench(container_id, str(row["container_name"]), settings)
