"""Origins that are down, slow, flapping, redirecting, or lie about length: what becomes of refreshes and prefetches.

Beside tests/scenario/test_prefetch.py, which has each answer of an origin and the words for it.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.scenario.wired import Wired, wired
from tests.servers.base import CacheServer, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.varnish import Varnish


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    """Both caches give the origin a second for its headers."""
    home, origin = tmp_path_factory.mktemp("origins"), Origin()
    origin.start()
    caches = [Nginx(home, origin, read_timeout_seconds=1), Varnish(home, origin, read_timeout_seconds=1)]
    with wired(home, origin, caches) as made:
        yield made
    origin.stop()


@pytest.fixture
def fleet(running: Wired) -> Wired:
    running.mark()
    return running


@pytest.mark.parametrize(
    ("page", "hurts", "heals"),
    [
        ("/down", lambda origin: origin.stop(), lambda origin: origin.start()),
        ("/slow", lambda origin: origin.hangs("/slow"), lambda origin: None),
        (
            "/moved",
            lambda origin: origin.serves("/moved", "", status=302, age=None, headers={"Location": "/y"}),
            lambda _: None,
        ),
        ("/cut", lambda origin: origin.serves("/cut", "v2" * 1000, cut=True), lambda origin: None),
    ],
    ids=["down", "slow", "redirecting", "breaking off"],
)
def test_a_refresh_needs_no_origin(
    page: str, hurts: Callable[[Origin], None], heals: Callable[[Origin], None], fleet: Wired
) -> None:
    """It is Complete at once, also when the service was killed in between, and nobody gets the old version again."""
    fleet.origin.serves(page, "v1")
    for cache in fleet.caches:
        cache.get(page).fetched("v1")
    hurts(fleet.origin)
    try:
        task = fleet.stack.refresh(page)
        fleet.crash()
        task.until_complete()
        for cache in fleet.caches:
            try:
                seen = cache.get(page)
                assert seen.body != "v1" and seen.cache != "HIT"
            except (OSError, http.client.HTTPException):
                continue  # it broke off
    finally:
        heals(fleet.origin)
    fleet.origin.serves(page, "v2")
    for cache in fleet.caches:
        until(partial(_serves, cache, page, "v2"))


def _serves(cache: CacheServer, page: str, body: str) -> bool:
    return cache.get(page).body == body


def test_a_prefetch_outlives_an_origin_that_flaps(fleet: Wired) -> None:
    """A failure is tried again some times before it is final: who is back in time is none."""
    fleet.origin.drops("/flap")
    task = fleet.stack.prefetch("/flap")
    until(lambda: fleet.origin.asked("/flap") >= len(fleet.caches))
    fleet.origin.serves("/flap", "v1")

    task.until_complete()

    for cache in fleet.caches:
        cache.get("/flap").hit("v1")


def test_a_prefetch_that_an_origin_holds_up_goes_on_after_a_crash(fleet: Wired) -> None:
    """It was slow when the service was killed; what it was fetching is asked for again and brought."""
    fleet.origin.serves("/held", "v1" * 1000)
    with fleet.origin.holding("/held", "body") as held:
        task = fleet.stack.prefetch("/held")
        held.wait(1)
        fleet.crash()
        assert task.rows()[0]["Status"] in ("Pending", "Refreshing")
        held.release()
        task.until_complete()
    for cache in fleet.caches:
        cache.get("/held").hit("v1" * 1000)


@pytest.mark.parametrize(
    ("lie", "status", "description", "log"),
    [
        (+1000, "Failed", "Internal Error", "did not prefetch http://www.test/lie+1000: "),
        (-2, "Complete", "", ""),
    ],
    ids=["more than it sends", "less than it sends"],
)
def test_an_origin_that_lies_about_length(lie: int, status: str, description: str, log: str, fleet: Wired) -> None:
    """What is too short is not whole, and is not kept. What is too long nobody can tell from what was meant."""
    page = f"/lie{lie:+d}"
    fleet.origin.lies(page, "v1" * 1000, by=lie)

    task = fleet.stack.prefetch(page)
    until(lambda: task.rows()[0]["Status"] in ("Complete", "Failed"))

    assert [(row["Status"], row["Description"]) for row in task.rows()] == [(status, description)]
    for cache in fleet.caches:  # a row has failed as soon as one edge has
        fleet.until_says(f"{cache.name} {log}" if log else "")
    fleet.origin.serves(page, "v2")
    for cache in fleet.caches:
        if status == "Failed":
            cache.get(page).fetched("v2")
        else:
            cache.get(page).hit("v1" * 999)
