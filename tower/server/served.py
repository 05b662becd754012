"""The modules whose methods are served: importing this one fills the registry."""

from tower.server import (
    app_agents,
    app_readiness,
    app_reads,
    app_scans,
    app_session,
    layouts,
    panes,
)
from tower.server.methods import NAMESPACES

__all__ = ["app_agents", "app_readiness", "app_reads", "app_scans", "app_session", "layouts", "names", "panes"]


def names() -> list[str]:
    """Every name that is served."""
    return sorted(space.prefix + name for space in NAMESPACES for name in space.methods)
