"""What an operator is told of an edge, and of the object that was chosen to try it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from freshline.domain.edge import Edge
from freshline.domain.target import parse
from freshline.drivers.base import Driver
from freshline.drivers.check import CHOICE, Finding, check_edge
from freshline.wiring import driver
from tests.servers.base import SITE, CacheServer, free_port
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.steered import Steered

DOOR = ["installed", "wants its secret", "out of visitors' reach"]

Check = Callable[..., Sequence[Finding]]


@pytest.fixture
def check(cache: CacheServer) -> Check:
    """Checks the edge with an object, once its gate is bound to a log."""
    steered = Steered(cache).bind()

    def run(path: str, drive: Callable[[Edge], Driver] = driver) -> Sequence[Finding]:
        return steered.run(check_edge(cache.edge, drive, parse(f"http://{SITE}{path}")))

    return run


def words(findings: Sequence[Finding]) -> list[str]:
    return [f"{'ok' if finding.ok else 'FAIL'} {finding.check}: {finding.said}" for finding in findings]


def test_a_good_edge_passes(origin: Origin, check: Check) -> None:
    """Every check, in words; the second time too, when the object is there already."""
    origin.serves("/caf%C3%A9?x=1", "four bytes times")

    for _ in range(2):
        findings = check("/café?x=1")
        assert [finding.check for finding in findings] == [*DOOR, "fetches", "probes", "does not make things up"]
        assert words(findings)[1:] == [
            "ok wants its secret: a wrong one is refused",
            "ok out of visitors' reach: yes",
            "ok fetches: the object is in the cache, 16 bytes",
            "ok probes: says that the object is there, fetched at position 0 or later",
            "ok does not make things up: says that an object nobody asked for is absent",
        ]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ({"status": 404}, "it answers 404; choose one that"),
        ({"status": 403}, "it answers 403; choose one that"),
        ({"status": 503}, "it answers 503; choose one that"),
        ({"status": 301, "headers": {"Location": "/b"}}, "it answers 301; choose one that"),
        ({"age": None}, "it answers 200 and is not stored, because it may not be"),
        # Varnish may notice before it has passed the headers on, and then it is a 503 of its own.
        (
            {"cut": True},
            ("it answers 200 and is not stored, because it may not be or because it broke off", "it answers 503"),
        ),
    ],
    ids=["404", "403", "503", "301", "no-store", "cut"],
)
def test_a_bad_choice_of_url_is_not_held_against_the_edge(
    origin: Origin, check: Check, page: dict[str, Any], said: str | tuple[str, ...]
) -> None:
    """What its origin answers is said of the URL; all that is asked of the edge passes."""
    origin.serves("/a", **page)

    for _ in range(2):  # the second time the refusal itself may be in the cache
        findings = check("/a")
        (bad,) = [finding for finding in findings if not finding.ok]
        assert bad.check == CHOICE and bad.said.startswith(said), bad
        assert [finding.check for finding in findings] == [*DOOR, CHOICE, "does not make things up"]


def test_a_silent_origin_is_no_good_choice(origin: Origin, impatient: CacheServer) -> None:
    """It says nothing within the edge's patience."""
    origin.hangs("/a")
    steered = Steered(impatient).bind()

    findings = steered.run(check_edge(impatient.edge, driver, parse(f"http://{SITE}/a")))

    (bad,) = [finding for finding in findings if not finding.ok]
    assert (bad.check, bad.said) == (CHOICE, "its origin says nothing in time; choose one that answers 200 and may be"
                                             " cached")  # fmt: skip


def test_an_edge_whose_site_goes_past_the_gate_is_at_fault(tmp_path, origin: Origin) -> None:
    """nginx, where the gate is told another server's address for the site's."""
    origin.serves("/a", "v1")
    cache = Nginx(tmp_path, origin, settings={"site": origin.address})
    cache.start()
    steered = Steered(cache).bind()

    findings = steered.run(check_edge(cache.edge, driver, parse(f"http://{SITE}/a")))
    cache.stop()

    assert "FAIL fetches: the site's answer did not pass through the gate" in words(findings)


def test_an_edge_whose_site_is_not_there_is_at_fault(tmp_path, origin: Origin) -> None:
    """nginx, where nothing listens at what the gate is told of the site."""
    cache = Nginx(tmp_path, origin, settings={"site": f"127.0.0.1:{free_port()}"})
    cache.start()
    steered = Steered(cache).bind()

    findings = steered.run(check_edge(cache.edge, driver, parse(f"http://{SITE}/a")))
    cache.stop()

    assert "FAIL fetches: the site does not answer: connection refused" in words(findings)
