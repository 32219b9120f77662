"""What has to be in the caches is there: large objects, slices, variants, redirects, whole tiers."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from freshline.log.sqlite import SqliteLog
from tests.scenario.stack import Stack
from tests.servers.base import SITE, CacheServer
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.squid import UFS, Squid
from tests.servers.trafficserver import Trafficserver
from tests.servers.upstream import Through
from tests.servers.varnish import Varnish

LARGE = 100_000_000
SLICED = "slice 1k; proxy_set_header Range $slice_range; proxy_cache_key $freshline_key$slice_range;"
SLICED += " proxy_cache_valid 200 206 1h;"


@contextmanager
def serving(home: Path, caches: Sequence[CacheServer], **settings: str) -> Iterator[Stack]:
    """A service over these caches, all of them started in their order and stopped in the end, however it ends."""
    with ExitStack() as ends:
        for cache in caches:
            cache.start()
            ends.callback(cache.stop)
        where = home / "service"
        where.mkdir()
        stack = Stack(where, caches, settings).start()
        ends.callback(stack.stop)
        yield stack.until_fresh()


def digest(site: str, path: str) -> str:
    """Of the body that a visitor gets, which is not kept."""
    host, _, port = site.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock, sock.makefile("rb") as answer:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n".encode())
        while answer.readline().strip():
            pass
        found = hashlib.sha256()
        while part := answer.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def test_a_hundred_megabytes_are_whole_on_each_edge(tmp_path: Path, origin: Origin) -> None:
    """And nothing of them passes through the controller."""
    caches: list[CacheServer] = [
        Nginx(tmp_path, origin),
        Varnish(tmp_path, origin, storage="malloc,300m"),
        Squid(tmp_path, origin, store=f"maximum_object_size 200 MB\n{UFS}"),
        Trafficserver(tmp_path, origin, cache_size="256M"),
    ]
    body = "0123456789" * (LARGE // 10)
    with serving(tmp_path, caches) as stack:
        origin.serves("/large.iso", body)
        assert stack.process is not None
        passed = received(stack.process.pid)
        task = stack.prefetch("/large.iso").until_complete()
        assert received(stack.process.pid) - passed < LARGE / 10  # what we ask it meanwhile, and little else
        assert origin.asked("/large.iso") == len(caches)
        stored = SqliteLog.reader(stack.home / "log.db").warmed(int(task.id))
        assert stored == {cache.name: LARGE for cache in caches}

        origin.refuses("/large.iso")
        expected = hashlib.sha256(body.encode()).hexdigest()
        assert [digest(cache.edge.site, "/large.iso") for cache in caches] == [expected] * len(caches)


def received(pid: int) -> int:
    """Bytes that a process has read so far, from wherever."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def test_every_slice_is_brought(tmp_path: Path, origin: Origin) -> None:
    """A visitor's range in the middle is a hit; so is the whole, and no slice is fetched a second time."""
    cache = Nginx(tmp_path, origin, location=SLICED)
    body = "".join(f"{n:010d}" for n in range(550))
    with serving(tmp_path, [cache]) as stack:
        origin.serves("/film", body, ranges=True)
        stack.prefetch("/film").until_complete()
        assert origin.asked("/film") == 6

        stack.prefetch("/film").until_complete()
        assert origin.asked("/film") == 6, "what is there already is not fetched again"

        origin.refuses("/film")
        part = cache.get("/film", headers={"Range": "bytes=3000-3009"})
        assert (part.status, part.body, part.cache) == (206, body[3000:3010], "HIT")
        cache.get("/film").hit(body)

        origin.serves("/film", body[::-1], ranges=True)
        stack.refresh("/film")
        stack.prefetch("/film").until_complete()
        origin.refuses("/film")
        cache.get("/film").hit(body[::-1])


def test_slices_of_each_variant_are_brought(tmp_path: Path, origin: Origin) -> None:
    """One variant in the cache does not pass for another, and each is whole."""
    cache = Nginx(tmp_path, origin, location=SLICED)
    body = "".join(f"{n:010d}" for n in range(350))
    with serving(tmp_path, [cache]) as stack:
        origin.serves("/film", body, ranges=True, vary="Accept-Language")
        for language in ("fr", "en", "fr"):
            stack.prefetch("/film", WithHeader=json.dumps({"Accept-Language": [language]})).until_complete()
        assert origin.asked("/film") == 2 * 4

        origin.refuses("/film")
        for language in ("fr", "en"):
            cache.get("/film", headers={"Accept-Language": language}).hit(f"{body} {language}")
            part = cache.get("/film", headers={"Accept-Language": language, "Range": "bytes=3500-3502"})
            assert (part.status, part.body, part.cache) == (206, f" {language}", "HIT")


