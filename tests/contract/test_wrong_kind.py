"""A gate in another kind of server than the inventory says would be asked for objects in the wrong way."""

from __future__ import annotations

from dataclasses import replace

from freshline.drivers.base import Fault, Trouble
from freshline.wiring import driver
from tests.conftest import KINDS
from tests.servers.base import CacheServer


async def test_a_gate_of_another_kind_is_told_apart(cache: CacheServer) -> None:
    """It has the secret and speaks the protocol, and is refused all the same, by name, whatever it is taken for."""
    for other in KINDS:
        wrong = driver(replace(cache.edge, kind=other))
        answer = await wrong.status()
        await wrong.close()

        trouble = Trouble(Fault.WRONG_KIND, f"is a gate of {cache.kind}, and the inventory says {other}")
        assert (answer == trouble) is (other != cache.kind), (other, answer)
