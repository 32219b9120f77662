"""What the Squid gate keeps beyond the contract of all: its journal, changes of helpers, and Squid's own ways."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from http.client import HTTPException
from pathlib import Path

import pytest

from freshline.domain.action import Fetch, Verb
from freshline.drivers.base import Applied, Fault, FetchOutcome, Lease, Presence, Trouble
from freshline.drivers.lines import KEY_HEADER
from tests.servers.base import SECRET, get, send, until
from tests.servers.origin import Origin
from tests.servers.squid import MEMORY, ROCK, UFS, Squid
from tests.servers.steered import Steered

Make = Callable[..., tuple[Squid, Steered]]


@pytest.fixture
def make(tmp_path: Path, origin: Origin) -> Iterator[Make]:
    """Starts a Squid of some settings, bound to a log."""
    made: list[tuple[Squid, Steered]] = []

    def start(
        operator: str = "", store: str = UFS, blind: bool = False, file_bytes: int = 0, **settings: object
    ) -> tuple[Squid, Steered]:
        server = Squid(
            tmp_path, origin, operator=operator, store=store, blind=blind, file_bytes=file_bytes, settings=settings
        )
        server.start()
        made.append((server, Steered(server)))
        made[-1][1].bind()
        return made[-1]

    yield start
    for server, log in made:
        log.close()
        server.close()


def never_again(squid: Squid, target: str, old: str, **headers: str) -> None:
    for _ in range(4):
        seen = squid.get(target, headers=headers)
        assert not seen.body.startswith(old), seen


def refreshed_in_flight(origin: Origin, squid: Squid, log: Steered, phase: str = "headers") -> None:
    """A fetch of /a that was begun before a refresh ends after it."""
    origin.serves("/a", "v1")
    with ThreadPoolExecutor(2) as visitors, origin.holding("/a", phase) as held:
        old = visitors.submit(squid.get, "/a")
        held.wait()
        origin.serves("/a", "v2")
        origin.lets_pass("/a")
        log.refresh(Verb.FILE, b"/a")
        squid.get("/a")
        held.release()
        old.result()


def test_without_epochs_the_race_serves_the_old_object(origin, make):
    """The races are real: with the epoch taken off its keys the same Squid goes on serving what was refreshed."""
    squid, log = make(blind=True)
    origin.serves("/a", "v1")
    squid.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.FILE, b"/a")

    squid.get("/a").hit("v1")


# Squid's own ways


@pytest.mark.parametrize("phase", ["headers", "body"])
@pytest.mark.parametrize(
    ("operator", "store"),
    [("collapsed_forwarding on", UFS), ("", MEMORY), ("collapsed_forwarding on", ROCK)],
    ids=["collapsing", "memory", "rock"],
)
def test_an_old_fetch_in_flight_never_becomes_a_hit(origin, make, operator, store, phase):
    """Also where visitors wait for one another's fetches, and whatever the objects are stored in."""
    squid, log = make(operator, store)
    refreshed_in_flight(origin, squid, log, phase)

    never_again(squid, "/a", "v1")
    squid.get("/a").hit("v2")


@pytest.mark.parametrize("operator", ["offline_mode on", "refresh_pattern . 10 50% 20 override-expire reload-into-ims"])
def test_what_is_refreshed_is_out_of_reach_of_settings_that_keep_things(origin, make, operator):
    """Settings that make Squid serve expired objects find no refreshed ones."""
    squid, log = make(operator)
    origin.serves("/a", "v1", headers={"ETag": '"1"'})
    squid.get("/a")
    origin.serves("/a", "v2", headers={"ETag": '"2"'})
    log.refresh(Verb.FILE, b"/a")

    squid.get("/a").fetched("v2")
    never_again(squid, "/a", "v1", **{"Cache-Control": "max-stale=1000000"})


