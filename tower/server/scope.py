"""What a caller may name. A peer inside a bench has its own bench, and nothing else exists for it.

For such a peer every look-up begins with its own bench, by an index that does, so that what belongs to another bench
and what belongs to nobody take the same path, the same time and the same answer. A host peer passes unlooked-at.
"""

from tower.benches import LOCAL
from tower.errors import ContainerNotFound, HostOnly
from tower.server import views
from tower.server.methods import Caller


def bench_of(caller: Caller, named: str | None) -> str | None:
    """The full id of the bench that a list is about; None for all of them.

    Raises HostOnly for a bench that is not the caller's own, ContainerNotFound for one that is not known.
    """
    if caller.bench is not None:
        return own_bench(caller.bench, named)
    if named is None:
        return None
    found = views.bench_named(named)
    if found is None:
        raise ContainerNotFound(named)
    return found


def own_bench(bench: str, named: str | None) -> str:
    """The caller's own bench, which it may leave out or name by id, name or the beginning of its id.

    Raises HostOnly.
    """
    if named == LOCAL:  # the host, though a container may bear that name
        raise HostOnly
    beginning = named is not None and len(named) >= views.PREFIX and bench.startswith(named)
    if named is None or beginning or named == views.name_of_bench(bench):
        return bench
    raise HostOnly


def require(caller: Caller, named: str, *kinds: str) -> None:
    """Raise HostOnly unless the caller may name this layout, pane or agent (as `kinds` say it may be)."""
    if caller.bench is None:
        return
    found = [views.owns(caller.bench, kind, named) for kind in kinds]
    if not any(found):
        raise HostOnly
