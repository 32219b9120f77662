"""The prefetches one edge owes: which are taken up, under way, to be tried again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from freshline.delivery.events import Above, Reader, When
from freshline.domain.action import Fetch
from freshline.domain.edge import Progress
from freshline.domain.ranges import NOTHING, Ranges
from freshline.drivers.base import Fetched, FetchOutcome, Trouble


@dataclass(slots=True)
class Owed:
    fetch: Fetch
    tries: int = 0
    due: float = 0.0
    sent: float | None = None  #: wall clock of the try under way


@dataclass(slots=True)
class Prefetches:
    """A window of them at a time; the others wait in the log."""

    reader: Reader
    above: Above
    window: int
    tries: int  #: before an origin's failure is final
    looked: int  #: every one up to here has been taken up
    again: Ranges = NOTHING  #: asked for once more, and not taken up yet
    owed: dict[int, Owed] = field(default_factory=dict)

    def take_up(self, reached: int, progress: Progress) -> Ranges:
        """Look for more, up to where refreshes are applied. Those that failed before they were begun are returned."""
        late: Ranges = NOTHING
        while self.again and self._has_room():
            first, last = next(iter(self.again))
            stretch = self.reader.stretch(first - 1, last)
            self.again = self.again.beyond(stretch.upto)
            wanted = (fetch for fetch in stretch.fetches if fetch.position in progress.again)
            self.owed = {fetch.position: Owed(fetch) for fetch in wanted} | self.owed
        while self.looked < reached and self._has_room():
            stretch = self.reader.stretch(self.looked, reached)
            self.looked = stretch.upto
            for fetch in stretch.fetches:
                if progress.settled(fetch.position) or fetch.position in self.owed:
                    continue
                if progress.failure(fetch.position) is not None:
                    late |= Ranges([(fetch.position, fetch.position)])
                else:
                    self.owed[fetch.position] = Owed(fetch)
        return late

    def ready(self, when: When, reached: int) -> Iterator[Fetch]:
        """Those to be begun now; they are under way from here."""
        free = self.window - self.busy
        for owed in self.owed.values():
            if free <= 0:
                return
            if owed.sent is None and owed.due <= when.clock and owed.fetch.position <= reached:
                if not self.above.settled(owed.fetch.position):
                    continue
                owed.sent, owed.tries = when.wall, owed.tries + 1
                free -= 1
                yield owed.fetch

    @property
    def busy(self) -> int:
        return sum(owed.sent is not None for owed in self.owed.values())

    def next_due(self) -> float:
        """Monotonic seconds; a full window waits for an answer, not for a time."""
        if self.busy >= self.window:
            return float("inf")
        moments = (owed.due for owed in self.owed.values() if owed.sent is None and owed.due > 0)
        return min(moments, default=float("inf"))

    def answered(self, position: int) -> tuple[Owed, float] | None:
        """The one that is no longer under way, and when it was sent; nothing if it was given up meanwhile."""
        owed = self.owed.get(position)
        if owed is None or owed.sent is None:
            return None
        sent, owed.sent = owed.sent, None
        return owed, sent

    def worth_another_try(self, owed: Owed, answer: Fetched | Trouble) -> bool:
        if isinstance(answer, Trouble):
            return True  # the edge's trouble: until the deadline
        # 200 and not stored may be a refresh that came between; a redirect or a 404 will be the same next time.
        final = answer.outcome is FetchOutcome.OTHER and 300 <= answer.status < 500
        return not final and owed.tries < self.tries

    def give_up(self, rows: Ranges, *, under_way: bool = True) -> Ranges:
        """Those of the rows that are owed are so no more. What comes of a try that is under way is of no interest."""
        given = [p for p, owed in self.owed.items() if p in rows and (under_way or owed.sent is None)]
        for position in given:
            del self.owed[position]
        self.again -= rows
        return Ranges((position, position) for position in given)

    def _has_room(self) -> bool:
        return len(self.owed) < 2 * self.window
