"""The clock, the ids and the dice: all that makes one run differ from the next."""

from __future__ import annotations

import random
import secrets
import time

VARIANT = dict(zip("0123456789ABCDEF", 4 * "89AB", strict=True))


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
        word = f"{random.getrandbits(128):032X}"  # RFC 9562 section 5.4, for a fifth of what the library takes
        return f"{word[:8]}-{word[8:12]}-4{word[13:16]}-{VARIANT[word[16]]}{word[17:20]}-{word[20:]}"

    def token(self, bytes_: int = 8) -> str:
        """Unguessable hex, two digits a byte."""
        return secrets.token_hex(bytes_)
