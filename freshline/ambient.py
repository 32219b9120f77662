"""The clock, the ids and the dice: all that makes one run differ from the next."""

from __future__ import annotations

import random
import secrets
import time
import uuid


class Ambient:
    """The real world. A test or a simulation hands in one of its own."""

    def now(self) -> float:
        """Wall clock, Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, for delays and deadlines."""
        return time.monotonic()

    def uniform(self, low: float, high: float) -> float:
        """A roll of the dice in [low, high], for jitter."""
        return random.uniform(low, high)

    def request_id(self) -> str:
        """An upper-case UUID (CONTRACT 3.3)."""
        return str(uuid.uuid4()).upper()

    def token(self, bytes_: int = 8) -> str:
        """Unguessable hex, two digits a byte."""
        return secrets.token_hex(bytes_)
