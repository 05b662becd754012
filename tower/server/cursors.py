"""The opaque place in a list from which its next page goes on.

A cursor holds the keys of the last row given. It is sealed with this tower's instance, and with the list that it is
for (method, order and filters), so that one that was made up, or taken to another list, is refused.
"""

import base64
import binascii
import hashlib
import hmac
from functools import cache
from typing import Any, Final

import msgspec

from tower import models
from tower.errors import ValidationFailed

_SEAL: Final = 12
LENGTH_LIMIT: Final = 512


def seal(about: object, keys: list[Any]) -> str:
    """A cursor for the list that `about` describes (anything that msgspec encodes), behind the row with these keys."""
    text = msgspec.json.encode(keys)
    return _text(_digest(about, text) + text)


def unseal(about: object, cursor: str, field: str) -> list[Any]:
    """The keys that `seal` was given.

    Raises ValidationFailed on this field for a cursor of another list, or of nobody's.
    """
    refused = ValidationFailed(field, "it is no cursor that this list has given; begin again without it")
    if len(cursor) > LENGTH_LIMIT or not cursor.isascii():
        raise refused
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise refused from None
    given, text = raw[:_SEAL], raw[_SEAL:]
    if not hmac.compare_digest(given, _digest(about, text)) or _text(raw) != cursor:
        raise refused
    return msgspec.json.decode(text, type=list[Any])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(about: object, text: bytes) -> bytes:
    scope = msgspec.json.encode(about)
    return hashlib.blake2b(scope + b"\0" + text, digest_size=_SEAL, key=_key()).digest()


@cache
def _key() -> bytes:
    return models.instance().encode()
