"""Adopting a pane, and sending text to an agent."""

from dataclasses import asdict
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tower import agents, inputs
from tower.errors import (
    AgentNotFound,
    PaneAlreadyRegistered,
    PaneNotFound,
    PayloadTooLarge,
    PermissionDenied,
    ValidationFailed,
)
from tower.server.app_reads import agent
from tower.server.fields import BENCH_ERRORS, Id, Identifier, Name
from tower.server.methods import Call, Request, app
from tower.server.requests import explain
from tower.server.uploads import Uploads

PAYLOAD_LIMIT: Final = 16 * 1024
"""Bytes of a payload as canonical JSON."""

Index = Annotated[int, Meta(ge=0)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]


class Register(Request, frozen=True):
    """A pane, by all that tells it from others, and what it is to be as an agent."""

    container_id: Name
    tmux_socket: Path
    session_name: Path
    window_index: Index
    pane_index: Index
    pane_id: Id
    role: Identifier
    capability: Identifier
    label: Identifier
    project_path: Path | None = None
    parent_agent_id: Id | None = None
    attach_log: bool = False


class SendInput(Request, frozen=True):
    """A text for an agent; the payload is a `Payload`."""

    target_agent_id: Id
    payload: msgspec.Raw
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class Payload(msgspec.Struct, frozen=True):
    """The text, whole; or part number `part` of the one called `upload`, with `more` until the last."""

    text: str
    enter: bool = True
    upload: Identifier | None = None
    part: Index = 0
    more: bool = False


@app(
    "agent.register_from_pane",
    Register,
    errors=(PaneNotFound, PaneAlreadyRegistered, AgentNotFound, PermissionDenied, *BENCH_ERRORS),
    waits=True,
)
def register_from_pane(call: Call, request: Register) -> object:
    """Make an agent of a pane that is nobody's yet."""
    identity = agents.Identity(
        request.container_id,
        request.tmux_socket,
        request.session_name,
        request.window_index,
        request.pane_index,
        request.pane_id,
    )
    adoption = agents.Adoption(
        request.role,
        request.capability,
        request.label,
        request.project_path,
        request.parent_agent_id,
        request.attach_log,
    )
    adopted = agents.register_from_pane(call.settings, identity, adoption)
    row = agent(adopted.agent_id)
    return {**row, "log_problem": adopted.log_problem, "row": row}


_uploads: Final = Uploads()


@app(
    "send_input",
    SendInput,
    errors=(AgentNotFound, PermissionDenied, PayloadTooLarge, *BENCH_ERRORS),
    waits=True,
)
def send_input(call: Call, request: SendInput) -> object:
    """Paste a text into an agent's pane; a part of one is kept until the others have come."""
    payload = _payload(request.payload)
    text = payload.text.encode()
    if payload.upload is not None:
        received = _uploads.add(payload.upload, request.target_agent_id, payload.part, text)
        if payload.more:
            return {"message_id": None, "state": inputs.UNKNOWN, "deduplicated": False, "received_bytes": received}
        text = _uploads.take(payload.upload)
    sent = inputs.send(
        call.settings,
        request.target_agent_id,
        text,
        enter=payload.enter,
        idempotency_key=request.idempotency_key,
    )
    return asdict(sent)


def _payload(raw: msgspec.Raw) -> Payload:
    """The payload, checked; raises PayloadTooLarge or ValidationFailed."""
    try:
        canonical = msgspec.json.encode(msgspec.json.decode(raw), order="deterministic")
    except (ValueError, RecursionError):
        raise ValidationFailed("payload", "it holds a number that is out of range, or is nested too deeply") from None
    if len(canonical) > PAYLOAD_LIMIT:
        raise PayloadTooLarge(PAYLOAD_LIMIT, len(canonical))
    try:
        payload = msgspec.json.decode(raw, type=Payload)
    except msgspec.ValidationError as error:
        found = explain(error, "payload", Payload)
        field = found.field if found.field == "payload" else f"payload.{found.field}"
        raise ValidationFailed(field, found.reason) from None
    if not payload.text and not payload.enter and payload.upload is None:
        raise ValidationFailed("payload.text", "there is nothing to send")
    return payload
