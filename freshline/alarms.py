"""One timer for all edges, and for all that is waited for.

A thousand edges that are asked where they stand every few seconds would keep a thousand timers of the event loop, each
set anew by each answer. Here an edge that has to look later than it said before only notes so; when its old moment
comes it is put off. Moments that lie close together come at once, so that what is sent and read is sent and read
together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from weakref import WeakValueDictionary

GRAIN_SECONDS = 0.02  #: between two looks at what is due
FAR_SECONDS = 30.0  #: nothing stands in the queue for longer: what was called off is forgotten then

NEVER = float("inf")


class Alarms:
    """Belongs to one event loop, the one that runs when the first alarm is set."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Alarm]] = []
        self._count = 0  #: makes entries of one moment comparable
        self._timer: asyncio.TimerHandle | None = None
        self._at = NEVER  #: when the timer ends

    @staticmethod
    def here() -> Alarms:
        """Those of the loop that runs."""
        loop = id(asyncio.get_running_loop())
        if (found := _here.get(loop)) is None:
            found = _here[loop] = Alarms()
        return found

    def push(self, at: float, alarm: Alarm) -> None:
        self._count += 1
        heappush(self._queue, (at, self._count, alarm))
        if at < self._at:
            self._arm(at)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at, self._timer = at, asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        now = asyncio.get_running_loop().time()
        self._at, self._timer = now, None  # what is set meanwhile is seen below
        try:
            while self._queue and self._queue[0][0] <= now:
                at, _, alarm = heappop(self._queue)
                alarm.reached(at, now)
        finally:
            self._at = NEVER
            if self._queue:
                self._arm(max(self._queue[0][0], now + GRAIN_SECONDS))


_here: WeakValueDictionary[int, Alarms] = WeakValueDictionary()  #: by loop, for as long as there are any alarms of it


class Alarm:
    """Rings once at the moment that was set last."""

    __slots__ = ("_alarms", "_due", "_queued", "_ring")

    def __init__(self, alarms: Alarms, ring: Callable[[], None]) -> None:
        self._alarms, self._ring = alarms, ring
        self._due = NEVER
        self._queued = NEVER  #: the earliest moment it stands in the queue with

    def set(self, moment: float) -> None:
        """Ring then, instead of whenever it was to ring: on the monotonic clock, which is the loop's as well.

        :param moment: infinite: not at all
        """
        self._due = moment
        if moment < self._queued:
            self._put(asyncio.get_running_loop().time())

    def by(self, moment: float) -> None:
        """Ring then, or sooner if it was to ring sooner."""
        if moment < self._due:
            self.set(moment)

    def cancel(self) -> None:
        self._due = NEVER

    def reached(self, at: float, now: float) -> None:
        """The queue has come to one of its moments."""
        if at != self._queued:
            return  # an earlier one has been here
        self._queued = NEVER
        if self._due <= now:
            self._due = NEVER
            self._ring()
        elif self._due < NEVER:
            self._put(now)

    def _put(self, now: float) -> None:
        at = min(self._due, now + FAR_SECONDS)
        if at < self._queued:
            self._queued = at
            self._alarms.push(at, self)
