"""From a call to the caches and back: the same for every kind of server that has a gate.

One fleet of all kinds serves most of these tests, one after the other; each has a directory of its own on it.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenario.killing import survive
from tests.scenario.stack import Asked, Stack
from tests.servers.base import SITE, CacheServer, Seen, leave, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin, Phase
from tests.servers.squid import Squid
from tests.servers.trafficserver import Trafficserver
from tests.servers.varnish import Varnish

KINDS = ("nginx", "varnish", "squid", "trafficserver")


@dataclass(frozen=True)
class Fleet:
    """A cache of each kind, a service over them, and a directory of the test's own."""

    stack: Stack
    origin: Origin
    caches: list[CacheServer]
    home: str = ""

    def __getitem__(self, kind: str) -> CacheServer:
        return next(cache for cache in self.caches if cache.kind == kind)

    @property
    def tag(self) -> str:
        return f"red{self.home.replace('/', '-')}"

    @contextmanager
    def down(self, cache: CacheServer) -> Iterator[None]:
        cache.stop()
        try:
            yield
        finally:
            cache.start()


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    origin = Origin()
    origin.start()
    home = tmp_path_factory.mktemp("spine")
    caches: list[CacheServer] = [kind(home, origin) for kind in (Nginx, Varnish, Squid, Trafficserver)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda cache: cache.start(), caches))
    data: Path = home / "service"
    data.mkdir()
    stack = Stack(data, caches)
    try:
        yield Fleet(stack.start(), origin, caches)
    finally:
        stack.stop()
        for cache in caches:
            leave(cache)
        origin.stop()


_homes = (f"/t{number}" for number in itertools.count())


@pytest.fixture
def fleet(all_kinds: Fleet) -> Fleet:
    all_kinds.stack.until_fresh()
    return Fleet(all_kinds.stack, all_kinds.origin, all_kinds.caches, next(_homes))


def until_stored(cache: CacheServer, page: str) -> Seen:
    """A busy server may have answered a visitor before it has put away what it fetched for it."""
    until(lambda: cache.get(page).cache == "HIT")
    return cache.get(page)


Refresh = Callable[[Fleet], Asked]

REFRESHES: dict[str, Refresh] = {
    "File": lambda it: it.stack.refresh(f"{it.home}/img/a.png"),
    "Directory": lambda it: it.stack.refresh(f"{it.home}/img/", type="Directory"),
    "Directory, forced": lambda it: it.stack.refresh(f"{it.home}/img/", type="Directory", force=True),
    "Regex": lambda it: it.stack.refresh(f"{it.home}/img/[a-z].png", type="Regex"),
    "Regex, forced": lambda it: it.stack.refresh(f"{it.home}/img/.*", type="Regex", force=True),
    "IgnoreParams": lambda it: it.stack.refresh(f"{it.home}/img/a.png", type="IgnoreParams"),
    "ExQuery": lambda it: it.stack.refresh(f"{it.home}/img/a.png", type="ExQuery", force=True),
    "CacheTag": lambda it: it.stack.refresh_tag(it.tag),
    "CacheTag, forced": lambda it: it.stack.refresh_tag(it.tag, force=True),
}

every_refresh = pytest.mark.parametrize("refresh", REFRESHES.values(), ids=REFRESHES.keys())
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_refresh
def test_a_refresh_drops_what_it_covers_and_spares_the_rest(refresh: Refresh, fleet: Fleet) -> None:
    """After Complete every edge has the new version, and nothing beside it was fetched again."""
    page, other, origin = f"{fleet.home}/img/a.png", f"{fleet.home}/other", fleet.origin
    origin.serves(page, "v1", tags=fleet.tag)
    origin.serves(other, "v1", tags="blue")
    for cache in fleet.caches:
        cache.get(page).fetched("v1")
        until_stored(cache, page).hit("v1")
        cache.get(other).fetched("v1")
        until_stored(cache, other).hit("v1")

    origin.serves(page, "v2", tags=fleet.tag)
    origin.refuses(other)
    task = refresh(fleet).until_complete()

    assert {row["Process"] for row in task.rows()} == {"100%"}
    for cache in fleet.caches:
        cache.get(page).fetched("v2")
        until_stored(cache, page).hit("v2")
        cache.get(other).hit("v1")