def test_what_is_stale_while_the_origin_is_away_is_not_what_was_refreshed(origin, make):
    """An origin that fails after a refresh brings an error, and not the old object."""
    squid, log = make("max_stale 1 day")
    origin.serves("/a", "v1")
    squid.get("/a")
    log.refresh(Verb.FILE, b"/a")
    origin.stop()

    assert squid.get("/a").status in (502, 503)


def test_two_spellings_are_two_objects(origin, make):
    """What Squid keeps apart stays apart: a key is taken as it was given, whatever is in the URL."""
    squid, _ = make()
    spellings = ["/a%2Fb", "/a/b", "/a%252Fb", '/a"b', "/a\\b", "/a'b", "/a%22b", "/a#b", "/a%23b"]
    for spelling in spellings:
        origin.serves("*", f"page {spelling}")
        squid.get(spelling).fetched(f"page {spelling}")
    for spelling in spellings:
        squid.get(spelling).hit(f"page {spelling}")


def test_a_fragment_is_none_of_the_name(origin, make):
    """Squid takes it for a part of the URL; who refreshes the URL means this one too."""
    squid, log = make()
    origin.serves("*", "v1")
    squid.get("/a#part")
    origin.serves("*", "v2")
    log.refresh(Verb.FILE, b"/a")

    never_again(squid, "/a#part", "v1")


# Tags


def test_tags_in_several_lines(origin, make):
    """A tag header that comes in several lines is read whole."""
    squid, log = make()
    origin.serves("/a", "v1", headers={"Cache-Tag": "blue", "cache-tag": "red"})
    squid.get("/a")
    log.refresh(Verb.TAG, b"green")
    squid.get("/a").hit("v1")
    origin.serves("/a", "v2")
    log.refresh(Verb.TAG, b"red")

    squid.get("/a").fetched("v2")


def test_tags_the_site_hides(origin, make):
    """Visitors need not see a tag header for it to count."""
    squid, log = make("reply_header_access Cache-Tag deny all")
    origin.serves("/a", "v1", tags="red")
    assert "cache-tag" not in squid.get("/a").headers
    origin.serves("/a", "v2", tags="red")
    log.refresh(Verb.TAG, b"blue")
    squid.get("/a").hit("v1")
    log.refresh(Verb.TAG, b"red")

    squid.get("/a").fetched("v2")


def test_more_tags_than_fit_are_any_tag(origin, make):
    """An answer with hundreds of tags is refreshed with every tag of its host."""
    squid, log = make()
    origin.serves("/a", "v1", tags=",".join(f"tag-{n}" for n in range(500)))
    squid.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.TAG, b"tag-499")

    squid.get("/a").fetched("v2")


def test_forgotten_tags_are_any_tag(origin, make):
    """Tag memory that overflows refreshes too much, also where a remembered variant hides one that was forgotten."""
    squid, log = make(tags=20)
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "en"})
    origin.serves("*", "v1", tags="many")
    for n in range(60):
        squid.get(f"/more/{n}")
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "fr"})
    origin.serves("/a", "v2", tags="red", vary="Accept-Language")
    log.refresh(Verb.TAG, b"red")

    never_again(squid, "/a", "v1 en", **{"Accept-Language": "en"})


def test_tags_that_were_handed_over_and_forgotten_are_any_tag(origin, make):
    """A helper that has asked for little yet still knows how far the one before it had come."""
    squid, log = make(tags=20)
    log.refresh(Verb.TAG, b"any")
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "en"})
    squid.rotate()
    origin.serves("*", "v1", tags="many")
    for n in range(60):
        squid.get(f"/more/{n}", "other.test")
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "fr"})
    origin.serves("/a", "v2", tags="red", vary="Accept-Language")
    log.refresh(Verb.TAG, b"red")

    never_again(squid, "/a", "v1 en", **{"Accept-Language": "en"})


