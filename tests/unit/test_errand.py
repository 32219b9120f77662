"""Several fetches of one request, as their answers come in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.drivers.base import Fault, Fetched, FetchOutcome, Trouble
from freshline.drivers.errand import Answers
from freshline.drivers.lines import BadLines
from freshline.drivers.nginx import NginxDriver

Ended = dict[int, Fetched | Trouble]
SAID = b"3 fetched stored 200 5 fetched\n1 fetched other 301 0 redirects to /b c\n2 failed it broke\n"


@pytest.mark.parametrize("piece", [1, 2, 7, 31, 200])
def test_answers_are_known_as_soon_as_their_line_is(piece: int) -> None:
    """However the bytes are cut, and in whatever order they come."""
    ended: Ended = {}
    answers = Answers(3, ended.update)
    for at in range(0, len(SAID), piece):
        answers.take(SAID[at : at + piece])
        assert len(ended) == SAID[: at + piece].count(b"\n")

    assert ended == {
        2: Fetched(FetchOutcome.STORED, 200, 5, "fetched"),
        0: Fetched(FetchOutcome.OTHER, 301, 0, "redirects to /b c", "/b c"),
        1: Trouble(Fault.FAILED, "failed it broke"),
    }


@pytest.mark.parametrize(
    "said",
    [
        b"0 fetched stored 200 5 fetched\n",
        b"4 fetched stored 200 5 fetched\n",
        b"1 fetched stored 200 5 fetched\n1 fetched stored 200 5 fetched\n",
        b"fetched stored 200 5 fetched\n",
        b"1 stored 200 5 fetched\n",
        b"1 fetched stored 2x0 5 fetched\n",
        b"99999999999999999999999 fetched stored 200 5 fetched\n",
        b"\xb2 fetched stored 200 5 fetched\n",
        b"\n",
        b"x" * 20_000,
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(said: bytes) -> None:
    """Numbers that were not asked for, twice the same, lines that are none, a line without an end."""
    ended: Ended = {}
    with pytest.raises(BadLines):
        Answers(3, ended.update).take(said)

    assert set(ended) <= {0}


def test_where_a_redirect_leads_is_known_whole() -> None:
    """What is kept of the answer is short; half a location would be another one."""
    ended: Ended = {}
    there = "/" + "x" * 1000
    Answers(1, ended.update).take(f"1 fetched other 302 0 redirects to {there}\n".encode())
    answer = ended[0]

    assert isinstance(answer, Fetched) and answer.location == there and len(answer.said) == 300


async def asked(answer: Callable[[bytes], bytes], count: int = 3) -> tuple[Ended, Trouble | None]:
    """What a driver makes of a gate that answers this, head and all, and then hangs up."""

    async def gate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"end\n")
        writer.write(answer(request))
        await writer.drain()
        writer.close()

    ended: Ended = {}
    server = await asyncio.start_server(gate, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    driver = NginxDriver(Edge("e", "nginx", "g", f"127.0.0.1:{port}", "127.0.0.1:2", "secret"))
    whats = [Fetch(n, "http", "a.test", f"/{n}", (("x-n", f"{n} %"),)) for n in range(count)]
    async with server:
        over: asyncio.Future[Trouble | None] = asyncio.get_running_loop().create_future()
        driver.fetch_each_then(whats, ended.update, over.set_result)
        trouble = await over
        await driver.close()
    return ended, trouble


async def test_all_go_out_in_one_request_each_with_its_headers() -> None:
    """As docs/gates.md has it."""
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(SAID) + SAID

    ended, trouble = await asked(answer)

    assert (sorted(ended), trouble) == ([0, 1, 2], None)
    (request,) = seen
    body = [f"fetch http a.test /{n}\nheader x-n {n}%20%25\n" for n in range(3)]
    assert request.partition(b"\r\n\r\n")[2] == "".join([*body, "end\n"]).encode()


@pytest.mark.parametrize(
    ("answer", "ends", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n" + SAID[:40], [2], Fault.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n" + SAID[:31], [2], Fault.GARBAGE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n" + SAID[:31] + b"what?\n", [2], Fault.GARBAGE),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", [], Fault.DENIED),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 8\r\n\r\nbad eggs", [], Fault.FAILED),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 31\r\n\r\n" + SAID[:31], [], Fault.GARBAGE),
    ],
    ids=["cut", "too few", "garbage", "secret", "refused", "not 200"],
)
async def test_what_breaks_off_is_the_trouble_of_those_that_were_not_answered(
    answer: bytes, ends: list[int], fault: Fault
) -> None:
    """Those before have their answers all the same."""
    ended, trouble = await asked(lambda _: answer)

    assert sorted(ended) == ends
    assert isinstance(trouble, Trouble) and trouble.fault is fault
