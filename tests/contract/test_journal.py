"""The gates that outlive their server's end: a journal beside a disk cache, and what becomes of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freshline.domain.action import Verb
from tests.servers.base import leave, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.squid import Squid
from tests.servers.steered import Steered
from tests.servers.trafficserver import Trafficserver

Server = Nginx | Squid | Trafficserver
ATTEMPTS = 8


@pytest.fixture(params=[Nginx, Squid, Trafficserver])
def kept(request: pytest.FixtureRequest, tmp_path: Path, origin: Origin) -> Iterator[tuple[Server, Steered]]:
    """A server that keeps a journal, and the log that its gate is bound to."""
    server: Server = request.param(tmp_path, origin)
    server.start()
    log = Steered(server)
    try:
        yield server, log.bind()
    finally:
        log.close()
        leave(server)


def never_again(server: Server, target: str, old: str) -> None:
    for _ in range(ATTEMPTS):
        seen = server.get(target)
        assert not seen.body.startswith(old), seen


@pytest.mark.parametrize(
    "harm",
    [
        None,
        lambda text: b"",
        lambda text: b"\0" * len(text),
        lambda text: text[:40],
        lambda text: re.sub(rb"\A([a-z ]+) 1", rb"\1 2", text),
    ],
    ids=["gone", "empty", "zeros", "cut", "version"],
)
def test_without_its_journal_a_gate_is_unbound_and_its_cache_void(
    kept: tuple[Server, Steered], origin: Origin, harm: Callable[[bytes], bytes] | None
) -> None:
    """A journal that is lost or not its own leaves a gate with no log, and nothing of the old cache is served, ever."""
    server, log = kept
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/a")
    server.get("/a")
    server.stop()
    text = server.journal.read_bytes()
    if harm is None:
        server.journal.unlink()
    else:
        assert harm(text) != text
        server.journal.write_bytes(harm(text))
    origin.serves("/a", "v2")
    server.start()
    gate = log.status()
    never_again(server, "/a", "v1")
    log.catch_up()

    assert (gate.log, gate.position) == (None, 0)
    never_again(server, "/a", "v1")


def test_a_torn_tail_and_a_hole_end_the_journal(kept: tuple[Server, Steered]) -> None:
    """What was being written when the power went counts as never told; it goes on behind what is whole, and behind a
    damaged record nothing is believed."""
    server, log = kept
    for path in (b"/a", b"/b", b"/c"):
        log.refresh(Verb.FILE, path)
    server.stop()
    text = server.journal.read_bytes()
    server.journal.write_bytes(text[: text.rindex(b"commit") + 9])
    server.start()
    assert log.status().position == 2
    log.catch_up()
    server.restart()
    assert log.status().position == 3
    server.stop()
    text = server.journal.read_bytes()
    assert text.count(b"www.test /b") == 1
    server.journal.write_bytes(text.replace(b"www.test /b", b"www.test /x"))
    server.start()

    assert log.status().position == 1


def test_the_journal_does_not_grow_with_use(kept: tuple[Server, Steered], origin: Origin) -> None:
    """Refreshing the same paths over and over leaves a journal of a few times its live size, and loses nothing."""
    server, log = kept
    paths = [f"/some/longer/path/of/an/object/{n}".encode() for n in range(2_000)]
    origin.serves("*", "v1")
    for _ in range(14):
        log.applied(*((Verb.FILE, path) for path in paths), (Verb.REGEX, rb"/re.*\.x"), (Verb.DIR, b"/d"))
    until(lambda: server.journal.stat().st_size < 1_500_000)  # made small while it goes on
    targets = ("/refreshed.x", paths[7].decode(), "/d/1")
    for target in targets:
        server.get(target)
    server.restart()
    log.catch_up()
    if isinstance(server, Trafficserver):  # its disk knows of no object that is younger than a minute
        for target in targets:
            server.get(target)
    origin.serves("*", "v2")

    for target in targets:
        server.get(target).hit("v1")
    log.refresh(Verb.REGEX, rb"/re.*\.x")
    server.get("/refreshed.x").fetched("v2")