def test_an_origin_without_ranges_fills_a_sliced_site(tmp_path: Path, origin: Origin) -> None:
    """It answers the first slice with everything, and that is what is stored."""
    cache = Nginx(tmp_path, origin, location=SLICED)
    with serving(tmp_path, [cache]) as stack:
        origin.serves("/film", "v1" * 2000)
        stack.prefetch("/film").until_complete()

        origin.refuses("/film")
        cache.get("/film").hit("v1" * 2000)


def test_compressed_variants_are_those_that_visitors_ask_for(tmp_path: Path, origin: Origin) -> None:
    """gzip where the caller has no word in it; br where it names it; each beside the other."""
    caches: list[CacheServer] = [
        Nginx(tmp_path, origin),
        Varnish(tmp_path, origin, parameters={"http_gzip_support": "off"}),
    ]
    with serving(tmp_path, caches) as stack:
        origin.serves("/page", "page", vary="Accept-Encoding")
        stack.prefetch("/page").until_complete()
        stack.prefetch("/page", WithHeader=json.dumps({"Accept-Encoding": ["br"]})).until_complete()
        assert origin.asked("/page") == 2 * len(caches)

        origin.refuses("/page")
        for cache in caches:
            cache.get("/page", headers={"Accept-Encoding": "gzip"}).hit("page gzip")
            cache.get("/page", headers={"Accept-Encoding": "br"}).hit("page br")


def test_query_strings_are_objects_of_their_own(stack: Stack, caches: list[CacheServer], origin: Origin) -> None:
    """One is brought, its neighbour is not."""
    origin.serves("/q?a=1", "one")
    origin.serves("/q?a=2", "two")
    stack.prefetch("/q?a=1").until_complete()

    origin.refuses("/q?a=1")
    for cache in caches:
        cache.get("/q?a=1").hit("one")
        cache.get("/q?a=2").fetched("two")


def test_what_is_fresh_is_not_fetched_again(stack: Stack, caches: list[CacheServer], origin: Origin) -> None:
    """A visitor brought it already, and no refresh came since."""
    origin.serves("/a", "v1")
    for cache in caches:
        cache.get("/a").fetched("v1")
    stack.prefetch("/a", "/a").until_complete()

    assert origin.asked("/a") == len(caches)


