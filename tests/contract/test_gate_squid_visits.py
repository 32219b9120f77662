"""Several fetches in one request to Squid's gate, and how it sees that what was fetched is there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from freshline.domain.action import Fetch, Verb
from freshline.drivers.base import Applied, Fetched, FetchOutcome, Trouble
from tests.servers.base import SECRET, SITE, send, until
from tests.servers.origin import Origin
from tests.servers.squid import MEMORY, UFS, Squid
from tests.servers.steered import Answers, Steered, fetches

Make = Callable[..., tuple[Squid, Steered]]

#: Settings of an operator who has the one port for datagrams, or its address, for something else.
MUTE = ["icp_port 0", "udp_incoming_address 127.0.0.9"]


@pytest.fixture
def make(tmp_path: Path, origin: Origin) -> Iterator[Make]:
    """Starts a Squid of some settings, bound to a log."""
    made: list[tuple[Squid, Steered]] = []

    def start(operator: str = "", store: str = UFS, kind: type[Squid] = Squid, **more: int) -> tuple[Squid, Steered]:
        server = kind(tmp_path, origin, operator=operator, store=store, **more)
        server.start()
        made.append((server, Steered(server)))
        made[-1][1].bind()
        return made[-1]

    yield start
    for server, log in made:
        log.close()
        server.close()


def outcomes(log: Steered, wanted: list[Fetch]) -> list[tuple[FetchOutcome, int, str]]:
    """Outcome, status and what was said of each; every one has to be answered."""
    found = log.fetch_all(wanted)
    assert all(isinstance(answer, Fetched) for answer in found), found
    return [(answer.outcome, answer.status, answer.said) for answer in found if isinstance(answer, Fetched)]


class Logged(Squid):
    """Everything it is asked goes into a log."""

    def configure(self) -> None:
        super().configure()
        file = self.home / "site.conf"
        log = f"access_log stdio:{self.home}/asked.log squid\nlog_icp_queries on"
        file.write_text(file.read_text().replace("access_log none", log))


def asked(squid: Squid, what: str) -> int:
    """How often: ``HEAD``, or ``ICP_QUERY``."""
    return (squid.home / "asked.log").read_text().count(f" {what} http")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("fetch http a.test /\nfetch http a.test x\nend\n", "no scheme, host and target"),
        ("fetch http a.test /\nfetch http a.test\nend\n", "lacks a field"),
        ("fetch http a.test /\n" * 200_000 + "end\n", "more than 64"),
        ("fetch http a.test /\nfetch http a.test /" + "x" * 20_000 + "\nend\n", "no scheme, host and target"),
    ],
)
def test_what_is_too_long_for_it_fetches_nothing(origin, make, body, why):
    """Said with 400, and nothing was begun."""
    squid, _ = make()
    seen = send(squid.edge.gate, "POST", "/freshline/fetch", {"Host": "gate", "freshline-key": SECRET}, body.encode())

    assert (seen.status, seen.body.startswith("bad ")) == (400, True) and why in seen.body
    assert not origin.log


def test_headers_belong_to_their_own_fetch(origin, make):
    """One that may not be set spoils its own fetch and no other."""
    _, log = make()
    origin.serves("*", "v1", vary="Accept-Language")
    wanted = [
        *fetches("/a", headers=(("Accept-Language", "en"),)),
        *fetches("/b", headers=(("Host", "b.test"),)),
        *fetches("/c", headers=(("Accept-Language", "fr"),)),
    ]

    assert [word for word, _, _ in outcomes(log, wanted)] == [
        FetchOutcome.STORED,
        FetchOutcome.OTHER,
        FetchOutcome.STORED,
    ]
    assert {asked.target: asked.headers.get("accept-language") for asked in origin.log} == {"/a": "en", "/c": "fr"}


@pytest.mark.parametrize("store", [UFS, MEMORY], ids=["disk", "memory"])
def test_what_squid_does_not_keep_is_not_stored(origin, make, store):
    """Beside many that it keeps, in one request: too large, or so for its memory where it has no disk."""
    squid, log = make("maximum_object_size_in_memory 8 KB\nmaximum_object_size 64 KB", store)
    sizes = {"/small": 100, "/middle": 20_000, "/large": 100_000}
    paths = [f"{kind}/{n}" for n in range(20) for kind in sizes]
    for path in paths:
        origin.serves(path, "x" * sizes[path.rpartition("/")[0]])
    said = [word for word, _, _ in outcomes(log, fetches(*paths))]
    for path, word in zip(paths, said, strict=True):
        kept = not path.startswith("/large") and (store is UFS or not path.startswith("/middle"))

        assert word is (FetchOutcome.STORED if kept else FetchOutcome.OTHER), path
        if kept:
            origin.refuses(path)
            squid.get(path).hit("x" * sizes[path.rpartition("/")[0]])


@pytest.mark.parametrize("operator", ["", "reply_header_access Vary deny all"], ids=["", "hidden"])
def test_a_variant_that_is_not_there_is_not_stored(origin, make, operator):
    """Another variant under the same key proves nothing, whether visitors are told that it varies or not."""
    squid, log = make(f"{operator}\nacl french req_header Accept-Language ^fr\nstore_miss deny french")
    for n in range(8):
        origin.serves(f"/{n}", "v1", vary="Accept-Language")
        squid.get(f"/{n}", headers={"Accept-Language": "en"})
    for language, word in (("fr", FetchOutcome.OTHER), ("de", FetchOutcome.STORED), ("en", FetchOutcome.STORED)):
        wanted = fetches(*(f"/{n}" for n in range(8)), headers=(("Accept-Language", language),))

        assert {said[0] for said in outcomes(log, wanted)} == {word}, language


def test_most_are_seen_by_datagrams(origin, make):
    """A HEAD for a few of them, which the others wait for."""
    squid, log = make(kind=Logged)
    origin.serves("*", "v1")
    for turn in range(4):
        wanted = fetches(*(f"/{turn}/{n}" for n in range(32)))
        assert {word for word, _, _ in outcomes(log, wanted)} == {FetchOutcome.STORED}

    until(lambda: asked(squid, "HEAD") + asked(squid, "ICP_QUERY") >= 128)
    assert asked(squid, "HEAD") <= 64


@pytest.mark.parametrize("mute", MUTE)
def test_each_is_seen_by_itself_where_no_datagrams_are_answered(origin, make, mute):
    """By a HEAD each, and it is told apart as well what is not there."""
    squid, log = make(mute, kind=Logged)
    origin.serves("*", "v1")
    origin.serves("/private", "v1", age=None)
    said = outcomes(log, fetches(*(f"/{n}" for n in range(20)), "/private"))

    assert [word for word, _, _ in said] == [FetchOutcome.STORED] * 20 + [FetchOutcome.OTHER]
    until(lambda: asked(squid, "HEAD") >= 21)  # a line is written once its answer has left
    assert asked(squid, "HEAD") == 21
    squid.get("/7").hit("v1")


def test_nobody_from_elsewhere_can_ask_by_datagrams(origin, make):
    """The port is on the loopback interface alone."""
    squid, _ = make()
    port = int(squid.door.rpartition(":")[2])
    bound = [line.split()[1] for line in Path("/proc/net/udp").read_text().splitlines()[1:]]

    assert [address for address in bound if int(address.partition(":")[2], 16) == port] == [f"0100007F:{port:04X}"]


# What is in the way


def test_a_refresh_that_overtakes_some_of_them(origin, make):
    """They are fetched anew; a prefetch never ends with what was fetched before a refresh that came meanwhile."""
    squid, log = make()
    other = Steered(squid)
    origin.serves("*", "v1")
    paths = [f"/{n}" for n in range(10)]
    with origin.holding("/3", "headers") as held, ThreadPoolExecutor() as pool:
        asked = pool.submit(outcomes, log, fetches(*paths))
        held.wait(1)
        origin.serves("*", "v2")
        origin.lets_pass("/3")
        assert isinstance(other.run(other.driver.apply(log.accept((Verb.FILE, b"/3")))), Applied)
        held.release()

        assert {word for word, _, _ in asked.result()} == {FetchOutcome.STORED}
    other.close()
    squid.get("/3").hit("v2")


def test_an_origin_that_never_answers(origin, make):
    """Its fetch ends when Squid's patience does, and is said to be the origin's; the others have ended long before."""
    _, log = make(read_timeout_seconds=2)
    origin.serves("*", "v1")
    origin.hangs("/never")
    origin.drops("/drops")
    answers: list[int] = []
    found: Answers = {}

    def ended(at: int, answer: Fetched | Trouble) -> None:
        answers.append(at)
        found[at] = answer

    assert log.fetch_each(fetches("/never", "/a", "/drops", "/b"), ended) is None
    assert answers[-1] == 0
    assert [found[at].outcome for at in range(4)] == [
        FetchOutcome.ORIGIN_TIMEOUT,
        FetchOutcome.STORED,
        FetchOutcome.OTHER,
        FetchOutcome.STORED,
    ]


def test_a_controller_that_hangs_up(origin, make):
    """What it asked for goes nowhere, and the next one is answered as ever."""
    squid, log = make()
    origin.serves("*", "v1")
    body = "".join(f"fetch http {SITE} /{n}\n" for n in range(30)) + "end\n"
    head = f"POST /freshline/fetch HTTP/1.1\r\nfreshline-key: {SECRET}\r\ncontent-length: {len(body)}\r\n\r\n"
    whole = (head + body).encode()
    host, _, port = squid.edge.gate.rpartition(":")
    for size in (*range(1, len(whole), 97), len(whole), len(whole), len(whole)):
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(whole[:size])

    assert {word for word, _, _ in outcomes(log, fetches(*(f"/{n}" for n in range(30))))} == {FetchOutcome.STORED}


@pytest.mark.parametrize("how", ["reload", "rotate", "kill_helper"])
def test_helpers_change_while_fetches_are_under_way(origin, make, how):
    """Each is answered, or the edge's trouble; afterwards another helper answers as ever, and all of it is there."""
    squid, log = make()
    origin.serves("*", "v1")
    paths = [f"/{n}" for n in range(30)]
    found: Answers = {}
    with origin.holding("/3", "headers") as held, ThreadPoolExecutor() as pool:
        asked = pool.submit(log.fetch_each, fetches(*paths), found.__setitem__)
        held.wait(1)
        getattr(squid, how)()
        held.release()
        over = asked.result()

    assert over is not None or len(found) == 30
    assert {word for word, _, _ in outcomes(log, fetches(*paths))} == {FetchOutcome.STORED}
    for path in paths:
        origin.refuses(path)
        squid.get(path).hit("v1")