@pytest.mark.parametrize("phase", ["headers", "body"])
@every_refresh
def test_an_old_fetch_under_way_never_comes_back(refresh: Refresh, phase: Phase, fleet: Fleet) -> None:
    """The race every plain purge loses: after Complete nobody gets the old version, also when the fetch has ended."""
    page, caches, origin = f"{fleet.home}/img/a.png", fleet.caches, fleet.origin
    origin.serves(page, "v1", tags=fleet.tag)
    with origin.holding(page, phase) as held, ThreadPoolExecutor() as pool:
        slow = [pool.submit(cache.get, page) for cache in caches]
        held.wait(len(caches))
        origin.serves(page, "v2", tags=fleet.tag)
        origin.lets_pass(page)

        refresh(fleet).until_complete()

        during = [pool.submit(cache.get, page) for cache in caches]
        held.release()
        for visitor in slow:
            visitor.result()  # it began before, so it may have the old one
        for visitor in during:
            assert visitor.result().body == "v2"
    for cache in caches:
        for _ in range(3):
            assert cache.get(page).body == "v2"


def test_refreshed_and_prefetched_in_one_breath(fleet: Fleet) -> None:
    """Once both are Complete every cache has the new version, fetched once each, and visitors hit it."""
    page, origin = f"{fleet.home}/a", fleet.origin
    origin.serves(page, "v1")
    for cache in fleet.caches:
        cache.get(page).fetched("v1")
    origin.serves(page, "v2")

    tasks = [fleet.stack.refresh(page), fleet.stack.prefetch(page)]

    for task in tasks:
        task.until_complete()
    for cache in fleet.caches:
        cache.get(page).hit("v2")
    assert origin.asked(page) == 2 * len(fleet.caches)


def test_a_plan_counts_what_every_kind_of_gate_has(fleet: Fleet) -> None:
    """Each says what it has, and no more what was refreshed since; of what is no single object nobody is asked."""
    page, command = f"{fleet.home}/a", [sys.executable, "-m", "freshline", "refresh", "--plan", "--json"]

    def planned(line: str, *more: str) -> str:
        asked = [*command, f"http://{SITE}{line}", *more, "--data-dir", str(fleet.stack.home)]
        (row,) = json.loads(subprocess.run(asked, capture_output=True, check=True, timeout=60).stdout)
        assert set(row["edges"]) == {cache.name for cache in fleet.caches}
        stored: str = row["stored"]
        return stored

    fleet.origin.serves(page, "v1")
    for count, cache in enumerate(fleet.caches):
        assert planned(page) == f"{count} of 4"
        until_stored(cache, page).hit("v1")
    assert planned(page) == "4 of 4"
    assert planned(f"{fleet.home}/", "--type", "Directory") == "-"
    fleet.stack.refresh(f"{fleet.home}/", type="Directory").until_complete()
    assert planned(page) == "0 of 4"


@every_kind
def test_a_task_is_complete_only_when_every_edge_is(kind: str, fleet: Fleet) -> None:
    """Three edges of four are 75%, and the fourth gets it when it is back, before it serves anything old."""
    page, cache, origin = f"{fleet.home}/a", fleet[kind], fleet.origin
    origin.serves(page, "v1")
    until_stored(cache, page).hit("v1")
    with fleet.down(cache):
        origin.serves(page, "v2")
        task = fleet.stack.refresh(page).until_process("75%")
        assert {row["Status"] for row in task.rows()} == {"Refreshing"}
    first = cache.get(page)  # its old disk cache is there, and nobody has told it anything yet

    assert first.body == "v2"
    task.until_complete()
    assert cache.get(page).body == "v2"


