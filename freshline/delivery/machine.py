"""What one edge is owed, and in what order.

The machine does no I/O, reads no clock and rolls no dice. It is told what happened (events) and answers with what to do
next (commands); ``runner.py`` does the doing.

1. Nothing is skipped. The cursor passes a row only once that row and all before it are settled.
2. Refreshes go out in log order, one batch at a time; each batch says where it begins, so a gap is refused by the gate.
   What a gate's stamps make commutative needs no further order: a refresh never waits for a prefetch.
3. A prefetch starts only when every refresh before it is applied, so it can't store what an earlier refresh forbids.
4. A gate that does not stand where we left it is asked, never guessed at. If its history is not ours (it is new, it
   lost its memory, it is ahead of us, or it is behind all that the log still holds), it is flushed whole.
5. A refresh is retried for as long as the log reaches back. Its *task* fails visibly after the deadline all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from freshline.delivery.events import (
    Answered,
    Ask,
    Command,
    Event,
    FetchAnswered,
    Flush,
    Go,
    Grew,
    Overdue,
    Reader,
    Send,
    Settle,
    Stands,
    Stretch,
    Ticked,
    Warn,
    When,
)
from freshline.domain.action import Fetch
from freshline.domain.edge import Evidence, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason
from freshline.drivers.base import Adrift, Applied, Batch, Fetched, FetchOutcome, Gate, Trouble
from freshline.setting import setting


@dataclass(frozen=True, slots=True)
class Pace:
    """How eager delivery is. Seconds, unless the name says otherwise."""

    retry_first_seconds: float = setting(0.25, "before the first retry; doubled each time", least=0.01, most=60)
    retry_most_seconds: float = setting(5.0, "between two tries, at most", least=0.01, most=3_600)
    heartbeat_seconds: float = setting(2.0, "an idle edge is asked where it stands this often", least=0.05, most=3_600)
    flush_again_seconds: float = setting(
        300.0, "the most that two flushes of an edge are held apart", least=0, most=86_400
    )
    fetch_window: int = setting(16, "prefetches under way on one edge", least=1, most=1_000)
    fetch_tries: int = setting(3, "before an origin's failure is final", least=1, most=100)


class Lane(Enum):
    """What the one conversation with the gate is about."""

    LOST = auto()  #: we do not know where it stands
    ASKING = auto()
    CHECKING = auto()  #: a heartbeat: it stood where we thought, and we ask again
    STANDING = auto()  #: it stands where we think, nothing is under way
    SENDING = auto()
    FLUSHING = auto()


WARMING = (Lane.STANDING, Lane.SENDING, Lane.CHECKING)  #: prefetches go on
COMPLAIN_AFTER = 3  #: failures in a row before the operator is told


@dataclass(slots=True)
class Warm:
    """A prefetch that is owed."""

    fetch: Fetch
    tries: int = 0
    due: float = 0.0
    sent: float | None = None  #: wall clock of the try under way


@dataclass(slots=True)
class EdgeDelivery:
    edge: str
    log: str  #: the log's id
    reader: Reader
    progress: Progress
    pace: Pace = Pace()
    head: int = 0
    oldest: int = 1
    lane: Lane = Lane.LOST
    due: float = 0.0  #: when the lane may act again
    heard: float = 0.0  #: when the gate last answered
    failures: int = 0  #: in a row
    trouble: str = ""  #: the last one, for the operator
    synced: bool = True
    reached: int = 0  #: every refresh up to here is settled
    covered: int = 0  #: a flush answered everything up to here
    warmed: int = 0  #: every prefetch up to here has been taken into ``warming``
    warming: dict[int, Warm] = field(default_factory=dict)
    under_way: Stretch | None = None
    sent: float = 0.0  #: wall clock
    flush_to: int = 0
    flushes: int = 0
    flushed: float = float("-inf")  #: monotonic
    out: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reached = self.warmed = self.progress.cursor

    def handle(self, event: Event, when: When) -> list[Command]:
        """Take one event, give all that is to be done now."""
        match event:
            case Grew(head, oldest):
                self._grew(head, oldest)
            case Stands(gate, ours):
                self._stands(gate, ours, when)
            case Trouble():
                self._lost(event.said, when)
            case Answered(Applied() as answer):
                self._applied(answer, when)
            case Answered(Adrift(said)):
                self._lost(said, when, wait=self.failures > 0)
            case Answered(Trouble(fault, said)):
                self._lost(f"{fault}: {said}", when)
            case FetchAnswered(position, answer):
                self._fetched(position, answer, when)
            case Overdue(rows):
                self._overdue(rows)
            case Ticked():
                pass
        self._go_on(when)
        out, self.out = self.out, []
        return out

    def wake_at(self) -> float:
        """Monotonic seconds of the next moment at which a tick would matter."""
        moments = [self.heard + self.pace.heartbeat_seconds if self.lane is Lane.STANDING else float("inf")]
        if self.lane is Lane.LOST:
            moments.append(self.due)
        if self.lane is Lane.STANDING and self.reached < self.covered:
            moments.append(0.0)
        if self.lane in WARMING and self._busy() < self.pace.fetch_window:
            moments += [warm.due for warm in self.warming.values() if warm.sent is None and warm.due > 0]
        return min(moments)

    # -- the conversation with the gate ---------------------------------------
    def _go_on(self, when: When) -> None:
        if self.lane is Lane.LOST and when.clock >= self.due:
            self.lane = Lane.ASKING
            self.out.append(Ask())
        if self.lane is Lane.STANDING:
            if self.reached < self.covered:
                self._settle_what_is_covered()
            if self.reached < self.covered:
                return  # there is more of it; others come first
            if self.reached < self.head or not self.synced:
                self._send_next(when)
            elif when.clock >= self.heard + self.pace.heartbeat_seconds:
                self.lane = Lane.CHECKING
                self.out.append(Ask())
        if self.lane in WARMING:
            self._warm(when)

    def _stands(self, gate: Gate, ours: bool, when: When) -> None:
        self.heard, self.synced = when.clock, gate.synced
        if ours and self.oldest - 1 <= gate.position <= self.head:
            self.lane = Lane.STANDING
            # What it has beyond our own account is told again, for the answers that were lost; and should it have lost
            # the end of its journal, that goes out again too, settled or not.
            self.reached = min(self.reached, gate.position)
            self.covered = min(self.covered, gate.position)
            if self.reached >= self.head and gate.synced:
                self._is_well(when)
            return
        why = "is bound to no log" if gate.log is None else f"stands at {gate.position} of log {gate.log}"
        not_before = self.flushed + min(2.0**self.flushes, self.pace.flush_again_seconds)
        if when.clock < not_before:
            # Two services that fight over one gate must not flush it in turns at full speed.
            self.out.append(Warn(f"{self.edge} {why} again, right after a flush: does another service drive it?"))
            self.lane, self.due = Lane.LOST, not_before
            return
        self.out.append(Warn(f"{self.edge} {why}: flushing it whole"))
        self.flushes = self.flushes + 1 if when.clock - self.flushed < 600 else 0
        self.flushed = when.clock
        self.lane, self.sent, self.flush_to = Lane.FLUSHING, when.wall, self.head
        self.out.append(Flush(self.head))

    def _send_next(self, when: When) -> None:
        if self.reached < self.oldest - 1:
            self._lost("what it lacks was dropped from the log meanwhile", when, wait=False)
            return
        # At the head there is nothing to tell but that this is the head; a gate that just started waits for that.
        stretch = self.reader.stretch(self.reached, self.head)
        assert stretch.after == self.reached, "the log skipped rows"
        assert self.reached < stretch.upto <= self.head or self.reached == self.head, "the log stands still"
        self.under_way, self.sent, self.lane = stretch, when.wall, Lane.SENDING
        live = stretch.upto == self.head
        self.out.append(Send(Batch(self.log, stretch.after, stretch.upto, stretch.mark, live, stretch.commands)))
        if self.progress.begun < stretch.upto:
            self._settle(replace(self.progress, begun=stretch.upto))

    def _applied(self, answer: Applied, when: When) -> None:
        self._is_well(when)
        if self.lane is Lane.FLUSHING:
            if answer.position != self.flush_to:
                self._lost(f"flushed to {answer.position}, not {self.flush_to}", when)
                return
            self.lane, self.synced, self.covered = Lane.STANDING, True, self.flush_to
            if self.reached < self.oldest - 1:
                self._forget_the_dropped()
            first = min(self.reached + 1, self.flush_to)
            self._settle(self.progress, Evidence(self.edge, first, self.flush_to, self.sent, when.wall, "flushed"))
            return
        assert self.lane is Lane.SENDING and self.under_way is not None, "an answer to nothing"
        stretch, self.under_way = self.under_way, None
        told = {command.position for command in stretch.commands}
        if answer.position < stretch.upto or any(position not in told for position, _ in answer.refused):
            self._lost(f"an answer that does not fit rows {stretch.after + 1} to {stretch.upto}: {answer.said}", when)
            return
        self.lane, self.synced = Lane.STANDING, self.synced or stretch.upto == self.head
        if refused := Ranges((position, position) for position, _ in answer.refused):
            self.progress = self.progress.with_failures(Reason.INTERNAL, refused)
        if stretch.upto > stretch.after:
            proof = Evidence(self.edge, stretch.after + 1, stretch.upto, self.sent, when.wall, answer.said)
            self._reach(stretch, proof)

    def _settle_what_is_covered(self) -> None:
        """The gate was flushed: what was asked for before is answered by that, a stretch at a time.

        A whole log at once would hold everybody up.
        """
        self._reach(self.reader.stretch(self.reached, self.covered))

    def _reach(self, stretch: Stretch, *evidence: Evidence) -> None:
        """All refreshes of the stretch are settled. Its prefetches are not, unless they were before."""
        owed = (fetch.position for fetch in stretch.fetches if not self.progress.settled(fetch.position))
        done = Ranges([(stretch.after + 1, stretch.upto)]) - Ranges((position, position) for position in owed)
        self.reached = stretch.upto
        self._settle(self._with(done), *evidence)

    def _forget_the_dropped(self) -> None:
        """The edge was away for longer than the log reaches back: what was dropped there is answered by the flush."""
        self.reached = self.oldest - 1
        self.warmed = max(self.warmed, self.reached)
        self.progress = self._with(Ranges([(1, self.reached)]))

    def _lost(self, said: str, when: When, *, wait: bool = True) -> None:
        self.trouble, self.under_way = said, None
        self.lane = Lane.LOST
        self.failures += 1
        self.due = when.clock + self._delay(self.failures, when) if wait else when.clock
        if self.failures == COMPLAIN_AFTER:
            self.out.append(Warn(f"{self.edge} is out of reach: {said}"))

    def _is_well(self, when: When) -> None:
        """It did what it was told. That it answers a question is not enough."""
        self.heard, self.trouble = when.clock, ""
        if self.failures >= COMPLAIN_AFTER:
            self.out.append(Warn(f"{self.edge} is back"))
        self.failures = 0

    def _delay(self, tries: int, when: When) -> float:
        """Doubling, with the dice choosing between half and whole, so a fleet does not come back in step."""
        whole = min(self.pace.retry_first_seconds * 2.0 ** min(tries - 1, 30), self.pace.retry_most_seconds)
        return whole * (0.5 + when.dice / 2)

    # -- prefetch -------------------------------------------------------------
    def _warm(self, when: When) -> None:
        if not self.synced:
            return  # what it stored now, it would throw away
        self._take_up_fetches()
        busy = self._busy()
        for warm in self.warming.values():
            if busy >= self.pace.fetch_window:
                break
            if warm.sent is None and warm.due <= when.clock and warm.fetch.position <= self.reached:
                warm.sent, warm.tries = when.wall, warm.tries + 1
                busy += 1
                self.out.append(Go(warm.fetch))

    def _busy(self) -> int:
        return sum(warm.sent is not None for warm in self.warming.values())

    def _take_up_fetches(self) -> None:
        while self.warmed < self.reached and len(self.warming) < 2 * self.pace.fetch_window:
            stretch = self.reader.stretch(self.warmed, self.reached)
            self.warmed = stretch.upto
            owed = [fetch for fetch in stretch.fetches if not self.progress.settled(fetch.position)]
            late = Ranges((f.position, f.position) for f in owed if self.progress.failure(f.position) is not None)
            if late:
                self._settle(self._with(late))
            self.warming |= {fetch.position: Warm(fetch) for fetch in owed if fetch.position not in late}

    def _fetched(self, position: int, answer: Fetched | Trouble, when: When) -> None:
        warm = self.warming.get(position)
        if warm is None or warm.sent is None:
            return  # given up at its deadline meanwhile
        sent, warm.sent = warm.sent, None
        reason = _reason(answer)
        if reason is not None and self._worth_another_try(warm, answer):
            warm.due = when.clock + self._delay(warm.tries, when)
            return
        del self.warming[position]
        if reason is not None:
            self.progress = self.progress.with_failures(reason, Ranges([(position, position)]))
            url = f"{warm.fetch.scheme}://{warm.fetch.host}{warm.fetch.target}"
            self.out.append(Warn(f"{self.edge} did not prefetch {url}: {answer.said}"))
        evidence = Evidence(self.edge, position, position, sent, when.wall, answer.said)
        self._settle(self._with(Ranges([(position, position)])), evidence)

    def _worth_another_try(self, warm: Warm, answer: Fetched | Trouble) -> bool:
        if isinstance(answer, Trouble):
            return True  # the edge's trouble: until the deadline
        # 200 and not stored may be a refresh that came between; a redirect or a 404 will be the same next time.
        final = answer.outcome is FetchOutcome.OTHER and 300 <= answer.status < 500
        return not final and warm.tries < self.pace.fetch_tries

    # -- what is settled ------------------------------------------------------
    def _grew(self, head: int, oldest: int) -> None:
        """The log is longer, or shorter at its old end: failures of rows that are gone concern nobody."""
        self.head = max(self.head, head)
        if oldest > self.oldest:
            kept = ((reason, rows.beyond(oldest - 1)) for reason, rows in self.progress.failed)
            self.progress = replace(self.progress, failed=tuple((reason, rows) for reason, rows in kept if rows))
        self.oldest = oldest

    def _overdue(self, rows: Ranges) -> None:
        late = (rows & Ranges([(self.progress.cursor + 1, self.head)])) - self.progress.ahead
        for _, known in self.progress.failed:
            late -= known
        if not late:
            return
        self.progress = self.progress.with_failures(Reason.INTERNAL, late)
        given_up = [position for position in self.warming if position in late]
        for position in given_up:
            del self.warming[position]
        self._settle(self._with(Ranges((position, position) for position in given_up)))

    def _with(self, done: Ranges) -> Progress:
        """The progress once these rows are settled too: the cursor runs as far as nothing is missing."""
        ahead = self.progress.ahead | done
        cursor = ahead.run_after(self.progress.cursor)
        return replace(self.progress, cursor=cursor, ahead=ahead.beyond(cursor), begun=max(self.progress.begun, cursor))

    def _settle(self, progress: Progress, *evidence: Evidence) -> None:
        assert progress.cursor >= self.progress.cursor, "the cursor went back"
        self.progress = progress
        self.out.append(Settle(progress, evidence))


def _reason(answer: Fetched | Trouble) -> Reason | None:
    if isinstance(answer, Trouble):
        return Reason.INTERNAL
    return {
        FetchOutcome.STORED: None,
        FetchOutcome.ORIGIN_TIMEOUT: Reason.ORIGIN_TIMEOUT,
        FetchOutcome.ORIGIN_STATUS: Reason.ORIGIN_STATUS,
        FetchOutcome.OTHER: Reason.INTERNAL,
    }[answer.outcome]
