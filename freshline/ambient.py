"""The clock, the ids and the dice: all that makes one run differ from the next."""

from __future__ import annotations

import random
import secrets
import time


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
        bits = random.getrandbits  # RFC 9562 section 5.4, for an eighth of what the library takes
        return f"{bits(32):08X}-{bits(16):04X}-4{bits(12):03X}-{0x8000 | bits(14):04X}-{bits(48):012X}"

    def token(self, bytes_: int = 8) -> str:
        """Unguessable hex, two digits a byte."""
        return secrets.token_hex(bytes_)
