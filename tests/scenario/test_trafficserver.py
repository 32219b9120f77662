"""The whole of it with a Traffic Server for an edge."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenario.stack import Asked, Stack
from tests.servers.origin import Origin
from tests.servers.trafficserver import Trafficserver


@pytest.fixture
def cache(tmp_path: Path, origin: Origin) -> Iterator[Trafficserver]:
    server = Trafficserver(tmp_path, origin)
    server.start()
    yield server
    server.discard()


@pytest.fixture
def stack(tmp_path: Path, cache: Trafficserver) -> Iterator[Stack]:
    """A service over that Traffic Server."""
    home = tmp_path / "service"
    home.mkdir()
    made = Stack(home, [cache]).start().until_fresh()
    yield made
    made.stop()


def test_refreshed_and_prefetched(stack: Stack, cache: Trafficserver, origin: Origin) -> None:
    """A refresh that is Complete took the object, a prefetch that is Complete brought it, kill -9 or not."""
    origin.serves("/a", "v1")
    cache.get("/a").fetched("v1")
    origin.serves("/a", "v2")
    stack.refresh("/a").until_complete()
    stack.prefetch("/a").until_complete()
    cache.get("/a").hit("v2")

    cache.kill()
    origin.serves("/a", "v3")
    task = stack.refresh("/a")
    cache.start()
    stack.until_fresh()
    task.until_complete()
    assert cache.get("/a").body == "v3"


def test_an_old_fetch_under_way_never_comes_back(stack: Stack, cache: Trafficserver, origin: Origin) -> None:
    """Complete means it while an old fetch is still running, and after it has ended."""
    origin.serves("/a", "v1")
    with ThreadPoolExecutor() as visitors, origin.holding("/a", "headers") as held:
        old = visitors.submit(cache.get, "/a")
        held.wait()
        origin.serves("/a", "v2")
        origin.lets_pass("/a")
        stack.refresh("/a").until_complete()
        assert cache.get("/a").body == "v2"
        held.release()
        old.result()

    for _ in range(5):
        assert cache.get("/a").body == "v2"


def test_killed_in_a_stream_of_refreshes_it_never_goes_back(stack: Stack, cache: Trafficserver, origin: Origin) -> None:
    """kill -9 between refreshes, started on the old disk: what a Complete task covered is gone."""
    tasks: list[Asked] = []
    origin.serves("/a", "v1")
    cache.get("/a").fetched("v1")
    for version in range(2, 6):
        origin.serves("/a", f"v{version}")
        tasks.append(stack.refresh("/a"))
        cache.kill()
        cache.start()
        tasks[-1].until_complete()

        assert cache.get("/a").body == f"v{version}"
