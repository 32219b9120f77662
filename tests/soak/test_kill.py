"""Long: ``make soak``."""

from __future__ import annotations

import time

from tests.scenario.killing import survive
from tests.scenario.stack import Stack
from tests.servers.origin import Origin

KILLS = 200


def test_nothing_answered_is_lost_in_two_hundred_kills(stack: Stack, origin: Origin) -> None:
    """Every id that was answered is there after kill -9 at any moment, and reaches its end."""
    origin.serves("*", "v1")
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")

    answered = survive(stack, KILLS, seed)

    print(f"{answered} ids answered over {KILLS} kills, none lost")
    assert answered > KILLS
