"""What the Varnish gate keeps beside what every gate keeps: conditional fetches, coalescing, other people's VCL."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from freshline.domain.action import Fetch, Verb
from freshline.drivers.base import Fetched, FetchOutcome, Gate, Lease, Presence, Trouble
from tests.servers.base import SECRET, SITE, send, until
from tests.servers.steered import Steered
from tests.servers.varnish import Varnish

TARGET = "/dir/page?x=1"
COVERING = {
    Verb.FILE: b"/dir/page?x=1",
    Verb.PATH: b"/dir/page",
    Verb.DIR: b"/dir/",
    Verb.REGEX: rb"/d.r/[a-z]+\?x=",
    Verb.TAG: b"red",
}
every_verb = pytest.mark.parametrize("verb", COVERING)
soft_verbs = pytest.mark.parametrize("verb", [verb for verb in COVERING if verb is not Verb.FILE])

Make = Callable[..., tuple[Varnish, Steered]]


@pytest.fixture
def make(tmp_path, origin) -> Iterator[Make]:
    """Starts a Varnish and binds its gate to a log."""
    made: list[tuple[Varnish, Steered]] = []

    def start(**options: Any) -> tuple[Varnish, Steered]:
        server = Varnish(tmp_path, origin, **options)
        server.start()
        made.append((server, Steered(server).bind()))
        return made[-1]

    yield start
    for server, log in made:
        log.close()
        server.stop()


@pytest.fixture
def visitors() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def unchanged(origin, target: str, etag: str) -> None:
    """The origin answers 304 from now on."""
    origin.serves(target, "", status=304, headers={"ETag": etag})


def conditions(asked) -> set[str]:
    return {"if-none-match", "if-modified-since"} & set(asked.headers)


# Revalidating


@soft_verbs
def test_without_force_the_origin_is_asked_whether_it_changed(origin, make, verb):
    """Force=false makes a conditional request; a 304 puts the same body back to use under a new stamp."""
    cache, log = make()
    origin.serves(TARGET, "v1", tags="red", headers={"ETag": '"1"'})
    cache.get(TARGET)
    unchanged(origin, TARGET, '"1"')
    log.refresh(verb, COVERING[verb], force=False)
    obsolete = log.probe(TARGET)
    seen = cache.get(TARGET)

    assert obsolete.presence is Presence.OBSOLETE
    seen.fetched("v1")
    assert origin.log[-1].headers["if-none-match"] == '"1"'
    assert log.probe(TARGET).stamp == 1
    cache.get(TARGET).hit("v1")
    assert origin.asked(TARGET) == 2


def test_without_a_validator_it_is_fetched_anew(origin, make):
    """What cannot be revalidated is as good as gone."""
    cache, log = make()
    origin.serves(TARGET, "v1")
    cache.get(TARGET)
    origin.serves(TARGET, "v2")
    log.refresh(Verb.DIR, b"/dir/", force=False)

    cache.get(TARGET).fetched("v2")
    assert not conditions(origin.log[-1])


def test_a_forced_refresh_takes_no_304(origin, make):
    """After Force=true the whole object is fetched, though its validator would still do."""
    cache, log = make()
    for force, verb in ((True, Verb.DIR), (False, Verb.DIR), (True, Verb.FILE)):
        origin.serves(TARGET, "v1", headers={"ETag": '"1"'})
        cache.get(TARGET)
        log.refresh(verb, COVERING[verb], force=False)
        log.refresh(verb, COVERING[verb], force=force or verb is Verb.FILE)
        cache.get(TARGET)

        assert bool(conditions(origin.log[-1])) is not force


@every_verb
def test_an_expired_object_is_no_base_for_a_304_after_a_forced_refresh(origin, make, verb):
    """Nor does an object that outlived its ttl come back by a 304 that was asked for after the refresh."""
    cache, log = make(
        operator="sub vcl_backend_response { set beresp.ttl = 0.001s; set beresp.grace = 0s; set beresp.keep = 1h; }"
    )
    origin.serves(TARGET, "v1", tags="red", headers={"ETag": '"1"'})
    cache.get(TARGET)
    until(lambda: cache.get(TARGET) and conditions(origin.log[-1]))
    log.refresh(verb, COVERING[verb])
    cache.get(TARGET)

    assert not conditions(origin.log[-1])


def test_tags_outlive_a_304(origin, make):
    """After a 304 that names no tags the object still has those it had, though the VCL hides them from visitors."""
    cache, log = make(operator="sub vcl_backend_response { unset beresp.http.Cache-Tag; }")
    origin.serves("/a", "v1", tags="red, blue", headers={"ETag": '"1"'})
    cache.get("/a")
    unchanged(origin, "/a", '"1"')
    log.refresh(Verb.DIR, b"/", force=False)
    cache.get("/a").fetched("v1")
    origin.serves("/a", "v2", tags="red")
    log.refresh(Verb.TAG, b"blue")

    cache.get("/a").fetched("v2")


# Races that only Varnish has


@pytest.mark.parametrize("phase", ["headers", "body"])
@pytest.mark.parametrize("stream", ["true", "false"])
@every_verb
def test_a_background_fetch_in_flight_never_becomes_a_hit(origin, make, visitors, verb, phase, stream):
    """An object in grace and the fetch behind it are both out of use once a refresh is answered."""
    cache, log = make(
        operator=f"""
        sub vcl_backend_response {{
            set beresp.ttl = 0.001s; set beresp.grace = 1h; set beresp.do_stream = {stream};
            if (beresp.http.lasting) {{ set beresp.ttl = 1h; }}
        }}
        sub vcl_deliver {{ set resp.http.x-ttl = obj.ttl; }}"""
    )
    origin.serves(TARGET, "v1", tags="red")
    cache.get(TARGET)
    with origin.holding(TARGET, phase) as held:
        until(lambda: cache.get(TARGET).headers["x-ttl"].startswith("-"))  # from grace, with a fetch behind it
        held.wait()
        origin.serves(TARGET, "v2", tags="red", headers={"lasting": "1"})
        origin.lets_pass(TARGET)
        log.refresh(verb, COVERING[verb])
        cache.get(TARGET).fetched("v2")
        held.release()

        for _ in range(20):
            cache.get(TARGET).hit("v2")


@every_verb
def test_without_streaming_it_is_the_same(origin, make, visitors, verb):
    """A fetch that hands over its object when it is whole is caught at the hit as well."""
    cache, log = make(operator="sub vcl_backend_response { set beresp.do_stream = false; }")
    origin.serves(TARGET, "v1", tags="red")
    with origin.holding(TARGET, "body") as held:
        old = visitors.submit(cache.get, TARGET)
        held.wait()
        origin.serves(TARGET, "v2", tags="red")
        origin.lets_pass(TARGET)
        log.refresh(verb, COVERING[verb])
        cache.get(TARGET).fetched("v2")
        held.release()
        old.result()

        for _ in range(20):
            cache.get(TARGET).hit("v2")


@pytest.mark.parametrize("phase", ["headers", "grace"])
def test_without_the_gate_the_same_race_serves_the_old_object(origin, tmp_path, visitors, phase):
    """The races are real: plain VCL with return (purge) stores the old object and serves it."""
    plain = Varnish(
        tmp_path,
        origin,
        guarded=False,
        operator="""
        sub vcl_recv { if (req.method == "PURGE") { return (purge); } }
        sub vcl_backend_response { if (beresp.http.brief) { set beresp.ttl = 0.001s; set beresp.grace = 1h; } }
        sub vcl_deliver { set resp.http.x-ttl = obj.ttl; }
        """,
    )
    plain.start()
    try:
        if phase == "grace":
            origin.serves(TARGET, "v0", headers={"brief": "1"})
            plain.get(TARGET)
        origin.serves(TARGET, "v1")
        with origin.holding(TARGET, "headers") as held:
            if phase == "grace":
                until(lambda: plain.get(TARGET).headers["x-ttl"].startswith("-"))
            old = visitors.submit(plain.get, TARGET)
            held.wait()
            origin.serves(TARGET, "v2")
            origin.lets_pass(TARGET)
            assert send(plain.edge.site, "PURGE", TARGET, {"Host": SITE}).status == 200
            held.release()
            old.result()

        until(lambda: plain.get(TARGET).cache == "HIT")
        plain.get(TARGET).hit("v1")
    finally:
        plain.stop()


# Keeping the origin quiet


def test_refreshing_its_neighbours_leaves_a_hot_object_alone(origin, make):
    """Under a stream of refreshes of every kind for other URLs of the host, an object stays a hit."""
    cache, log = make()
    origin.serves("/hot/page", "v1", tags="hot")
    cache.get("/hot/page")
    origin.refuses("/hot/page")
    for round_ in range(60):
        log.applied(
            (Verb.FILE, f"/hot/page?{round_}".encode()),
            (Verb.PATH, f"/hot/{round_}".encode()),
            (Verb.DIR, f"/cold/{round_}/".encode()),
            (Verb.REGEX, f"/hot/p.*/{round_}$".encode()),
            (Verb.TAG, f"cold{round_}".encode()),
        )

        cache.get("/hot/page").hit("v1")
    assert log.probe("/hot/page").stamp == 0


def test_a_crowd_after_a_refresh_costs_the_origin_one_fetch(origin, make, visitors):
    """However many ask at once, each refresh of an object brings the origin one request for it."""
    cache, log = make()
    origin.serves("/crowd", "v0")
    cache.get("/crowd")
    for version in range(1, 6):
        origin.serves("/crowd", f"v{version}")
        log.refresh(Verb.FILE, b"/crowd")
        bodies = {seen.body for seen in visitors.map(lambda _: cache.get("/crowd"), range(400))}

        assert bodies == {f"v{version}"}
        assert origin.asked("/crowd") == version + 1


def test_nobody_waits_for_a_fetch_from_before_the_refresh(origin, make, visitors):
    """With the old request hanging at the origin, all who come after a refresh share one new fetch."""
    cache, log = make()
    origin.serves("/a", "v1")
    with origin.holding("/a", "headers") as held:
        old = [visitors.submit(cache.get, "/a") for _ in range(3)]
        held.wait()
        origin.serves("/a", "v2")
        origin.lets_pass("/a")
        log.refresh(Verb.FILE, b"/a")
        bodies = {seen.body for seen in visitors.map(lambda _: cache.get("/a"), range(100))}

        assert bodies == {"v2"}
        assert origin.asked("/a") == 2
        held.release()
        assert {one.result().status for one in old} == {200}
    cache.get("/a").hit("v2")


# Its memory


def test_a_child_that_died_left_nothing_behind(origin, make):
    """After the cache process died the gate is bound to nothing, and nothing old is served."""
    cache, log = make()
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/b")
    cache.get("/a").fetched("v1")
    child = cache.child()
    os.kill(child, signal.SIGKILL)
    until(lambda: _comes_back(cache, child))
    origin.serves("/a", "v2")
    gate = log.status()

    assert (gate.log, gate.position) == (None, 0)
    cache.get("/a").fetched("v2")
    log.catch_up()
    assert log.status().log == log.log


def _comes_back(cache: Varnish, old: int) -> bool:
    try:
        return cache.child() != old and cache.get("/freshline/none").status > 0
    except (OSError, IndexError):
        return False


def test_rules_outlive_every_vcl_that_loaded_them(origin, make):
    """However often VCL is loaded and discarded, position and rules stay."""
    cache, log = make()
    origin.serves("/a", "v1")
    cache.get("/a")
    log.refresh(Verb.FILE, b"/a")
    life = log.status().detail["life"]
    origin.serves("/a", "v2")
    for _ in range(3):
        cache.reload()

    assert log.status().position == 1
    assert log.status().detail["life"] == life
    cache.get("/a").fetched("v2")
    cache.get("/a").hit("v2")


def test_a_full_gate_forgets_towards_fetching(origin, make):
    """With room for five rules nothing refreshed is served old, and what was fetched last stays."""
    cache, log = make(rules=5)
    targets = [f"/t/{n}" for n in range(12)]
    for target in targets:
        origin.serves(target, "v1")
        cache.get(target)
        origin.serves(target, "v2")
    log.applied(*((Verb.FILE, target.encode()) for target in targets))

    assert log.status().detail["rules"] == "5"
    for target in targets:
        cache.get(target).fetched("v2")
    for target in targets:
        cache.get(target).hit("v2")


def test_a_batch_of_many_megabytes(origin, make):
    """Sixty thousand long names in one request."""
    cache, log = make()
    origin.serves("*", "v1")
    long = "/" + "x" * 120
    for n in (0, 59_999):
        cache.get(f"{long}/{n}")
    origin.serves("*", "v2")
    log.applied(*((Verb.FILE, f"{long}/{n}".encode()) for n in range(60_000)))

    for n in (0, 59_999):
        cache.get(f"{long}/{n}").fetched("v2")


# With other people's VCL


def test_names_that_the_vcl_rewrites(origin, make):
    """An object can be refreshed by the name its visitors use and by the one it is stored under."""
    cache, log = make(
        operator="""
        sub vcl_recv {
            set req.http.Host = regsub(req.http.Host, "^www[.]", "");
            set req.url = "/v2" + regsub(req.url, "[?]utm=.*", "");
        }"""
    )
    for n, (host, what) in enumerate([(SITE, b"/a?utm=1"), (SITE, b"/a"), ("test", b"/v2/a")]):
        asked = "/a" if what == b"/a" else "/a?utm=1"
        origin.serves("/v2/a", f"v{n}")
        log.refresh(Verb.DIR, b"/", "test")
        cache.get(asked).fetched(f"v{n}")
        origin.serves("/v2/a", "new")
        log.refresh(Verb.FILE, what, host)

        cache.get(asked).fetched("new")
        cache.get(asked).hit("new")


def test_a_fetch_that_is_begun_again_knows_what_the_visitor_asked_for(origin, make, visitors):
    """A forced refresh by the visitors' name, between two tries of a conditional fetch, takes its conditions away."""
    cache, log = make(
        operator="""
        sub vcl_recv { set req.url = "/v2" + req.url; }
        sub vcl_backend_response { if (beresp.status == 503 && bereq.retries == 0) { return (retry); } }"""
    )
    origin.serves("/v2/a", "v1", headers={"ETag": '"1"'})
    cache.get("/a")
    log.refresh(Verb.DIR, b"/v2/", force=False)
    origin.serves("/v2/a", "", status=503)
    with origin.holding("/v2/a", "headers") as held:
        visitor = visitors.submit(cache.get, "/a", headers={"x-freshline-visited": "1 x /x"})
        held.wait()
        first = conditions(origin.log[-1])
        log.refresh(Verb.FILE, b"/a")
        origin.serves("/v2/a", "v2")
        origin.lets_pass("/v2/a")
        held.release()
        visitor.result().fetched("v2")

    assert first and not conditions(origin.log[-1])
    assert not [name for name in origin.log[-1].headers if name.startswith("x-freshline")]


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://www.test?x", SITE),
        ("http://www.test?x/a", SITE),
        ("/a", "www.test?x"),
        ("/a", "www.test/a"),
        ("/a", "www%2etest"),
        ("/a", f"{'x' * 300}@www.test"),
    ],
)
def test_what_is_called_as_no_site_is_fetched_whenever_anything_is_newer(origin, make, target, host):
    """Varnish keeps objects of spellings that no refresh can name, and an origin may take them for the site."""
    cache, log = make()
    origin.serves("*", "v1")

    def ask():
        return send(cache.edge.site, "GET", target, {"Host": host})

    ask()
    ask().hit("v1")
    origin.serves("*", "v2")
    log.refresh(Verb.FILE, b"/?x")

    ask().fetched("v2")
    ask().hit("v2")


