"""The tmux of a bench, with what the rows know of it.

Where panes are known to live and no server answers, its socket file may have been deleted by a cleaner of /tmp; a
server that was started then in its place would hide them. So such a tmux first has the living one bind it again, and
none is started while a server with known panes lives.
"""

from tower import models, states
from tower.benches import Bench, registry
from tower.config import Settings
from tower.models import Agent, Pane
from tower.tmux import Listing, Tmux, why_unreachable


def tmux_of(settings: Settings, container_id: str, *, expected: bool = False) -> Tmux:
    """The tmux of the bench of that full id, where a server is `expected` beside what the rows know.

    Talks to nobody.
    """
    return tmux_in(settings, registry.open_bench(container_id, settings), expected=expected)


def tmux_in(settings: Settings, bench: Bench, *, expected: bool = False) -> Tmux:
    """The tmux of a bench; talks to nobody."""
    models.connect()
    made = _panes_made(bench.container_id)
    servers = frozenset(server for server, state in made if server and state != states.FAILED)
    expected = expected or bool(made) or _has_adopted(bench.container_id)
    return Tmux(bench, models.instance(), settings, expected=expected, servers=servers)


def why_incomplete(tmux: Tmux, listing: Listing, deadline: float) -> str | None:
    """Why a listing lacks panes that live; None where nothing tells that it does."""
    hidden = tmux.unreachable(listing.server, deadline)
    return why_unreachable(hidden) if hidden else None


def _panes_made(container_id: str) -> list[tuple[str | None, str]]:
    """The tmux server and the state of each pane of ours there that was made and is not removed."""
    rows = models.pick(Pane, ("tmux_pane_id", "server", "state"), container_id=container_id, state=states.UNREMOVED)
    return [(server, state) for tmux_pane_id, server, state in rows if tmux_pane_id]


def _has_adopted(container_id: str) -> bool:
    return bool(models.pick(Agent, ("1",), container_id=container_id, active=True, origin="adopted"))
