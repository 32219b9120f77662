"""Who is warmed next: turns between accounts, and between the domains of one."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from itertools import groupby

from freshline.delivery.events import Origin, Stretch, Warm, When
from freshline.delivery.origins import OriginSlots
from freshline.delivery.prefetches import HELD_ROWS, SPANS, Prefetches
from freshline.domain.action import Fetch
from freshline.domain.edge import Progress
from freshline.domain.ranges import Ranges
from freshline.drivers.base import Fetched, FetchOutcome

NOW = When(0.0, 0.0)
BROKEN = Fetched(FetchOutcome.ORIGIN_STATUS, 503, 0, "503")


class Rows:
    """A log of nothing but prefetches; each row is an account and a domain."""

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self.rows = rows
        self.read = 0

    def stretch(self, after: int, upto: int) -> Stretch:
        warms, position = [], after
        for (account, host), run in groupby(self.rows[after:upto]):
            first, position = position + 1, position + len(list(run))
            warms.append(Warm(first, position, account, host))
        return Stretch(after, upto, "m", (), tuple(warms))

    def fetches(self, after: int, upto: int) -> list[Fetch]:
        self.read += upto - after
        return [Fetch(p, "http", self.rows[p - 1][1], f"/{p}") for p in range(after + 1, upto + 1)]


class Warming:
    """An edge whose fetches end when the test says so."""

    def __init__(self, rows: list[tuple[str, str]], window: int = 8, slots: OriginSlots | None = None) -> None:
        self.rows = Rows(rows)
        places = (slots or OriginSlots(10**6)).of("e", lambda: None)
        self.prefetches = Prefetches(self.rows, Origin(), window, 3, 0, places=places)
        self.places = places
        self.prefetches.note(self.rows.stretch(0, len(rows)).warms)
        self.progress = Progress()
        self.busy: list[Fetch] = []
        self.done: list[str] = []

    def account(self, fetch: Fetch) -> str:
        return self.rows.rows[fetch.position - 1][0]

    def go(self) -> Counter[str]:
        """What is under way now, by account."""
        self.prefetches.take_up(self.progress)
        self.busy += self.prefetches.ready(NOW, len(self.rows.rows))
        return Counter(map(self.account, self.busy))

    def end(self, fetch: Fetch) -> None:
        self.busy.remove(fetch)
        self.places.give_back(fetch.host)
        assert self.prefetches.answered([(fetch.position, BROKEN)])
        self.prefetches.done([fetch.position])
        self.progress = Progress(ahead=self.progress.ahead | Ranges([(fetch.position, fetch.position)]))
        self.done.append(self.account(fetch))


def test_ten_objects_do_not_wait_for_a_hundred_thousand() -> None:
    """Another account's ten come along as soon as they are in the log, whatever is queued before them."""
    warming = Warming([("big", "big.test")] * 100_000 + [("small", "small.test")] * 10)

    while "small" not in warming.done or warming.done.count("small") < 10:
        warming.go()
        warming.end(warming.busy[0])

    assert len(warming.done) < 50
    assert len(warming.prefetches.owed) <= 2 * HELD_ROWS
    assert warming.rows.read < 1000, "reading all of it to find ten would be as long a wait"


def test_accounts_share_the_window_evenly() -> None:
    """Each of three has a third, whatever they asked for and in however many domains."""
    rows = [("a", f"{n % 7}.a.test") for n in range(3000)] + [("b", "b.test")] * 1000 + [("c", "c.test")] * 30
    warming = Warming(rows, window=9)
    for _ in range(60):
        warming.go()
        warming.end(warming.busy[0])

    counts = Counter(warming.done)
    assert max(counts.values()) - min(counts.values()) <= 9


def test_fetches_that_hang_shut_nobody_out() -> None:
    """A window full of them has room for one of each account that has none under way; twice the window is the end."""
    rows = [("slow", "slow.test")] * 100
    warming = Warming(rows + [(f"{n}", f"{n}.test") for n in range(20)], window=4)

    under_way = warming.go()
    assert under_way["slow"] >= 1 and len(under_way) > 4
    assert under_way.total() == 8

    for _ in range(20):
        warming.end(next(fetch for fetch in warming.busy if warming.account(fetch) != "slow"))
        warming.go()
        if len(warming.done) == 20:
            break
    assert set(warming.done) == {f"{n}" for n in range(20)}


def test_an_account_alone_has_the_window_and_no_more() -> None:
    """The bound holds when nobody else is there."""
    assert Warming([("a", "a.test")] * 100, window=6).go() == {"a": 6}


def test_a_domain_without_places_takes_no_room() -> None:
    """The other domain of the same account goes on."""
    warming = Warming([("a", "full.test")] * 50 + [("a", "b.test")] * 50, window=8, slots=OriginSlots(4))
    warming.go()

    assert Counter(fetch.host for fetch in warming.busy) == {"full.test": 2, "b.test": 2}
    assert warming.prefetches.busy == 4


def test_scattered_rows_are_all_found_in_bounded_memory() -> None:
    """More runs than a lane remembers: its last one is searched, and nobody else's row is taken for its own."""
    rows = [("a", "a.test"), ("b", "b.test")] * (3 * SPANS)
    warming = Warming(rows, window=16)
    assert all(len(lane.spans) <= SPANS for lane in warming.prefetches._lanes.values())

    dice = random.Random(1)
    while warming.go():
        warming.end(dice.choice(warming.busy))

    assert Counter(warming.done) == {"a": 3 * SPANS, "b": 3 * SPANS}
    assert not warming.prefetches.owed and not warming.prefetches._lanes


def test_what_rests_is_bounded_and_comes_again() -> None:
    """While everything fails, no more is taken up than a lane may hold."""
    warming = Warming([("a", "a.test")] * 5000, window=16)
    for _ in range(1000):
        warming.go()
        if not warming.busy:
            break
        fetch = warming.busy.pop(0)
        ((_, _, owed, answer),) = warming.prefetches.answered([(fetch.position, BROKEN)])
        assert warming.prefetches.worth_another_try(owed, answer)
        warming.prefetches.rest(owed, 5.0)

    assert HELD_ROWS <= len(warming.prefetches.owed) < 2 * HELD_ROWS
    assert warming.prefetches.next_due() == 5.0
    assert len(list(warming.prefetches.ready(When(5.0, 5.0), 5000))) == 16


def test_a_place_that_nobody_took_is_offered_to_the_next() -> None:
    """Edges wait in line; one that wants none any more passes it on."""
    slots = OriginSlots(2)
    woken: list[str] = []
    edges = {name: slots.of(name, partial(woken.append, name)) for name in "abc"}
    assert edges["a"].take("o.test") and not edges["a"].take("o.test"), "one edge has half of them"
    assert edges["b"].take("o.test") and not edges["c"].take("o.test")
    extra = slots.of("d", lambda: woken.append("d"))
    assert not extra.take("o.test")

    edges["a"].give_back("o.test")
    assert woken == ["c"]
    edges["c"].pass_on()
    assert woken == ["c", "d"]
    assert extra.take("o.test") and not edges["c"].take("o.test")

    edges["c"].close()
    edges["b"].give_back("o.test")
    assert woken == ["c", "d"], "one that is closed is told nothing"