def test_vcl_that_ends_its_subs_early_and_restarts(origin, make):
    """return in every sub, a hash of its own, a rollback and a restart leave the gate where it is."""
    cache, log = make(
        operator="""
        import std;
        sub vcl_recv {
            if (req.restarts > 0) { set req.url = "/instead"; }
            std.rollback(req);
            if (req.restarts > 0) { set req.url = "/instead"; }
            return (hash);
        }
        sub vcl_hash { hash_data(req.url); return (lookup); }
        sub vcl_hit { return (deliver); }
        sub vcl_backend_response { set beresp.ttl = 1h; return (deliver); }
        sub vcl_deliver { if (resp.status == 404 && req.restarts == 0) { return (restart); } return (deliver); }
        """
    )
    origin.serves("/instead", "v1")
    cache.get("/lost").fetched("v1")
    assert cache.get("/lost").body == "v1"
    origin.serves("/instead", "v2")
    log.refresh(Verb.FILE, b"/instead")

    assert cache.get("/lost").body == "v2"
    assert origin.asked("/lost") == 1


def test_included_parts_are_refreshed_by_themselves(origin, make):
    """A refresh of an ESI fragment shows in the page that includes it, and the page stays."""
    cache, log = make(operator="sub vcl_backend_response { set beresp.do_esi = true; set beresp.do_gzip = true; }")
    html = {"Content-Type": "text/html"}
    origin.serves("/page", '<p><esi:include src="/part"/></p>', headers=html)
    origin.serves("/part", "one", headers=html)
    cache.get("/page").fetched("<p>one</p>")
    cache.get("/page").hit("<p>one</p>")
    origin.refuses("/page")
    origin.serves("/part", "two", headers=html)
    log.refresh(Verb.FILE, b"/part")

    cache.get("/page").hit("<p>two</p>")


