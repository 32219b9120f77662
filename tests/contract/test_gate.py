"""What every gate keeps, whatever server it sits in: one suite, through the driver and with real visitors."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPException
from typing import Any

import pytest

from freshline.domain.action import Fetch, Verb
from freshline.domain.target import canonical_path
from freshline.drivers.base import Adrift, Applied, Batch, Fault, FetchOutcome, Presence, Trouble
from freshline.drivers.lines import batch_body
from tests.servers.base import SECRET, SITE, CacheServer, Seen, send, until
from tests.servers.nginx import Nginx
from tests.servers.steered import Steered
from tests.unit.test_lines import NO_BATCHES

TARGET = "/dir/page?x=1"
COVERING = {
    Verb.FILE: b"/dir/page?x=1",
    Verb.PATH: b"/dir/page",
    Verb.DIR: b"/dir/",
    Verb.REGEX: rb"/d.r/[a-z]+\?x=",
    Verb.TAG: b"red",
}
ASKS = 12  # GETs on connections of their own, so that each worker gets some

every_verb = pytest.mark.parametrize("verb", COVERING)


@pytest.fixture
def visitors() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def never_again(cache: CacheServer, target: str, old: str, **more: Any) -> None:
    for _ in range(ASKS):
        seen = cache.get(target, **more)
        assert not seen.body.startswith(old), seen


# What a command covers


@every_verb
def test_a_refresh_takes_what_it_covers_and_spares_its_siblings(origin, cache, log, verb):
    """A refresh of any kind drops the objects it covers, and a sibling stays a hit."""
    spared = {
        Verb.FILE: ["/dir/page", "/dir/page?x=2", "/dir/page2?x=1"],
        Verb.PATH: ["/dir/page2?x=1", "/dir/page/x"],
        Verb.DIR: ["/dirs/page?x=1", "/other/dir/page"],
        Verb.REGEX: ["/dir/page", "/dir/page/a?x=1", "/other/dir/page?x=1"],
        Verb.TAG: ["/blue"],
    }[verb]
    origin.serves(TARGET, "v1", tags="red")
    for target in spared:
        origin.serves(target, "kept", tags="blue, green")
    for target in (TARGET, *spared):
        cache.get(target)
        cache.get(target).hit("v1" if target == TARGET else "kept")
    origin.serves(TARGET, "v2", tags="red")
    for target in spared:
        origin.refuses(target)
    log.refresh(verb, COVERING[verb])

    cache.get(TARGET).fetched("v2")
    cache.get(TARGET).hit("v2")
    for target in spared:
        cache.get(target).hit("kept")


@every_verb
def test_a_refresh_is_of_one_host(origin, cache, log, verb):
    """Another host's object of the same path is spared."""
    origin.serves(TARGET, "v1", tags="red")
    for host in (SITE, "other.test"):
        cache.get(TARGET, host=host)
    origin.serves(TARGET, "v2", tags="red")
    log.refresh(verb, COVERING[verb])

    cache.get(TARGET).fetched("v2")
    cache.get(TARGET, host="other.test").hit("v1")


@every_verb
def test_all_variants_go(origin, cache, log, verb):
    """A refresh drops every Vary variant, not only the one last asked for."""
    origin.serves(TARGET, "v1", tags="red", vary="Accept-Language")
    for language in ("en", "fr", "de"):
        cache.get(TARGET, headers={"Accept-Language": language})
    origin.serves(TARGET, "v2", tags="red", vary="Accept-Language")
    log.refresh(verb, COVERING[verb])

    for language in ("en", "fr", "de"):
        cache.get(TARGET, headers={"Accept-Language": language}).fetched(f"v2 {language}")


def test_variants_with_tags_of_their_own(origin, cache, log):
    """A tag that only one variant of a URL carries takes that variant."""
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    cache.get("/a", headers={"Accept-Language": "en"})
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    cache.get("/a", headers={"Accept-Language": "fr"})
    origin.serves("/a", "v2", vary="Accept-Language")
    log.refresh(Verb.TAG, b"red")

    never_again(cache, "/a", "v1 en", headers={"Accept-Language": "en"})


