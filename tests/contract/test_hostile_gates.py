"""What listens at a gate's address and means harm: its words are kept on one line and are nothing but words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from freshline.delivery.lease import Leasehold
from freshline.domain.action import Command, Fetch, Verb
from freshline.domain.edge import Edge
from freshline.drivers.base import Batch, Clock, Driver, Fault, Gate, Lapse, Trouble
from freshline.drivers.check import check_edge
from freshline.wiring import DRIVERS, driver

KINDS = sorted(DRIVERS)
OBEYED = b"\x1b]0;owned\x07\x1b[2J\rok\x9b31m\x00"
BATCH = Batch("log", 0, 1, "m", True, (Command(1, True, Verb.FILE, "a.test", b"/"),))
OBJECT = Fetch(1, "http", "a.test", "/")


@asynccontextmanager
async def liar(kind: str, *answer: bytes, endless: bytes = b"") -> AsyncIterator[Driver]:
    """A driver of a gate that answers so, and perhaps goes on without an end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"".join(answer))
                while endless:
                    writer.write(endless)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    made = driver(Edge("e", kind, "g", address, address, "secret"))
    try:
        yield made
    finally:
        await made.close()
        server.close()


def whole(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d So" % status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        whole(500, b"failed " + OBEYED.replace(b"\x9b", b"") * 20 + b"\nmore"),
        whole(400, b"bad " + OBEYED),
        whole(409, b"other " + OBEYED.replace(b"\x9b", b"")),
        whole(200, OBEYED),
        whole(200, b"stored " + b"9" * 5000),
        whole(200, b"fetched stored " + b"9" * 5000 + b" 1 x"),
        whole(200, b"", b"freshline-presence: stored \xb2", b"freshline-fetch: stored \xb2 \xb2"),
        whole(200, b"", b"freshline-presence: stored 1\x9b2J", b"freshline-fetch: status 500 \x9b2J"),
    ],
)
async def test_words_are_words(kind: str, answer: bytes) -> None:
    """On one line of bounded length, whatever was asked: they go to a log, a terminal and into evidence."""
    async with liar(kind, answer) as gate:
        said = [
            await gate.status(),
            await gate.apply(BATCH),
            await gate.flush("log", 1, "m"),
            await gate.probe(OBJECT),
            await gate.fetch(OBJECT),
        ]

    words = [each.said for each in said if not isinstance(each, Gate)]
    assert words and all(text.isprintable() and len(text) <= 400 for text in words), words


async def test_a_check_shows_no_more() -> None:
    """As the operator sees it."""
    async with liar("nginx", whole(500, b"failed " + OBEYED)) as gate:
        findings = await check_edge(Edge("e", "nginx", "g", "-:1", "-:1", "s"), lambda _: gate, None)

    assert findings[0].said.isprintable()


OK = b"HTTP/1.1 200 So\r\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"", b"HTTP/1.1 102 Wait\r\n\r\n" * 1000),
        (OK, b"x-more: " + b"x" * 1000 + b"\r\n"),
        (OK + b"\r\n", b"x" * 60_000),
        (OK + b"transfer-encoding: chunked\r\n\r\n", b"1;" + b"x" * 10_000 + b"\r\nx\r\n"),
    ],
)
async def test_what_has_no_end_is_ended(kind: str, start: bytes, endless: bytes) -> None:
    """Interim answers, headers, a body, the sizes of its chunks: beyond a bound it is no gate's answer."""
    async with liar(kind, start, endless=endless) as gate, asyncio.timeout(20):
        for answer in (await gate.status(), await gate.apply(BATCH)):
            assert isinstance(answer, Trouble) and answer.fault is Fault.GARBAGE, answer


@pytest.mark.parametrize("left", ["9" * 5000, "-1", "1e9", ""])
def test_a_lease_that_is_no_number(left: str) -> None:
    """It is not taken for one."""
    held = Leasehold(10.0, 0.0, True)

    held.stands(Gate("log", 1, "m", True, Clock("b", 1), Lapse.BYPASS, {"lease": left}), 100.0)

    assert held.until is None
