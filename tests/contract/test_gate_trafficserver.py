"""What is Traffic Server's own: its ways of serving what it should not, its disk cache, its mapped URLs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from freshline.domain.action import Fetch, Verb
from freshline.drivers.base import Applied, Fetched, FetchOutcome, Lapse, Presence, Probed, Trouble
from tests.contract.test_gate_lists import serve_some
from tests.servers.base import SECRET, SITE, free_port, send, until
from tests.servers.origin import Origin
from tests.servers.steered import Steered, fetches
from tests.servers.trafficserver import Trafficserver
from tests.servers.wallclock import WallClock

Serving = Callable[..., tuple[Trafficserver, Steered]]


@pytest.fixture
def serving(tmp_path: Path, origin: Origin) -> Iterator[Serving]:
    """A server made to order, and a log that its gate is bound to."""
    with ExitStack() as open_:

        def start(**how: Any) -> tuple[Trafficserver, Steered]:
            server = Trafficserver(tmp_path, origin, **how)
            open_.callback(server.discard)
            server.start()
            log = Steered(server)
            open_.callback(log.close)
            return server, log.bind()

        yield start


@pytest.fixture
def visitors() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def never(cache: Trafficserver, target: str, old: str, times: int = 6) -> None:
    for _ in range(times):
        assert not cache.get(target).body.startswith(old)


def expire(cache: Trafficserver, log: Steered, target: str) -> None:
    """Bring in what is fresh for a second, and see it grow old."""
    cache.get(target)
    until(lambda: log.probe(target).presence is Presence.STORED)
    until(lambda: log.probe(target).presence is Presence.ABSENT)


# The settings that let it serve what is old

SHARING = {  # "read while write" and its relatives, with which one fetch serves many visitors
    "http.background_fill_active_timeout": 0,
    "http.background_fill_completed_threshold": "0.000000",
    "cache.enable_read_while_writer": 1,
    "cache.read_while_writer.max_retries": 2,
    "cache.read_while_writer_retry.delay": 50,
    "http.cache.max_open_read_retries": 2,
    "http.cache.open_read_retry_time": 20,
}


@pytest.mark.parametrize("phase", ["headers", "body"])
@pytest.mark.parametrize("fail_action", [0, 2, 5])
def test_who_shares_a_fetch_does_not_get_what_was_refreshed(origin, serving, visitors, phase, fail_action):
    """Whatever it does where it may not write (open_write_fail_action), and also an object that was there before."""
    cache, log = serving(records={**SHARING, "http.cache.open_write_fail_action": fail_action})
    for name, age in (("/new", 3600), ("/expired", 1)):
        origin.serves(name, "v1" * 40_000, age=age, headers={"ETag": '"1"'})
    expire(cache, log, "/expired")
    for name in ("/new", "/expired"):
        with origin.holding(name, phase) as held:
            old = visitors.submit(cache.get, name)
            held.wait()
            origin.serves(name, "v2" * 40_000, headers={"ETag": '"2"'})
            origin.lets_pass(name)
            log.refresh(Verb.FILE, name.encode())
            seen = [visitor.result() for visitor in [visitors.submit(cache.get, name) for _ in range(4)]]
            held.release()
            old.result()

        assert [one for one in seen if one.body.startswith("v1")] == []
        never(cache, name, "v1")
        until(lambda name=name: cache.get(name).cache == "HIT")


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("trouble", ["down", "503"])
def test_an_origin_in_trouble_does_not_bring_old_objects_back(origin, serving, force, trouble):
    """Neither max_stale_age nor negative revalidation serve what a refresh covers; what no refresh covers they do."""
    cache, log = serving(records={"http.negative_revalidating_enabled": 1})
    for name in ("/refreshed", "/expired"):
        origin.serves(name, "v1", age=1, headers={"ETag": '"1"'})
        cache.get(name)
    expire(cache, log, "/expired")
    log.refresh(Verb.DIR, b"/refreshed", force=force)
    log.refresh(Verb.PATH, b"/refreshed", force=force)
    if trouble == "down":
        origin.stop()
    else:
        origin.serves("*", "trouble", status=503, age=None)
        for name in ("/refreshed", "/expired"):
            origin.serves(name, "trouble", status=503, age=None)

    for _ in range(3):
        assert cache.get("/refreshed").status >= 500
    assert cache.get("/expired").body == "v1"


def test_a_revalidated_object_is_fresh_again(origin, serving):
    """Force=false: the origin is asked once whether it has changed, and what it says holds from then on."""
    cache, log = serving()
    origin.serves("/a", "v1", headers={"ETag": '"1"'})
    cache.get("/a")
    log.refresh(Verb.PATH, b"/a", force=False)
    origin.serves("/a", "v1", status=304, headers={"ETag": '"1"'})

    assert cache.get("/a").body == "v1"
    assert origin.log[-1].headers["if-none-match"] == '"1"'
    cache.get("/a").hit("v1")
    assert origin.asked("/a") == 2


def test_a_late_304_does_not_make_an_old_object_new(origin, serving, visitors):
    """A revalidation that began before the refresh, and ends after it, brings the refreshed object no further."""
    cache, log = serving()
    origin.serves("/a", "v1", age=1, headers={"ETag": '"1"'})
    expire(cache, log, "/a")
    origin.serves("/a", "v1", status=304, headers={"ETag": '"1"'})
    with origin.holding("/a", "headers") as held:
        old = visitors.submit(cache.get, "/a")
        held.wait()
        origin.serves("/a", "v2", headers={"ETag": '"1"'})  # as an origin does that forgets to change its tag
        origin.lets_pass("/a")
        log.refresh(Verb.FILE, b"/a")
        held.release()
        assert old.result().body == "v1"

    never(cache, "/a", "v1")
    cache.get("/a").hit("v2")


@pytest.mark.parametrize("how", [{"Range": "bytes=0-0"}, {"If-None-Match": '"1"'}])
def test_ranges_and_conditions_are_answered_from_what_is_new(origin, serving, how):
    """A part of the refreshed object is no more to be had than the whole, nor is it not modified."""
    cache, log = serving()
    origin.serves("/a", "v1", headers={"ETag": '"1"'})
    cache.get("/a")
    log.refresh(Verb.FILE, b"/a")
    origin.serves("/a", "w2", headers={"ETag": '"2"'})
    seen = cache.get("/a", headers=how)

    assert seen.status in (200, 206) and seen.body.startswith("w")
    head = send(cache.edge.site, "HEAD", "/a", {"Host": SITE})
    assert head.headers["etag"] == '"2"'


@pytest.mark.parametrize("phase", ["headers", "body"])
def test_without_the_gate_a_purge_loses_the_race(tmp_path, origin, visitors, phase):
    """The races of the contract are real here, too: what a purge overtook is stored, and served."""
    plain = Trafficserver(tmp_path, origin, guarded=False)
    plain.start()
    try:
        origin.serves("/a", "v1")
        with origin.holding("/a", phase) as held:
            old = visitors.submit(plain.get, "/a")
            held.wait()
            origin.serves("/a", "v2")
            origin.lets_pass("/a")
            send(plain.edge.site, "PURGE", "/a", {"Host": SITE})
            held.release()
            old.result()

        plain.get("/a").hit("v1")
    finally:
        plain.discard()


# Names


def test_an_object_goes_by_the_name_that_visitors_use(origin, serving):
    """Two sites on one origin host are two sites, and what they are mapped to is nobody's name."""
    to = f"http://{origin.address}"
    remap = f"map http://one.test/shop/ {to}/x/\nmap http://two.test/ {to}/x/\nmap / {to}/\n"
    cache, log = serving(remap=remap, records={"url_remap.pristine_host_hdr": 0})
    origin.serves("/x/a", "v1")
    cache.get("/shop/a", host="one.test")
    cache.get("/a", host="two.test").hit("v1")  # one object in the cache
    log.refresh(Verb.FILE, b"/x/a", host="127.0.0.1")
    log.refresh(Verb.FILE, b"/x/a", host="one.test")
    cache.get("/shop/a", host="one.test").hit("v1")
    origin.serves("/x/a", "v2")
    log.refresh(Verb.FILE, b"/shop/a", host="one.test")

    cache.get("/shop/a", host="one.test").fetched("v2")
    cache.get("/a", host="two.test").hit("v2")