@pytest.mark.parametrize("header", ["Cache-Tag", "Surrogate-Key", "xkey"])
@pytest.mark.parametrize("value", ["red", "blue red", "blue,red", "blue, red ,green"])
def test_tags_in_each_header_and_spelling(origin, cache, log, header, value):
    """A tag is found in any of the three headers, among others, parted by commas or spaces."""
    origin.serves("/a", "v1", headers={header: value})
    cache.get("/a")
    origin.serves("/a", "v2", headers={header: value})
    log.refresh(Verb.TAG, b"reddish")
    cache.get("/a")
    log.refresh(Verb.TAG, b"red")

    cache.get("/a").fetched("v2")


SPELLINGS = [
    ("/a/b", "/a//b"),
    ("/a/b", "/a/./b"),
    ("/a/b", "/a/c/../b"),
    ("/a/b", "/%61/%62"),
    ("/a/b", "//a///b"),
    ("/a/b", "/a/c/%2e%2e/b"),
    ("/a/b", "/a%2Fb"),
    ("/é/b", "/é/b"),
    ("/é/b", "/%C3%A9/b"),
    ("/é/b", "/%c3%a9/b"),
    ("/a/b?q=ä", "/a/b?q=%C3%A4"),
    ("/a/b?q=ä", "/a//%62?q=ä"),
    ("/a/b?", "/a/b?"),
    ("/a/", "/a/b/.."),
]


def test_one_refresh_takes_every_spelling(origin, cache, log):
    """A path is the same path in every spelling a visitor may use for it."""
    origin.serves("*", "v1")
    taken = [spelling for _, spelling in SPELLINGS if cache.get(spelling).status == 200]
    assert len(taken) > len(SPELLINGS) / 2
    origin.serves("*", "v2")
    log.applied(*((Verb.FILE, refreshed.encode()) for refreshed, _ in SPELLINGS))

    for spelling in taken:
        cache.get(spelling).fetched("v2")


def test_any_spelling_is_canonical_as_the_log_spells_it(origin, cache, log):
    """The gate reduces a path exactly as the service does, whatever bytes are in it."""
    dice = random.Random(1)
    pieces = [
        "a",
        "b",
        "/",
        "/",
        "//",
        ".",
        "..",
        "/../",
        "/./",
        "%2e",
        "%2F",
        "%41",
        "%61",
        "é",
        "%C3%A9",
        ";",
        "+",
        "%25",
        "&",
    ]
    origin.serves("*", "v1")
    targets = {"/" + "".join(dice.choices(pieces, k=dice.randrange(1, 9))) for _ in range(150)}
    cached = sorted(target for target in targets if cache.get(target).status == 200)
    assert len(cached) > 50
    origin.serves("*", "v2")
    log.applied(*((Verb.PATH, canonical_path(target.encode())) for target in cached))

    for target in cached:
        assert cache.get(target).body == "v2"  # perhaps a hit: a server may keep several spellings as one object


@every_verb
@pytest.mark.parametrize("host", ["WWW.Test", "www.test:8080", "www.test."])
def test_a_host_is_the_same_in_every_spelling(origin, cache, log, verb, host):
    """Upper case, a port or a trailing dot do not hide an object from a refresh of its host."""
    origin.serves(TARGET, "v1", tags="red")
    cache.get(TARGET, host=host)
    origin.serves(TARGET, "v2", tags="red")
    log.refresh(verb, COVERING[verb])

    never_again(cache, TARGET, "v1", host=host)


def test_a_regex_is_anchored_at_its_start_only(origin, cache, log):
    """A pattern must match from the first slash on, and may end before the path does."""
    for target in ("/a/b/c", "/x/a/b"):
        origin.serves(target, "v1")
        cache.get(target)
        origin.serves(target, "v2")
    log.refresh(Verb.REGEX, b"/a/b")

    cache.get("/a/b/c").fetched("v2")
    cache.get("/x/a/b").hit("v1")


def test_a_refused_regex_does_not_hold_up_the_rest(origin, cache, log):
    """A pattern the server cannot compile is named in the answer, and the others are applied."""
    origin.serves("/a", "v1")
    cache.get("/a")
    origin.serves("/a", "v2")
    answer = log.applied((Verb.REGEX, b"/a("), (Verb.FILE, b"/a"))

    assert [position for position, _ in answer.refused] == [1]
    cache.get("/a").fetched("v2")


def test_a_repeated_batch_is_told_again_what_was_refused(origin, cache, log):
    """The first answer may be lost: that a gate stands past a row does not say that it did it."""
    batch = log.accept((Verb.REGEX, b"/a("), (Verb.FILE, b"/a"))
    log.apply(batch)

    again = log.apply(batch)

    assert isinstance(again, Applied)
    assert [position for position, _ in again.refused] == [1]


