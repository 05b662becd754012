"""What the tower asks of tmux: plain values, made by the stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class NewPane:
    """A pane to make. Values of ``env`` never show in a repr, and so in no log."""

    pane_id: str
    layout_id: str
    slot: int
    label: str
    role: str
    marker: str
    argv: tuple[str, ...]
    """Empty for the bench user's login shell."""
    env: Mapping[str, str] = field(repr=False)
    working_dir: str | None
    """None for the bench user's home."""
    log_path: str | None
    """The log file's path in the bench; None for no log."""


@dataclass(frozen=True)
class Neighbour:
    """A live pane of the layout, as last known, beside which new ones go."""

    slot: int
    pane_id: str
    tmux_pane_id: str


@dataclass(frozen=True)
class Remains:
    """A pane to kill: what is left of one in tmux."""

    pane_id: str
    tmux_pane_id: str


@dataclass(frozen=True)
class FinishPane:
    """A pane whose marker comes off and whose title is set."""

    pane_id: str
    tmux_pane_id: str
    title: str


@dataclass(frozen=True)
class Spawn:
    """Panes of one layout to make, in its session, after its remains are killed."""

    layout_id: str
    session: str
    arrangement: str
    panes: tuple[NewPane, ...]
    neighbours: tuple[Neighbour, ...]
    remains: tuple[Remains, ...]


class Outcome(Enum):
    """What became of text sent to a pane."""

    DELIVERED = "delivered"
    """The pane took it, Enter too where asked."""
    REFUSED = "refused"
    """Nothing was written to the pane."""
    UNKNOWN = "unknown"
    """The pane went away meanwhile: it may have got a part."""


@dataclass(frozen=True)
class Delivery:
    """The outcome of a send, with one clause that says why where it is not delivered."""

    outcome: Outcome
    reason: str = ""