def test_ranges_and_gzip_of_a_refreshed_object(origin, make):
    """A refreshed object is whole, however much of it is asked for."""
    cache, log = make(operator="sub vcl_backend_response { set beresp.do_gzip = true; }")
    plain = {"Content-Type": "text/plain"}
    origin.serves("/a", "0123456789" * 100, headers=plain)
    cache.get("/a")
    origin.serves("/a", "abcdefghij" * 100, headers=plain)
    log.refresh(Verb.FILE, b"/a")
    cache.get("/a").fetched("abcdefghij" * 100)
    part = cache.get("/a", headers={"Range": "bytes=10-14"})

    assert (part.status, part.body) == (206, "abcde")
    cache.get("/a").hit("abcdefghij" * 100)
    assert cache.get("/a", headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"


# Probes and prefetches


def test_a_probe_neither_waits_nor_asks(origin, make, visitors):
    """While the object is on its way a probe says at once that it is not there."""
    cache, log = make()
    origin.serves("/a", "v1")
    with origin.holding("/a", "headers") as held:
        coming = visitors.submit(cache.get, "/a")
        held.wait()

        assert log.probe("/a").presence is Presence.ABSENT
        assert not coming.done()
        held.release()
        coming.result()
    assert log.probe("/a").presence is Presence.STORED
    assert origin.asked("/a") == 1


def test_a_probe_of_what_is_never_cached_asks_nobody(origin, make):
    """VCL that passes a request does not pass a probe of it on."""
    _, log = make(operator="sub vcl_recv { return (pass); }")
    origin.serves("/a", "v1")

    assert log.probe("/a").presence is Presence.ABSENT
    assert origin.asked("/a") == 0


@pytest.mark.parametrize(("cut", "outcome"), [(False, FetchOutcome.STORED), (True, FetchOutcome.OTHER)])
def test_a_prefetch_that_joins_a_visitors_fetch_waits_for_its_end(origin, make, visitors, cut, outcome):
    """An object that is still streaming to somebody is not called stored, nor is one that then breaks off."""
    cache, log = make()
    origin.serves("/a", "v1" * 50_000, cut=cut)
    with origin.holding("/a", "body") as held:
        coming: Future[object] = visitors.submit(_get_what_comes, cache)
        held.wait()
        outcomes: list[FetchOutcome] = []
        fetched = threading.Thread(target=lambda: outcomes.append(log.fetch("/a").outcome))
        fetched.start()
        other = Steered(cache)
        for _ in range(50):
            other.status()  # so many answers later it still has none
        other.close()

        assert not outcomes
        held.release()
        fetched.join()
        coming.result()
    assert outcomes == [outcome]
    assert origin.asked("/a") == 1


def _get_what_comes(cache: Varnish) -> object:
    try:
        return cache.get("/a")
    except Exception as error:  # the connection breaks where the origin's did
        return error


def test_a_prefetch_of_an_expired_object_fetches(origin, make):
    """An object in grace would be served, but it is not what the caller wants to have there."""
    cache, log = make(
        operator="""
        sub vcl_backend_response { set beresp.grace = 1h; if (beresp.http.brief) { set beresp.ttl = 0.001s; } }"""
    )
    origin.serves("/a", "v1", headers={"brief": "1"})
    cache.get("/a")
    origin.serves("/a", "v2")
    until(lambda: log.fetch("/a").outcome is FetchOutcome.STORED and origin.asked("/a") == 2)

    cache.get("/a").hit("v2")


@pytest.mark.parametrize(
    "operator",
    [
        "sub vcl_recv { return (synth(301)); }",
        "sub vcl_recv { return (pass); }",
        "sub vcl_backend_response { return (abandon); }",
    ],
)
def test_a_prefetch_that_the_vcl_answers_otherwise_is_no_success(origin, make, operator):
    """What the operator's VCL does not cache is told as such."""
    _, log = make(operator=operator)
    origin.serves("/a", "v1")

    assert log.fetch("/a").outcome is FetchOutcome.OTHER


def test_a_broken_origin_with_an_answer_made_up_for_it(origin, make):
    """A page that the VCL makes up for a dead origin is no prefetched object."""
    _, log = make(
        operator="""
        sub vcl_backend_error {
            set beresp.status = 200; set beresp.ttl = 1h; set beresp.body = "sorry"; return (deliver);
        }"""
    )
    origin.drops("/a")

    assert log.fetch("/a").outcome is FetchOutcome.OTHER


# Several fetches in one request


def test_of_several_each_has_its_own_headers_and_scheme(origin, make):
    """They go through the operator's VCL as a visitor's do; one that may not be sent ends its fetch alone."""
    cache, log = make(operator="sub vcl_hash { hash_data(req.http.x-forwarded-proto + req.http.x-group); }")
    origin.serves("/a", "v1")
    log.status()
    wanted = [
        Fetch(0, "http", SITE, "/a", (("x-group", "1"), ("cache-control", "max-age=9"))),
        Fetch(0, "https", SITE, "/a", (("x-group", "2"), ("x-forwarded-proto", "http"))),
        Fetch(0, "http", "b.test", "/a"),
        Fetch(0, "http", SITE, "/a", (("range", "bytes=0-1"),)),
        Fetch(0, "http", SITE, "/a", tuple((f"x-{n}", "y") for n in range(60))),
    ]
    answers = log.fetch_all(wanted)

    stored, other = FetchOutcome.STORED, FetchOutcome.OTHER
    assert [answers[at].outcome for at in range(5)] == [stored, stored, stored, other, other]
    origin.refuses("/a")
    cache.get("/a", headers={"x-group": "1"}).hit("v1")
    cache.get("/a", headers={"x-group": "2", "x-forwarded-proto": "https"}).hit("v1")
    cache.get("/a", host="b.test").hit("v1")


def test_several_of_one_object_are_one_fetch(origin, make):
    """Those that come later wait for the first, without a thread, and are answered as well."""
    _, log = make()
    origin.serves("/a", "v1")
    log.status()
    with origin.holding("/a", "headers") as held, log.fetching([fetch_of("/a")] * 30) as answers:
        held.wait()
        held.release()

    assert {answer.outcome for answer in answers.values()} == {FetchOutcome.STORED}
    assert origin.asked("/a") == 1


@pytest.mark.parametrize(
    ("operator", "outcome"),
    [
        ("sub vcl_recv { return (synth(301)); }", FetchOutcome.OTHER),
        ("sub vcl_recv { return (pass); }", FetchOutcome.OTHER),
        ("sub vcl_recv { return (pipe); }", FetchOutcome.OTHER),
        ("sub vcl_recv { return (fail); }", None),
        ("sub vcl_deliver { return (synth(700)); }", FetchOutcome.OTHER),
        ("sub vcl_backend_response { return (abandon); }", FetchOutcome.OTHER),
        ("sub vcl_deliver { if (req.restarts == 0) { return (restart); } }", FetchOutcome.STORED),
        ("sub vcl_backend_response { set beresp.do_esi = true; set beresp.do_gzip = true; }", FetchOutcome.STORED),
    ],
)
def test_of_several_the_vcl_decides_what_comes_of_each(origin, make, operator, outcome):
    """As of one: what it does not cache is no success, what it fails over is trouble, and the cache lives."""
    cache, log = make(operator=operator)
    origin.serves("/a", "v1")
    log.status()
    child = cache.child()
    for _ in range(10):
        answers = log.fetch_all([fetch_of("/a")] * 3)
        assert [getattr(answer, "outcome", None) for answer in answers] == [outcome] * 3

    assert cache.child() == child


# The first fetch of a list that is stored shows the gate how Varnish fetches; those after it are done that way


def taught(origin, log) -> None:
    origin.serves("/first", "v1")
    log.status()
    assert of_several(log, "/first", "/first")[0].outcome is FetchOutcome.STORED


def of_several(log, *paths: str) -> list[Any]:
    answers: dict[int, Fetched | Trouble] = {}
    assert log.fetch_each([fetch_of(path) for path in paths], answers.__setitem__) is None
    return [answers[at] for at in range(len(paths))]


@pytest.mark.parametrize(
    ("operator", "outcome", "asked"),
    [
        ('sub vcl_miss { if (req.url == "/a") { return (synth(404)); } }', FetchOutcome.OTHER, 0),
        ('sub vcl_miss { if (req.url == "/a") { return (pass); } }', FetchOutcome.OTHER, 6),
        ('sub vcl_miss { if (req.url == "/a") { return (fail); } }', None, 0),
        (
            """sub vcl_recv { if (req.restarts > 0) { set req.url = "/b"; } }
            sub vcl_miss { if (req.url == "/a") { return (restart); } }""",
            FetchOutcome.STORED,
            0,
        ),
        ('sub vcl_backend_fetch { if (bereq.url == "/a") { return (abandon); } }', FetchOutcome.OTHER, 0),
        ('sub vcl_backend_response { if (bereq.url == "/a") { return (abandon); } }', FetchOutcome.OTHER, None),
        (
            """sub vcl_backend_response {
                if (bereq.url == "/a" && bereq.retries == 0) { return (retry); } }""",
            FetchOutcome.STORED,
            2,
        ),
        ('sub vcl_backend_response { if (bereq.url == "/a") { return (error(500)); } }', FetchOutcome.OTHER, None),
        ("sub vcl_backend_response { set beresp.do_stream = false; }", FetchOutcome.STORED, 1),
        ("sub vcl_backend_response { set beresp.do_esi = true; set beresp.do_gzip = true; }", FetchOutcome.STORED, 1),
        (
            'sub vcl_backend_response { if (bereq.url == "/a") { set beresp.uncacheable = true; } }',
            FetchOutcome.OTHER,
            6,
        ),
        ('sub vcl_deliver { if (req.url == "/a") { return (synth(700)); } }', FetchOutcome.OTHER, 1),
        (
            """sub vcl_deliver { if (req.restarts == 0 && req.url == "/a") { return (restart); } }""",
            FetchOutcome.STORED,
            1,
        ),
    ],
)
def test_in_its_own_thread_a_fetch_of_a_list_is_what_varnish_makes_of_it(origin, make, operator, outcome, asked):
    """Whatever VCL says to a miss or makes of what came, and however often it is asked."""
    cache, log = make(operator=operator)
    origin.serves("/a", "v1")
    origin.serves("/b", "v2")
    taught(origin, log)
    child = cache.child()
    for _ in range(3):
        assert [getattr(answer, "outcome", None) for answer in of_several(log, "/a", "/a")] == [outcome] * 2

    assert asked is None or origin.asked("/a") == asked
    assert cache.child() == child
    assert of_several(log, "/b", "/b")[0].outcome is FetchOutcome.STORED


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [
        ("restart", FetchOutcome.STORED),
        ("synth(404)", FetchOutcome.OTHER),
        ("pass", FetchOutcome.OTHER),
        ("fail", None),
    ],
)
def test_in_its_own_thread_vcl_miss_is_run_once(origin, make, wanted, outcome):
    """One that remembers what it did would, run twice, want something else than for a visitor."""
    cache, log = make(
        operator=f"""sub vcl_recv {{ if (req.restarts > 0) {{ set req.url = "/b"; }} }}
            sub vcl_miss {{
                if (req.url == "/a" && !req.http.x-once) {{ set req.http.x-once = "1"; return ({wanted}); }} }}"""
    )
    origin.serves("/a", "v1")
    origin.serves("/b", "v2")
    taught(origin, log)
    child = cache.child()
    for _ in range(2):
        assert getattr(of_several(log, "/a", "/first")[0], "outcome", None) == outcome

    assert (origin.asked("/a"), origin.asked("/b")) == (2 * (wanted == "pass"), 1 * (wanted == "restart"))
    assert cache.child() == child


