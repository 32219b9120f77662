"""What every gate does with a lease, and without one (docs/gates.md, "Clock and lease")."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from freshline.domain.action import Verb
from freshline.drivers.base import Applied, Clock, FetchOutcome, Lapse, Lease, Presence, Trouble
from tests.servers.base import SECRET, CacheServer, Seen, send, until
from tests.servers.steered import Steered

LONG = 3600.0


@pytest.fixture
def log(cache: CacheServer) -> Iterator[Steered]:
    """A log that the cache's gate is bound to."""
    steered = Steered(cache).bind()
    yield steered
    steered.close()


without_a_lease = pytest.mark.parametrize("lapse", [Lapse.BYPASS, Lapse.REFUSE])


def clock(log: Steered) -> Clock:
    read = log.status().clock
    assert read is not None
    return read


def grant(log: Steered, seconds: float = LONG) -> None:
    log.status(Lease(clock(log), seconds, log.position))


def lapse_is(cache: CacheServer, lapse: Lapse) -> None:
    """A reload keeps all else."""
    cache.lapse = lapse
    cache.reload()


def asked(cache: CacheServer, path: str, method: str = "GET", **headers: str) -> Seen:
    """Of the gate's listener."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(cache.edge.gate, method, path, {"Host": cache.edge.gate, **named})


def fresh(cache: CacheServer) -> bool:
    seen = asked(cache, "/freshline/fresh")
    assert (seen.status, seen.body) in ((200, "fresh\n"), (503, "not fresh\n")), seen
    return seen.status == 200


# Taken


@pytest.mark.parametrize("way", ["status", "batch", "flush"])
def test_a_lease_is_taken_with_any_of_the_three(cache, log, way):
    """With status, a batch or a flush: from then on the gate is fresh, and says how long it holds."""
    assert not fresh(cache)
    lease = Lease(clock(log), LONG, 0)
    answer = {
        "status": lambda: log.status(lease),
        "batch": lambda: log.apply(log.accept((Verb.FILE, b"/a")), lease),
        "flush": lambda: log.run(log.driver.flush("another-log", 5, "m", lease)),
    }[way]()

    assert not isinstance(answer, Trouble) and answer.clock is not None
    assert answer.clock.boot == lease.clock.boot
    assert lease.clock.milliseconds <= answer.clock.milliseconds
    assert fresh(cache)
    assert LONG * 900 < int(log.status().detail["lease"]) <= LONG * 1000


def test_a_lease_is_taken_where_the_request_leaves_the_gate(log, cache):
    """A position that the very batch brings is reached."""
    batch = log.accept((Verb.FILE, b"/a"), (Verb.FILE, b"/b"))
    answer = log.apply(batch, Lease(clock(log), LONG, 2))

    assert isinstance(answer, Applied)
    assert fresh(cache)


def test_a_lease_ends_by_itself(log, cache):
    """Nobody has to tell a gate that it is not told any more."""
    grant(log, 0.5)
    until(lambda: not fresh(cache))

    assert log.status().detail["lease"] == "0"


def test_a_lease_begins_when_its_clock_was_read(log, cache):
    """A request that was on its way for longer than the lease brings none."""
    old = clock(log)
    until(lambda: clock(log).milliseconds > old.milliseconds + 20)
    log.status(Lease(old, 0.02, 0))

    assert not fresh(cache)


def test_an_older_lease_that_comes_late_shortens_nothing(log, cache):
    """Requests may overtake one another."""
    early = clock(log)
    grant(log)
    log.status(Lease(early, 0.001, 0))

    assert fresh(cache)


# Not taken


@pytest.mark.parametrize(
    "header",
    [
        "{boot}x {now} 60000 0",
        "x{boot} {now} 60000 0",
        "0 {now} 60000 0",
        "- {now} 60000 0",
        "{boot} {ahead} 60000 0",
        "{boot} {now} 60000 1",
        "{boot} {now} 86400001 0",
        "{boot} {now} 99999999999999999999999999 0",
        "{boot} {now} 60000 99999999999999999999999999",
        "{boot} 99999999999999999999999999 60000 0",
        "{boot} {now} -60000 0",
        "{boot} {now} 60000",
        "{boot} {now} 60000 0 0",
        "{boot}  {now} 60000 0",
        "{boot} {now} 6e4 0",
        "{boot} {now} 0x60 0",
        "{boot}",
        "{boot} ",
        "",
        "x" * 3000,
    ],
)
def test_a_lease_that_is_none_does_nothing(log, cache, header):
    """Another start's, from the future, for a position not reached, too long, or no such line: ignored and answered."""
    now = clock(log)
    text = header.format(boot=now.boot, now=now.milliseconds, ahead=now.milliseconds + 100_000)
    seen = asked(cache, "/freshline/status", freshline_key=SECRET, freshline_lease=text)

    assert seen.status == 200
    assert not fresh(cache)


