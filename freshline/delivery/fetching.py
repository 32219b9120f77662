"""The prefetches that are under way on one edge: asked of its driver, followed where they lead, each with its place.

Of a driver that can ask for several objects in one request those that begin in one turn of the loop are asked for
together, in half as many requests by turns as keep the edge busy. Each is answered by itself, and a slow one holds up
none of the others: what has ended is told to the machine when its request has, or a moment later, so that a few turns
of the edge settle many objects, and what begins then makes one request again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from freshline.delivery.events import FetchesAnswered
from freshline.delivery.origins import Places
from freshline.domain.action import Fetch, onward
from freshline.drivers.base import Asked, Direct, Driver, Fetched, Several, Trouble

REDIRECTS = 5  #: followed one after the other
TOGETHER = 32  #: in one request
APART = 4  #: so few are not shared out between two requests
REQUEST_BYTES = 1 << 16  #: of one request, about, unless one object makes it longer
LINE_BYTES = 3 * 1024  #: the longest path there is, escaped
SPENT = 4  #: requests that have every answer, and whose end is waited for
HOLD_SECONDS = 0.005  #: what has ended may wait so long for more

Answer = Fetched | Trouble
Broke = Callable[[Exception], Trouble]
Call = Callable[[Coroutine[Any, Any, Answer | None]], Coroutine[Any, Any, Answer | None]]


@dataclass(slots=True, eq=False)
class Errand:
    """Objects that the edge was asked for at once: one, or those of one request."""

    fetches: Sequence[Fetch]
    waits: set[int]  #: of those the numbers whose places are taken
    asked: Asked | None = None


class Fetching:
    def __init__(
        self,
        driver: Driver,
        places: Places,
        call: Call,
        broke: Broke,
        answered: Callable[[FetchesAnswered], None],
        *,
        follow: bool,
    ) -> None:
        """
        :param call: makes values of a driver's faults
        :param broke: makes one of such a fault
        :param answered: called for some at once, their places given back before
        :param follow: what is redirected within its domain brings what it is redirected to, too
        """
        self._driver, self._places, self._call, self._answered, self._follow = driver, places, call, answered, follow
        self._broke = broke
        self._several = driver if isinstance(driver, Several) else None
        self._direct = driver if isinstance(driver, Direct) else None
        self._errands: dict[Errand, None] = {}
        self._doing: dict[Errand, asyncio.Task[None]] = {}
        self._ended: list[tuple[int, Answer]] = []  #: and not told yet
        self._back: dict[str, int] = {}  #: their places, by domain
        self._timer: asyncio.TimerHandle | None = None

    def go(self, fetches: Sequence[Fetch]) -> None:
        """Begin all of these. Each has a place."""
        self._end_what_is_spent()
        size = 1 if self._several is None else self._size(self._several, fetches)
        for at in range(0, len(fetches), size):
            together = fetches[at : at + size]
            if self._several is not None and len(together) > 1:
                self._each(self._several, together)
            else:
                self._begin(together[0], together[0], REDIRECTS)

    def _size(self, driver: Several, fetches: Sequence[Fetch]) -> int:
        """Of a request."""
        if driver.fetches_at_once <= 1:
            return 1
        under_way = sum(len(errand.waits) for errand in self._errands)
        size = max(APART, -(-(under_way + len(fetches)) // 2))  # two by turns, so that neither side waits
        longest = max(map(_length, {fetch.headers for fetch in fetches}))
        return min(size, TOGETHER, driver.fetches_at_once, max(1, REQUEST_BYTES // (LINE_BYTES + longest)))

    def keep(self, owed: Container[int]) -> bool:
        """One that is owed no more, by its position, gives its place to one that somebody waits for.

        :return: whether there was any
        """
        gone = False
        for errand in list(self._errands):
            for number in [n for n in errand.waits if errand.fetches[n].position not in owed]:
                errand.waits.remove(number)
                self._places.give_back(errand.fetches[number].host)
                gone = True
            if not errand.waits:
                self._give_up(errand)
        return gone

    def _end_what_is_spent(self) -> None:
        """Of gates that have answered all and never end: each keeps a connection, and there are not so many."""
        if len(self._errands) > SPENT:
            for errand in [errand for errand in self._errands if not errand.waits][:-SPENT]:
                self._give_up(errand)

    async def close(self) -> None:
        doing = list(self._doing.values())
        for errand in list(self._errands):
            for number in errand.waits:
                self._places.give_back(errand.fetches[number].host)
            errand.waits.clear()
            self._give_up(errand)
        self._ended.clear()
        self._tell()
        await asyncio.gather(*doing, return_exceptions=True)

    def _give_up(self, errand: Errand) -> None:
        """Nobody waits for it any more."""
        del self._errands[errand]
        if errand.asked is not None:
            errand.asked.abandon()
        if (doing := self._doing.pop(errand, None)) is not None:
            doing.cancel()

    def _begin(self, owed: Fetch, what: Fetch, redirects: int) -> None:
        """One by itself.

        :param what: where ``owed`` led to so far
        """
        errand = Errand((owed,), {0})
        self._errands[errand] = None
        if self._direct is not None:
            self._ask(self._direct, errand, what, redirects)
        else:
            self._doing[errand] = asyncio.get_running_loop().create_task(self._one(errand, what, redirects))

    def _ask(self, direct: Direct, errand: Errand, what: Fetch, redirects: int) -> None:
        """Without a task: thousands a second are asked for."""

        def done(answer: Answer) -> None:
            there = self._onward(what, answer)
            if there is not None and redirects:
                self._ask(direct, errand, there, redirects - 1)
            else:
                self._over(errand, answer)

        try:
            errand.asked = direct.fetch_then(what, done)
        except Exception as error:
            self._over(errand, self._broke(error))

    async def _one(self, errand: Errand, what: Fetch, redirects: int) -> None:
        while True:
            answer = await self._call(self._driver.fetch(what))
            assert answer is not None, "a fetch without an answer"
            there = self._onward(what, answer)
            if there is None or not redirects:
                break
            what, redirects = there, redirects - 1
        self._doing.pop(errand, None)
        self._over(errand, answer)

    def _each(self, driver: Several, fetches: Sequence[Fetch]) -> None:
        """Without a task, likewise."""
        errand = Errand(fetches, set(range(len(fetches))))
        self._errands[errand] = None

        def ended(some: Sequence[tuple[int, Answer]]) -> None:
            self._end(errand, [each for each in some if not self._led_on(errand, *each)] if self._follow else some)
            self._tell_soon(at_once=not errand.waits)

        try:
            errand.asked = driver.fetch_each_then(fetches, ended, lambda trouble: self._over(errand, trouble))
        except Exception as error:
            self._over(errand, self._broke(error))

    def _led_on(self, errand: Errand, number: int, answer: Answer) -> bool:
        """It goes on by itself, with its place."""
        owed = errand.fetches[number]
        if number not in errand.waits or (there := self._onward(owed, answer)) is None:
            return False
        errand.waits.remove(number)
        self._begin(owed, there, REDIRECTS - 1)
        return True

    def _onward(self, what: Fetch, answer: Answer) -> Fetch | None:
        return onward(what, answer.status, answer.location) if self._follow and isinstance(answer, Fetched) else None

    def _over(self, errand: Errand, answer: Answer | None) -> None:
        """No more is heard of it.

        :param answer: to all that have none yet
        """
        self._errands.pop(errand, None)
        if answer is not None and errand.waits:
            self._end(errand, [(number, answer) for number in errand.waits])
            self._tell_soon(at_once=True)

    def _end(self, errand: Errand, some: Iterable[tuple[int, Answer]]) -> None:
        waits, fetches, told, back = errand.waits, errand.fetches, self._ended, self._back
        for number, answer in some:
            if number in waits:
                waits.remove(number)
                fetch = fetches[number]
                told.append((fetch.position, answer))
                back[fetch.host] = back.get(fetch.host, 0) + 1

    def _tell_soon(self, *, at_once: bool) -> None:
        if not self._ended:
            return
        if at_once:
            self._tell()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._tell)

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for host, count in self._back.items():
            self._places.give_back(host, count)  # before the machine looks for places
        self._back.clear()
        if self._ended:
            ended, self._ended = self._ended, []
            self._answered(FetchesAnswered(ended))


def _length(headers: Iterable[tuple[str, str]]) -> int:
    return sum(3 * (len(name) + len(value)) for name, value in headers)
