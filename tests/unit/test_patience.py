"""How long a gate is waited for is the operator's to say."""

from __future__ import annotations

import asyncio
import time

import pytest

from freshline.config import load
from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.drivers.base import Batch, Fault, Trouble
from freshline.wiring import DRIVERS, driver

WHAT = Fetch(1, "http", "a.test", "/a")


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize("kind", ["nginx", "varnish"])
@pytest.mark.parametrize("call", ["status", "batch", "probe", "fetch"])
async def test_each_call_ends_when_its_setting_says(kind: str, call: str) -> None:
    """The others are far too long for this test."""
    assert kind in DRIVERS
    settings = load(None, {f"FRESHLINE_GATES_{call.upper()}_SECONDS": "0.2"})
    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = driver(Edge("e", kind, "g", f"127.0.0.1:{port}", "127.0.0.1:1", "secret-of-16-chars"), settings.gates)
    calls = {
        "status": made.status,
        "batch": lambda: made.apply(Batch("L", 0, 0, "m", True, ())),
        "probe": lambda: made.probe(WHAT),
        "fetch": lambda: made.fetch(WHAT),
    }
    begun = time.monotonic()

    assert await calls[call]() == Trouble(Fault.TIMEOUT, "no answer within 0.2 s")
    assert time.monotonic() - begun < 3
    await made.close()
    server.close()