def test_a_gate_that_is_bound_to_nothing_takes_none(cache):
    """Before its first flush a gate can't stand anywhere."""
    log = Steered(cache)
    grant(log)
    assert not fresh(cache)
    log.close()


def test_a_batch_that_does_not_fit_brings_no_lease(log, cache):
    """409 and 400 are answers, and no more than that; they tell no clock."""
    lease = Lease(clock(log), LONG, 0)
    log.accept((Verb.FILE, b"/a"), (Verb.FILE, b"/b"))
    log.apply(log.batch(1), lease)
    header = f"{lease.clock.boot} {lease.clock.milliseconds} 60000 0"
    headers = {"Host": cache.edge.gate, "freshline-key": SECRET, "freshline-lease": header}
    bad = send(cache.edge.gate, "POST", "/freshline/batch", headers, b"nonsense\nend\n")

    assert bad.status == 400 and "freshline-clock" not in bad.headers
    assert not fresh(cache)


def test_a_restart_ends_a_lease(log, cache):
    """A server that starts has another clock, holds nothing, and takes nothing before it is back in step."""
    grant(log)
    old = clock(log)
    cache.restart()
    new = clock(log)
    log.status(Lease(old, LONG, 0))
    log.status(Lease(new, LONG, 0))

    assert new.boot != old.boot
    assert not fresh(cache)
    log.catch_up()
    grant(log)
    assert fresh(cache)


def test_a_reload_keeps_a_lease(log, cache):
    """And the clock."""
    grant(log)
    old = clock(log)
    cache.reload()

    assert fresh(cache)
    assert clock(log).boot == old.boot


def test_the_clock_is_one_that_nobody_can_set(log):
    """CLOCK_BOOTTIME: a step of the wall clock moves no lease, neither the gate's nor the service's."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    read = clock(log).milliseconds
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    assert before <= read <= after


# Fresh or not


def test_fresh_is_for_anybody_and_tells_nothing_else(log, cache):
    """No secret is needed, there is no clock in the answer, and other methods are for who knows the secret."""
    head = asked(cache, "/freshline/fresh", "HEAD")
    posted = asked(cache, "/freshline/fresh", "POST")
    grant(log)
    seen = asked(cache, "/freshline/fresh")

    assert (head.status, head.body) == (503, "")
    assert (posted.status, posted.body) == (403, "")
    assert (seen.status, seen.body) == (200, "fresh\n")
    assert not [name for name in (*seen.headers, *head.headers) if name.startswith("freshline")]
    assert asked(cache, "/freshline/fresh", "HEAD").status == 200


# Without a lease


def test_under_serve_nothing_changes(origin, cache, log):
    """The default: hits are hits, lease or not."""
    origin.serves("/a", "v1")
    cache.get("/a")
    origin.refuses("/a")

    assert log.status().lapse is Lapse.SERVE
    cache.get("/a").hit("v1")


def test_under_bypass_nothing_stored_is_served_nor_anything_stored(origin, cache, log):
    """Each visitor gets the origin's answer of now; with a lease what was stored is of use again."""
    origin.serves("/a", "v1", vary="Accept-Language")
    cache.get("/a", headers={"Accept-Language": "en"})
    lapse_is(cache, Lapse.BYPASS)
    for version in ("v2", "v3", "v4"):
        origin.serves("/a", version, vary="Accept-Language")
        origin.serves("/b", version)
        cache.get("/a", headers={"Accept-Language": "en"}).fetched(f"{version} en")
        cache.get("/b").fetched(version)
    assert log.status().lapse is Lapse.BYPASS
    grant(log)
    origin.serves("/b", "v5")

    cache.get("/a", headers={"Accept-Language": "en"}).hit("v1 en")
    cache.get("/b").fetched("v5")
    cache.get("/b").hit("v5")


