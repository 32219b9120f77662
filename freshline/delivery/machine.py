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

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field

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
    Stands,
    Stretch,
    Ticked,
    Warn,
    When,
)
from freshline.delivery.lane import WARMING, Lane
from freshline.delivery.lease import Leasehold
from freshline.delivery.ledger import Ledger
from freshline.delivery.pace import Pace
from freshline.delivery.prefetches import Prefetches
from freshline.domain.edge import Duty, Evidence, Progress
from freshline.domain.ranges import NOTHING, Ranges
from freshline.domain.task import Reason
from freshline.drivers.base import Adrift, Applied, Batch, Fault, Gate, Trouble

NEVER = float("inf")
NOTHING_TO_DO: tuple[Command, ...] = ()
COMPLAIN_AFTER = 3  #: failures in a row before the operator is told


@dataclass(slots=True)
class EdgeDelivery:
    edge: str
    log: str  #: the log's id
    reader: Reader
    start: InitVar[Progress]  #: what is known of it so far
    pace: Pace = Pace()
    above: Above = field(default_factory=Origin)
    duty: Duty = Duty.ACTIVE
    places: Places = field(default_factory=Plenty)
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
    ledger: Ledger = field(init=False)

    def __post_init__(self, start: Progress) -> None:
        self.reached = self.refreshed = start.cursor
        self.complaints = Complaints(self.edge)
        pace = self.pace
        self.prefetches = Prefetches(
            self.reader,
            self.above,
            pace.fetch_window,
            pace.fetch_tries,
            start.cursor,
            start.again or NOTHING,
            self.places,
        )
        self.ledger = Ledger(self.edge, pace, start, self.prefetches, self.out)
        self.lease = Leasehold(
            pace.lease_heartbeats * pace.heartbeat_seconds,
            start.leased_seconds,
            start.lapses,
            granting=self.duty is Duty.ACTIVE,
            drained=self.duty is Duty.DRAINED,
        )

    def handle(self, event: Event, when: When) -> Sequence[Command]:
        """Take one event, give all that is to be done now."""
        if not self.begun:
            self.begun = True
            self.lease.begin(when.clock)
        match event:
            case Stands(gate, ours):
                self._stands(gate, ours, when)
            case Ticked():
                pass
            case Grew(head, oldest):
                self.ledger.grew(head, oldest)
            case Trouble(fault, said):
                self._lost(said, when, fault)
            case Answered(Applied() as answer):
                self._applied(answer, when)
            case Answered(Adrift(said)):
                self._lost(said, when, wait=self.failures > 0)
            case Answered(Trouble(fault, said)):
                self._lost(said, when, fault)
            case FetchAnswered():
                self.ledger.fetched([event], when)
            case FetchesAnswered(answers):
                self.ledger.fetched(answers, when)
            case Overdue(rows, again):
                self.ledger.overdue(rows, again)
            case Retried(rows, prefetch):
                self.ledger.retried(rows, prefetch)
            case Cancelled(rows):
                self.ledger.cancelled(rows)
            case Noted(progress):
                self.lease.noted_seconds = progress.leased_seconds
        self._go_on(when)
        out = self.out
        if not out:
            return NOTHING_TO_DO
        done = tuple(out)
        out.clear()
        return done

    @property
    def progress(self) -> Progress:
        return self.ledger.progress

    @property
    def head(self) -> int:
        return self.ledger.head

    @property
    def oldest(self) -> int:
        return self.ledger.oldest

    @property
    def limit(self) -> int:
        """As far as it may be told now: its parents come first."""
        head, above = self.ledger.head, self.above.refreshed()
        return head if head <= above else int(above)

    def fresh(self, clock: float, head: int) -> bool:
        """Visitors may be sent to it, as far as we know: it hears us, uses its cache, and holds a lease.

        Of a gate that knows no leases: it stands where the log does.

        :param head: the log ends here
        """
        if self.lane not in WARMING or not self.synced or self.duty is not Duty.ACTIVE:
            return False
        return self.lease.holds(clock) if self.lease.clock else self.reached >= head

    def wake_at(self) -> float:
        """Monotonic seconds of the next moment at which a tick would matter."""
        lane, at = self.lane, NEVER
        if lane is Lane.STANDING:
            at = 0.0 if self.reached < self.covered else self.heard + self.pace.heartbeat_seconds
        elif lane is Lane.LOST and self.duty is not Duty.PAUSED:
            at = self.due
        if self.synced and self.prefetches.owes and lane in WARMING:
            at = min(at, self.prefetches.next_due())
        over = self.lease.over
        return over if over is not None and over < at and self._can_be_excused() else at

    def stirs_at(self, head: int, clock: float) -> float:
        """From when on it matters that the log ends here now, or that a parent has come further.

        One that is spoken to, or out of reach, looks when it is answered or its pause is over, unless rows can be
        settled without it.
        """
        if self.duty is not Duty.ACTIVE or self.prefetches.owes:
            return clock
        if self.lane is Lane.STANDING and self.reached < min(head, self.above.refreshed()):
            return clock
        over = self.lease.over
        return NEVER if over is None else over

    # -- the conversation with the gate ---------------------------------------
    def _go_on(self, when: When) -> None:
        clock, lease = when.clock, self.lease
        if self.lane is Lane.LOST and clock >= self.due and self.duty is not Duty.PAUSED:
            self.lane = Lane.ASKING
            self._note_lease()
            self.out.append(Ask(lease.renewal(clock, self.progress)))
        elif self.lane is Lane.STANDING:
            if self.reached < self.covered:
                self._settle_what_is_covered()
            if self.reached < self.covered:
                return  # there is more of it; others come first
            if self.reached < self.limit or not self.synced:
                self._send_next(when)
            elif clock >= self.heard + self.pace.heartbeat_seconds or lease.lacks(clock):
                self.lane = Lane.CHECKING
                self.out.append(Ask(lease.renewal(clock, self.progress, self.reached)))
        if self.prefetches.owes and self.lane in WARMING:
            self._prefetch(when)
        over = lease.over
        if over is not None and clock >= over and self._can_be_excused():
            self._excuse(when)

    def _stands(self, gate: Gate, ours: bool, when: When) -> None:
        self.heard, self.synced = when.clock, gate.synced
        self.lease.stands(gate, when.clock)
        self._note_lease()
        ledger = self.ledger
        if ours and ledger.oldest - 1 <= gate.position <= ledger.head:
            self.lane = Lane.STANDING
            if self.reached < ledger.oldest - 1:  # it has applied what we would tell it, and cannot tell it any more
                self._forget_the_dropped()
                self.ledger.settle(self.progress)
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
        if stretch.oldest > self.reached + 1:
            self._lost("what it lacks is being dropped from the log", when)
            return
        assert self.reached < stretch.upto <= limit or self.reached == limit, "the log stands still"
        self.under_way, self.sent, self.lane = stretch, when.wall, Lane.SENDING
        live = stretch.upto == limit
        batch = Batch(self.log, stretch.after, stretch.upto, stretch.mark, live, stretch.commands)
        lease = self.lease.renewal(when.clock, self.progress, stretch.upto if live else None)
        self.out.append(Send(batch, lease))
        if self.progress.begun < stretch.upto:
            # Mostly it has answered before anybody looks.
            self.ledger.settle(self.progress.with_begun(stretch.upto), urgent=False)

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
            self.ledger.settle(
                self.progress, Evidence(self.edge, first, self.flush_to, self.sent, when.wall, "flushed")
            )
            return
        assert self.lane is Lane.SENDING and self.under_way is not None, "an answer to nothing"
        stretch, self.under_way = self.under_way, None
        refused = Ranges((position, position) for position, _ in answer.refused) if answer.refused else NOTHING
        if answer.position < stretch.upto or (refused and not _were_told(stretch, answer)):
            self._lost(f"an answer that does not fit rows {stretch.after + 1} to {stretch.upto}: {answer.said}", when)
            return
        self.lane, self.synced = Lane.STANDING, self.synced or stretch.upto >= self.limit
        if refused:
            self.ledger.fail(Reason.INTERNAL, refused)
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
        done = self.ledger.refreshes(stretch)
        self.prefetches.note(stretch.warms)
        self.reached = stretch.upto
        self.refreshed = max(self.refreshed, self.reached)
        self.ledger.end(done, *evidence)

    def _forget_the_dropped(self) -> None:
        """Our account ends before the log begins: a flush, or where the gate stands, answers what was dropped there."""
        self.reached = self.oldest - 1
        self.refreshed = max(self.refreshed, self.reached)
        self.prefetches.noted = max(self.prefetches.noted, self.reached)
        self.ledger.progress = self.progress.with_settled(Ranges([(1, self.reached)]))

    def _lost(self, said: str, when: When, fault: Fault | None = None, *, wait: bool = True) -> None:
        self.under_way = None
        self.lane = Lane.LOST
        self.failures += 1
        self.due = when.clock + self.pace.pause_seconds(self.failures, when.dice) if wait else when.clock
        if self.failures >= COMPLAIN_AFTER and (words := self.complaints.words(fault, said)):
            self.out.append(Warn(words))

    def _is_well(self, when: When) -> None:
        """It did what it was told. That it answers a question is not enough."""
        self.heard, self.failures = when.clock, 0
        if words := self.complaints.over():
            self.out.append(Warn(words))

    # -- the lease ------------------------------------------------------------
    def _note_lease(self) -> None:
        if (noted := self.lease.noted(self.progress)) is not None:
            self.ledger.settle(noted)

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
            proof = Evidence(self.edge, first, self.excused, when.wall, when.wall, "drained, without a lease")
            self.ledger.end(rows, proof)
            return
        stretch = self.reader.stretch(max(self.reached, self.excused), self.limit)
        self.excused = stretch.upto
        self.refreshed = max(self.refreshed, self.excused)
        proof = Evidence(self.edge, stretch.after + 1, stretch.upto, when.wall, when.wall, "holds no lease")
        self.ledger.end(self.ledger.refreshes(stretch), proof)

    # -- prefetch -------------------------------------------------------------
    def _prefetch(self, when: When) -> None:
        if not self.synced:
            return  # what it stored now, it would throw away
        if late := self.prefetches.take_up(self.progress):
            self.ledger.end(late)
        if fetches := self.prefetches.ready(when, self.reached):
            self.out.append(Go(fetches))


def _were_told(stretch: Stretch, answer: Applied) -> bool:
    """What it refused is what it was told."""
    return {position for position, _ in answer.refused} <= {command.position for command in stretch.commands}