def test_in_its_own_thread_a_fetch_that_fails_says_why(origin, make):
    """As Varnish's own would: no answer, an error, a body that broke off before or while it could be seen, no time."""
    cache, log = make(
        operator='sub vcl_backend_response { if (bereq.url == "/whole") { set beresp.do_stream = false; } }',
        read_timeout_seconds=1,
    )
    taught(origin, log)
    origin.drops("/dropped")
    origin.hangs("/hangs")
    origin.serves("/broken", "no", status=503, age=None)
    origin.serves("/cut", "v1" * 50_000, cut=True)
    origin.serves("/whole", "v1" * 50_000, cut=True)
    origin.serves("/not", "v1", age=None)
    for _ in range(2):
        dropped, hangs, broken, cut, whole, may_not = of_several(
            log, "/dropped", "/hangs", "/broken", "/cut", "/whole", "/not"
        )

        other = FetchOutcome.OTHER
        assert (dropped.outcome, hangs.outcome) == (other, FetchOutcome.ORIGIN_TIMEOUT)
        assert (broken.outcome, broken.status) == (FetchOutcome.ORIGIN_STATUS, 503)
        assert (cut.outcome, cut.status, "its body broke off" in cut.said) == (other, 200, True)
        assert whole.outcome is other
        assert (may_not.outcome, "may not be stored" in may_not.said) == (other, True)
    origin.serves("/cut", "v2")
    cache.get("/cut").fetched("v2")