@pytest.mark.parametrize("operator", ["", "collapsed_forwarding on"], ids=["", "collapsing"])
def test_tags_learned_after_the_refresh(origin, make, operator):
    """A tag that an old fetch brings after its refresh takes what that fetch brings, from who waits for it too."""
    squid, log = make(operator)
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "en"})
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    with ThreadPoolExecutor(2) as visitors, origin.holding("/a", "headers") as held:
        old = visitors.submit(squid.get, "/a", headers={"Accept-Language": "fr"})
        held.wait()
        origin.lets_pass("/a")
        origin.serves("/a", "v2", tags="red", vary="Accept-Language")
        log.refresh(Verb.TAG, b"red")
        waiting = visitors.submit(squid.get, "/a", headers={"Accept-Language": "fr"})
        wait([waiting], 0.3)  # it is answered, or it waits for the old fetch
        held.release()

        assert waiting.result().body == "v2 fr"
        assert old.result().body == "v1 fr"
    never_again(squid, "/a", "v1 fr", **{"Accept-Language": "fr"})


# Helpers come and go


@pytest.mark.parametrize("how", ["reload", "rotate", "kill_helper"])
def test_another_helper_knows_what_the_one_before_knew(origin, make, how):
    """Position, sync, lease and stored objects outlive a helper, and what it refreshed stays refreshed."""
    squid, log = make()
    origin.serves("*", "v1")
    squid.get("/a")
    squid.get("/b")
    origin.serves("*", "v2")
    log.refresh(Verb.FILE, b"/b")
    clock = log.status().clock
    assert clock is not None
    log.status(Lease(clock, 3600.0, 1))
    before = log.status()
    getattr(squid, how)()
    after = log.status()

    assert (after.log, after.position, after.mark, after.synced) == (before.log, 1, before.mark, True)
    assert after.clock is not None and after.clock.boot == clock.boot and int(after.detail["lease"]) > 3_000_000
    squid.get("/a").hit("v1")
    squid.get("/b").fetched("v2")


@pytest.mark.parametrize("how", ["reload", "rotate"])
def test_what_was_learned_is_handed_over(origin, make, how):
    """After a change of helpers a tag still spares what does not carry it, and takes what does."""
    squid, log = make()
    origin.serves("/red", "v1", tags="red")
    origin.serves("/blue", "v1", tags="blue")
    squid.get("/red")
    squid.get("/blue")
    getattr(squid, how)()
    origin.serves("/red", "v2", tags="red")
    origin.refuses("/blue")
    log.refresh(Verb.TAG, b"red")

    squid.get("/red").fetched("v2")
    squid.get("/blue").hit("v1")


def test_a_killed_helper_hands_over_nothing_and_misses_nothing(origin, make):
    """What it had learned is gone with it: then a tag is of every object, in which variant ever."""
    squid, log = make()
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "en"})
    squid.kill_helper()
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    squid.get("/a", headers={"Accept-Language": "fr"})
    origin.serves("/a", "v2", vary="Accept-Language")
    log.refresh(Verb.TAG, b"red")

    never_again(squid, "/a", "v1 en", **{"Accept-Language": "en"})


@pytest.mark.parametrize(
    "target", ["/a%20b", "/a%2520b", "/a%23b.1", "/a,,b;c", "/%22a%5C'?b=%25,{c}|", "/a?b=http://c/d", "/a#b"]
)
def test_an_object_is_known_by_its_tags_whatever_its_url_holds(origin, make, target):
    """Squid hands back the key that it was given, in writing of its own: what is learned is of no other URL."""
    squid, log = make()
    origin.serves("*", "v1", tags="red")
    squid.get(target)
    log.refresh(Verb.TAG, b"blue")
    squid.get(target).hit("v1")
    assert log.probe(target).stamp == 0
    origin.serves("*", "v2", tags="red")
    log.refresh(Verb.TAG, b"red")

    squid.get(target).fetched("v2")