@pytest.mark.parametrize("pattern", ["/img/[é].png", r"/img/.\.png", r"/img/\pL+\.png", "/(?i)IMG/É", "/img/[^x].png"])
def test_patterns_read_utf_8_as_callers_do(origin, cache, log, pattern):
    """A letter of several bytes is one letter to whoever wrote the pattern."""
    origin.serves("/img/%C3%A9.png", "v1")
    cache.get("/img/%C3%A9.png")
    origin.serves("/img/%C3%A9.png", "v2")
    log.refresh(Verb.REGEX, pattern.encode())

    never_again(cache, "/img/%C3%A9.png", "v1")


def test_an_explosive_regex_neither_hangs_nor_leaves_anything_old(origin, cache, log):
    """A pattern that would backtrack for years is given up, and given up counts as matching, which this one would."""
    bomb = "/" + "a" * 60 + "!"
    origin.serves(bomb, "v1")
    cache.get(bomb)
    origin.serves(bomb, "v2")
    log.refresh(Verb.REGEX, b"/(?:(?:a+)+c|a+!)")

    never_again(cache, bomb, "v1")


@pytest.mark.parametrize("verb", [Verb.DIR, Verb.REGEX, Verb.PATH, Verb.TAG])
def test_without_force_nothing_old_is_served_either(origin, cache, log, verb):
    """Force=false asks the origin before it serves: the bytes are the origin's of now."""
    origin.serves(TARGET, "v1", tags="red", headers={"ETag": '"1"'})
    cache.get(TARGET)
    origin.serves(TARGET, "v2", tags="red", headers={"ETag": '"2"'})
    log.refresh(verb, COVERING[verb], force=False)

    never_again(cache, TARGET, "v1")


def test_refreshes_add_up(origin, cache, log):
    """A later, narrower refresh counts over an earlier, wider one, and the other way round."""
    versions = iter(range(2, 100))
    origin.serves(TARGET, "v1", tags="red")
    cache.get(TARGET)
    for verb in (*COVERING, *reversed(COVERING)):
        body = f"v{next(versions)}"
        origin.serves(TARGET, body, tags="red")
        log.refresh(verb, COVERING[verb])

        cache.get(TARGET).fetched(body)
        until(lambda: cache.get(TARGET).cache == "HIT")  # some store a moment after they have answered
        cache.get(TARGET).hit(body)


# The races


@pytest.mark.parametrize("phase", ["headers", "body"])
@every_verb
def test_an_old_fetch_in_flight_never_becomes_a_hit(origin, cache, log, visitors, verb, phase):
    """Once a refresh is answered no visitor gets what was fetched before it, also when that fetch ends later."""
    origin.serves(TARGET, "v1", tags="red")
    with origin.holding(TARGET, phase) as held:
        old = visitors.submit(cache.get, TARGET)
        held.wait()
        origin.serves(TARGET, "v2", tags="red")
        origin.lets_pass(TARGET)
        log.refresh(verb, COVERING[verb])
        cache.get(TARGET).fetched("v2")
        held.release()
        assert old.result().status == 200

        never_again(cache, TARGET, "v1")
        until(lambda: cache.get(TARGET).cache == "HIT")
        cache.get(TARGET).hit("v2")


@pytest.mark.parametrize("phase", ["headers", "body"])
@every_verb
def test_an_old_fetch_that_ends_first_is_not_stored_for_later(origin, cache, log, visitors, verb, phase):
    """The same, when nobody asks before the old fetch has ended."""
    origin.serves(TARGET, "v1", tags="red")
    with origin.holding(TARGET, phase) as held:
        old = visitors.submit(cache.get, TARGET)
        held.wait()
        origin.serves(TARGET, "v2", tags="red")
        origin.lets_pass(TARGET)
        log.refresh(verb, COVERING[verb])
        held.release()
        assert old.result().status == 200

    never_again(cache, TARGET, "v1")