def test_in_its_own_thread_a_fetch_renews_what_has_not_changed(origin, make):
    """A conditional one, and a 304 puts the same body back to use; not after a forced refresh."""
    cache, log = make()
    taught(origin, log)
    origin.serves("/a", "v1", headers={"ETag": '"1"'})
    cache.get("/a")
    unchanged(origin, "/a", '"1"')
    log.refresh(Verb.DIR, b"/", force=False)

    assert {answer.outcome for answer in of_several(log, "/a", "/a")} == {FetchOutcome.STORED}
    assert conditions(origin.log[-1])
    cache.get("/a").hit("v1")
    origin.serves("/a", "v2", headers={"ETag": '"2"'})
    log.refresh(Verb.DIR, b"/")
    assert {answer.outcome for answer in of_several(log, "/a", "/a")} == {FetchOutcome.STORED}
    assert not conditions(origin.log[-1])
    cache.get("/a").hit("v2")


def test_in_its_own_thread_a_fetch_brings_its_variant(origin, make):
    """Each is found by those visitors who would be given it, and by no others."""
    cache, log = make()
    taught(origin, log)
    origin.serves("/a", "v1", vary="x-group")
    answers: dict[int, Fetched | Trouble] = {}
    wanted = [Fetch(0, "http", SITE, "/a", (("x-group", group),)) for group in ("1", "2")]
    assert log.fetch_each(wanted, answers.__setitem__) is None

    origin.refuses("/a")
    for group in ("1", "2"):
        cache.get("/a", headers={"x-group": group}).hit(f"v1 {group}")
    assert cache.get("/a", headers={"x-group": "3"}).status == 403