@pytest.mark.parametrize("target", ["/a", "/a?", "/a;", "/a;b?c", "//a"])
def test_what_this_server_folds_is_refreshed_all_the_same(origin, serving, target):
    """An empty query and empty parameters make no object of their own here."""
    cache, log = serving()
    origin.serves("*", "v1")
    for asked in ("/a", target):
        cache.get(asked)
    origin.serves("*", "v2")
    log.refresh(Verb.FILE, b"/a" if target == "//a" else target.encode())

    assert cache.get(target).body == "v2"


def test_what_is_called_as_no_site_is_fetched_whenever_anything_is_newer(origin, serving):
    """The server keeps objects of hosts that no refresh can name, and an origin may take them for the site."""
    cache, log = serving()
    origin.serves("/a", "v1")
    cache.get("/a", host="www%2etest")
    cache.get("/a", host="www%2etest").hit("v1")
    origin.serves("/a", "v2")
    log.refresh(Verb.DIR, b"/")

    cache.get("/a", host="www%2etest").fetched("v2")
    cache.get("/a", host="www%2etest").hit("v2")


def test_https_is_prefetched_as_visitors_get_it(origin, serving):
    """The object of the https URL, which may be mapped elsewhere than that of the http URL."""
    to = f"http://{origin.address}"
    _, log = serving(remap=f"map https://{SITE}/ {to}/secure/\nmap http://{SITE}/ {to}/plain/\n")
    origin.serves("/secure/a", "s1")
    origin.serves("/plain/a", "p1")
    secure = Fetch(1, "https", SITE, "/a")
    fetched = log.run(log.driver.fetch(secure))

    assert isinstance(fetched, Fetched) and fetched.outcome is FetchOutcome.STORED
    probed = log.run(log.driver.probe(secure))
    assert isinstance(probed, Probed) and probed.presence is Presence.STORED
    assert log.probe("/a").presence is Presence.ABSENT
    assert (origin.asked("/secure/a"), origin.asked("/plain/a")) == (1, 0)