def test_a_lease_that_ends_ends_the_hits(origin, cache, log):
    """In every worker, whatever it remembers; and a new one brings them back."""
    origin.serves("/a", "v1")
    lapse_is(cache, Lapse.BYPASS)
    grant(log, 1.0)
    cache.get("/a")
    until(lambda: cache.get("/a").cache == "HIT" or not fresh(cache))
    origin.serves("/a", "v2")
    until(lambda: not fresh(cache))
    for _ in range(12):
        cache.get("/a").fetched("v2")
    grant(log)
    for _ in range(12):
        cache.get("/a").hit("v1")


def test_under_bypass_nobody_waits_for_a_fetch_begun_before(origin, cache, log):
    """What somebody began to fetch under a lease is not for who asks without one."""
    lapse_is(cache, Lapse.BYPASS)
    grant(log, 1.0)
    origin.serves("/a", "v1")
    with ThreadPoolExecutor(1) as visitors, origin.holding("/a", "headers") as held:
        old = visitors.submit(cache.get, "/a")
        held.wait()
        origin.lets_pass("/a")
        until(lambda: not fresh(cache))
        origin.serves("/a", "v2")
        cache.get("/a").fetched("v2")
        held.release()
        assert old.result().body == "v1"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_under_refuse_everybody_is_sent_away(origin, cache, log, method):
    """503 with retry-after and no body, of what is stored and of what is not; the origin hears of nobody."""
    origin.serves("/a", "v1")
    cache.get("/a")
    lapse_is(cache, Lapse.REFUSE)
    for target in ("/a", "/b", "/freshline/fresh", "/"):
        seen = send(cache.edge.site, method, target, {"Host": "www.test"})

        assert (seen.status, seen.body, seen.headers.get("retry-after")) == (503, "", "1"), seen
    assert len(origin.log) == 1
    grant(log)
    cache.get("/a").hit("v1")


@without_a_lease
def test_the_controller_is_not_a_visitor(origin, cache, log, lapse):
    """Without a lease a prefetch brings its object in and a probe finds it: the first visitor under a lease has it."""
    lapse_is(cache, lapse)
    origin.serves("/a", "v1")
    fetched = log.fetch("/a")
    origin.refuses("/a")

    assert fetched.outcome is FetchOutcome.STORED, fetched
    assert log.probe("/a").presence is Presence.STORED
    assert log.fetch("/a").outcome is FetchOutcome.STORED
    assert not fresh(cache)
    grant(log)
    cache.get("/a").hit("v1")


@without_a_lease
def test_a_visitor_is_no_controller(origin, cache, log, lapse):
    """The gate's own headers on the site open nothing."""
    origin.serves("/a", "v1")
    cache.get("/a")
    origin.serves("/a", "v2")
    lapse_is(cache, lapse)
    for name in ("freshline-fetch", "freshline-key", "freshline-probe"):
        seen = cache.get("/a", headers={name: SECRET})

        assert seen.status == 503 or seen.body == "v2"


@without_a_lease
def test_after_a_restart_no_lease_is_none(origin, cache, log, lapse):
    """A server that comes up has none, caught up or not."""
    lapse_is(cache, lapse)
    grant(log)
    origin.serves("/a", "v1")
    cache.get("/a")
    cache.restart()
    origin.serves("/a", "v2")
    for step in (lambda: None, log.catch_up):
        step()
        seen = cache.get("/a")
        assert (seen.status, seen.body) == ((503, "") if lapse is Lapse.REFUSE else (200, "v2"))
