"""The tmux of a bench, with what the rows know of it.

Where panes are known to live and no server answers, its socket file may have been deleted by a cleaner of /tmp; a
server that was started then in its place would hide them. So such a tmux first has the living one bind it again.
"""

from tower import models, states
from tower.benches import Bench, registry
from tower.config import Settings
from tower.models import Agent, Pane
from tower.tmux import Tmux


def tmux_of(settings: Settings, container_id: str, *, expected: bool = False) -> Tmux:
    """The tmux of the bench of that full id, where a server is `expected` beside what the rows know.

    Talks to nobody.
    """
    return tmux_in(settings, registry.open_bench(container_id, settings), expected=expected)


def tmux_in(settings: Settings, bench: Bench, *, expected: bool = False) -> Tmux:
    """The tmux of a bench; talks to nobody."""
    models.connect()
    return Tmux(bench, models.instance(), settings, expected=expected or _lives_there(bench.container_id))


def _lives_there(container_id: str) -> bool:
    """Whether tmux may have a pane there that the rows know: one of ours that was made, or an adopted one."""
    made = models.pick(Pane, ("tmux_pane_id",), container_id=container_id, state=states.UNREMOVED)
    if any(tmux_pane_id for (tmux_pane_id,) in made):
        return True
    return bool(models.pick(Agent, ("1",), container_id=container_id, active=True, origin="adopted"))