def test_refreshes_and_visits_go_on_while_helpers_change(origin, make):
    """Through reloads, rotations and kills no page is older than a refresh that was answered. (Squid's own reload ends
    fetches with 502, with or without us, and a kill of its helpers may end Squid.)"""
    squid, log = make()
    ways = [squid.reload, squid.rotate, squid.kill_helper, squid.reload, squid.rotate]
    answered, stop = 0, False
    origin.serves("/a", "v0", tags="red")

    def visit() -> list[str]:
        late = []
        while not stop:
            least = answered
            try:
                seen = squid.get("/a")
            except (
                OSError,
                HTTPException,
            ):  # a reload closes the ports for a moment; one that ends leaves answers unfinished
                continue
            if seen.status == 200 and int(seen.body[1:]) < least:
                late.append(f"{seen} though v{least} was out")
        return late

    with ThreadPoolExecutor(4) as visitors:
        visits = [visitors.submit(visit) for _ in range(3)]
        for version, how in enumerate(ways, 1):
            origin.serves("/a", f"v{version}", tags="red")
            changing = visitors.submit(how)
            batch = log.accept((Verb.TAG, b"red"))
            until(lambda batch=batch: isinstance(log.apply(batch), Applied))
            answered = version
            changing.result()
        stop = True

        assert [late for visited in visits for late in visited.result()] == []


def test_a_second_squid_with_the_same_journal_caches_nothing(tmp_path, origin, make):
    """Nor does a second worker: it says so, and what it serves is the origin's of now."""
    squid, log = make()
    other = Squid(tmp_path, origin, settings={"journal": str(squid.journal)})
    other.waits_for_gate = False
    other.start()
    try:
        for version in ("v1", "v2"):
            origin.serves("/a", version)
            other.get("/a").fetched(version)

        assert "another Squid's, or another worker's" in other.errors
        log.refresh(Verb.FILE, b"/a")
        squid.get("/a").fetched("v2")
        squid.get("/a").hit("v2")
    finally:
        other.close()


def test_a_helper_that_does_not_answer_holds_nobody_to_the_cache(origin, make):
    """Settings that are none leave Squid without a cache, and running."""
    squid, _ = make()
    origin.serves("/a", "v1")
    squid.get("/a")
    squid.waits_for_gate = False
    squid.restart_with("lapse never\n")
    origin.serves("/a", "v2")

    squid.get("/a").fetched("v2")
    assert "lapse has no such value" in squid.errors


# The journal


def test_the_old_cache_is_of_use_again_once_caught_up(origin, make):
    """A restart costs nothing of the disk cache but what was refreshed."""
    squid, log = make()
    for target in ("/a", "/b"):
        origin.serves(target, "v1")
        squid.get(target)
    log.refresh(Verb.FILE, b"/c")
    squid.restart()
    origin.serves("/a", "v2")
    assert not log.status().synced
    log.accept((Verb.FILE, b"/a"))
    log.catch_up()
    origin.refuses("/b")

    assert log.status().synced
    squid.get("/a").fetched("v2")
    squid.get("/b").hit("v1")


def test_what_cannot_be_written_is_not_acknowledged(origin, make):
    """A disk that takes no more fails the batch and leaves the journal whole; what fits goes through."""
    squid, log = make(file_bytes=65_536)
    origin.serves("/a", "v1")
    squid.get("/a")
    size = squid.journal.stat().st_size
    refused = log.apply(log.accept((Verb.FILE, b"/a"), *((Verb.FILE, b"/" + b"x" * n) for n in range(1, 1_000))))
    stood, kept = log.status().position, squid.journal.stat().st_size
    origin.serves("/a", "v2")
    answer = log.apply(log.batch(0, 2))

    assert isinstance(refused, Trouble) and refused.fault is Fault.FAILED
    assert (stood, kept) == (0, size)
    assert isinstance(answer, Applied) and answer.position == 2
    squid.get("/a").fetched("v2")
    squid.restart()
    assert log.status().position == 2


def test_a_journal_that_is_taken_away_empties_the_cache(origin, make):
    """What the gate cannot write down is as if it forgot everything: nothing old is served, and a new journal begun."""
    squid, log = make()
    origin.serves("/a", "v1")
    squid.get("/a")
    squid.get("/a").hit("v1")
    squid.journal.unlink()
    origin.serves("/a", "v2")
    log.refresh(Verb.FILE, b"/b")

    squid.get("/a").fetched("v2")
    squid.restart()
    log.catch_up()
    squid.get("/a").hit("v2")