def test_an_edge_that_was_down_serves_its_old_cache_again(fleet: Fleet) -> None:
    """Catching up is enough: what no refresh covered need not be fetched anew."""
    page, nginx, origin = f"{fleet.home}/kept", fleet["nginx"], fleet.origin
    origin.serves(page, "v1")
    nginx.get(page).fetched("v1")
    nginx.kill()
    fleet.stack.refresh(f"{fleet.home}/a").until_process("75%")
    origin.refuses(page)

    nginx.start()
    fleet.stack.until_fresh()

    nginx.get(page).hit("v1")


@every_kind
def test_an_edge_killed_during_refreshes_never_goes_back(kind: str, fleet: Fleet) -> None:
    """kill -9 in a stream of refreshes, start on the old disk: what a Complete task covered is gone."""
    page, cache, origin = f"{fleet.home}/a", fleet[kind], fleet.origin
    stop = threading.Event()
    tasks: list[Asked] = []

    def keep_refreshing() -> None:
        while not stop.is_set():
            tasks.append(fleet.stack.refresh(page, f"{fleet.home}/b{len(tasks)}"))

    origin.serves(page, "v1")
    cache.get(page).fetched("v1")
    with ThreadPoolExecutor() as pool:
        stream = pool.submit(keep_refreshing)
        try:
            for version in range(2, 5):
                cache.kill()
                origin.serves(page, f"v{version}")
                cache.start()
                assert cache.get(page).body == f"v{version}" or not _covered(tasks)
        finally:
            stop.set()
        stream.result()
    for task in tasks[-3:]:
        task.until_complete()

    assert cache.get(page).body == "v4"


def _covered(tasks: list[Asked]) -> bool:
    return any(row["Status"] == "Complete" for row in tasks[-1].rows())


def test_a_task_fails_at_its_deadline_and_is_delivered_all_the_same(
    make_stack: Callable[..., Stack], caches: list[CacheServer], origin: Origin
) -> None:
    """Failed is final for the caller; the edge still catches up before it serves what it had."""
    stack = make_stack({"FRESHLINE_DEADLINES_REFRESH_SECONDS": "1"})
    nginx = caches[0]
    origin.serves("/a", "v1")
    nginx.get("/a").fetched("v1")
    nginx.stop()
    origin.serves("/a", "v2")

    task = stack.refresh("/a").until_failed("Internal Error")
    assert {row["Process"] for row in task.rows()} == {"50%"}
    nginx.start()
    stack.until_fresh()

    assert nginx.get("/a").body == "v2"
    task.until_failed("Internal Error")


def test_what_was_answered_survives_kill_9(stack: Stack, origin: Origin) -> None:
    """Every id that a caller was given is there after kill -9 at any moment, and reaches its end (more: make soak)."""
    origin.serves("*", "v1")

    assert survive(stack, kills=10, seed=1) > 10


def test_progress_is_told_by_monitors_too(stack: Stack, caches: list[CacheServer]) -> None:
    """Rows by status, lag by edge, latencies."""
    stack.refresh("/a", "/b").until_complete()
    caches[0].stop()
    stack.refresh("/c").until_process("50%")

    until(
        lambda: 'freshline_rows{status="Refreshing"} 1.0' in stack.look("/metrics"), seconds=20
    )  # counted now and then
    numbers = stack.look("/metrics")

    assert 'freshline_rows{status="Complete"} 2.0' in numbers
    assert f'freshline_edge_lag_entries{{edge="{caches[0].name}"}} 1.0' in numbers
    assert f'freshline_edge_lag_entries{{edge="{caches[1].name}"}} 0.0' in numbers
    assert f'freshline_edge_fresh{{edge="{caches[0].name}"}} 0.0' in numbers
    assert 'freshline_api_calls_total{action="RefreshObjectCaches",status="200"} 2.0' in numbers
    assert "freshline_delivery_seconds_bucket" in numbers
    assert stack.look("/healthz") == "ok\n"
    caches[0].start()
