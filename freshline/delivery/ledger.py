"""What one edge has settled, and what becomes of rows that it did not: too late, cancelled, retried, or gone.

Part of the machine, and as pure. What is to be made durable joins what is to be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from freshline.delivery.events import Command, Settle, Stretch, Warn, When
from freshline.delivery.pace import Pace
from freshline.delivery.prefetches import Ended, Prefetches, failure
from freshline.domain.edge import Evidence, Progress
from freshline.domain.ranges import NOTHING, Ranges
from freshline.domain.task import Reason
from freshline.drivers.base import Fetched, FetchOutcome, Trouble


@dataclass(slots=True)
class Ledger:
    edge: str
    pace: Pace
    progress: Progress
    prefetches: Prefetches
    out: list[Command]  #: what is to be done
    head: int = 0  #: the log ends here
    oldest: int = 1  #: and still holds everything from here

    def settle(self, progress: Progress, *evidence: Evidence, urgent: bool = True) -> None:
        assert progress.cursor >= self.progress.cursor, "the cursor went back"
        self.progress = progress
        self.out.append(Settle(progress, evidence, urgent))

    def end(self, rows: Ranges, *evidence: Evidence, urgent: bool = True) -> None:
        """These have come to their end, well or badly."""
        self.settle(self.progress.with_settled(rows), *evidence, urgent=urgent)

    def fail(self, reason: Reason, rows: Ranges) -> None:
        """They will not be done. That they have ended is said with :meth:`end`."""
        self.progress = self.progress.with_failures(reason, rows)

    def refreshes(self, stretch: Stretch) -> Ranges:
        """What is settled when the gate has all refreshes of a stretch: not its prefetches, but those that were."""
        rows = Ranges.of([stretch.after + 1], [stretch.upto]) if stretch.upto > stretch.after else NOTHING
        if not stretch.warms:
            return rows
        warms = Ranges((warm.first, warm.last) for warm in stretch.warms)
        return rows - (warms - self.progress.done())

    def fetched(self, answers: Sequence[tuple[int, Fetched | Trouble]], when: When) -> None:
        """Settled together, with one piece of evidence for neighbours that were answered alike."""
        prefetches = self.prefetches
        ended: list[Ended] = []
        good: Fetched | Trouble | None = None  #: the answer of most of them
        for each in prefetches.answered(answers):
            position, _, owed, answer = each
            if answer is good:
                pass
            elif (reason := failure(answer)) is None:
                good = answer
            else:
                if prefetches.worth_another_try(owed, answer):
                    prefetches.rest(owed, when.clock + self.pace.pause_seconds(owed.tries, when.dice))
                    continue
                self.fail(reason, Ranges([(position, position)]))
                url = f"{owed.fetch.scheme}://{owed.fetch.host}{owed.fetch.target}"
                self.out.append(Warn(f"{self.edge} did not prefetch {url}: {answer.said}"))
            ended.append(each)
        if not ended:
            return
        ended.sort(key=_position)
        prefetches.finish(ended)
        proofs = list(_proofs(self.edge, ended, when.wall))
        # In a long list a commit for every few objects would cost more than they do: some are told a moment later.
        rows, urgent = Ranges((it.first, it.last) for it in proofs), not prefetches.owed
        self.end(rows, *proofs, urgent=urgent)

    def grew(self, head: int, oldest: int) -> None:
        """The log is longer, or shorter at its old end: failures of rows that are gone concern nobody."""
        self.head = max(self.head, head)
        if oldest > self.oldest:
            gone = Ranges([(1, oldest - 1)])
            again = self.progress.again.beyond(oldest - 1)
            self.progress = replace(self.progress.without_failures(gone), again=again)
            self.prefetches.forget(oldest)
        self.oldest = oldest

    def overdue(self, rows: Ranges, again: bool) -> None:
        """What is open of these rows has failed; a refresh goes on all the same."""
        progress = self.progress
        if again:
            late = rows & progress.again
        else:
            late = (rows & Ranges([(progress.cursor + 1, self.head)])) - progress.ahead - progress.again
            late -= progress.failures(late)
        if late:
            self._give_up(Reason.INTERNAL, late)

    def cancelled(self, rows: Ranges) -> None:
        """Those that are under way end by themselves."""
        rows = (rows & Ranges([(1, self.head)])) - self.progress.done() - self.prefetches.under_way()
        rows -= self.progress.failures(rows)
        if rows:
            self._give_up(Reason.CANCELLED, rows)

    def _give_up(self, reason: Reason, rows: Ranges) -> None:
        self.fail(reason, rows)
        progress = self.progress
        ended = self.prefetches.give_up(rows) | (rows & progress.again & progress.ended())
        self.settle(replace(progress.with_settled(ended), again=progress.again - rows))

    def retried(self, rows: Ranges, prefetch: bool) -> None:
        """Its failures are forgotten. A prefetch that had come to its end is owed once more."""
        rows = self.progress.failures(rows)
        if not rows:
            return
        again = rows if prefetch else rows - self.progress.ended()
        if prefetch:
            self.prefetches.again = self.prefetches.again | (rows & self.progress.ended()) or NOTHING
        self.settle(replace(self.progress.without_failures(rows), again=self.progress.again | again))


_position = itemgetter(0)


def _proofs(edge: str, ended: Iterable[Ended], now: float) -> Iterator[Evidence]:
    """Neighbours of one task that were answered alike have one.

    :param ended: in order
    """
    first, last, since, size, task, said = 0, -1, now, 0, 0, ""
    known: Fetched | Trouble | None = None
    stored = 0  #: bytes of it
    for position, sent, owed, answer in ended:
        if answer is not known:
            known = answer
            stored = answer.bytes if isinstance(answer, Fetched) and answer.outcome is FetchOutcome.STORED else 0
        if position != last + 1 or answer.said != said or owed.fetch.task != task:
            if last > 0:
                yield Evidence(edge, first, last, since, now, said, size, task)
            first, since, size, task, said = position, sent, 0, owed.fetch.task, answer.said
        last = position
        if sent < since:
            since = sent
        size += stored
    if last > 0:
        yield Evidence(edge, first, last, since, now, said, size, task)
