"""The tmux of a bench, with what the rows know of it.

Where panes are known to live and no server answers, its socket file may have been deleted by a cleaner of /tmp; a
server that was started then in its place would hide them. So such a tmux first has the living one bind it again.
"""

from tower import models, states
from tower.benches import Bench, registry
from tower.config import Settings
from tower.models import Agent, Pane
from tower.tmux import Tmux


def tmux_of(settings: Settings, container_id: str) -> Tmux:
    """The tmux of the bench of that full id; talks to nobody."""
    return tmux_in(settings, registry.open_bench(container_id, settings))


def tmux_in(settings: Settings, bench: Bench) -> Tmux:
    """The tmux of a bench; talks to nobody."""
    models.connect()
    return Tmux(bench, models.instance(), settings, expected=_lives_there(bench.container_id))


def _lives_there(container_id: str) -> bool:
    """Whether a pane of ours, or an adopted one, was alive there when it was last looked at."""
    live = models.pick(Pane, ("1",), container_id=container_id, state=(states.READY, states.DEGRADED))
    return bool(live or models.pick(Agent, ("1",), container_id=container_id, active=True, origin="adopted"))
