"""The prefetches that are under way on one edge: asked of its driver, followed where they lead, each with its place.

Of a driver that can ask for several objects in one request those that begin in one turn of the loop are asked for
together, a few to a request. Each is answered by itself: a slow one holds up none of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from freshline.delivery.events import FetchAnswered
from freshline.delivery.origins import Places
from freshline.domain.action import Fetch, onward
from freshline.drivers.base import Asked, Direct, Driver, Fetched, Several, Trouble

REDIRECTS = 5  #: followed one after the other
TOGETHER = 8  #: in one request; more of them save little, and a few requests are shared out among a server's workers

Answer = Fetched | Trouble
Broke = Callable[[Exception], Trouble]
Call = Callable[[Coroutine[Any, Any, Answer | None]], Coroutine[Any, Any, Answer | None]]


@dataclass(slots=True, eq=False)
class Errand:
    """One object that the edge was asked for."""

    fetch: Fetch
    waits: bool = True  #: its place at the origin is taken


class Fetching:
    def __init__(
        self,
        driver: Driver,
        places: Places,
        call: Call,
        broke: Broke,
        answered: Callable[[FetchAnswered], None],
        *,
        follow: bool,
    ) -> None:
        """
        :param call: makes values of a driver's faults
        :param broke: makes one of such a fault
        :param answered: called for each, its place given back before
        :param follow: what is redirected within its domain brings what it is redirected to, too
        """
        self._driver, self._places, self._call, self._answered, self._follow = driver, places, call, answered, follow
        self._broke = broke
        self._several = driver if isinstance(driver, Several) else None
        self._direct = driver if isinstance(driver, Direct) else None
        self._asked: dict[Errand, Asked] = {}
        self._together: dict[Errand, tuple[Asked, Sequence[Errand]]] = {}  #: by the first of them
        self._doing: dict[asyncio.Task[None], Errand] = {}

    def go(self, fetches: Sequence[Fetch]) -> None:
        """Begin all of these. Each has a place."""
        errands = [Errand(fetch) for fetch in fetches]
        size = 1 if self._several is None else max(1, min(TOGETHER, self._several.fetches_at_once))
        for at in range(0, len(errands), size):
            together = errands[at : at + size]
            if self._several is not None and len(together) > 1:
                self._each(self._several, together)
            else:
                self._begin(together[0], together[0].fetch, REDIRECTS)

    def keep(self, owed: Container[int]) -> bool:
        """One that is owed no more, by its position, gives its place to one that somebody waits for.

        :return: whether there was any
        """
        gone = False
        for doing, errand in list(self._doing.items()):
            if errand.fetch.position not in owed:
                self._give_back(errand)
                gone = True
                doing.cancel()

        for errand in [errand for errand in self._asked if errand.fetch.position not in owed]:
            self._asked.pop(errand).abandon()
            self._give_back(errand)
            gone = True

        for first, (asked, errands) in list(self._together.items()):
            for errand in errands:
                if errand.fetch.position not in owed:
                    self._give_back(errand)
                    gone = True
            if not any(errand.waits for errand in errands):
                del self._together[first]
                asked.abandon()
        return gone

    async def close(self) -> None:
        for errand, asked in self._asked.items():
            asked.abandon()
            self._give_back(errand)
        for asked, errands in self._together.values():
            asked.abandon()
            for errand in errands:
                self._give_back(errand)
        self._asked, self._together = {}, {}
        doing = list(self._doing)
        for each in doing:
            each.cancel()
        await asyncio.gather(*doing, return_exceptions=True)

    def _begin(self, errand: Errand, what: Fetch, redirects: int) -> None:
        if self._direct is not None:
            self._ask(self._direct, errand, what, redirects)
            return
        doing = asyncio.get_running_loop().create_task(self._one(errand, what, redirects))
        self._doing[doing] = errand
        doing.add_done_callback(self._over)

    def _over(self, doing: asyncio.Task[None]) -> None:
        """Also of one that was cancelled before it had begun."""
        self._give_back(self._doing.pop(doing))

    def _ask(self, direct: Direct, errand: Errand, what: Fetch, redirects: int) -> None:
        """Without a task: thousands a second are asked for."""

        def done(answer: Answer) -> None:
            del self._asked[errand]
            there = self._onward(what, answer)
            if there is not None and redirects:
                self._ask(direct, errand, there, redirects - 1)
            else:
                self._end(errand, answer)

        try:
            self._asked[errand] = direct.fetch_then(what, done)
        except Exception as error:
            self._end(errand, self._broke(error))

    async def _one(self, errand: Errand, what: Fetch, redirects: int) -> None:
        while True:
            answer = await self._call(self._driver.fetch(what))
            assert answer is not None, "a fetch without an answer"
            there = self._onward(what, answer)
            if there is None or not redirects:
                break
            what, redirects = there, redirects - 1
        self._end(errand, answer)

    def _each(self, driver: Several, errands: Sequence[Errand]) -> None:
        """Without a task, likewise."""

        def ended(number: int, answer: Answer) -> None:
            errand = errands[number]
            there = self._onward(errand.fetch, answer)
            if there is None or not errand.waits:
                self._end(errand, answer)
                return
            led = Errand(errand.fetch)  # it has the place from here
            errand.waits = False
            self._begin(led, there, REDIRECTS - 1)

        def over(trouble: Trouble | None) -> None:
            del self._together[errands[0]]
            if trouble is not None:
                for errand in errands:
                    self._end(errand, trouble)

        try:
            asked = driver.fetch_each_then([errand.fetch for errand in errands], ended, over)
        except Exception as error:
            for errand in errands:
                self._end(errand, self._broke(error))
        else:
            self._together[errands[0]] = asked, errands

    def _onward(self, what: Fetch, answer: Answer) -> Fetch | None:
        return onward(what, answer.status, answer.location) if self._follow and isinstance(answer, Fetched) else None

    def _end(self, errand: Errand, answer: Answer) -> None:
        if errand.waits:
            self._give_back(errand)  # before the machine looks for places
            self._answered(FetchAnswered(errand.fetch.position, answer))

    def _give_back(self, errand: Errand) -> None:
        if errand.waits:
            errand.waits = False
            self._places.give_back(errand.fetch.host)
