"""Several fetches in one request, to each kind of gate."""

from __future__ import annotations

import pytest

from freshline.domain.action import Verb
from freshline.drivers.base import Applied, FetchOutcome
from tests.servers.base import SECRET, send, until
from tests.servers.origin import Origin
from tests.servers.steered import Steered, fetches

STORED, OTHER = FetchOutcome.STORED, FetchOutcome.OTHER


def serve_some(origin: Origin) -> dict[str, str]:
    """Twenty pages to be stored, and their bodies; beside them /slow, /gone and /broken."""
    pages = {f"/{n}": f"v{n}" * 500 for n in range(20)}
    for n, (path, body) in enumerate(pages.items()):
        origin.serves(path, body, chunked=n % 2 == 1)
    origin.serves("/slow", "v1")
    origin.serves("/gone", "no", status=404)
    origin.serves("/broken", "no", status=503, age=None)
    return pages


def test_several_fetches_are_answered_one_by_one(origin, cache, log):
    """Each as soon as it has ended: what hangs holds up none of the others, and each has an answer of its own."""
    pages = serve_some(origin)
    origin.serves("/led", "", status=302, headers={"Location": "http://b.test/there"})
    origin.serves("/private", "v1", age=None)
    origin.serves("/cut", "x" * 100_000, cut=True)
    origin.drops("/dropped")
    wanted = fetches("/slow", *pages, "/gone", "/broken", "/led", "/private", "/cut", "/dropped")
    assert log.status() and log.driver.fetches_at_once >= len(wanted)
    with origin.holding("/slow", "body") as held, log.fetching(wanted) as answers:
        held.wait(1)
        until(lambda: len(answers) == len(wanted) - 1)
        assert {answers[at].outcome for at in range(1, 21)} == {STORED}
        assert [(answers[at].outcome, answers[at].status) for at in range(21, 25)] == [
            (OTHER, 404),
            (FetchOutcome.ORIGIN_STATUS, 503),
            (OTHER, 302),
            (OTHER, 200),
        ]
        assert answers[23].location == "http://b.test/there"
        assert answers[25].outcome is answers[26].outcome is OTHER
        held.release()
    assert answers[0].outcome is STORED

    assert all(origin.asked(path) == 1 for path in pages)
    for path in (*pages, "/slow"):
        origin.refuses(path)
    for path, body in pages.items():
        cache.get(path).hit(body)
    cache.get("/slow").hit("v1")


def test_what_is_there_is_not_fetched_again(origin, cache, log):
    """Each line has its answer, also where several are of one object."""
    origin.serves("*", "v1")
    log.status()
    assert {answer.outcome for answer in log.fetch_all(fetches("/a", "/b"))} == {STORED}
    again = log.fetch_all(fetches("/a", "/c", "/b", "/a"))

    assert {answer.outcome for answer in again} == {STORED}
    assert origin.asked("/a") == origin.asked("/b") == 1
    cache.get("/c").hit("v1")


def test_a_refresh_that_overtakes_some_of_them(origin, cache, log):
    """A list under way brings what was fetched before a refresh that came meanwhile to nobody."""
    other = Steered(cache)
    origin.serves("*", "v1")
    log.status()
    with origin.holding("/3", "headers") as held, log.fetching(fetches(*(f"/{n}" for n in range(10)))) as answers:
        held.wait()
        origin.serves("*", "v2")
        origin.lets_pass("/3")
        assert isinstance(other.run(other.driver.apply(log.accept((Verb.FILE, b"/3")))), Applied)
        held.release()
    other.close()

    assert {answers[at].outcome for at in range(10) if at != 3} == {STORED}
    assert cache.get("/3").body == "v2"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("end\n", "cut off"),
        ("\nend\n", "no fetch"),
        ("header a b\nfetch http a.test /\nend\n", "no fetch"),
        ("fetch http a.test /\nprobe http a.test /\nend\n", "no "),
        ("fetch http a.test /\nfetch http a.test x\nend\n", "no "),
        ("fetch http a.test /\nfetch http a.test\nend\n", ""),
        ("fetch http a.test /\n" * 65 + "end\n", "more than 64"),
        ("fetch http a.test /\nheader a %zz\nend\n", "header"),
    ],
)
def test_what_is_no_list_of_fetches_fetches_nothing(origin, cache, log, body, why):
    """Said with 400, and nothing was begun."""
    seen = send(cache.edge.gate, "POST", "/freshline/fetch", {"Host": "gate", "freshline-key": SECRET}, body.encode())

    assert (seen.status, seen.body.startswith("bad ")) == (400, True) and why in seen.body, seen
    assert not origin.log
