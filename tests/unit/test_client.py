"""The client that speaks to gates, over real sockets and a server that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from freshline.drivers.base import Fault, Trouble
from freshline.drivers.http import Client, Reply

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
END = b""  #: it closes the connection
HANG = b"..."


class Server:
    """Answers request by request, whatever connection they come on."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.answers = list(answers)
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                answer = self.answers.pop(0)
                if answer == HANG:
                    await asyncio.Event().wait()
                if answer == END:
                    break
                writer.write(answer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def speaking(*answers: bytes) -> AsyncIterator[tuple[Client, Server]]:
    server = Server(answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    client = Client(*listening.sockets[0].getsockname()[:2])
    try:
        yield client, server
    finally:
        await client.close()
        listening.close()


async def get(client: Client, method: str = "GET", seconds: float = 5.0) -> Reply | Trouble:
    return await client.request(method, "/", {"host": "a.test"}, seconds=seconds)


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """A hundred questions need one."""
    async with speaking(*[OK] * 100) as (client, server):
        answers = [await get(client) for _ in range(100)]

        assert {each.body for each in answers if isinstance(each, Reply)} == {b"ok"}
        assert (len(answers), server.connections) == (100, 1)


async def test_what_was_closed_meanwhile_is_asked_anew_once() -> None:
    """The other side may have ended a connection that was kept; one that was just made is trouble."""
    async with speaking(OK, END, OK, END, END) as (client, server):
        await get(client)
        again = await get(client)
        trouble = await get(client)

        assert isinstance(again, Reply) and again.body == b"ok"
        assert isinstance(trouble, Trouble) and trouble.fault is Fault.UNREACHABLE
        assert server.connections == 3


@pytest.mark.parametrize(
    "more",
    [OK, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: 2\r\n\r\nbad", b"HTT", b"garbage\r\n\r\n"],
    ids=["a whole answer", "another one", "the start of one", "garbage"],
)
async def test_who_says_more_than_was_asked_is_not_asked_on_that_connection_again(more: bytes) -> None:
    """Else every answer after it would be to the question before."""
    last = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast"
    async with speaking(OK + more, last) as (client, server):
        first, second = await get(client), await get(client)

        assert isinstance(first, Reply) and (first.body, "x-a" in first.headers) == (b"ok", False)
        assert isinstance(second, Reply) and second.body == b"last"
        assert server.connections == 2


async def test_an_answer_without_a_body_leaves_the_connection_in_step() -> None:
    """HEAD, whose length is that of what is not sent, and then GET."""
    async with speaking(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", OK) as (client, server):
        head, whole = await get(client, "HEAD"), await get(client)

        assert isinstance(head, Reply) and head.body == b""
        assert isinstance(whole, Reply) and whole.body == b"ok"
        assert server.connections == 1


async def test_nobody_waits_longer_than_was_said() -> None:
    """Though one timer serves all; and what comes next is on another connection."""
    async with speaking(OK, HANG, OK) as (client, server):
        await get(client)
        late = await get(client, seconds=0.05)
        well = await get(client)

        assert isinstance(late, Trouble) and late.fault is Fault.TIMEOUT
        assert isinstance(well, Reply) and server.connections == 2


async def test_who_is_called_off_hears_nothing_and_leaves_nothing() -> None:
    """The answer to a question that nobody waits for is not the answer to the next one."""
    async with speaking(OK, HANG, OK) as (client, server):
        await get(client)
        waiting = asyncio.create_task(get(client))
        while len(server.answers) > 1:
            await asyncio.sleep(0.005)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        assert waiting.cancelled()
        assert isinstance(await get(client), Reply) and server.connections == 2


async def test_closing_ends_what_is_under_way() -> None:
    """In trouble, not in silence."""
    async with speaking(HANG) as (client, server):
        waiting = asyncio.create_task(get(client, seconds=60))
        while server.answers:
            await asyncio.sleep(0.005)
        await client.close()

        async with asyncio.timeout(5):
            answer = await waiting
        assert isinstance(answer, Trouble) and answer.fault is Fault.UNREACHABLE