def test_rules_beyond_the_bound_cost_fetches_and_leave_nothing_old(origin, make):
    """Rules that had to go leave a floor behind, also in the journal."""
    squid, log = make(rules=500)
    origin.serves("*", "v1")
    squid.get("/full/0")
    origin.serves("*", "v2")
    for start in range(0, 40_000, 2_000):
        log.applied(*((Verb.FILE, f"/full/{n}".encode()) for n in range(start, start + 2_000)))

    assert int(log.status().detail["rules"]) <= 500
    squid.get("/full/0").fetched("v2")
    squid.restart()
    log.catch_up()
    never_again(squid, "/full/0", "v1")
    squid.get("/full/0").hit("v2")


# Prefetching


def test_the_controllers_fetches_need_no_lease(origin, make):
    """The helper tells them by the port where Squid was asked, which it is told where visitors may lack a lease."""
    squid, log = make(lapse="bypass")
    origin.serves("/a", "v1")

    assert log.fetch("/a").outcome is FetchOutcome.STORED
    assert log.probe("/a").presence is Presence.STORED
    for _ in range(2):
        squid.get("/a").fetched("v1")


def test_https_is_brought_without_tls(origin, make):
    """An object of an https URL is fetched and probed at the gate's own door; the http one is another."""
    _, log = make()
    origin.serves("/a", "v1")
    https = Fetch(0, "https", "www.test", "/a")
    fetched = log.run(log.driver.fetch(https))
    probed = log.run(log.driver.probe(https))

    assert not isinstance(fetched, Trouble) and fetched.outcome is FetchOutcome.STORED
    assert not isinstance(probed, Trouble) and probed.presence is Presence.STORED
    assert log.probe("/a").presence is Presence.ABSENT


@pytest.mark.parametrize("errand", ["probe", "fetch"])
def test_a_host_that_is_longer_than_any(origin, make, errand):
    """It is refused, and the helper goes on."""
    squid, log = make()
    body = f"{errand} http {'x' * 200_000} /a\nend\n".encode()

    assert send(squid.edge.gate, "POST", f"/freshline/{errand}", {KEY_HEADER: SECRET}, body).status == 400
    assert log.status().synced


def test_the_door_is_the_helpers_alone(origin, make):
    """Who does not know its token is refused there, and its headers open nothing on the site."""
    squid, _ = make()
    origin.serves("/a", "v1")

    assert get(squid.door, "/a").status == 403
    assert get(squid.door, "/a", headers={"freshline-fetch": "x"}).status == 403
    seen = squid.get("/a", headers={"freshline-fetch": "x"})
    assert seen.status == 200 and not [name for name in seen.headers if name.startswith("freshline")]
    assert "freshline-fetch" not in origin.log[-1].headers


def test_the_gate_asks_again_where_squid_hung_up(origin: Origin, make: Make) -> None:
    """The connection on which it asks for objects is kept for the next, and Squid closes what is idle."""
    cache, log = make("client_idle_pconn_timeout 1 second")
    for page in ("/a", "/b"):
        origin.serves(page, page * 1000)
        fetched = log.fetch(page)
        assert (fetched.outcome, fetched.said) == (FetchOutcome.STORED, "fetched")
        time.sleep(2.5)
    cache.get("/b").hit("/b" * 1000)


def test_a_long_object_that_is_there_is_not_read(origin: Origin, make: Make) -> None:
    """What is next is asked for on another connection, and not answered with the rest of it."""
    cache, log = make()
    origin.serves("/long", "x" * (2 << 20))
    origin.serves("/a", "v1")
    said = [log.fetch(page) for page in ("/long", "/long", "/a")]

    assert [each.said for each in said] == ["fetched", "already", "fetched"]
    assert [each.bytes for each in said] == [2 << 20, 2 << 20, 2]
    assert origin.asked("/long") == 1
    cache.get("/a").hit("v1")
