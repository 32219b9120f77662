"""Objects in the caches before anyone asks for them, and every way in which that can fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenario.stack import Stack
from tests.servers.base import CacheServer, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.varnish import Varnish


@pytest.fixture
def impatient_stack(tmp_path: Path, origin: Origin) -> Iterator[Stack]:
    """Both caches give the origin a second for its headers."""
    caches: list[CacheServer] = [
        Nginx(tmp_path, origin, read_timeout_seconds=1),
        Varnish(tmp_path, origin, read_timeout_seconds=1),
    ]
    for cache in caches:
        cache.start()
    home = tmp_path / "service"
    home.mkdir()
    stack = Stack(home, caches).start().until_fresh()
    yield stack
    stack.stop()
    for cache in caches:
        cache.stop()


def test_a_prefetched_object_is_a_hit_for_its_first_visitor(
    stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """Complete means that the origin will not be asked."""
    origin.serves("/big", "v1" * 50_000)
    origin.serves("/small?x=1", "v1")
    stack.prefetch("/big", "/small?x=1").until_complete()

    origin.refuses("/big")
    origin.refuses("/small?x=1")
    for cache in caches:
        cache.get("/big").hit("v1" * 50_000)
        cache.get("/small?x=1").hit("v1")


def test_a_prefetch_is_complete_when_the_object_is_whole(
    stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """Headers and half a body are not enough."""
    origin.serves("/slow", "v1" * 10_000)
    with origin.holding("/slow", "body") as held:
        task = stack.prefetch("/slow")
        held.wait(len(caches))
        until(lambda: {row["Status"] for row in task.rows()} == {"Refreshing"})  # that it began is told a moment later
        assert {row["Process"] for row in task.rows()} == {"0%"}
        held.release()
        task.until_complete()

    origin.refuses("/slow")
    for cache in caches:
        cache.get("/slow").hit("v1" * 10_000)


def test_a_prefetch_right_after_a_refresh_brings_the_new_version(
    stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """No five minutes in between, although an old fetch is still under way."""
    origin.serves("/a", "v1")
    with origin.holding("/a", "headers") as held, ThreadPoolExecutor() as pool:
        old = [pool.submit(cache.get, "/a") for cache in caches]
        held.wait(len(caches))
        origin.serves("/a", "v2")
        origin.lets_pass("/a")

        stack.refresh("/a")
        stack.prefetch("/a").until_complete()
        held.release()
        for visitor in old:
            visitor.result()

    origin.refuses("/a")
    for cache in caches:
        cache.get("/a").hit("v2")


def test_a_header_of_the_task_chooses_the_variant(stack: Stack, caches: list[CacheServer], origin: Origin) -> None:
    """WithHeader reaches the origin, and the variant it chose is the one that is warm."""
    origin.serves("/v", "page", vary="Accept-Language")
    stack.prefetch("/v", WithHeader=json.dumps({"Accept-Language": ["fr"]})).until_complete()

    origin.refuses("/v")
    for cache in caches:
        cache.get("/v", headers={"Accept-Language": "fr"}).hit("page fr")


@pytest.mark.parametrize(
    ("trouble", "description"),
    [
        (lambda origin: origin.serves("/x", "oops", status=503), "Origin Return StatusCode 5XX"),
        (lambda origin: origin.serves("/x", "oops", status=500), "Origin Return StatusCode 5XX"),
        (lambda origin: origin.hangs("/x"), "Origin Timeout"),
        (lambda origin: origin.serves("/x", "no", status=404), "Internal Error"),
        (lambda origin: origin.serves("/x", "", status=301, headers={"Location": "/y"}), "Internal Error"),
        (lambda origin: origin.serves("/x", "no", age=None), "Internal Error"),
        (lambda origin: origin.serves("/x", "cut" * 1000, cut=True), "Internal Error"),
        (lambda origin: origin.drops("/x"), "Internal Error"),
        (lambda origin: origin.serves("/x", "no", status=403), "Internal Error"),
        (lambda origin: origin.serves("/x", "short" * 1000, lie=1), "Internal Error"),
    ],
    ids=["503", "500", "timeout", "404", "redirect", "uncacheable", "cut", "dropped", "403", "lies"],
)
def test_what_the_origin_does_wrong_is_told(
    trouble: Callable[[Origin], None], description: str, impatient_stack: Stack, origin: Origin
) -> None:
    """Failed, in the contract's words; the other object of the task is Complete."""
    origin.serves("/good", "v1")
    trouble(origin)

    task = impatient_stack.prefetch("/x").until_failed(description)
    good = impatient_stack.prefetch("/good").until_complete()

    details = impatient_stack.client.call("DescribePreloadDetailById", {"TaskId": task.id})["UrlDetails"]
    assert details[0]["Status"] == "Failed"
    details = impatient_stack.client.call("DescribePreloadDetailById", {"TaskId": good.id})["UrlDetails"]
    assert details[0]["Urls"][0]["Success"] == "100%"


def test_a_dead_origin_is_an_internal_error(impatient_stack: Stack, origin: Origin) -> None:
    """Nobody listens there."""
    origin.stop()

    impatient_stack.prefetch("/x").until_failed("Internal Error")


def test_an_origin_is_not_stormed(make_stack: Callable[..., Stack], caches: list[CacheServer], origin: Origin) -> None:
    """No more prefetches of one domain at a time than the setting says, over all edges."""
    stack = make_stack({"FRESHLINE_GATES_FETCHES_PER_DOMAIN": "3"})
    origin.serves("*", "v1")
    paths = [f"/p{n}" for n in range(30)]
    with origin.holding("*", "headers") as held:
        task = stack.prefetch(*paths)
        held.wait(3)
        assert len(origin.log) == 3
        held.release()
    task.until_complete()

    assert all(origin.asked(path) == len(caches) for path in paths)


def test_a_slow_prefetch_holds_up_no_refresh(stack: Stack, caches: list[CacheServer], origin: Origin) -> None:
    """Each has its own lane."""
    origin.serves("/slow", "v1")
    with origin.holding("/slow", "headers") as held:
        slow = stack.prefetch("/slow")
        held.wait(len(caches))

        stack.refresh("/fast").until_complete()

        assert {row["Status"] for row in slow.rows()} == {"Refreshing"}
        held.release()
        slow.until_complete()