@every_verb
def test_many_visitors_during_a_refresh(origin, cache, log, visitors, verb):
    """Under load, in every worker: a GET begun after the answer never sees the version before it."""
    origin.serves(TARGET, "v0", tags="red")
    answered, stop = [0], threading.Event()

    def visit() -> list[str]:
        late = []
        while not stop.is_set():
            least = answered[0]
            seen = cache.get(TARGET)
            if seen.status != 200 or int(seen.body[1:]) < least:
                late.append(f"{seen} though v{least} was out")
        return late

    visits = [visitors.submit(visit) for _ in range(4)]
    for version in range(1, 26):
        origin.serves(TARGET, f"v{version}", tags="red")
        log.refresh(verb, COVERING[verb])
        answered[0] = version
    stop.set()

    assert [late for visited in visits for late in visited.result()] == []


@pytest.mark.parametrize("phase", ["headers", "body"])
def test_without_the_gate_the_same_race_serves_the_old_object(tmp_path, origin, visitors, phase):
    """The races above are real: plain nginx, purged by removing its files, stores the old object and serves it."""
    plain = Nginx(tmp_path, origin, gated=False)
    plain.start()
    try:
        origin.serves(TARGET, "v1")
        with origin.holding(TARGET, phase) as held:
            old = visitors.submit(plain.get, TARGET)
            held.wait()
            origin.serves(TARGET, "v2")
            origin.lets_pass(TARGET)
            plain.purge()
            held.release()
            old.result()

        assert plain.get(TARGET).body == "v1"
    finally:
        plain.stop()


# Batches


def test_a_batch_repeated_changes_nothing(origin, cache, log):
    """A batch that comes twice is answered ok, and the objects fetched since stay."""
    origin.serves("/a", "v1")
    batch = log.accept((Verb.FILE, b"/a"))
    first = log.apply(batch)
    cache.get("/a")
    second = log.apply(batch)

    assert isinstance(first, Applied) and isinstance(second, Applied)
    assert (second.position, second.mark) == (first.position, first.mark) == (1, log.mark(1))
    cache.get("/a").hit("v1")


def test_a_batch_that_overlaps_brings_only_what_is_new(origin, cache, log):
    """Of a batch the gate has passed in part, the rest is applied."""
    origin.serves("/a", "a1")
    origin.serves("/b", "b1")
    log.refresh(Verb.FILE, b"/a")
    cache.get("/a")
    cache.get("/b")
    origin.serves("/b", "b2")
    log.accept((Verb.FILE, b"/b"))
    answer = log.apply(log.batch(0))

    assert isinstance(answer, Applied) and answer.position == 2
    cache.get("/a").hit("a1")
    cache.get("/b").fetched("b2")


def test_an_empty_batch_moves_the_position(log):
    """Rows that are none of the edge's business still move it along."""
    log.position = 40
    answer = log.apply(log.batch(0))

    assert isinstance(answer, Applied) and (answer.position, answer.mark) == (40, log.mark(40))
    assert (log.status().position, log.status().mark) == (40, log.mark(40))


def test_a_batch_that_is_not_the_last_counts_at_once(origin, cache, log):
    """Of a gate that is in use and gets behind, what it was told counts, though more is to come."""
    origin.serves("/a", "v1")
    for _ in range(ASKS):
        cache.get("/a")
    log.accept((Verb.FILE, b"/a"), (Verb.FILE, b"/b"))
    origin.serves("/a", "v2")
    answer = log.apply(log.batch(0, 1))

    assert isinstance(answer, Applied) and answer.position == 1
    never_again(cache, "/a", "v1")


def test_a_batch_from_further_on_is_not_taken(origin, cache, log):
    """A gate that lacks what came before says so, and applies nothing."""
    origin.serves("/a", "v1")
    cache.get("/a")
    log.accept((Verb.FILE, b"/b"), (Verb.FILE, b"/a"))
    answer = log.apply(log.batch(1))

    assert isinstance(answer, Adrift) and "behind 0" in answer.said
    cache.get("/a").hit("v1")


def test_a_gate_that_is_ahead_says_where_it_stands(log):
    """A log that went back is told the gate's own position and mark, and does not move it."""
    log.applied((Verb.FILE, b"/a"), (Verb.FILE, b"/b"))
    answer = log.apply(replace(log.batch(0, 1), mark="another"))

    assert isinstance(answer, Applied) and (answer.position, answer.mark) == (2, log.mark(2))


def test_another_logs_batch_is_not_taken(origin, cache, log):
    """Positions of another log mean nothing here."""
    origin.serves("/a", "v1")
    cache.get("/a")
    answer = log.apply(replace(log.accept((Verb.FILE, b"/a")), log="log-b"))

    assert isinstance(answer, Adrift) and answer.said.endswith(f"other {log.log}")
    cache.get("/a").hit("v1")


