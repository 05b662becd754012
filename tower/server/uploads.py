"""Texts that come in parts, because a request line and a payload are bounded: kept until the last part is there.

In memory only, bounded in number, size and time; a server that is started anew knows none of them.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from tower.errors import PayloadTooLarge, ValidationFailed

TEXT_LIMIT: Final = 1024 * 1024
"""Bytes of one text."""

AT_ONCE: Final = 16
SECONDS: Final = 60.0
"""How long a text may stay without its next part."""


@dataclass
class _Upload:
    agent_id: str
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    touched: float = field(default_factory=time.monotonic)


class Uploads:
    """The texts of which parts are still to come, by the ids that their senders gave them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Upload] = {}

    def add(self, upload_id: str, agent_id: str, number: int, part: bytes) -> int:
        """Keep a part, counted from 0; returns the bytes so far.

        Raises ValidationFailed for a part out of turn or of an unknown text, PayloadTooLarge.
        """
        with self._lock:
            upload = self._find(upload_id, agent_id, number)
            if upload.size + len(part) > TEXT_LIMIT:
                del self._known[upload_id]
                raise PayloadTooLarge(TEXT_LIMIT, upload.size + len(part))
            upload.parts.append(part)
            upload.size += len(part)
            upload.touched = time.monotonic()
            return upload.size

    def take(self, upload_id: str) -> bytes:
        """The whole text, which is forgotten here."""
        with self._lock:
            return b"".join(self._known.pop(upload_id).parts)

    def _find(self, upload_id: str, agent_id: str, number: int) -> _Upload:
        self._forget_stale()
        if number == 0:
            if upload_id not in self._known and len(self._known) >= AT_ONCE:
                raise ValidationFailed("payload.upload", "too many long texts are being sent at once; try again soon")
            self._known[upload_id] = _Upload(agent_id)
        upload = self._known.get(upload_id)
        if upload is None:
            raise ValidationFailed("payload.upload", "no text of this id is under way; send it again from part 0")
        if upload.agent_id != agent_id or len(upload.parts) != number:
            del self._known[upload_id]
            raise ValidationFailed("payload.part", "parts come in order and for one agent; send it again from part 0")
        return upload

    def _forget_stale(self) -> None:
        limit = time.monotonic() - SECONDS
        self._known = {key: upload for key, upload in self._known.items() if upload.touched > limit}