def test_in_its_own_thread_a_fetch_feeds_who_comes_meanwhile(origin, make, visitors):
    """A visitor who asks for it gets what is there, and is no second fetch."""
    cache, log = make()
    taught(origin, log)
    origin.serves("/a", "v1" * 50_000)
    with origin.holding("/a", "body") as held, ThreadPoolExecutor() as pool:
        asked = pool.submit(of_several, log, "/a", "/first")
        held.wait()
        seen = visitors.submit(cache.get, "/a")
        held.release()

        assert {answer.outcome for answer in asked.result()} == {FetchOutcome.STORED}
        assert seen.result().body == "v1" * 50_000
    assert origin.asked("/a") == 1


def test_a_fetch_of_a_list_takes_one_thread(origin, make):
    """So with eight left all of seven are at the origin at once, and the gate answers on the last."""
    cache, log = make(
        parameters={"thread_pools": "1", "thread_pool_min": "12", "thread_pool_max": "12", "thread_pool_reserve": "1"}
    )
    taught(origin, log)
    paths = [f"/{n}" for n in range(7)]
    for path in paths:
        origin.serves(path, "v1")
    with origin.holding("*", "headers") as held, ThreadPoolExecutor() as pool:
        asked = pool.submit(of_several, log, *paths)
        held.wait(7)
        other = Steered(cache)
        assert other.status().position == log.position
        other.close()
        held.release()

        assert {answer.outcome for answer in asked.result()} == {FetchOutcome.STORED}


