"""The rim of delivery for one edge: the only awaiting there is.

The machine says what to do; here it is done, and what came of it is told back. Nothing else is decided here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from freshline.alarms import Alarm, Alarms
from freshline.ambient import Ambient
from freshline.delivery.asking import InTasks
from freshline.delivery.events import (
    Above,
    Answered,
    Ask,
    Cancelled,
    Command,
    Event,
    FetchesAnswered,
    Flush,
    Go,
    Grew,
    Noted,
    Overdue,
    Reader,
    Retried,
    Send,
    Settle,
    Stands,
    Ticked,
    Warn,
    When,
)
from freshline.delivery.feed import Feed, ScopedReader
from freshline.delivery.fetching import Fetching
from freshline.delivery.lane import Lane
from freshline.delivery.lateness import LOOK_SECONDS, Lateness
from freshline.delivery.machine import EdgeDelivery
from freshline.delivery.origins import OriginSlots
from freshline.delivery.pace import Pace
from freshline.delivery.settling import Settling
from freshline.domain.action import Fetch
from freshline.domain.edge import Edge, Progress
from freshline.domain.ranges import NOTHING, Range, Ranges
from freshline.domain.topology import Scope
from freshline.drivers.base import Adrift, Applied, Driver, Fetched, Gate, Prompt, Trouble
from freshline.log.base import Log

logger = logging.getLogger("freshline.delivery")

IDLE_SECONDS = 3600.0


class EdgeRunner:
    """Keeps one edge up to date until it is stopped."""

    def __init__(
        self,
        edge: Edge,
        driver: Driver,
        log: Log,
        feed: Feed,
        ambient: Ambient,
        *,
        scope: Scope,
        above: Above,
        alarms: Alarms,
        settling: Settling,
        pace: Pace,
        lateness: Lateness,
        origins: OriginSlots,
        follow: bool = False,
        observe: Callable[[str, float], None] = lambda edge, seconds: None,
        moved: Callable[[str], None] = lambda edge: None,
    ) -> None:
        """
        :param follow: a prefetch that is redirected within its domain brings what it is redirected to, too
        :param moved: called with the edge's name when something was settled that its children may wait for
        """
        self.edge, self.scope = edge, scope
        self._driver, self._log, self._ambient, self._lateness = driver, log, ambient, lateness
        self._observe, self._moved = observe, moved
        self.ages = lateness.ages
        progress = log.progress(edge.name) or Progress(cursor=edge.joined, begun=edge.joined)
        reader = ScopedReader(feed, scope)
        self._places = origins.of(edge.name, self._tick)
        self.machine = EdgeDelivery(edge.name, log.id, reader, progress, pace, above, edge.duty, self._places)
        self._again: list[tuple[float, Ranges]] = []  #: deadlines of what was retried, monotonic
        self._expect_what_was_retried(reader, progress.again.beyond(log.oldest - 1))
        self._events: list[Event] = []
        self._ended: asyncio.Future[None] | None = None  #: while it runs
        self._alarm = Alarm(alarms, self._work)
        self._account = settling.account(edge.name, self._written)
        self._tasks = InTasks(edge.name, driver)
        self._line: Prompt = driver if isinstance(driver, Prompt) else self._tasks
        self._known: tuple[int, str, int] | None = None  #: where it stood last, found in the log
        self._sent = 0.0  #: when the batch or flush that is under way was, monotonic
        self._looked: dict[bool, int] = {False: progress.cursor, True: progress.cursor}
        self._look_again = 0.0
        self._fetching = Fetching(driver, self._places, self._tasks.call, self._tasks.broke, self._post, follow=follow)
        self._going: list[Fetch] = []  #: prefetches that begin in this turn
        self._looks = False  #: in the next turn of the loop

    def wake(self) -> None:
        """The log has grown, or a parent has come further."""
        now = self._ambient.monotonic()
        at = self.machine.stirs_at(self._log.head, now)
        if at <= now:
            self._tick()
        else:  # what is new may be late before the edge would look by itself
            self._alarm.by(min(at, now + self._lateness.shortest_seconds))

    def retry(self, rows: Ranges, *, prefetch: bool) -> None:
        """Do what was given up of these rows after all, with a new deadline."""
        deadlines = self._lateness.deadlines
        seconds = deadlines.prefetch_seconds if prefetch else deadlines.refresh_seconds
        self._expect_again(rows, seconds)
        self._post(Retried(rows, prefetch))

    def cancel(self, rows: Ranges) -> None:
        """Begin none of these prefetches any more."""
        self._post(Cancelled(rows))

    def _expect_what_was_retried(self, reader: Reader, rows: Ranges) -> None:
        """After a restart: from now on again, by its kind. Of what the rows are, the log knows."""
        warms: list[Range] = []
        for first, last in rows:
            while first <= last:
                stretch = reader.stretch(first - 1, last)
                warms += ((warm.first, warm.last) for warm in stretch.warms)
                first = stretch.upto + 1
        prefetches, deadlines = Ranges(warms), self._lateness.deadlines
        self._expect_again(rows & prefetches, deadlines.prefetch_seconds)
        self._expect_again(rows - prefetches, deadlines.refresh_seconds)

    def _expect_again(self, rows: Ranges, seconds: float) -> None:
        if rows:
            self._again.append((self._ambient.monotonic() + seconds, rows))

    @property
    def fresh(self) -> bool:
        """The edge stands where the log does, as far as we know."""
        machine = self.machine
        stands = machine.lane in (Lane.STANDING, Lane.CHECKING, Lane.SENDING) and machine.synced
        return stands and machine.reached >= self._log.head

    @property
    def serves_fresh(self) -> bool:
        """What a load balancer wants to know; unlike :attr:`fresh` it does not waver while batches are on their way."""
        return self.machine.fresh(self._ambient.monotonic(), self._log.head)

    async def run(self) -> None:
        """Until cancelled. Cancelling leaves nothing half done: what was not settled is sent again next time.

        It works in callbacks; this only waits, so that a thousand idle edges are a thousand alarms and nothing more.
        """
        self._ended = asyncio.get_running_loop().create_future()
        try:
            self._look_soon()
            await self._ended
        finally:
            self._ended = None
            self._alarm.cancel()
            self._account.close()
            await self._tasks.close()
            await self._fetching.close()
            self._places.close()
            await self._driver.close()

    def _tick(self) -> None:
        """Look, though nothing has happened to the edge itself."""
        if not self._looks:
            self._look_soon()

    def _post(self, event: Event) -> None:
        """To be looked at in the next turn of the loop, so that nothing happens while something is happening."""
        self._events.append(event)
        if not self._looks:
            self._look_soon()

    def _look_soon(self) -> None:
        if self._ended is not None:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if self._looks:  # and nobody has looked since
            self._work()

    def _work(self) -> None:
        """Look at all that has happened. What goes wrong ends :meth:`run`."""
        self._looks = False
        if self._ended is None or self._ended.done():
            return
        try:
            ambient, log, machine = self._ambient, self._log, self.machine
            when = When(ambient.now(), ambient.monotonic(), ambient.uniform(0, 1))
            events, self._events = self._events, []
            if machine.head < log.head or machine.oldest < log.oldest:
                self._handle(Grew(log.head, log.oldest), when)
            elif not events:
                self._handle(Ticked(), when)
            behind = machine.progress.cursor < log.head
            if behind and when.clock >= self._look_again and (rows := self._overdue(when.clock)):
                self._handle(Overdue(rows), when)
                self._end_what_was_given_up()
            if self._again and (rows := self._overdue_again(when.clock)):
                self._handle(Overdue(rows, again=True), when)
                self._end_what_was_given_up()
            for event in events if len(events) == 1 else _gathered(events):
                self._handle(event, when)
            if self._going:
                going, self._going = self._going, []
                self._fetching.go(going)
            if self._places.offered:
                self._places.pass_on()
            self._set_alarm(when.clock)
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _set_alarm(self, now: float) -> None:
        until = self.machine.wake_at()
        if self.machine.progress.cursor < self._log.head and self._look_again < until:
            until = self._look_again  # what is behind may pass its deadline
        for due, _ in self._again:
            until = min(until, due)
        if until <= now:
            self._tick()
        else:
            self._alarm.set(until)

    def _handle(self, event: Event, when: When) -> None:
        machine = self.machine
        progress, refreshed = machine.progress, machine.refreshed
        for command in machine.handle(event, when):
            self._do(command)
        settled = machine.progress
        if settled is progress and machine.refreshed == refreshed:
            return
        if machine.refreshed != refreshed or _more(progress, settled):
            self._moved(self.edge.name)

    def _do(self, command: Command) -> None:
        match command:
            case Settle(progress, evidence, urgent):
                self._account.settle(progress, evidence, urgent=urgent)
            case Ask(lease):
                try:
                    self._line.ask(lease, self._stands)
                except Exception as error:
                    self._post(self._tasks.broke(error))
            case Send(batch, lease):
                self._sent = self._ambient.monotonic()
                try:
                    self._line.tell(batch, lease, self._answered)
                except Exception as error:
                    self._post(Answered(self._tasks.broke(error)))
            case Flush(position):
                self._sent = self._ambient.monotonic()
                mark = self._log.mark(position)
                assert mark is not None, f"the log lost its mark of {position}"
                self._tasks.flush(self._log.id, position, mark, self._answered)
            case Go(fetches):
                self._going += fetches
            case Warn(text):
                logger.warning("%s", text)

    def _end_what_was_given_up(self) -> None:
        if self._fetching.keep(self.machine.prefetches.owed):
            self._tick()  # others may have the places

    def _stands(self, answer: Gate | Trouble) -> None:
        self._heard(lambda: answer if isinstance(answer, Trouble) else Stands(answer, self._is_ours(answer)))

    def _is_ours(self, gate: Gate) -> bool:
        log, position = self._log, gate.position
        if gate.log != log.id or gate.mark is None:
            return False
        if (position, gate.mark, log.oldest) != self._known:
            if log.mark(position) != gate.mark:
                return False
            self._known = position, gate.mark, log.oldest  # of an idle edge: no position ever has another mark
        return True

    def _answered(self, answer: Applied | Adrift | Trouble) -> None:
        self._heard(lambda: self._judged(answer))

    def _judged(self, answer: Applied | Adrift | Trouble) -> Answered:
        self._observe(self.edge.name, self._ambient.monotonic() - self._sent)
        if isinstance(answer, Applied) and self._log.mark(answer.position) != answer.mark:
            answer = Adrift(f"{answer.said}: a position of another history than ours")
        return Answered(answer)

    def _heard(self, event: Callable[[], Event]) -> None:
        """Looked at now: drivers answer in a turn of their own. What goes wrong ends :meth:`run`, not the driver."""
        try:
            self._events.append(event())
        except Exception as error:
            self._break(error)
        else:
            self._work()

    def _written(self, progress: Progress) -> None:
        if progress.leased_seconds != self.machine.lease.noted_seconds:
            self._post(Noted(progress))

    def _overdue(self, now: float) -> Ranges:
        """Rows that passed their deadline since we last looked. Each row is looked at once a deadline."""
        cursor = self.machine.progress.cursor
        late, pause = NOTHING, IDLE_SECONDS
        for prefetch, looked in self._looked.items():
            rows, upto = self._lateness.rows(self.scope, max(looked, cursor), prefetch=prefetch)
            self._looked[prefetch] = upto
            late |= rows
            pause = min(pause, self._lateness.pause_seconds(upto, prefetch=prefetch))
        self._look_again = now + max(pause, LOOK_SECONDS)
        return late.beyond(self.edge.joined)

    def _overdue_again(self, now: float) -> Ranges:
        late = [rows for due, rows in self._again if due <= now]
        self._again = [(due, rows) for due, rows in self._again if due > now]
        return Ranges(run for rows in late for run in rows)


def _more(before: Progress, now: Progress) -> bool:
    """Something was settled, or given up, that was not before."""
    if now.cursor != before.cursor or now.ahead is not before.ahead:
        return True
    return now.failed is not before.failed or now.again is not before.again


def _gathered(events: Iterable[Event]) -> Iterator[Event]:
    """The same, with the answers to fetches at one go: thousands a second may come."""
    answers: list[tuple[int, Fetched | Trouble]] = []
    for each in events:
        if isinstance(each, FetchesAnswered):
            answers += each.each
        else:
            yield each
    if answers:
        yield FetchesAnswered(answers)


def lag(runner: EdgeRunner, log: Log) -> tuple[int, float]:
    """How far an edge is behind: rows, and seconds since the oldest of them was accepted."""
    cursor = runner.machine.progress.cursor
    behind = log.head - cursor
    if behind <= 0:
        return 0, 0.0
    return behind, runner.ages.of(max(cursor + 1, log.oldest))
