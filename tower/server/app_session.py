"""Preflight and hello: what a client asks first. Nothing depends on the token."""

import itertools
import os
import time
from typing import Annotated, Final

from msgspec import Meta

from tower import __version__, models
from tower.errors import AppContractMajorUnsupported
from tower.names import new_id
from tower.server.methods import APP_CONTRACT_VERSION, Call, Request, app

MAJOR: Final = int(APP_CONTRACT_VERSION.partition(".")[0])
MINOR: Final = int(APP_CONTRACT_VERSION.partition(".")[2])

_sessions = itertools.count(time.time_ns() // 1_000_000)
"""Grows across restarts of the server too."""


class Preflight(Request, frozen=True):
    """Nothing."""


class Hello(Request, frozen=True):
    """Who the client says it is, and the major version of the contract that it speaks."""

    client_id: Annotated[str, Meta(max_length=128)] | None = None
    client_version: Annotated[str, Meta(max_length=64)] | None = None
    client_app_contract_major: int | None = None


@app("preflight", Preflight)
def preflight(call: Call, request: Preflight) -> object:  # noqa: ARG001 - every method's form
    """The answer itself says that the socket and the server answer."""
    return {"socket_reachable": True, "daemon_reachable": True, "code": "ok"}


@app("hello", Hello, errors=(AppContractMajorUnsupported,))
def hello(call: Call, request: Hello) -> object:  # noqa: ARG001 - every method's form
    """Versions, and a fresh session token."""
    if request.client_app_contract_major not in (None, MAJOR):
        raise AppContractMajorUnsupported(APP_CONTRACT_VERSION, request.client_app_contract_major)
    return {
        "app_session_token": new_id(),
        "app_session_id": next(_sessions),
        "daemon_version": __version__,
        "schema_version": models.schema_version(),
        "app_contract_version": APP_CONTRACT_VERSION,
        "supported_minor_range": {"min": 0, "max": MINOR},
        "host_user_id": os.getuid(),
        "capability_flags": {},
        "state": "ok",
    }