def test_a_new_gate_belongs_to_no_log(cache):
    """Before it is flushed into a log a gate takes no batch."""
    log = Steered(cache)
    gate, answer = log.status(), log.apply(log.accept((Verb.FILE, b"/a")))
    log.close()

    assert (gate.log, gate.position) == (None, 0)
    assert isinstance(answer, Adrift) and answer.said.endswith("other -")


def test_a_batch_that_is_cut_off_changes_nothing(origin, cache, log):
    """Without its last line nothing of a batch is applied."""
    origin.serves("/a", "v1")
    cache.get("/a")
    whole = batch_body(log.accept((Verb.FILE, b"/a"), (Verb.FILE, b"/b")))
    for size in (len(whole) - 1, len(whole) - len("end\n"), len(whole) - 10, whole.index(b"\n") + 1, 0):
        assert post(cache, "/freshline/batch", whole[:size] or b"\n").status == 400

    assert log.status().position == 0
    cache.get("/a").hit("v1")


def test_a_row_that_reads_like_the_end(origin, cache, log):
    """A tag may be called as the last line is: the run says how many rows it has."""
    origin.serves("/a", "v1", tags="end")
    cache.get("/a")
    origin.serves("/a", "v2", tags="end")
    log.applied((Verb.TAG, b"run"), (Verb.TAG, b"end"), (Verb.TAG, b"end"), (Verb.FILE, b"/b", "b.test"))

    cache.get("/a").fetched("v2")


@pytest.mark.parametrize("runs", [b"run 1 1048577 1 tag h\n", b"run 1 1 1 tag h\na\nrun 2 1048576 1 tag h\n"])
def test_more_rows_than_a_batch_may_have(cache, log, runs):
    """A row may be two bytes, and what a gate makes of it is a hundred: so there is a bound."""
    answer = post(cache, "/freshline/batch", b"batch log-a 0 9000000 m 1\n" + runs + b"a\nend\n")

    assert (answer.status, log.status().position) == (400, 0)
    assert "more rows than a batch may have" in answer.body


def test_a_big_batch(origin, cache, log):
    """Twenty thousand commands in one batch are applied, each of them."""
    origin.serves("*", "v1")
    some = [f"/big/{n}" for n in (0, 1, 9_999, 19_998, 19_999)]
    for target in (*some, "/bigger"):
        cache.get(target)
    origin.serves("*", "v2")
    log.applied(*((Verb.FILE, f"/big/{n}".encode()) for n in range(20_000)))

    for target in some:
        cache.get(target).fetched("v2")
    cache.get("/bigger").hit("v1")


def test_a_flush_takes_everything(origin, cache, log):
    """Nothing fetched before a flush is served after it; the rules are gone and the gate stands where it is told."""
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/b")
    cache.get("/a")
    origin.serves("/a", "v2")
    other = Steered(cache, "log-b")
    other.position = 7
    other.bind()
    gate = other.status()
    other.close()

    assert (gate.log, gate.position, gate.mark, gate.synced) == ("log-b", 7, "log-b.7", True)
    cache.get("/a").fetched("v2")


@pytest.mark.parametrize("phase", ["headers", "body"])
def test_a_flush_takes_what_is_in_flight(origin, cache, log, visitors, phase):
    """A fetch begun before a flush is not served after it."""
    origin.serves("/a", "v1")
    with origin.holding("/a", phase) as held:
        old = visitors.submit(cache.get, "/a")
        held.wait()
        origin.serves("/a", "v2")
        origin.lets_pass("/a")
        log.bind()
        held.release()
        old.result()

    never_again(cache, "/a", "v1")


# The door


def post(cache: CacheServer, path: str, body: bytes, **more: str) -> Seen:
    headers = {"Host": cache.edge.gate, "freshline-key": SECRET, **more}
    return send(cache.edge.gate, "POST", path, headers, body)


