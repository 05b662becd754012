"""Input to an agent, of any length: a payload is bounded, so a longer text goes up in parts and is pasted as one."""

from typing import Any, Final

from tower.cli.console import Console

PART: Final = 2500
"""Characters of a part: even if each is escaped, the payload stays below 16 KiB."""


def send_text(console: Console, agent_id: str, text: str, *, enter: bool) -> dict[str, Any]:
    """Send text to an agent; the answer says whether the pane took it."""
    if len(text) <= PART:
        return _send(console, agent_id, {"text": text, "enter": enter})
    from tower.names import new_id  # noqa: PLC0415 - beside its one use

    upload = new_id()
    parts = [text[start : start + PART] for start in range(0, len(text), PART)]
    for number, part in enumerate(parts[:-1]):
        _send(console, agent_id, {"text": part, "upload": upload, "part": number, "more": True})
    last = {"text": parts[-1], "enter": enter, "upload": upload, "part": len(parts) - 1}
    return _send(console, agent_id, last)


def _send(console: Console, agent_id: str, payload: dict[str, Any]) -> dict[str, Any]:
    return console.call("app.send_input", target_agent_id=agent_id, payload=payload)