def test_refresh_then_prefetch_brings_the_new_version_always(
    stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """Without a pause in between, time after time, with the old version in every cache."""
    for version in range(20):
        origin.serves("/a", f"v{version}")
        stack.refresh("/a")
        task = stack.prefetch("/a")
        task.until_complete()
        origin.refuses("/a")
        for cache in caches:
            cache.get("/a").hit(f"v{version}")


@pytest.mark.parametrize("location", ["/there?x=1", f"http://{SITE}/there?x=1"])
def test_redirects_within_the_domain_are_followed_where_that_is_set(
    make_stack: Callable[..., Stack], caches: list[CacheServer], origin: Origin, location: str
) -> None:
    """What the visitor ends up at is in the cache."""
    stack = make_stack({"FRESHLINE_GATES_FOLLOW_REDIRECTS": "true"})
    origin.serves("/here", "", status=302, headers={"Location": location})
    origin.serves("/there?x=1", "v1")
    stack.prefetch("/here").until_complete()

    origin.refuses("/there?x=1")
    for cache in caches:
        cache.get("/there?x=1").hit("v1")


def test_redirects_are_followed_on_the_other_kinds(tmp_path: Path, origin: Origin) -> None:
    """Squid and Traffic Server say where one leads, as nginx and Varnish do; another domain is left alone."""
    caches: list[CacheServer] = [Squid(tmp_path, origin), Trafficserver(tmp_path, origin)]
    with serving(tmp_path, caches, FRESHLINE_GATES_FOLLOW_REDIRECTS="true") as stack:
        origin.serves("/here", "", status=302, headers={"Location": "/there?x=1"})
        origin.serves("/there?x=1", "v1" * 1000)
        origin.serves("/away", "", status=301, headers={"Location": "http://elsewhere.test/there"})
        stack.prefetch("/here").until_complete()
        stack.prefetch("/away").until_failed("Internal Error")

        origin.refuses("/there?x=1")
        for cache in caches:
            cache.get("/there?x=1").hit("v1" * 1000)


def test_the_other_kinds_bring_the_whole_where_visitors_ask_for_parts(tmp_path: Path, origin: Origin) -> None:
    """Neither stores slices: what a prefetch brings is the object, and each part of it is a hit."""
    caches: list[CacheServer] = [Squid(tmp_path, origin), Trafficserver(tmp_path, origin)]
    body = "".join(f"{n:010d}" for n in range(50_000))
    with serving(tmp_path, caches) as stack:
        origin.serves("/film", body, ranges=True)
        stack.prefetch("/film").until_complete()
        assert origin.asked("/film") == len(caches)

        origin.refuses("/film")
        for cache in caches:
            part = cache.get("/film", headers={"Range": "bytes=300000-300009"})
            assert (part.status, part.body) == (206, body[300_000:300_010])


@pytest.mark.parametrize(
    ("status", "location"), [(302, "http://elsewhere.test/there"), (307, "/there"), (302, "/round"), (301, "http://[/")]
)
def test_other_redirects_fail(
    make_stack: Callable[..., Stack], origin: Origin, caches: list[CacheServer], status: int, location: str
) -> None:
    """To another domain, of another kind, in a circle, to nowhere: also where redirects are followed."""
    stack = make_stack({"FRESHLINE_GATES_FOLLOW_REDIRECTS": "true"})
    origin.serves("/round", "", status=302, headers={"Location": "/here"})
    origin.serves("/there", "v1")
    origin.serves("/here", "", status=status, headers={"Location": location})

    stack.prefetch("/here").until_failed("Internal Error")
    assert not origin.asked("/there")


def test_children_fetch_through_their_parents(tmp_path: Path, origin: Origin) -> None:
    """nginx over Varnish: the origin sees one fetch, the parent is filled first; parents alone where that is asked."""
    parent = Varnish(tmp_path, origin)
    child = Nginx(tmp_path, Through(parent))
    child.edge = replace(child.edge, parents=(parent.name,))
    caches: list[CacheServer] = [parent, child]
    with serving(tmp_path, caches) as stack:
        origin.serves("/a", "v1")
        with origin.holding("/a", "headers") as held:
            task = stack.prefetch("/a")
            held.wait(1)
            assert {row["Process"] for row in task.rows()} == {"0%"}
            held.release()
            task.until_complete()
        assert origin.asked("/a") == 1

        origin.serves("/a", "v2")
        stack.refresh("/a")
        stack.prefetch("/a").until_complete()
        assert origin.asked("/a") == 2
        origin.refuses("/a")
        child.get("/a").hit("v2")

        origin.serves("/b", "v1")
        stack.prefetch("/b", L2Preload="true").until_complete()
        parent.get("/b").hit("v1")
        child.get("/b").fetched("v1")
        assert origin.asked("/b") == 1


def test_an_area_is_warmed_and_no_other(tmp_path: Path, origin: Origin) -> None:
    """The edge abroad is left alone, and nobody waits for it."""
    home, abroad = Nginx(tmp_path, origin), Varnish(tmp_path, origin)
    home.edge, abroad.edge = replace(home.edge, area="domestic"), replace(abroad.edge, area="overseas")
    with serving(tmp_path, [home, abroad]) as stack:
        origin.serves("/a", "v1")
        abroad.kill()
        task = stack.prefetch("/a", Area="domestic").until_complete()
        details = stack.client.call("DescribePreloadDetailById", {"TaskId": task.id})["UrlDetails"]
        assert (details[0]["Process"], details[0]["Status"], details[0]["RetCode"]) == ("100%", "Complete", "0")
        assert details[0]["EndTime"] >= details[0]["CreationTime"]
        assert details[0]["Urls"] == [
            {"Url": f"http://{SITE}/a", "Success": "100%", "Description": "Successfully preloaded"}
        ]

        assert origin.asked("/a") == 1
        home.get("/a").hit("v1")
        abroad.start()