@pytest.mark.parametrize("secret", ["", "wrong", SECRET[:-1], SECRET + "x"])
def test_nothing_is_done_for_who_does_not_know_the_secret(origin, cache, log, secret):
    """Without the secret every answer is an empty 403."""
    origin.serves("/a", "v1")
    cache.get("/a")
    body = batch_body(log.accept((Verb.FILE, b"/a")))
    answers = [
        post(cache, path, body, **{"freshline-key": secret})
        for path in ("/freshline/batch", "/freshline/flush", "/freshline/fetch", "/freshline/probe", "/", "/nowhere")
    ]
    answers.append(send(cache.edge.gate, "GET", "/freshline/status", {"Host": "x", "freshline-key": secret}))

    assert [(seen.status, seen.body) for seen in answers] == [(403, "")] * len(answers)
    assert log.status().position == 0
    cache.get("/a").hit("v1")


def test_a_wrong_secret_is_known_as_such(cache):
    """The driver tells a wrong secret from other trouble."""
    edge = replace(cache.edge, secret="not-the-secret-of-this-gate")
    steered = Steered(cache)
    driver = type(cache.driver())(edge)
    answers = [steered.run(driver.status()), steered.run(driver.apply(Batch("l", 0, 1, "m", True, ())))]
    steered.run(driver.close())
    steered.close()

    assert [answer.fault for answer in answers if isinstance(answer, Trouble)] == [Fault.DENIED] * 2


GARBAGE = [
    b"\n",
    b"end\n",
    b"\x00\xff\xfe\n",
    b"batch\nend\n",
    b"batch log-a 0 1 m 1\nrun 1 1 1 file www.test\n/a\r\nend\n",
    b"batch log-a 0 1 m 1\nrun 1 1 1 file WWW.test\n/a\nend\n",
    b"batch log-a 0 1 m 1\nrun 1 1 1 file www.test\n/%zz\nend\n",
    b"batch log-a 0 1 m 1\nrun 1 1 1 file www.test\n/a b\nend\n",
    b"batch log-a 0 1 m 1\nrun 2 1 1 file www.test\n/a\nend\n",
    b"batch log-a 0 1 m 1\nrun 0 1 1 file www.test\n/a\nend\n",
    b"batch log-a 0 2 m 1\nrun 2 1 1 file www.test\n/a\nrun 1 1 1 file www.test\n/b\nend\n",
    b"batch log-a 0 1 m 1\n" + b"x" * 100_000 + b"\nend\n",
    *(body.replace(b"batch l ", b"batch log-a ") or b"\n" for body in NO_BATCHES if not body.startswith(b"flush")),
]


@pytest.mark.parametrize("path", ["/freshline/batch", "/freshline/flush"])
def test_garbage_is_refused_whole(cache, log, path):
    """What is no batch is answered 4XX, and the gate stands where it stood."""
    before = log.status()
    answers = [post(cache, path, body) for body in GARBAGE]
    answers.append(send(cache.edge.gate, "GET", "/freshline/none", {"Host": "x", "freshline-key": SECRET}))

    assert [seen.status for seen in answers if not 400 <= seen.status < 500] == []
    assert replace(log.status(), detail={}, clock=None) == replace(before, detail={}, clock=None)


def test_the_site_shows_nothing_of_the_gate(origin, cache, log):
    """For visitors /freshline is a path like any other."""
    origin.serves("/freshline/status", "a page")
    seen = cache.get("/freshline/status", headers={"freshline-key": SECRET})

    assert (seen.status, seen.body) == (200, "a page")
    assert not [name for name in seen.headers if name.startswith("freshline")]


# Probe and fetch


def test_a_probe_tells_what_is_there_and_asks_nobody(origin, cache, log):
    """A probe knows stored from absent without asking the origin, also after a refresh."""
    origin.serves("/a", "v1")
    before = log.probe("/a")
    cache.get("/a")
    until(lambda: log.probe("/a").presence is Presence.STORED)  # some store a moment after they have answered
    log.refresh(Verb.FILE, b"/a")
    after = log.probe("/a")

    assert before.presence is Presence.ABSENT
    assert after.presence in (Presence.ABSENT, Presence.OBSOLETE)
    assert origin.asked("/a") == 1


def test_a_probes_stamp_is_where_the_gate_stood(origin, cache, log):
    """The stamp is no later than the position at which the object was fetched, and covers its last refresh."""
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/a")
    cache.get("/a")
    log.refresh(Verb.FILE, b"/b")
    probed = log.probe("/a")

    assert probed.presence is Presence.STORED
    assert probed.stamp is None or probed.stamp == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_fetch_brings_the_object_in(origin, cache, log, chunked):
    """What was prefetched is a hit for the first visitor."""
    origin.serves("/a?x=1", "v1" * 50_000, chunked=chunked)
    fetched = log.fetch("/a?x=1")
    assert log.probe("/a?x=1").presence is Presence.STORED
    origin.refuses("/a?x=1")

    assert (fetched.outcome, fetched.status) == (FetchOutcome.STORED, 200)
    assert fetched.bytes in (0, 100_000)
    cache.get("/a?x=1").hit("v1" * 50_000)