@pytest.mark.parametrize(
    "operator",
    [
        "",
        """sub vcl_backend_response {
            if (bereq.url == "/endless") { set beresp.ttl = 0s; return (deliver); } }""",
    ],
)
def test_what_has_no_end_and_may_not_be_stored_is_broken_off(origin, make, operator):
    """Its answer does not wait for the end, and the origin need not send for ever what nobody will read."""
    closed = threading.Semaphore(0)

    def endless() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, suppress(OSError):
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\n\r\n")
                while True:
                    sock.sendall(b"x" * 100)
                    time.sleep(0.005)
            closed.release()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        backend = f'backend endless {{ .host = "127.0.0.1"; .port = "{listener.getsockname()[1]}"; }}'
        _, log = make(
            operator=f'{backend} sub vcl_recv {{ if (req.url == "/endless") {{ set req.backend_hint = endless; }} }}'
            + operator
        )
        threading.Thread(target=endless, daemon=True).start()
        taught(origin, log)
        answer, _ = of_several(log, "/endless", "/first")

        assert (answer.outcome, "may not be stored" in answer.said) == (FetchOutcome.OTHER, True)
        assert closed.acquire(timeout=10)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("body", "why"), [("", "cut off"), (f"fetch http a.test /{'a' * (1 << 20)}\nend\n", "cut off")]
)
def test_a_list_without_an_end_fetches_nothing(origin, make, body, why):
    """Said with 400, and nothing was begun."""
    cache, _ = make()
    seen = send(cache.edge.gate, "POST", "/freshline/fetch", {"Host": "gate", "freshline-key": SECRET}, body.encode())

    assert (seen.status, seen.body.startswith("bad ")) == (400, True) and why in seen.body
    assert not origin.log


@pytest.mark.parametrize("size", [40_000, 64_000, 200_000])
def test_a_url_longer_than_a_request_may_be_ends_its_fetch_alone(origin, make, size):
    """Where a visitor's would be refused, without a try at which VCL may fail; the other is fetched."""
    _, log = make()
    origin.serves("/a", "v1")
    log.status()
    answers = log.fetch_all([fetch_of("/" + "a" * size), fetch_of("/a")])

    assert [answer.outcome for answer in answers] == [FetchOutcome.OTHER, FetchOutcome.STORED]
    assert "longer than a request may be" in answers[0].said
    assert [asked.target for asked in origin.log] == ["/a"]


def test_a_list_may_take_longer_than_an_answer_to_a_visitor(origin, make):
    """The time that Varnish allows for sending one is no bound for fetches."""
    _, log = make(parameters={"send_timeout": "1"})
    origin.serves("/a", "v1")
    origin.serves("/slow", "v1")
    log.status()
    wanted = [fetch_of("/slow"), fetch_of("/a")]
    with origin.holding("/slow", "headers") as held, log.fetching(wanted) as answers:
        until(lambda: 1 in answers)
        time.sleep(1.2)
        held.release()

    assert answers[0].outcome is FetchOutcome.STORED


def test_nothing_of_a_list_is_piped(origin, make):
    """Not even where a vcl_pipe of the operator's comes before the gate's: the socket is the controller's."""
    cache, log = make(before="sub vcl_pipe { return (pipe); }", operator="sub vcl_recv { return (pipe); }")
    origin.serves("/a", "v1")
    log.status()
    child = cache.child()
    for _ in range(3):
        answers = log.fetch_all([fetch_of("/a")] * 3)
        assert [answer.outcome for answer in answers] == [FetchOutcome.OTHER] * 3

    assert cache.child() == child


def test_an_origin_does_not_say_what_came_of_a_fetch(origin, make):
    """Where VCL has the gate forget what a request is for, nobody says it."""
    _, log = make(operator="import std; sub vcl_recv { std.rollback(req); return (pass); }")
    origin.serves("/a", "v1", headers={"freshline-fetch": "stored 200 2"})
    assert isinstance(log.run(log.driver.fetch(fetch_of("/a"))), Trouble)
    log.status()
    answers = log.fetch_all([fetch_of("/a")] * 2)

    assert [type(answer) for answer in answers] == [Trouble] * 2


def test_nobody_but_the_controller_sends_lists(origin, make):
    """Without the secret 403; on the site's listener it is the site's."""
    cache, _ = make()
    body = f"fetch http {SITE} /a\nend\n".encode()
    asked = [send(at, "POST", "/freshline/fetch", {"Host": SITE}, body) for at in (cache.edge.gate, cache.edge.site)]

    assert [seen.status for seen in asked] == [403, 501], "the origin takes no POST"
    assert origin.asked("/a") == 0


def test_one_who_hangs_up_leaves_the_fetches_to_their_end(origin, make):
    """What was begun is stored, and the gate answers whoever comes next, however often that happens."""
    cache, log = make()
    paths = [f"/{n}" for n in range(200)]
    for path in paths:
        origin.serves(path, "v1" * 200)
    host, _, port = cache.edge.gate.rpartition(":")
    for first in range(0, 200, 20):
        body = "".join([*(f"fetch http {SITE} {path}\n" for path in paths[first : first + 20]), "end\n"]).encode()
        with socket.create_connection((host, int(port))) as sock:
            head = f"POST /freshline/fetch HTTP/1.1\r\nhost: gate\r\nfreshline-key: {SECRET}\r\n"
            sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    until(lambda: all(origin.asked(path) == 1 for path in paths))
    until(lambda: log.probe(paths[-1]).presence is Presence.STORED)

    assert log.status().position == 0
    assert cache.counter("MAIN.threads") < 300


def test_few_threads_are_enough_for_many_lists(origin, make):
    """Requests that wait for their fetches never take the last threads from them."""
    cache, log = make(parameters={"thread_pools": "1", "thread_pool_min": "10", "thread_pool_max": "10"})
    for n in range(400):
        origin.serves(f"/{n}", "v1")
    log.status()
    answers: list[FetchOutcome] = []

    def caller(first: int) -> None:
        own = Steered(cache)
        own.status()
        whats = [fetch_of(f"/{n}") for n in range(first, first + 20)]
        assert own.fetch_each(whats, lambda _, answer: answers.append(answer.outcome)) is None
        own.close()

    with ThreadPoolExecutor(20) as callers:
        for done in [callers.submit(caller, first) for first in range(0, 400, 20)]:
            done.result()

    assert answers == [FetchOutcome.STORED] * 400