def test_the_stamp_is_ours(origin, serving):
    """Visitors do not see it, and an origin that sets it sets nothing."""
    cache, log = serving()
    stamp = {"@Freshline-Stamp": f"{log.status().detail['life']}.999999"}
    origin.serves("/a", "v1", headers=stamp)
    for _ in range(2):
        seen = cache.get("/a", headers=stamp)
        assert not [name for name in seen.headers if "freshline" in name]
    origin.serves("/a", "v2", headers=stamp)
    log.refresh(Verb.FILE, b"/a")

    cache.get("/a").fetched("v2")


def test_over_http_2_the_stamp_is_not_seen_either(origin, serving, tmp_path):
    """A server that speaks it writes headers by other code."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={SITE}"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port = free_port()
    cache, _ = serving(tls=(port, certificate, key))
    origin.serves("/a", "v1")
    cache.get("/a")
    asked = ["curl", "-sSki", "--http2", "--resolve", f"{SITE}:{port}:127.0.0.1", f"https://{SITE}:{port}/a"]
    for _ in range(2):
        head, _, body = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.partition("\n\n")
        assert head.startswith("HTTP/2 200") and body == "v1"
        assert "freshline" not in head


# Prefetches


def test_a_prefetch_does_not_wait_for_a_fetch_that_was_overtaken(origin, serving, visitors):
    """While an old fetch holds the object, a prefetch asks anew, and is done when the object can be stored."""
    cache, log = serving()
    origin.serves("/a", "v1")
    with origin.holding("/a", "headers") as held:
        old = visitors.submit(cache.get, "/a")
        held.wait()
        origin.serves("/a", "v2")
        origin.lets_pass("/a")
        log.refresh(Verb.FILE, b"/a")
        held_back = ThreadPoolExecutor(1).submit(lambda: Steered(cache).fetch("/a"))
        until(lambda: origin.asked("/a") == 2)
        held.release()
        old.result()

        assert held_back.result().outcome is FetchOutcome.STORED
    cache.get("/a").hit("v2")


def test_a_large_object_is_prefetched_whole(origin, serving):
    """100 MB, and none of it comes to the controller."""
    cache, log = serving(cache_size="256M")
    origin.serves("/big", "x" * 100_000_000)
    fetched = log.fetch("/big")
    origin.refuses("/big")

    assert (fetched.outcome, fetched.bytes) == (FetchOutcome.STORED, 100_000_000)
    seen = send(cache.edge.site, "HEAD", "/big", {"Host": SITE})
    assert (seen.status, seen.headers["content-length"]) == (200, "100000000")


KEEPS_INSIDE = {"http.keepalive_internal_vc": 1}


@pytest.mark.parametrize("records", [KEEPS_INSIDE, {**KEEPS_INSIDE, "http.keep_alive_enabled_in": 0}])
def test_several_fetches_over_connections_that_are_kept_inside(origin, serving, records):
    """Answered one by one and asked for once, as where the server keeps none."""
    cache, log = serving(records=records)
    pages = serve_some(origin)
    wanted = fetches("/slow", *pages, "/gone", "/broken")
    log.status()
    for _ in range(3):
        with origin.holding("/slow", "body") as held, log.fetching(wanted) as answers:
            until(lambda: answers.keys() >= set(range(1, 23)))
            assert {answers[at].outcome for at in range(1, 21)} == {FetchOutcome.STORED}
            assert (answers[21].outcome, answers[21].status) == (FetchOutcome.OTHER, 404)
            assert (answers[22].outcome, answers[22].status) == (FetchOutcome.ORIGIN_STATUS, 503)
            held.release()
        assert answers[0].outcome is FetchOutcome.STORED

    assert all(origin.asked(path) == 1 for path in (*pages, "/slow"))
    for path, body in pages.items():
        origin.refuses(path)
        cache.get(path).hit(body)


@pytest.mark.parametrize(
    ("headers", "records"),
    [
        ({"Age": "4000"}, {}),
        ({}, {"http.cache.when_to_revalidate": 2}),
        ({}, {"http.cache.guaranteed_max_lifetime": 0}),
        ({}, {"cache.max_doc_size": 10_000}),
    ],
)
def test_what_no_visitor_would_find_is_not_stored(origin, serving, headers, records):
    """Old as it came, to be asked about each time, or let go of as it was written: it is not taken for there."""
    cache, log = serving(records=records)
    origin.serves("/a", "v1" * 50_000, headers=headers)

    assert log.fetch("/a").outcome is not FetchOutcome.STORED
    assert cache.get("/a").cache != "HIT"


def test_an_object_that_somebody_else_never_ends_is_waited_for_as_long_as_an_origin(origin, serving, visitors):
    cache, log = serving(records=SHARING, fetch_seconds=1)
    origin.serves("/a", "v1" * 4_000_000)
    with origin.holding("/a", "body") as held:
        visitor = visitors.submit(cache.get, "/a")
        held.wait()
        fetched = visitors.submit(log.fetch, "/a").result(20)
        held.release()
        visitor.result()

    assert (fetched.outcome, fetched.said) == (FetchOutcome.OTHER, "somebody else is still writing it")
    assert origin.asked("/a") == 1


@pytest.mark.parametrize("remap", ["map / {to} @action=deny @method=head\n", "map / {to}\n"])
def test_a_variant_is_looked_for_itself(origin, serving, remap):
    """What varies is stored when the variant that was asked for is, also by a site that answers no HEAD."""
    cache, log = serving(remap=remap.format(to=f"http://{origin.address}/"))
    for language in ("de", "en"):
        origin.serves("/a", language, headers={"Vary": "Accept-Language"})
        wanted = Fetch(0, "http", SITE, "/a", (("Accept-Language", language),))
        assert log.run(log.driver.fetch(wanted)).outcome is FetchOutcome.STORED
    origin.refuses("/a")

    for language in ("de", "en"):
        cache.get("/a", headers={"Accept-Language": language}).hit(language)


def test_a_thread_is_woken_however_long_nobody_came(origin, serving):
    """What wakes it is a connection to the server, which ends those that are silent: another takes its place."""
    cache, log = serving(records={"net.default_inactivity_timeout": 1})
    origin.serves("*", "v1")
    sockets = set(cache.sockets())
    until(lambda: len(sockets - set(cache.sockets())) >= 4)  # both ends, in both threads

    for n in range(4):
        assert log.fetch(f"/{n}").outcome is FetchOutcome.STORED


def test_a_server_that_goes_leaves_no_prefetch_unanswered(origin, serving):
    """Killed while it fetches, it is trouble; what is asked for again afterwards is stored."""
    cache, log = serving()
    origin.serves("/quick", "v1")
    origin.serves("/slow", "v1")
    wanted = [Fetch(0, "http", SITE, path) for path in ("/quick", "/slow")]
    answers: dict[int, Fetched | Trouble] = {}
    log.status()
    with origin.holding("/slow", "body") as held, ThreadPoolExecutor() as pool:
        asked = pool.submit(log.fetch_each, wanted, answers.__setitem__)
        until(lambda: 0 in answers)
        cache.kill()
        assert isinstance(asked.result(), Trouble)
        held.release()
    assert 1 not in answers
    cache.start()
    log.catch_up()

    assert log.fetch("/slow").outcome is FetchOutcome.STORED
    cache.get("/slow").hit("v1")


def test_prefetches_that_hang_leave_connections_for_refreshes(origin, serving):
    """However many of them there are, the gate hears what it is told."""
    cache, log = serving(records={"http.connect_attempts_timeout": 60})
    host, _, port = cache.edge.gate.rpartition(":")
    body = f"fetch http {SITE} /slow\nend\n"
    request = (
        f"POST /freshline/fetch HTTP/1.1\r\nhost: gate\r\nfreshline-key: {SECRET}\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    with origin.holding("/slow", "headers") as held, ExitStack() as open_:
        for _ in range(110):
            asked = open_.enter_context(socket.create_connection((host, int(port)), 5))
            asked.sendall(request)
        refused = asked.recv(1000)
        try:
            assert b"failed too much is under way" in refused
            log.run(log.driver.close())
            log.driver = cache.driver()
            log.refresh(Verb.FILE, b"/a")
        finally:
            held.release()


@pytest.mark.parametrize("step", [0, 30])
def test_a_prefetch_ends_whatever_becomes_of_the_time_of_day(origin, serving, visitors, tmp_path, step):
    """The server calls early where its clock is set ahead: a body that stands still is given up all the same."""
    clock = WallClock(tmp_path / "clock")
    clock.set(0)
    tmp_path.chmod(0o755)
    cache, log = serving(fetch_seconds=1, environment=clock.environment)
    origin.serves("/a", "v1" * 40_000)
    with origin.holding("/a", "body") as held:
        asked = visitors.submit(log.fetch, "/a")
        held.wait()
        clock.set(step)
        try:
            assert asked.result(20).said == "its body stood still"
        finally:
            cache.kill()  # or the visitor would wait, and so would we
            held.release()


# The disk


def test_the_old_cache_is_of_use_once_caught_up(origin, serving):
    """After a restart nothing of it is served; from the head of the log on, all of it but what was refreshed is."""
    cache, log = serving(records={"cache.dir.sync_frequency": 1})
    origin.serves("/tick", "tick")
    for name in ("/kept", "/before", "/meanwhile"):
        origin.serves(name, "v1")
        cache.get(name)
        cache.get(name).hit("v1")
    for name in ("/tick?1", "/tick?2", "/tick?3"):  # when the third is being written the second is whole
        before = cache.directory()
        cache.get(name)
        until(lambda before=before: cache.directory() != before)
    log.refresh(Verb.FILE, b"/before")
    cache.stop()
    log.accept((Verb.FILE, b"/meanwhile"))
    for name in ("/before", "/meanwhile"):
        origin.serves(name, "v2")
    cache.start()
    gate = log.status()
    assert (gate.log, gate.position, gate.synced) == (log.log, 1, False)
    assert log.probe("/kept").presence is not Presence.STORED
    asked = origin.asked("/kept")
    answer = log.apply(log.batch(gate.position))
    assert isinstance(answer, Applied) and log.status().synced

    cache.get("/kept").hit("v1")
    assert origin.asked("/kept") == asked
    cache.get("/before").fetched("v2")
    cache.get("/meanwhile").fetched("v2")


def test_after_kill_9_nothing_told_is_forgotten(origin, serving):
    """What it acknowledged it knows, whenever it is killed."""
    cache, log = serving()
    for n in range(5):
        origin.serves("/a", f"v{n}")
        cache.get("/a")
        origin.serves("/a", f"v{n + 1}")
        log.refresh(Verb.FILE, b"/a")
        cache.kill()
        cache.start()
        assert log.status().position == n + 1
        never(cache, "/a", f"v{n}", 2)
        log.catch_up()
        assert log.status().synced
        never(cache, "/a", f"v{n}", 2)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("lapse sometimes", "neither serve, bypass nor refuse"),
        ("rules 0", "not 1 to 100000000"),
        ("colour red", "no such setting"),
        ("secret short", "not 16 to 256"),
        ("journal relative", "not an absolute path"),
    ],
)
def test_settings_that_are_none_are_named(serving, line, what):
    """At a reload the settings of before stay in force, and the log says which line is wrong and why."""
    cache, log = serving()
    conf = cache.home / "etc" / "freshline.conf"
    conf.write_text(conf.read_text() + f"{line}\n")
    until(lambda: what in cache.said())

    assert f"line {len(conf.read_text().splitlines())}: {line.split()[0]}" in cache.said()
    assert log.status().lapse is Lapse.SERVE


@pytest.mark.reloads
def test_under_its_manager(origin, serving):
    """Killed, it is started again by traffic_manager, and knows what it was told."""
    cache, log = serving(managed=True)
    origin.serves("/a", "v1")
    cache.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.FILE, b"/a")
    cache.reload()

    assert log.status().position == 1
    cache.get("/a").fetched("v2")
