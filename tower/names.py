"""Identifiers that an operator supplies, and ids that the tower makes."""

import re
import uuid
from typing import Final

from tower.errors import ValidationFailed

LONGEST: Final = 64
"""Characters of an identifier at most."""

IDENTIFIER: Final = rf"^[A-Za-z0-9_.-]{{1,{LONGEST}}}\Z"
"""Session names, labels and their parts, label prefixes and idempotency keys."""

_IDENTIFIER = re.compile(IDENTIFIER)


def new_id() -> str:
    """A fresh uuid4 as text."""
    return str(uuid.uuid4())


def check_identifier(field: str, value: str) -> str:
    """The value, when it may be an identifier.

    Raises ValidationFailed naming the field otherwise.
    """
    if not _IDENTIFIER.match(value):
        raise ValidationFailed(
            field, f"{value!r:.80} must be 1 to 64 characters of A-Z, a-z, 0-9, underscore, dot and hyphen"
        )
    return value


def check_session_name(value: str) -> str:
    """A session name that tmux keeps as it is: tmux turns a dot into an underscore (tmux(1), new-session)."""
    check_identifier("tmux_session_name", value)
    if "." in value:
        raise ValidationFailed(
            "tmux_session_name", f"tmux would rename {value!r}; use {value.replace('.', '_')!r} instead"
        )
    return value