def test_what_is_there_is_not_fetched_again(origin, cache, log):
    """An object that is fresh in the cache costs the origin nothing."""
    origin.serves("/a", "v1")
    cache.get("/a")
    fetched = log.fetch("/a")

    assert fetched.outcome is FetchOutcome.STORED
    assert origin.asked("/a") == 1


def test_a_fetch_after_a_refresh_fetches_anew(origin, cache, log):
    """A refreshed object is not there, so it is fetched."""
    origin.serves("/a", "v1")
    cache.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.FILE, b"/a")

    assert log.fetch("/a").outcome is FetchOutcome.STORED
    cache.get("/a").hit("v2")


def test_a_fetch_sends_the_callers_headers(origin, cache, log):
    """WithHeader reaches the origin, so the variant it names is the one that is stored."""
    origin.serves("/a", "v1", vary="Accept-Language")
    cache.get("/a", headers={"Accept-Language": "en"})
    fetched = log.fetch("/a", ("Accept-Language", "fr"))

    assert fetched.outcome is FetchOutcome.STORED
    cache.get("/a", headers={"Accept-Language": "fr"}).hit("v1 fr")


@pytest.mark.parametrize(
    "header",
    [
        ("Host", "evil.test"),
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "5"),
        ("X-A", "a\r\nHost: evil.test"),
        ("X-A", "a\nb"),
        ("X A", "a"),
    ],
)
def test_a_fetch_cannot_be_made_another_request(origin, cache, log, header):
    """A header that would change whose or which request it is, is not sent."""
    origin.serves("/a", "v1")

    assert log.fetch("/a", header).outcome is FetchOutcome.OTHER
    assert origin.asked("/a") == 0


def test_a_fetch_shows_the_origin_nothing_of_ours(origin, cache, log):
    """No header of freshline's own reaches the origin."""
    origin.serves("/a", "v1")
    log.fetch("/a")

    assert [name for asked in origin.log for name in asked.headers if name.startswith("freshline")] == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_origins_own_error_is_told_as_such(origin, cache, log, status):
    """A 5XX of the origin's is an answer of the origin, also 502 and 504."""
    origin.serves("/a", "broken", status=status, age=None)
    fetched = log.fetch("/a")

    assert (fetched.outcome, fetched.status) == (FetchOutcome.ORIGIN_STATUS, status)


def test_an_origin_that_says_nothing_has_timed_out(origin, impatient):
    """No headers in time is a timeout, and no status of anybody's."""
    origin.hangs("/a")
    log = Steered(impatient).bind()
    fetched = log.fetch("/a")
    log.close()

    assert fetched.outcome is FetchOutcome.ORIGIN_TIMEOUT


def test_an_origin_that_is_not_there_is_neither(origin, cache, log):
    """A refused connection is neither a timeout nor a status of the origin's."""
    origin.stop()

    assert log.fetch("/a").outcome is FetchOutcome.OTHER


def test_an_origin_that_hangs_up_is_neither(origin, cache, log):
    """Nor is a connection closed before any header."""
    origin.drops("/a")

    assert log.fetch("/a").outcome is FetchOutcome.OTHER


@pytest.mark.parametrize("chunked", [False, True])
def test_half_a_body_is_not_an_object(origin, cache, log, chunked):
    """A body that breaks off is neither stored nor called so."""
    origin.serves("/a", "v1" * 50_000, cut=True, chunked=chunked)

    assert log.fetch("/a").outcome is FetchOutcome.OTHER
    assert log.probe("/a").presence is Presence.ABSENT


@pytest.mark.parametrize(("status", "age"), [(200, None), (404, None), (404, 3600), (403, 3600)])
def test_what_may_not_be_stored_is_not_called_stored(origin, cache, log, status, age):
    """An answer that is not to be kept, or is no object, is no success; not even when it is in the cache already."""
    origin.serves("/a", "v1", status=status, age=age)

    for _ in range(2):
        fetched = log.fetch("/a")
        assert (fetched.outcome, fetched.status) == (FetchOutcome.OTHER, status)


