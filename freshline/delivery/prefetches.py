"""The prefetches one edge owes: which are taken up, under way, to be tried again.

They wait in lanes, one for each account and domain, and lanes take turns: an account that asks for a hundred thousand
objects holds up nobody who asks for ten, nor does an origin that hangs.

1. A lane knows where in the log its rows are, as a few spans, and holds only some of them itself. So memory grows with
   accounts and domains, never with rows.
2. The account with the fewest under way is next, and of its domains the one that was served longest ago.
3. ``window`` are under way at most. An account that has none under way may begin one beyond that, up to twice as many
   in all: those that hang do not shut others out.
4. What has no place at its origin is not begun, so it takes no room in the window.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from freshline.delivery.events import Above, Places, Plenty, Reader, Warm, When
from freshline.domain.action import Fetch
from freshline.domain.edge import Progress
from freshline.domain.ranges import NOTHING, Range, Ranges
from freshline.domain.task import Reason
from freshline.drivers.base import Fetched, FetchOutcome, Trouble

SPANS = 64  #: of one lane; beyond, the last one covers what lies between, and is searched
READ_ROWS = 64  #: taken up by a lane at once
LOW_ROWS = 32  #: that wait in a lane; more are taken up before there are fewer, so that many may begin together
HELD_ROWS = 4 * READ_ROWS  #: that a lane has taken up and not done: no more are taken up beyond
READS = 32  #: at most in one go: others have their turn in between

REASONS = {
    FetchOutcome.STORED: None,
    FetchOutcome.ORIGIN_TIMEOUT: Reason.ORIGIN_TIMEOUT,
    FetchOutcome.ORIGIN_STATUS: Reason.ORIGIN_STATUS,
    FetchOutcome.OTHER: Reason.INTERNAL,
}


@dataclass(slots=True, eq=False)
class Lane:
    """What one account wants of one domain."""

    account: str
    host: str
    spans: deque[Range] = field(default_factory=deque)  #: where in the log more of it is
    waiting: dict[int, Owed] = field(default_factory=dict)  #: taken up, to be begun in this order
    held: int = 0  #: taken up: those that wait, rest or are under way

    def note(self, first: int, last: int) -> None:
        if self.spans:
            before, end = self.spans[-1]
            if first == end + 1 or len(self.spans) >= SPANS:
                self.spans[-1] = min(before, first), max(end, last)
                return
        self.spans.append((first, last))

    @property
    def is_hungry(self) -> bool:
        return bool(self.spans) and len(self.waiting) < LOW_ROWS and self.held < HELD_ROWS


class Owed(msgspec.Struct, eq=False):
    """One row. Thousands a second are made, which a data class takes four times as long for."""

    fetch: Fetch
    lane: Lane
    tries: int = 0
    due: float = 0.0
    sent: float | None = None  #: wall clock of the try under way


Answer = Fetched | Trouble
Ended = tuple[int, float, Owed, Answer]  #: where, when it was sent, what, and what came of it


@dataclass(slots=True)
class Prefetches:
    reader: Reader
    above: Above
    window: int
    tries: int  #: before an origin's failure is final
    noted: int  #: every one up to here is in a lane
    again: Ranges = NOTHING  #: asked for once more, and in no lane yet; none: that very object
    places: Places = field(default_factory=Plenty)
    owed: dict[int, Owed] = field(default_factory=dict)  #: everything that lanes hold
    busy: int = 0
    _lanes: OrderedDict[tuple[str, str], Lane] = field(default_factory=OrderedDict)  #: the next to be served first
    _hungry: dict[Lane, None] = field(default_factory=dict)
    _waiting: dict[Lane, None] = field(default_factory=dict)  #: those in which some wait
    _busy: Counter[str] = field(default_factory=Counter)  #: under way, by account
    _resting: dict[int, Owed] = field(default_factory=dict)  #: to be tried again later

    @property
    def owes(self) -> bool:
        """There is any, noted or asked for once more."""
        return bool(self._lanes) or self.again is not NOTHING

    def note(self, warms: Iterable[Warm]) -> None:
        """These rows have their refreshes applied."""
        for warm in warms:
            if warm.last > self.noted:
                self._note(warm, max(warm.first, self.noted + 1))
                self.noted = warm.last

    def forget(self, oldest: int) -> None:
        """The log holds nothing before this any more."""
        self.again = self.again.beyond(oldest - 1) or NOTHING
        for lane in list(self._lanes.values()):
            lane.spans = deque((max(first, oldest), last) for first, last in lane.spans if last >= oldest)
            self._look_after(lane)

    def take_up(self, progress: Progress) -> Ranges:
        """Read more of what is to be done. Those that failed before they were begun are returned."""
        late: list[Range] = []
        left = READS
        while self.again and left:
            left -= 1
            first, last = next(iter(self.again))
            stretch = self.reader.stretch(first - 1, last)
            self.again = self.again.beyond(stretch.upto) or NOTHING
            for warm in stretch.warms:
                self._note(warm, warm.first)
        while self._hungry and left:
            left -= 1
            lane = next(iter(self._hungry))
            late += self._read(lane, progress)
            del self._hungry[lane]
            self._look_after(lane)  # at the end of the line, if it has not found anything
        return Ranges(late)

    def ready(self, when: When, reached: int) -> tuple[Fetch, ...]:
        """Those to be begun now; they are under way from here."""
        if self._resting:
            self._wake(when)
        out: list[Fetch] = []
        if not self._waiting or self.busy >= 2 * self.window:
            return ()
        upto = min(reached, self.above.warmed())
        tried: set[Lane] = set()
        while (lane := self._next_lane(tried)) is not None:
            alone = len(self._waiting) == len(tried) + 1  # and need not take turns
            most = max(self.window - self.busy, 1) if alone else 1
            begun = self._begin(lane, upto, reached, most)
            if not begun:
                tried.add(lane)
                continue
            wall = when.wall
            for owed in begun:
                owed.sent = wall
                owed.tries += 1
                out.append(owed.fetch)
            self.busy += len(begun)
            self._busy[lane.account] += len(begun)
            self._lanes.move_to_end((lane.account, lane.host))
            self._look_after(lane)
        return tuple(out)

    def next_due(self) -> float:
        """Monotonic seconds; a full window waits for an answer, not for a time."""
        if self.again or self._hungry:
            return 0.0
        if self.busy >= self.window:
            return float("inf")
        return min((owed.due for owed in self._resting.values()), default=float("inf"))

    def answered(self, answers: Iterable[tuple[int, Answer]]) -> list[Ended]:
        """Those that are under way no longer. What was given up meanwhile is not among them."""
        out: list[Ended] = []
        lanes: dict[Lane, int] = {}
        known = self.owed
        for position, answer in answers:
            owed = known.get(position)
            if owed is not None and (sent := owed.sent) is not None:
                owed.sent = None
                out.append((position, sent, owed, answer))
                lane = owed.lane
                lanes[lane] = lanes.get(lane, 0) + 1
        for lane, count in lanes.items():
            self._end(lane.account, count)
        return out

    def finish(self, ended: Iterable[Ended]) -> None:
        """These were under way, and have come to their end."""
        lanes: dict[Lane, int] = {}
        for position, _, owed, _ in ended:
            del self.owed[position]
            lane = owed.lane
            lanes[lane] = lanes.get(lane, 0) + 1
        for lane, count in lanes.items():
            lane.held -= count
            self._look_after(lane)

    def rest(self, owed: Owed, until: float) -> None:
        """It is tried again then."""
        owed.due = until
        self._resting[owed.fetch.position] = owed

    def worth_another_try(self, owed: Owed, answer: Fetched | Trouble) -> bool:
        if isinstance(answer, Trouble):
            return True  # the edge's trouble: until the deadline
        # 200 and not stored may be a refresh that came between; a redirect or a 404 will be the same next time.
        final = answer.outcome is FetchOutcome.OTHER and 300 <= answer.status < 500
        return not final and owed.tries < self.tries

    def under_way(self) -> Ranges:
        return Ranges((p, p) for p, owed in self.owed.items() if owed.sent is not None)

    def give_up(self, rows: Ranges, *, under_way: bool = True) -> Ranges:
        """Those of the rows that are owed are so no more. What comes of a try that is under way is of no interest."""
        given = [p for p, owed in self.owed.items() if p in rows and (under_way or owed.sent is None)]
        self.done(given)
        self.again = self.again - rows or NOTHING
        return Ranges((position, position) for position in given)

    def done(self, positions: Iterable[int]) -> None:
        """They are given up, wherever they are."""
        lanes: dict[Lane, None] = {}
        for position in positions:
            owed = self.owed.pop(position)
            lane = owed.lane
            if owed.sent is not None:
                self._end(lane.account)
            self._resting.pop(position, None)
            lane.waiting.pop(position, None)
            lane.held -= 1
            lanes[lane] = None
        for lane in lanes:
            self._look_after(lane)

    def _end(self, account: str, count: int = 1) -> None:
        """So many are under way no longer."""
        self.busy -= count
        self._busy[account] -= count
        if not self._busy[account]:
            del self._busy[account]

    def _note(self, warm: Warm, first: int) -> None:
        key = warm.account, warm.host
        if (lane := self._lanes.get(key)) is None:
            lane = self._lanes[key] = Lane(*key)
        lane.note(first, warm.last)
        self._look_after(lane)

    def _look_after(self, lane: Lane) -> None:
        if lane.waiting:
            self._waiting[lane] = None
        else:
            self._waiting.pop(lane, None)
        if lane.is_hungry:
            self._hungry[lane] = None
        else:
            self._hungry.pop(lane, None)
            if not (lane.spans or lane.held):
                self._lanes.pop((lane.account, lane.host), None)

    def _read(self, lane: Lane, progress: Progress) -> list[Range]:
        """A piece of the lane's first span."""
        first, last = lane.spans.popleft()
        upto = min(last, first + READ_ROWS - 1)
        if upto < last:
            lane.spans.appendleft((upto + 1, last))
        late: list[Range] = []
        owed, waiting, held, passed = self.owed, lane.waiting, len(self.owed), progress.passed()
        host, failed = lane.host, progress.failed
        for fetch in self.reader.fetches(first - 1, upto):
            position = fetch.position
            if fetch.host != host or position in owed or (position <= passed and progress.settled(position)):
                continue
            if failed and progress.failure(position) is not None:
                late.append((position, position))
            else:
                owed[position] = waiting[position] = Owed(fetch, lane)
        lane.held += len(owed) - held
        return late

    def _wake(self, when: When) -> None:
        for owed in [owed for owed in self._resting.values() if owed.due <= when.clock]:
            del self._resting[owed.fetch.position]
            owed.lane.waiting[owed.fetch.position] = owed
            self._look_after(owed.lane)

    def _next_lane(self, tried: set[Lane]) -> Lane | None:
        """Whose turn it is.

        :param tried: those that have nothing to be begun now
        """
        if self.busy >= 2 * self.window:
            return None
        crowded = self.busy >= self.window
        best: Lane | None = None
        fewest = 0
        for lane in self._lanes.values():
            if not lane.waiting or lane in tried:
                continue
            has = self._busy[lane.account]
            if not (crowded and has) and (best is None or has < fewest):
                best, fewest = lane, has
                if has * len(self._busy) <= self.busy:
                    break  # no more than its share: good enough, and those who come first have waited longest
        return best

    def _begin(self, lane: Lane, upto: float, reached: int, most: int) -> list[Owed]:
        """The lane's first that may be begun. Children wait for their parents, row by row.

        :param upto: the parents are done with everything before, and the gate has applied it
        """
        waiting = lane.waiting
        positions = list(islice(waiting, most))
        if positions and max(positions) > upto:
            may = (p for p in waiting if p <= upto or (p <= reached and self.above.settled(p)))
            positions = list(islice(may, most))
        count = self.places.take(lane.host, len(positions)) if positions else 0
        return [waiting.pop(position) for position in positions[:count]]


def failure(answer: Fetched | Trouble) -> Reason | None:
    """What is wrong with it; nothing, if the object is stored."""
    if isinstance(answer, Trouble):
        return Reason.INTERNAL
    return REASONS[answer.outcome]
