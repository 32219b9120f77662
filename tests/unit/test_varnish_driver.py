"""How Varnish is asked for objects: by lines where its gate takes several, one by one where it is an older one."""

from __future__ import annotations

import asyncio

import pytest

from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.drivers.base import Fetched, FetchOutcome, Gate
from freshline.drivers.varnish import VarnishDriver

STATUS = "gate varnish 1\nlog -\nposition 0\nmark -\nsynced 1\n"
BY_LINES = "HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\nfetched stored 200 5 fetched\n"
BY_HEADER = "HTTP/1.1 200 OK\r\nfreshline-fetch: stored 200 5\r\ncontent-length: 5\r\n\r\n"


async def asked(status: str) -> tuple[list[str], list[Fetched]]:
    """The requests that a gate with this status gets for an object, and what it comes to."""
    seen: list[str] = []

    async def gate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            line = head.partition("\r\n")[0]
            if line.startswith("GET /freshline/status"):
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(status)}\r\n\r\n{status}".encode())
                continue
            seen.append(line)
            if line.startswith("POST"):
                seen.append((await reader.readuntil(b"end\n")).decode())
            writer.write((BY_LINES if line.startswith("POST") else BY_HEADER).encode())

    what, came = Fetch(1, "https", "a.test", "/x", (("Accept", "a/b"),)), []
    server = await asyncio.start_server(gate, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    driver = VarnishDriver(Edge("e", "varnish", "g", f"127.0.0.1:{port}", "127.0.0.1:2", "secret"))
    async with server:
        assert isinstance(await driver.status(), Gate)
        came.append(await driver.fetch(what))
        told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        driver.fetch_then(what, told.set_result)
        came.append(await told)
        await driver.close()
    return seen, [answer for answer in came if isinstance(answer, Fetched)]


@pytest.mark.parametrize(
    ("said", "requests"),
    [
        ("", ["HEAD /x HTTP/1.1"]),
        ("fetches 1\n", ["HEAD /x HTTP/1.1"]),
        (
            "fetches 64\n",
            ["POST /freshline/fetch HTTP/1.1", "fetch https a.test /x\nheader Accept a/b\nend\n"],
        ),
    ],
)
async def test_lines_are_for_gates_that_take_several(said: str, requests: list[str]) -> None:
    """What a gate is asked for at all it is asked for in the way that it knows, after a status as before."""
    seen, came = await asked(STATUS + said)

    assert seen == requests * 2
    assert [(answer.outcome, answer.bytes) for answer in came] == [(FetchOutcome.STORED, 5)] * 2
