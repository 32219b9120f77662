"""Servers without a gate: what they can do is asked of them, the rest is refused, and nothing is called proven."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from freshline.domain.action import Command, Fetch, Verb
from freshline.domain.edge import Edge
from freshline.drivers.base import Applied, Batch, Fault, Fetched, FetchOutcome, Gate, Trouble
from freshline.drivers.plain import BanDriver, PurgeDriver
from tests.servers.base import SITE
from tests.servers.origin import Origin
from tests.servers.varnish import Varnish

DOCS = Path(__file__).parents[2] / "docs" / "gates.md"
COVERING = {
    Verb.FILE: b"/dir/page?x=1",
    Verb.PATH: b"/dir/page",
    Verb.DIR: b"/dir/",
    Verb.REGEX: rb"/d.r/[a-z]+\?x=",
    Verb.TAG: b"red",
}


@pytest.fixture
def varnish(tmp_path: Path, origin: Origin) -> Iterator[Varnish]:
    """As an operator has it who took the page's VCL, and no gate."""
    snippet = re.findall(r"```vcl\n(.*?)```", DOCS.read_text(), re.S)[-1]
    server = Varnish(tmp_path, origin, guarded=False, operator=snippet)
    server.start()
    yield server
    server.stop()


def batch(*commands: Command) -> Batch:
    return Batch("log", 0, len(commands), f"m{len(commands)}", True, commands)


@pytest.mark.parametrize("verb", COVERING)
async def test_a_ban_takes_what_it_covers_and_spares_its_siblings(varnish: Varnish, origin: Origin, verb: Verb) -> None:
    """By PURGE or by BAN, as docs/gates.md has it; the evidence says that it is not proven."""
    spared = {
        Verb.FILE: ["/dir/page?x=2", "/dir/page2?x=1"],
        Verb.PATH: ["/dir/page2?x=1", "/dir/page/x"],
        Verb.DIR: ["/dirs/page?x=1", "/other/dir/page"],
        Verb.REGEX: ["/dir/page", "/other/dir/page?x=1"],
        Verb.TAG: ["/blue"],
    }[verb]
    origin.serves("/dir/page?x=1", "v1", tags="red")
    for target in spared:
        origin.serves(target, "kept", tags="blue, reddish")
    for target in ("/dir/page?x=1", *spared):
        varnish.get(target)
    origin.serves("/dir/page?x=1", "v2", tags="red")
    driver = BanDriver(varnish.edge)

    answer = await driver.apply(batch(Command(1, True, verb, SITE, COVERING[verb])))
    await driver.close()

    assert isinstance(answer, Applied) and answer.refused == ()
    assert answer.said == "answered, not proven: 1 x 200"
    varnish.get("/dir/page?x=1").fetched("v2")
    for target in spared:
        varnish.get(target).hit("kept")


async def test_what_a_server_cannot_do_is_refused(varnish: Varnish, origin: Origin) -> None:
    """PURGE reaches single files; the rest of the batch is none the worse for a directory in it."""
    driver = PurgeDriver(varnish.edge)
    driver.stand("log", 0, "log")
    assert await driver.status() == Gate("log", 0, "log", True)

    commands = [Command(1, True, Verb.DIR, SITE, b"/d/"), Command(2, True, Verb.FILE, SITE, b"/a")]
    answer = await driver.apply(batch(*commands))
    flushed = await driver.flush("log", 9, "m9")

    assert isinstance(answer, Applied) and answer.refused == ((1, "varnish cannot"),)
    assert await driver.status() == Gate("log", 2, "m2", True)
    assert isinstance(flushed, Trouble) and "empty its cache, then remove it and add it again" in flushed.said
    await driver.close()


async def test_a_server_that_takes_no_purge_settles_nothing(varnish: Varnish, origin: Origin) -> None:
    """Whatever it answers but done or not there is trouble, and the batch is asked for again."""
    address = origin.address
    driver = PurgeDriver(replace(varnish.edge, gate=address, site=address))

    for answer in (await driver.status(), await driver.apply(batch(Command(1, True, Verb.FILE, SITE, b"/a")))):
        assert isinstance(answer, Trouble) and answer.fault is Fault.FAILED, answer
    await driver.close()