def test_a_service_of_before_asks_for_one_by_one(origin, make):
    """It sends a HEAD for each, and is answered in a header."""
    cache, log = make()
    origin.serves("/a", "v1")
    assert log.driver.fetches_at_once == 1, "it has not asked for the status"

    assert (log.fetch("/a").outcome, log.fetch("/a").bytes) == (FetchOutcome.STORED, 2)
    log.status()
    assert (log.fetch("/a").outcome, log.fetch("/a").bytes) == (FetchOutcome.STORED, 2)
    cache.get("/a").hit("v1")


def test_a_child_that_dies_in_the_middle_leaves_trouble(origin, make):
    """Those that were not answered are the edge's trouble; the next child takes lists again."""
    cache, log = make()
    origin.serves("/a", "v1")
    origin.serves("/slow", "v1")
    log.status()
    answers: dict[int, Fetched | Trouble] = {}
    with origin.holding("/slow", "headers") as held, ThreadPoolExecutor() as pool:
        asked = pool.submit(log.fetch_each, [fetch_of("/slow"), fetch_of("/a")], answers.__setitem__)
        held.wait()
        until(lambda: 1 in answers)
        os.kill(cache.child(), signal.SIGKILL)
        assert isinstance(asked.result(), Trouble)
        held.release()
    assert set(answers) == {1}

    until(lambda: isinstance(log.run(log.driver.status()), Gate))
    log.bind()
    assert log.fetch_each([fetch_of("/a"), fetch_of("/slow")], answers.__setitem__) is None
    assert {answer.outcome for answer in answers.values()} == {FetchOutcome.STORED}


def fetch_of(path: str) -> Fetch:
    return Fetch(0, "http", SITE, path)


# The site


def test_visitors_cannot_speak_to_the_gate(origin, make):
    """On the site's listener the gate's headers and paths are nothing special, and none of ours come out."""
    cache, log = make()
    origin.serves("/a", "v1", tags="red", headers={"x-freshline-stamp": "ffffffffffffffff.9", "x-freshline-tags": "x"})
    ours = {"freshline-key": SECRET, "freshline-fetch": "1", "freshline-probe": "1"}
    seen = [cache.get("/a", headers=headers) for headers in ({}, ours, {"x-freshline-stamp": "0.0"})]
    origin.serves("/freshline/batch", "the site's")
    posted = send(cache.edge.site, "POST", "/freshline/batch", {"Host": SITE, **ours}, b"batch log-a 0 1 m 1\nend\n")

    assert {one.body for one in seen} == {"v1"}
    assert not [name for one in (*seen, posted) for name in one.headers if "freshline" in name]
    assert log.status().position == 0
    log.refresh(Verb.TAG, b"red")
    assert log.probe("/a").presence is Presence.OBSOLETE


def test_the_gate_serves_no_visitors(origin, make):
    """The gate's listener answers the controller and nobody else, and no ordinary request at all."""
    cache, _ = make()
    origin.serves("/a", "v1")
    key = {"Host": SITE, "freshline-key": SECRET}
    answers = [
        send(cache.edge.gate, "GET", "/a", {"Host": SITE}),
        send(cache.edge.gate, "GET", "/a", key),
        send(cache.edge.gate, "GET", "/a", {**key, "freshline-fetch": "1"}),
        send(cache.edge.gate, "HEAD", "/a", {"Host": SITE, "freshline-fetch": "1"}),
    ]

    assert [(seen.status, seen.body) for seen in answers] == [(403, ""), (404, ""), (405, ""), (403, "")]
    assert not origin.log


# Without a lease


def test_without_a_lease_no_part_of_a_page_is_stored_bytes(origin, make):
    """Included parts, restarted requests and what is in grace: all of it is the origin's of now."""
    cache, log = make(
        operator="""
        sub vcl_recv { if (req.url == "/again" && req.restarts == 0) { set req.http.again = "1"; } }
        sub vcl_deliver { if (req.url == "/again" && req.restarts == 0) { return (restart); } }
        sub vcl_backend_response {
            set beresp.do_esi = true;
            set beresp.grace = 1h;
            if (bereq.url == "/graced") { set beresp.ttl = 0.001s; }
        }"""
    )
    origin.serves("/page", '<p>1 <esi:include src="/part"/>')
    for target in ("/part", "/again", "/graced"):
        origin.serves(target, "v1")
    for target in ("/page", "/again", "/graced"):
        cache.get(target)
    cache.lapse = "bypass"
    cache.reload()
    origin.serves("/page", '<p>2 <esi:include src="/part"/>')
    for target in ("/part", "/again", "/graced"):
        origin.serves(target, "v2")

    for _ in range(2):
        assert cache.get("/page").body == "<p>2 v2"
        assert cache.get("/again").body == "v2"
        assert cache.get("/graced").body == "v2"
    log.status(Lease(log.status().clock, 60, 0))
    assert cache.get("/page").body == "<p>1 v1"


def test_a_refusal_is_nobodys_to_decorate(origin, make):
    """The operator's own subs neither undo it nor see it."""
    cache, _ = make(
        operator="""
        sub vcl_recv { return (pass); }
        sub vcl_synth { set resp.status = 200; set resp.body = "sorry"; return (deliver); }""",
        lapse="refuse",
    )
    origin.serves("/a", "v1")
    seen = cache.get("/a")

    assert (seen.status, seen.body, seen.headers["retry-after"]) == (503, "", "1")
    assert origin.log == []
