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
6. A child waits for its parents, with refreshes and prefetches alike, or it would be filled from one that is stale.
7. A gate that serves nothing without a lease, and surely holds none, is settled for every refresh until now. It is
   granted one again only where it has caught up with all that was settled so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from freshline.delivery.complaints import Complaints
from freshline.delivery.events import (
    Above,
    Answered,
    Ask,
    Cancelled,
    Command,
    Event,
    FetchAnswered,
    FetchesAnswered,
    Flush,
    Go,
    Grew,
    Noted,
    Origin,
    Overdue,
    Places,
    Plenty,
    Reader,
    Retried,
    Send,
    Settle,
    Stands,
    Stretch,
    Ticked,
    Warn,
    When,
)
from freshline.delivery.lease import Leasehold
from freshline.delivery.pace import Pace
from freshline.delivery.prefetches import Prefetches
from freshline.domain.edge import Duty, Evidence, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason
from freshline.drivers.base import Adrift, Applied, Batch, Fault, Fetched, FetchOutcome, Gate, Lease, Trouble


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
class EdgeDelivery:
    edge: str
    log: str  #: the log's id
    reader: Reader
    progress: Progress
    pace: Pace = Pace()
    above: Above = field(default_factory=Origin)
    duty: Duty = Duty.ACTIVE
    places: Places = field(default_factory=Plenty)
    head: int = 0
    oldest: int = 1
    lane: Lane = Lane.LOST
    due: float = 0.0  #: when the lane may act again
    heard: float = 0.0  #: when the gate last answered
    failures: int = 0  #: in a row
    synced: bool = True
    reached: int = 0  #: the gate has answered every refresh up to here
    covered: int = 0  #: a flush answered everything up to here
    excused: int = 0  #: up to here it serves nothing that is stored, for want of a lease
    refreshed: int = 0  #: every refresh up to here is settled, one way or another: children may go on
    under_way: Stretch | None = None
    sent: float = 0.0  #: wall clock
    flush_to: int = 0
    flushes: int = 0
    flushed: float = float("-inf")  #: monotonic
    begun: bool = False
    out: list[Command] = field(default_factory=list)
    complaints: Complaints = field(init=False)
    prefetches: Prefetches = field(init=False)
    lease: Leasehold = field(init=False)

    def __post_init__(self) -> None:
        self.reached = self.refreshed = self.progress.cursor
        self.complaints = Complaints(self.edge)
        pace, progress = self.pace, self.progress
        self.prefetches = Prefetches(
            self.reader, self.above, pace.fetch_window, pace.fetch_tries, progress.cursor, progress.again, self.places
        )
        self.lease = Leasehold(
            pace.lease_heartbeats * pace.heartbeat_seconds,
            progress.leased_seconds,
            progress.lapses,
            granting=self.duty is Duty.ACTIVE,
            drained=self.duty is Duty.DRAINED,
        )

    def handle(self, event: Event, when: When) -> list[Command]:
        """Take one event, give all that is to be done now."""
        if not self.begun:
            self.begun = True
            self.lease.begin(when.clock)
        match event:
            case Grew(head, oldest):
                self._grew(head, oldest)
            case Stands(gate, ours):
                self._stands(gate, ours, when)
            case Trouble(fault, said):
                self._lost(said, when, fault)
            case Answered(Applied() as answer):
                self._applied(answer, when)
            case Answered(Adrift(said)):
                self._lost(said, when, wait=self.failures > 0)
            case Answered(Trouble(fault, said)):
                self._lost(said, when, fault)
            case FetchAnswered():
                self._fetched([event], when)
            case FetchesAnswered(answers):
                self._fetched(answers, when)
            case Overdue(rows, again):
                self._overdue(rows, again)
            case Retried(rows, prefetch):
                self._retried(rows, prefetch)
            case Cancelled(rows):
                self._cancelled(rows)
            case Noted(progress):
                self.lease.noted_seconds = progress.leased_seconds
            case Ticked():
                pass
        self._go_on(when)
        out, self.out = self.out, []
        return out

    @property
    def limit(self) -> int:
        """As far as it may be told now: its parents come first."""
        return int(min(self.head, self.above.refreshed()))

    def fresh(self, clock: float) -> bool:
        """Visitors may be sent to it, as far as we know: it hears us, uses its cache, and holds a lease.

        Of a gate that knows no leases: it stands where the log does.
        """
        if self.lane not in WARMING or not self.synced or self.duty is not Duty.ACTIVE:
            return False
        return self.lease.holds(clock) if self.lease.clock else self.reached >= self.head

    def wake_at(self) -> float:
        """Monotonic seconds of the next moment at which a tick would matter."""
        moments = [self.heard + self.pace.heartbeat_seconds if self.lane is Lane.STANDING else float("inf")]
        if self.lane is Lane.LOST and self.duty is not Duty.PAUSED:
            moments.append(self.due)
        if self.lane is Lane.STANDING and self.reached < self.covered:
            moments.append(0.0)
        if self.lane in WARMING:
            moments.append(self.prefetches.next_due())
        if self.lease.over is not None and self._can_be_excused():
            moments.append(self.lease.over)
        return min(moments)

    # -- the conversation with the gate ---------------------------------------
    def _go_on(self, when: When) -> None:
        if self.lane is Lane.LOST and when.clock >= self.due and self.duty is not Duty.PAUSED:
            self.lane = Lane.ASKING
            self._note_lease()
            self.out.append(Ask(self._renewal(when)))
        if self.lane is Lane.STANDING:
            if self.reached < self.covered:
                self._settle_what_is_covered()
            if self.reached < self.covered:
                return  # there is more of it; others come first
            if self.reached < self.limit or not self.synced:
                self._send_next(when)
            elif when.clock >= self.heard + self.pace.heartbeat_seconds or self._lacks_lease(when):
                self.lane = Lane.CHECKING
                self.out.append(Ask(self._renewal(when)))
        if self.lane in WARMING:
            self._prefetch(when)
        if self.lease.lapsed(when.clock) and self._can_be_excused():
            self._excuse(when)

    def _stands(self, gate: Gate, ours: bool, when: When) -> None:
        self.heard, self.synced = when.clock, gate.synced
        self.lease.stands(gate, when.clock)
        self._note_lease()
        if ours and self.oldest - 1 <= gate.position <= self.head:
            self.lane = Lane.STANDING
            if self.reached < self.oldest - 1:  # it has applied what we would tell it, and cannot tell it any more
                self._forget_the_dropped()
                self._settle(self.progress)
            # What it has beyond our own account is told again, for the answers that were lost; and should it have lost
            # the end of its journal, that goes out again too, settled or not.
            self.reached = min(self.reached, gate.position)
            self.covered = min(self.covered, gate.position)
            if self.reached >= self.limit and gate.synced:
                self._is_well(when)
            return
        limit = self.limit
        if limit < self.oldest - 1:  # its parents are further behind than the log reaches
            self._lost("waits for what it fetches through", when)
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
        self.lane, self.sent, self.flush_to = Lane.FLUSHING, when.wall, limit
        self.out.append(Flush(limit))

    def _send_next(self, when: When) -> None:
        if self.reached < self.oldest - 1:
            self._lost("what it lacks was dropped from the log meanwhile", when, wait=False)
            return
        # At the head there is nothing to tell but that this is the head; a gate that just started waits for that.
        limit = max(self.limit, self.reached)
        stretch = self.reader.stretch(self.reached, limit)
        assert stretch.after == self.reached, "the log skipped rows"
        assert self.reached < stretch.upto <= limit or self.reached == limit, "the log stands still"
        self.under_way, self.sent, self.lane = stretch, when.wall, Lane.SENDING
        live = stretch.upto == limit
        batch = Batch(self.log, stretch.after, stretch.upto, stretch.mark, live, stretch.commands)
        self.out.append(Send(batch, self._renewal(when, stretch.upto if live else None)))
        if self.progress.begun < stretch.upto:
            self.progress = replace(self.progress, begun=stretch.upto)
            self.out.append(Settle(self.progress, urgent=False))  # mostly it has answered before anybody looks

    def _applied(self, answer: Applied, when: When) -> None:
        self._is_well(when)
        self.lease.tells(answer.clock, when.clock)
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
        refused = Ranges((position, position) for position, _ in answer.refused)
        if answer.position < stretch.upto or (refused and not _were_told(stretch, answer)):
            self._lost(f"an answer that does not fit rows {stretch.after + 1} to {stretch.upto}: {answer.said}", when)
            return
        self.lane, self.synced = Lane.STANDING, self.synced or stretch.upto >= self.limit
        if refused:
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
        done = self._refreshes(stretch)
        self.prefetches.note(stretch.warms)
        self.reached = stretch.upto
        self.refreshed = max(self.refreshed, self.reached)
        self._settle(self._with(done), *evidence)

    def _refreshes(self, stretch: Stretch) -> Ranges:
        warms = Ranges((warm.first, warm.last) for warm in stretch.warms)
        return Ranges([(stretch.after + 1, stretch.upto)]) - (warms - (self._base() - self.progress.again))

    def _forget_the_dropped(self) -> None:
        """Our account ends before the log begins: a flush, or where the gate stands, answers what was dropped there."""
        self.reached = self.oldest - 1
        self.refreshed = max(self.refreshed, self.reached)
        self.prefetches.noted = max(self.prefetches.noted, self.reached)
        self.progress = self._with(Ranges([(1, self.reached)]))

    def _lost(self, said: str, when: When, fault: Fault | None = None, *, wait: bool = True) -> None:
        self.under_way = None
        self.lane = Lane.LOST
        self.failures += 1
        self.due = when.clock + self._delay(self.failures, when) if wait else when.clock
        if self.failures >= COMPLAIN_AFTER and (words := self.complaints.words(fault, said)):
            self.out.append(Warn(words))

    def _is_well(self, when: When) -> None:
        """It did what it was told. That it answers a question is not enough."""
        self.heard, self.failures = when.clock, 0
        if words := self.complaints.over():
            self.out.append(Warn(words))

    def _delay(self, tries: int, when: When) -> float:
        """Doubling, with the dice choosing between half and whole, so a fleet does not come back in step."""
        whole = min(self.pace.retry_first_seconds * 2.0 ** min(tries - 1, 30), self.pace.retry_most_seconds)
        return whole * (0.5 + when.dice / 2)

    # -- the lease ------------------------------------------------------------
    def _renewal(self, when: When, stands: int | None = None) -> Lease | None:
        """What goes out with a request now.

        :param stands: where the request brings the gate, if that is as far as it goes
        """
        if self.lease.holds(when.clock):
            return self.lease.grant(self.progress.passed())
        if stands is None and self.lane is Lane.CHECKING:
            stands = self.reached
        # One that holds none is let in only where nothing is missing: a load balancer goes by it.
        return None if stands is None else self.lease.grant(max(stands, self.progress.passed()))

    def _lacks_lease(self, when: When) -> bool:
        return self.lease.can_grant and not self.lease.holds(when.clock)

    def _note_lease(self) -> None:
        """Before a lease is granted it stands in the log how long it may last."""
        seconds, lapses = self.lease.seconds if self.lease.clock else 0.0, self.lease.lapses
        longest = max(self.progress.leased_seconds, seconds)
        if self.lease.clock and (longest, lapses) != (self.progress.leased_seconds, self.progress.lapses):
            self._settle(replace(self.progress, leased_seconds=longest, lapses=lapses))

    def _can_be_excused(self) -> bool:
        if self.duty is Duty.DRAINED:
            return self.progress.cursor < self.limit or bool(self.progress.again)
        return max(self.reached, self.excused) < self.limit

    def _excuse(self, when: When) -> None:
        """It is cut off and serves nothing that is stored: the refreshes of the next stretch are as good as applied.

        One that is drained serves nobody, so nothing at all waits for it.
        """
        if self.duty is Duty.DRAINED:
            self.excused = self.limit
            self.refreshed = max(self.refreshed, self.excused)
            first = min(self.progress.cursor + 1, self.excused)
            rows = Ranges([(first, self.excused)]) | self.progress.again
            self.prefetches.give_up(rows)
            self._settle(
                self._with(rows),
                Evidence(self.edge, first, self.excused, when.wall, when.wall, "drained, without a lease"),
            )
            return
        stretch = self.reader.stretch(max(self.reached, self.excused), self.limit)
        self.excused = stretch.upto
        self.refreshed = max(self.refreshed, self.excused)
        proof = Evidence(self.edge, stretch.after + 1, stretch.upto, when.wall, when.wall, "holds no lease")
        self._settle(self._with(self._refreshes(stretch)), proof)

    # -- prefetch -------------------------------------------------------------
    def _prefetch(self, when: When) -> None:
        if not self.synced:
            return  # what it stored now, it would throw away
        if late := self.prefetches.take_up(self.progress):
            self._settle(self._with(late))
        self.out += map(Go, self.prefetches.ready(when, self.reached))

    def _fetched(self, answers: Sequence[FetchAnswered], when: When) -> None:
        """Settled together, with one piece of evidence for neighbours that were answered alike."""
        ended: list[Evidence] = []
        for answered in answers:
            position, answer = answered.position, answered.answer
            if (found := self.prefetches.answered(position)) is None:
                continue
            owed, sent = found
            reason = _reason(answer)
            if reason is not None and self.prefetches.worth_another_try(owed, answer):
                self.prefetches.rest(owed, when.clock + self._delay(owed.tries, when))
                continue
            self.prefetches.done(position)
            if reason is not None:
                self.progress = self.progress.with_failures(reason, Ranges([(position, position)]))
                url = f"{owed.fetch.scheme}://{owed.fetch.host}{owed.fetch.target}"
                self.out.append(Warn(f"{self.edge} did not prefetch {url}: {answer.said}"))
            size = answer.bytes if reason is None and isinstance(answer, Fetched) else 0
            ended.append(Evidence(self.edge, position, position, sent, when.wall, answer.said, size, owed.fetch.task))
        if ended:
            self._settle(self._with(Ranges((it.first, it.last) for it in ended)), *_joined(ended))

    # -- what is settled ------------------------------------------------------
    def _grew(self, head: int, oldest: int) -> None:
        """The log is longer, or shorter at its old end: failures of rows that are gone concern nobody."""
        self.head = max(self.head, head)
        if oldest > self.oldest:
            gone = Ranges([(1, oldest - 1)])
            again = self.progress.again.beyond(oldest - 1)
            self.progress = replace(self.progress.without_failures(gone), again=again)
            self.prefetches.forget(oldest)
        self.oldest = oldest

    def _overdue(self, rows: Ranges, again: bool) -> None:
        if again:
            late = rows & self.progress.again
        else:
            open_ = Ranges([(self.progress.cursor + 1, self.head)])
            late = (rows & open_) - self.progress.ahead - self.progress.again
            late -= self.progress.failures(late)
        if not late:
            return
        self.progress = self.progress.with_failures(Reason.INTERNAL, late)
        ended = self.prefetches.give_up(late) | (late & self.progress.again & self._base())
        self._settle(replace(self._with(ended), again=self.progress.again - late))

    def _retried(self, rows: Ranges, prefetch: bool) -> None:
        """Its failures are forgotten. A prefetch that had come to its end is owed once more."""
        rows = self.progress.failures(rows)
        if not rows:
            return
        again = rows if prefetch else rows - self._base()
        if prefetch:
            self.prefetches.again |= rows & self._base()
        self._settle(replace(self.progress.without_failures(rows), again=self.progress.again | again))

    def _cancelled(self, rows: Ranges) -> None:
        """Those that are under way end by themselves."""
        busy = Ranges((p, p) for p, owed in self.prefetches.owed.items() if owed.sent is not None)
        rows = (rows & Ranges([(1, self.head)])) - self.progress.done() - busy
        rows -= self.progress.failures(rows)
        if not rows:
            return
        self.progress = self.progress.with_failures(Reason.CANCELLED, rows)
        ended = self.prefetches.give_up(rows) | (rows & self.progress.again & self._base())
        self._settle(replace(self._with(ended), again=self.progress.again - rows))

    def _base(self) -> Ranges:
        """Every row that has come to an end once."""
        return Ranges([(1, self.progress.cursor), *self.progress.ahead])

    def _with(self, done: Ranges) -> Progress:
        """The progress once these rows are settled too: the cursor runs as far as nothing is missing."""
        ahead = self.progress.ahead | done
        cursor = ahead.run_after(self.progress.cursor)
        return replace(
            self.progress,
            cursor=cursor,
            ahead=ahead.beyond(cursor),
            begun=max(self.progress.begun, cursor),
            again=self.progress.again - done,
        )

    def _settle(self, progress: Progress, *evidence: Evidence) -> None:
        assert progress.cursor >= self.progress.cursor, "the cursor went back"
        self.progress = progress
        self.out.append(Settle(progress, evidence))


def _were_told(stretch: Stretch, answer: Applied) -> bool:
    """What it refused is what it was told."""
    return {position for position, _ in answer.refused} <= {command.position for command in stretch.commands}


def _joined(pieces: Sequence[Evidence]) -> Iterator[Evidence]:
    """Neighbours of one task that were answered alike as one."""
    held: Evidence | None = None
    for piece in sorted(pieces, key=lambda each: each.first):
        if held is not None and (held.last + 1, held.task, held.said) == (piece.first, piece.task, piece.said):
            sent, size = min(held.sent, piece.sent), held.bytes + piece.bytes
            held = replace(held, last=piece.last, sent=sent, bytes=size)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def _reason(answer: Fetched | Trouble) -> Reason | None:
    if isinstance(answer, Trouble):
        return Reason.INTERNAL
    return {
        FetchOutcome.STORED: None,
        FetchOutcome.ORIGIN_TIMEOUT: Reason.ORIGIN_TIMEOUT,
        FetchOutcome.ORIGIN_STATUS: Reason.ORIGIN_STATUS,
        FetchOutcome.OTHER: Reason.INTERNAL,
    }[answer.outcome]