# Coming back


def test_an_edge_that_was_down_never_serves_what_was_refreshed(origin, cache, log):
    """A refresh an edge slept through holds from the first answer after it woke."""
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/b")
    cache.get("/a")
    cache.stop()
    origin.serves("/a", "v2")
    log.accept((Verb.FILE, b"/a"))
    cache.start()
    gate = log.status()

    assert not gate.synced or gate.log is None  # in memory, nothing is left to be old
    never_again(cache, "/a", "v1")
    log.catch_up()
    assert log.status().synced
    never_again(cache, "/a", "v1")


def test_a_gate_is_not_synced_by_old_news(origin, cache, log):
    """A batch that is not the head of the log does not put the old cache back to use."""
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/b")
    cache.get("/a")
    cache.restart()
    origin.serves("/a", "v2")
    at = log.status().position
    log.accept((Verb.FILE, b"/c"), (Verb.FILE, b"/a"))
    remembers = log.status().log == log.log
    answer = log.apply(log.batch(at, 2))

    assert isinstance(answer, Applied if remembers else Adrift)
    assert not (remembers and log.status().synced)
    never_again(cache, "/a", "v1")


def test_nothing_is_fetched_into_a_cache_that_is_not_the_one_to_come(origin, cache, log):
    """A gate that has just started says stored of nothing: visitors would not find it once it has caught up."""
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/b")
    log.status()
    cache.restart()
    wanted = Fetch(log.position, "http", SITE, "/a")
    assert isinstance(log.run(log.driver.fetch(wanted)), Trouble)
    assert isinstance(log.fetch_each([wanted, wanted], lambda *answer: pytest.fail(str(answer))), Trouble)
    log.catch_up()

    assert log.fetch("/a").outcome is FetchOutcome.STORED
    cache.get("/a").hit("v1")


@pytest.mark.reloads
def test_a_reload_changes_nothing(origin, cache, log):
    """Position, rules, stored objects and synced outlive a reload."""
    origin.serves("/a", "v1")
    origin.serves("/b", "v1")
    cache.get("/b")
    origin.serves("/b", "v2")
    log.refresh(Verb.FILE, b"/b")
    cache.get("/a")
    before = log.status()
    cache.reload()
    after = log.status()

    assert (after.log, after.position, after.mark, after.synced) == (before.log, before.position, before.mark, True)
    cache.get("/a").hit("v1")
    cache.get("/b").fetched("v2")


@pytest.mark.reloads
def test_a_fetch_in_flight_over_a_reload_never_becomes_a_hit(origin, cache, log, visitors):
    """The race is closed too when the server is reloaded in the middle of it."""
    origin.serves("/a", "v1")
    with origin.holding("/a", "headers") as held:
        old = visitors.submit(cache.get, "/a")
        held.wait()
        origin.serves("/a", "v2")
        origin.lets_pass("/a")
        log.refresh(Verb.FILE, b"/a")
        reloading = visitors.submit(cache.reload)
        held.release()
        reloading.result()
        old.result()

    never_again(cache, "/a", "v1")


def test_killed_in_the_middle_of_its_work(origin, cache, log, visitors):
    """After SIGKILL under load, once caught up, nothing is older than the last refresh that was accepted."""
    targets = [f"/k/{n}" for n in range(8)]
    for target in targets:
        origin.serves(target, "v0")
    stop = threading.Event()

    def visit() -> None:
        while not stop.is_set():
            for target in targets:
                try:
                    cache.get(target)
                except (OSError, HTTPException):  # it is being killed
                    continue

    visits = [visitors.submit(visit) for _ in range(3)]
    for version in range(1, 9):
        for target in targets:
            origin.serves(target, f"v{version}")
        log.applied(*((Verb.FILE, target.encode()) for target in targets))
    killing = visitors.submit(cache.kill)
    for target in targets:
        origin.serves(target, "v9")
    log.apply(log.accept(*((Verb.FILE, target.encode()) for target in targets)))  # may or may not have happened
    killing.result()
    stop.set()
    for visited in visits:
        visited.result()
    cache.start()

    for target in targets:
        never_again(cache, target, "v8")
    log.catch_up()
    for target in targets:
        assert cache.get(target).body == "v9"
        assert cache.get(target).body == "v9"
