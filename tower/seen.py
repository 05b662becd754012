"""What tmux was last seen to have in each bench, whoever made it.

Nothing is registered by being seen; a pane that carries a marker or our instance is never anybody else's.
"""

from collections.abc import Mapping
from typing import Any, Final

from tower import clock, models, states
from tower.models import Pane, SeenPane
from tower.tmux import Listing
from tower.tmux import SeenPane as Seen

_AT_ONCE: Final = 500
"""Rows of one INSERT, which may hold 32,766 values (SQLite, SQLITE_MAX_VARIABLE_NUMBER)."""


def record(container_id: str, listing: Listing) -> None:
    """Keep what a listing of this bench shows in place of what was kept of it; inside `writing()` or alone."""
    instance, now = models.instance(), clock.now()
    with models.writing():
        known, removed = _discovered(container_id, listing), _removed(listing, instance)
        models.delete_from(SeenPane).where(SeenPane.container_id == container_id).execute()
        about = {
            "container_id": container_id,
            "tmux_socket": listing.socket_path,
            "server": listing.server,
            "last_seen_at": now,
        }
        rows = [
            {**about, **_columns(pane, instance), "discovered_at": known.get(pane.tmux_pane_id, now)}
            for pane in listing.panes
            if pane.pane_id not in removed
        ]
        for start in range(0, len(rows), _AT_ONCE):
            SeenPane.insert_many(rows[start : start + _AT_ONCE]).execute()


def _discovered(container_id: str, listing: Listing) -> Mapping[str, str]:
    """When each pane of this server was first seen."""
    rows = SeenPane.select(SeenPane.tmux_pane_id, SeenPane.discovered_at).where(
        (SeenPane.container_id == container_id)
        & (SeenPane.server == listing.server)
        & (SeenPane.tmux_socket == listing.socket_path)
    )
    return {row.tmux_pane_id: row.discovered_at for row in rows}


def _removed(listing: Listing, instance: str) -> set[str]:
    """The panes of the tower's in the listing that were removed since it was made."""
    mine = tuple(pane.pane_id for pane in listing.panes if pane.pane_id and pane.instance == instance)
    rows = models.pick(Pane, ("pane_id", "state"), pane_id=mine) if mine else []
    return {str(pane_id) for pane_id, state in rows if state == states.REMOVED}


def _columns(pane: Seen, instance: str) -> dict[str, Any]:
    return {
        "tmux_pane_id": pane.tmux_pane_id,
        "session_name": pane.session_name,
        "window_index": pane.window_index,
        "pane_index": pane.pane_index,
        "managed_pane_id": pane.pane_id if pane.pane_id and pane.instance == instance else None,
        "instance": pane.instance,
        "dead": pane.dead,
    }


def forget(managed_pane_id: str) -> None:
    """A pane of the tower's is gone; inside `writing()`."""
    models.delete_from(SeenPane).where(SeenPane.managed_pane_id == managed_pane_id).execute()