async def test_a_ban_says_nothing_but_its_pattern(varnish: Varnish, origin: Origin) -> None:
    """Quotes, blanks and operators of a path or pattern do not reach the ban's own grammar."""
    origin.serves("/kept", "v1")
    varnish.get("/kept")
    driver = BanDriver(varnish.edge)
    hostile = [b'/a" || obj.status != 0', b"/a && obj.http.x ~ .", b"/a\r\nx-ban-all: 1", b"/\xc3\xbc \\x"]

    for verb in (Verb.DIR, Verb.PATH, Verb.REGEX, Verb.TAG):
        meant = [what for what in hostile if not (verb is Verb.REGEX and b"||" in what)]  # there it matches anything
        commands = [Command(at, True, verb, SITE, what) for at, what in enumerate(meant, 1)]
        await driver.apply(batch(*commands))
    await driver.close()

    varnish.get("/kept").hit("v1")


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        (Verb.FILE, b'/caf\xc3\xa9 "{x}#y/100%.html?q=\xc3\xa9'),
        (Verb.PATH, b'/caf\xc3\xa9 "{x}#y/100%.html'),
        (Verb.DIR, b'/caf\xc3\xa9 "{x}#y/'),
        (Verb.REGEX, rb"/caf.*\#y/.*q="),
    ],
)
async def test_what_has_to_be_escaped_in_a_url(varnish: Varnish, origin: Origin, verb: Verb, what: bytes) -> None:
    """Visitors write it so, and it is taken all the same."""
    page = "/caf%C3%A9%20%22%7Bx%7D%23y/100%25.html?q=%C3%A9"
    if verb is Verb.REGEX:
        what = what.replace(rb"\#", rb"(?:\#|%23)")
    for target, text in ((page, "v1"), ("/caf", "kept")):
        origin.serves(target, text)
        varnish.get(target)
    origin.serves(page, "v2")
    driver = BanDriver(varnish.edge)

    answer = await driver.apply(batch(Command(1, True, verb, SITE, what)))
    await driver.close()

    assert isinstance(answer, Applied) and answer.refused == ()
    varnish.get(page).fetched("v2")
    varnish.get("/caf").hit("kept")


async def test_a_pattern_that_the_server_does_not_take(varnish: Varnish, origin: Origin) -> None:
    """It fails its own row. Somebody's odd pattern holds up nobody else's."""
    origin.serves("/a", "v1")
    varnish.get("/a")
    origin.serves("/a", "v2")
    driver = BanDriver(varnish.edge)
    odd = Command(1, True, Verb.REGEX, SITE, rb"/\x{10FFFF}")
    long = Command(2, True, Verb.REGEX, SITE, b"/" + "é".encode() * 511 * 6)

    answer = await driver.apply(batch(odd, long, Command(3, True, Verb.FILE, SITE, b"/a")))
    await driver.close()

    assert isinstance(answer, Applied), answer
    assert answer.refused == ((1, "BAN answered 400"), (2, "BAN answered 400"))
    varnish.get("/a").fetched("v2")


def test_a_pattern_is_spelled_without_blanks_and_quotes() -> None:
    """What was escaped means the same; a backslash that is itself escaped escapes nothing."""
    edge = Edge("e", "plain-ban", "g", "127.0.0.1:1", "127.0.0.1:2", "s")
    spelled = {b'/a"b': rb"/a\x22b", rb"/a\"b": rb"/a\x22b", rb'/a\\"b': rb"/a\\\x22b", rb"/a\.b\d": rb"/a\.b\d"}

    for pattern, wanted in spelled.items():
        request = BanDriver(edge)._request(Command(1, True, Verb.REGEX, SITE, pattern))
        assert request is not None and request[3] == {"x-ban-url": f"^(?:{wanted.decode()})"}


async def test_a_large_object_is_prefetched(varnish: Varnish, origin: Origin) -> None:
    """Also by a server that takes no notice of the range, and sends all of it."""
    server = await asyncio.start_server(_whole, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    driver = PurgeDriver(replace(varnish.edge, site=address))

    fetched = await driver.fetch(Fetch(1, "http", SITE, "/large"))
    await driver.close()
    server.close()

    assert isinstance(fetched, Fetched) and fetched.outcome is FetchOutcome.STORED, fetched


async def _whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    writer.write((b"%x\r\n" % 100 + b"x" * 100 + b"\r\n") * 40_000 + b"0\r\n\r\n")
    await writer.drain()


async def test_a_prefetch_is_answered(varnish: Varnish, origin: Origin) -> None:
    """It is there afterwards, and the answer does not claim to know."""
    origin.serves("/a", "v1")
    driver = PurgeDriver(varnish.edge)

    fetched = await driver.fetch(Fetch(1, "http", SITE, "/a"))
    missing = await driver.fetch(Fetch(2, "http", SITE, "/missing"))
    await driver.close()

    assert not isinstance(fetched, Trouble) and fetched.outcome is FetchOutcome.STORED
    assert fetched.said.endswith("not proven")
    assert not isinstance(missing, Trouble) and missing.outcome is FetchOutcome.OTHER
    varnish.get("/a").hit("v1")
