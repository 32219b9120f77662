"""What one edge is owed, and in what order, one rule a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freshline.delivery.events import (
    Answered,
    Ask,
    Cancelled,
    FetchAnswered,
    Flush,
    Go,
    Grew,
    Noted,
    Overdue,
    Retried,
    Send,
    Stands,
    Ticked,
    Warn,
)
from freshline.domain.action import Command, Fetch, Verb
from freshline.domain.edge import Duty, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason
from freshline.drivers.base import (
    Adrift,
    Applied,
    Batch,
    Clock,
    Fault,
    Fetched,
    FetchOutcome,
    Gate,
    Lapse,
    Lease,
    Trouble,
)
from tests.unit.playbook import Playbook

purge_1 = Command(1, True, Verb.FILE, "a.test", b"/a")
purge_2 = Command(2, True, Verb.DIR, "a.test", b"/b/")
fetch_1 = Fetch(1, "http", "a.test", "/0")
fetch_2 = Fetch(2, "http", "a.test", "/a")
go_2 = Go((fetch_2,))
stored = Fetched(FetchOutcome.STORED, 200, 5, "stored")
silent = Trouble(Fault.TIMEOUT, "no answer")


def batch(after: int, upto: int, *commands: Command, live: bool = True) -> Send:
    return Send(Batch("L", after, upto, f"m{upto}", live, commands))


def stands(position: int, *, synced: bool = True, log: str | None = "L", ours: bool = True) -> Stands:
    return Stands(Gate(log, position, f"m{position}", synced), ours)


def ok(position: int, *refused: tuple[int, str]) -> Answered:
    return Answered(Applied(position, f"m{position}", refused, f"ok {position}"))


def test_a_gate_is_asked_before_it_is_told_anything() -> None:
    """Nothing goes out to a gate whose position we only guess."""
    assert Playbook([purge_1]) >> Grew(1, 1) << Ask() >> stands(0) << batch(0, 1, purge_1)


def test_a_settled_refresh_moves_the_cursor() -> None:
    """The cursor passes a row when the gate says it applied it."""
    book = Playbook([purge_1, purge_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1, purge_2)
    assert book.progress.cursor == 0

    assert book >> ok(2)
    assert book.progress.cursor == 2


def test_batches_follow_each_other_without_a_gap() -> None:
    """Only the batch that ends at the head is live."""
    assert (
        Playbook([purge_1, purge_2], at_once=1)
        >> Grew(2, 1)
        << Ask()
        >> stands(0)
        << batch(0, 1, purge_1, live=False)
        >> ok(1)
        << batch(1, 2, purge_2)
    )


def test_rows_that_vanish_from_the_log_are_not_passed_over() -> None:
    """Their day is dropped while they are read: the gate is not told the rest as if that were all."""
    book = Playbook([purge_1, purge_2])
    book.rows.oldest = 2

    assert book >> Grew(2, 1) << Ask() >> stands(0) << None
    assert (
        book.at(1.0)
        >> Grew(2, 3)
        << Ask()
        >> stands(0, ours=False)
        << Warn("e stands at 0 of log L: flushing it whole")
        << Flush(2)
    )


def test_a_gate_that_catches_up_is_not_looked_at_for_its_prefetches() -> None:
    """It is not asked to fetch before it is synced, so until it has answered there is nothing to do."""
    book = Playbook([purge_1, fetch_2, purge_2], at_once=2) >> Grew(3, 1) << Ask() >> stands(0, synced=False)
    book >> ok(2)

    assert book.machine.wake_at() > 1.0


def test_no_answer_means_asking_again_after_a_while() -> None:
    """A batch that may or may not have arrived is never counted; the gate is asked where it stands."""
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask() >> stands(0) << batch(0, 1, purge_1)

    assert book.at(10.0) >> Answered(silent) << None
    assert book.at(10.9) >> Ticked() << None
    assert book.at(11.0) >> Ticked() << Ask()
    assert book.progress.cursor == 0


def test_what_the_gate_had_applied_is_told_again_for_its_answer() -> None:
    """The answer got lost, the batch did not: that a gate stands past a row does not say that it did it."""
    book = Playbook([purge_1, purge_2]) >> Grew(2, 1) << Ask() >> stands(2) << batch(0, 2, purge_1, purge_2)
    assert book.progress.cursor == 0

    assert book >> ok(2, (1, "bad pattern"))
    assert book.progress.cursor == 2
    assert book.progress.failure(1) is Reason.INTERNAL


def test_the_pauses_double_up_to_the_most() -> None:
    """A dead edge is asked ever less often, and never given up."""
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask()
    clock = 0.0
    for tries, pause in enumerate((1.0, 2.0, 4.0, 8.0, 8.0), 1):
        assert book >> silent << (Warn("e is out of reach: no answer") if tries == 3 else None)
        clock += pause
        assert book.at(clock - 0.01) >> Ticked() << None
        assert book.at(clock) >> Ticked() << Ask()


def test_a_gate_that_lost_its_memory_is_flushed_whole() -> None:
    """What it forgot can't be told apart from what it never knew."""
    warned = Warn("e is bound to no log: flushing it whole")
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask() >> stands(0, log=None, ours=False) << warned << Flush(1)

    assert book >> ok(1) << None
    assert book.progress.cursor == 1


def test_a_gate_ahead_of_the_log_is_flushed() -> None:
    """The log was put back from an old copy: numbers went back, and old stamps would look new."""
    warned = Warn("e stands at 9 of log L: flushing it whole")
    assert Playbook([purge_1]) >> Grew(1, 1) << Ask() >> stands(9, ours=False) << warned << Flush(1)


def test_a_gate_behind_all_that_is_kept_is_flushed() -> None:
    """An edge that was away for longer than the log reaches back can't be caught up row by row."""
    progress = Progress(cursor=1, begun=1)
    warned = Warn("e stands at 1 of log L: flushing it whole")
    book = Playbook([purge_1, purge_2], progress=progress) >> Grew(2, 3) << Ask() >> stands(1) << warned << Flush(2)

    assert book >> ok(2) << None
    assert book.progress.cursor == 2


def test_an_account_that_ends_before_the_log_begins_is_closed() -> None:
    """The service died before it wrote down what the gate had done, and those days went: the gate's word is enough."""
    book = Playbook([purge_1, purge_1, purge_1, purge_1, purge_2], progress=Progress(cursor=1, begun=3))
    assert book >> Grew(5, 4) << Ask() >> stands(4) << batch(3, 5, purge_1, purge_2)

    assert book >> ok(5)
    assert book.progress.cursor == 5


def test_two_services_that_fight_over_a_gate_do_not_flush_it_in_turns() -> None:
    """The second flush waits, and says why."""
    warned = Warn("e stands at 5 of log X: flushing it whole")
    again = Warn("e stands at 5 of log X again, right after a flush: does another service drive it?")
    theirs = stands(5, log="X", ours=False)
    book = Playbook([purge_1, purge_2]) >> Grew(1, 1) << Ask() >> theirs << warned << Flush(1) >> ok(1) << None
    assert book >> Grew(2, 1) << batch(1, 2, purge_2) >> Answered(Adrift("other X")) << Ask()

    assert book >> theirs << again
    assert book.at(1.0) >> Ticked() << Ask() >> theirs << warned << Flush(2)


def test_a_gate_that_lost_the_end_of_its_journal_gets_it_again() -> None:
    """Settled rows stay settled, and go out once more."""
    book = Playbook([purge_1, purge_2], progress=Progress(cursor=2, begun=2)) >> Grew(2, 1) << Ask()

    assert book >> stands(1, synced=False) << batch(1, 2, purge_2)
    assert book.progress.cursor == 2


def test_an_edge_that_just_started_is_told_that_it_is_up_to_date() -> None:
    """Without that it keeps its old cache out of use."""
    book = Playbook([purge_1], progress=Progress(cursor=1, begun=1)) >> Grew(1, 1) << Ask()

    assert book >> stands(1, synced=False) << batch(1, 1)
    assert book >> ok(1) << None


def test_a_refused_row_fails_and_holds_nothing_up() -> None:
    """A gate that will never do a row says so once."""
    book = Playbook([purge_1, purge_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1, purge_2)

    assert book >> ok(2, (1, "bad pattern"))
    assert book.progress.cursor == 2
    assert book.progress.failure(1) is Reason.INTERNAL
    assert book.progress.failure(2) is None


def test_a_prefetch_waits_for_the_refreshes_before_it() -> None:
    """Else it would find the old object in the cache and leave it there."""
    book = Playbook([purge_1, fetch_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1)

    assert book >> ok(2) << go_2
    assert book.progress.cursor == 1
    assert book >> FetchAnswered(2, stored) << None
    assert book.progress.cursor == 2


def test_a_refresh_does_not_wait_for_a_slow_prefetch() -> None:
    """The gate's stamps make their order harmless, so the cursor stays and the refresh is settled beyond it."""
    later = Command(3, True, Verb.FILE, "a.test", b"/a")
    book = Playbook([purge_1, fetch_2, later]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1)
    assert book >> ok(2) << go_2

    assert book >> Grew(3, 1) << batch(2, 3, later) >> ok(3) << None
    assert book.progress.cursor == 1
    assert book.progress.settled(3)
    assert not book.progress.settled(2)


def test_a_failing_origin_fails_the_row_after_some_tries() -> None:
    """Three answers of 5XX are an answer."""
    broken = Fetched(FetchOutcome.ORIGIN_STATUS, 503, 0, "503")
    book = Playbook([purge_1, fetch_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1) >> ok(2) << go_2
    for clock in (10.0, 20.0):
        assert book >> FetchAnswered(2, broken) << None
        assert book.at(clock) >> Ticked() << go_2

    assert book >> FetchAnswered(2, broken) << Warn("e did not prefetch http://a.test/a: 503")
    assert book.progress.failure(2) is Reason.ORIGIN_STATUS


def test_a_missing_object_is_not_asked_for_twice() -> None:
    """404 will be 404 again."""
    missing = Fetched(FetchOutcome.OTHER, 404, 0, "404")
    book = Playbook([purge_1, fetch_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1) >> ok(2) << go_2

    assert book >> FetchAnswered(2, missing) << Warn("e did not prefetch http://a.test/a: 404")
    assert book.progress.failure(2) is Reason.INTERNAL
    assert book.progress.cursor == 2


def test_a_late_refresh_fails_and_is_delivered_all_the_same() -> None:
    """The task says Failed at its deadline; the edge still gets it when it is back."""
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask() >> silent << None >> Overdue(Ranges([(1, 1)])) << None
    assert book.progress.failure(1) is Reason.INTERNAL
    assert book.progress.cursor == 0

    assert book.at(5.0) >> Ticked() << Ask() >> stands(0) << batch(0, 1, purge_1) >> ok(1)
    assert book.progress.cursor == 1
    assert book.progress.failure(1) is Reason.INTERNAL


def test_a_late_prefetch_is_given_up() -> None:
    """Nobody waits for it any more, so no origin is asked for it."""
    book = Playbook([purge_1, fetch_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1) >> ok(2) << go_2

    assert book >> Overdue(Ranges([(2, 2)])) << None
    assert book.progress.cursor == 2
    assert book >> FetchAnswered(2, stored) << None
    assert book.progress.failure(2) is Reason.INTERNAL


def test_a_prefetch_that_waits_for_room_wakes_nobody() -> None:
    """A due retry behind a full window would else be looked at without end."""
    rows = [purge_1, *(Fetch(position, "http", "a.test", f"/{position}") for position in range(2, 19))]
    book = Playbook(rows) >> Grew(18, 1) << Ask() >> stands(0) << batch(0, 18, purge_1) >> ok(18)
    book << Go(tuple(row for row in rows[1:17] if isinstance(row, Fetch)))
    assert book >> FetchAnswered(2, Fetched(FetchOutcome.ORIGIN_STATUS, 503, 0, "503")) << Go((rows[17],))

    assert book.machine.wake_at() > 50.0


def test_a_gate_that_stands_well_and_refuses_all_the_same_is_not_asked_without_pause() -> None:
    """Two instances behind one address: what one says does not hold for the other."""
    behind = Answered(Adrift("behind 0"))
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask() >> stands(0) << batch(0, 1, purge_1) >> behind << Ask()

    assert book >> stands(0) << batch(0, 1, purge_1) >> behind << None
    assert book.at(1.9) >> Ticked() << None
    assert book.at(2.0) >> Ticked() << Ask()


def test_an_answer_about_other_rows_is_no_answer() -> None:
    """A gate can fail only what it was told in this batch: not what is settled, not what is yet to come."""
    progress = Progress(cursor=1, begun=1)
    for stranger in (1, 3):
        book = Playbook([purge_1, purge_2, purge_1], progress=progress) >> Grew(2, 1) << Ask() >> stands(1)
        assert book << batch(1, 2, purge_2) >> ok(2, (stranger, "no")) << None
        assert book.progress == Progress(cursor=1, begun=2)


def test_what_is_covered_is_settled_a_stretch_at_a_time() -> None:
    """An edge that was flushed with a long backlog holds nobody else up."""
    warned = Warn("e is bound to no log: flushing it whole")
    book = Playbook([purge_1, purge_2], at_once=1) >> Grew(2, 1) << Ask()
    assert book >> stands(0, log=None, ours=False) << warned << Flush(2) >> ok(2) << None
    assert book.progress.cursor == 1
    assert book.machine.wake_at() == 0.0

    assert book >> Ticked() << None
    assert book.progress.cursor == 2


def test_failures_of_rows_that_are_gone_are_forgotten() -> None:
    """Else they would be kept, and written, for as long as the edge lives."""
    failed = Progress(cursor=2, begun=2).with_failures(Reason.INTERNAL, Ranges([(1, 2)]))
    book = Playbook([purge_1, purge_2], progress=failed) >> Grew(2, 2) << Ask()

    assert book
    assert book.progress.failed == ((Reason.INTERNAL, Ranges([(2, 2)])),)


# Leases


def leased(position: int, *, clock: int, left: int = 0, lapse: Lapse = Lapse.BYPASS) -> Stands:
    gate = Gate("L", position, f"m{position}", True, Clock("b", clock), lapse, {"lease": str(left)})
    return Stands(gate, True)


def in_touch(rows: list[Command | Fetch], **more: Any) -> Playbook:
    """A gate that lapses, at the head of the log, granted a lease of 300 s at the clock's 1000 ms."""
    book = Playbook(rows, **more)
    assert book >> Grew(0, 1) << Ask() >> leased(0, clock=1000) << None
    assert book >> Noted(book.progress) << Ask(Lease(Clock("b", 1000), 300.0, 0))
    return book


def test_a_lease_is_granted_only_once_the_log_knows_of_it() -> None:
    """Whoever starts after us must know for how long a gate may go on without us."""
    book = in_touch([])

    assert (book.progress.leased_seconds, book.progress.lapses) == (300.0, True)


def test_a_gate_that_is_cut_off_is_settled_once_its_lease_is_over() -> None:
    """One lease after we last heard of it, and a margin for clocks that run apart, it serves nothing that is stored."""
    book = in_touch([purge_1, purge_2]) >> silent << None
    again = Ask(Lease(Clock("b", 1000), 300.0, 0))  # counted from the same moment, so it brings nothing
    assert book.at(305.9) >> Grew(2, 1) << again >> silent << None
    assert book.progress.cursor == 0

    assert book.at(306.1) >> Ticked() << None
    assert book.progress.cursor == 2


def test_a_gate_that_serves_without_a_lease_is_never_settled_unheard() -> None:
    """It chose to be there for its visitors rather than to be right."""
    book = Playbook([purge_1]) >> Grew(0, 1) << Ask() >> leased(0, clock=1000, lapse=Lapse.SERVE) << None
    assert book >> Noted(book.progress) << Ask(Lease(Clock("b", 1000), 300.0, 0)) >> silent << None

    assert book.at(9999.0) >> Grew(1, 1) << Ask() >> silent << None
    assert book.progress.cursor == 0


def test_a_prefetch_is_not_settled_by_a_lease_that_ran_out() -> None:
    """Nothing was brought anywhere."""
    book = in_touch([purge_1, fetch_2]) >> silent << None

    assert book.at(400.0) >> Grew(2, 1) << Ask() >> silent << None
    assert book.progress.cursor == 1


def test_a_gate_that_comes_back_gets_no_lease_before_it_has_caught_up() -> None:
    """What was settled without it, it must know before it may serve again."""
    book = in_touch([purge_1, purge_2], at_once=1) >> silent << None
    assert book.at(400.0) >> Grew(2, 1) << Ask() >> silent << None
    assert book.at(400.0) >> Ticked() << None  # the second row
    assert book.progress.cursor == 2

    assert book.at(410.0) >> Ticked() << Ask() >> leased(0, clock=411_000) << batch(0, 1, purge_1, live=False)
    granted = Lease(Clock("b", 412_000), 300.0, 2)
    answer = Answered(Applied(1, "m1", (), "ok 1", Clock("b", 412_000)))
    assert book >> answer << Send(Batch("L", 1, 2, "m2", True, (purge_2,)), granted)


def test_a_new_service_waits_for_leases_of_the_one_before() -> None:
    """What was granted before we started may still be out."""
    progress = Progress(leased_seconds=100.0, lapses=True)
    book = Playbook([purge_1], progress=progress) >> Grew(1, 1) << Ask() >> silent << None

    assert book.at(101.9) >> Ticked() << Ask() >> silent << None
    assert book.progress.cursor == 0
    assert book.at(102.1) >> Ticked() << None
    assert book.progress.cursor == 1


# Parents


@dataclass
class Parent:
    at: float = 0

    def refreshed(self) -> float:
        return self.at

    def warmed(self) -> float:
        return 0

    def settled(self, position: int) -> bool:
        return position <= self.at


def test_a_child_waits_for_its_parents() -> None:
    """It would be filled from one that is stale."""
    parent = Parent(1)
    book = Playbook([purge_1, purge_2], above=parent) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 1, purge_1)
    assert book >> ok(1) << None

    parent.at = 2
    assert book >> Ticked() << batch(1, 2, purge_2)


def test_a_child_is_filled_after_its_parents() -> None:
    """So that it finds there what it fetches."""
    parent = Parent(1)
    book = Playbook([purge_1, fetch_2], above=parent) >> Grew(2, 1) << Ask() >> stands(1) << batch(0, 1, purge_1)
    assert book >> ok(1) << None

    parent.at = 2
    assert book >> Ticked() << batch(1, 2) >> ok(2) << go_2


# What operators order


def test_a_paused_edge_is_asked_nothing() -> None:
    """Its tasks wait for it."""
    book = Playbook([purge_1], duty=Duty.PAUSED) >> Grew(1, 1) << None

    assert book.at(1e6) >> Ticked() << None


def test_a_drained_edge_is_kept_up_to_date_without_a_lease() -> None:
    """A load balancer shall not send it anybody."""
    book = Playbook([purge_1], duty=Duty.DRAINED) >> Grew(1, 1) << Ask() >> leased(0, clock=5) << batch(0, 1, purge_1)

    assert book >> ok(1) >> Noted(book.progress) << None


def test_nothing_waits_for_a_drained_edge_once_its_lease_is_over() -> None:
    """A load balancer may send it visitors until then, however fast it is drained and resumed."""
    progress = Progress(leased_seconds=100.0)
    book = Playbook([purge_1, fetch_2], progress=progress, duty=Duty.DRAINED) >> Grew(2, 1) << Ask() >> silent << None
    assert book.at(101.9) >> Ticked() << Ask() >> silent << None
    assert book.progress.cursor == 0

    assert book.machine.wake_at() == 102.0
    assert book.at(102.1) >> Ticked() << None
    assert book.progress.cursor == 2


def test_an_edge_that_is_resumed_is_fresh_only_where_it_has_caught_up() -> None:
    """What did not wait for it while it was drained it has to have all the same."""
    progress = Progress(cursor=2, begun=2, leased_seconds=300.0)
    book = Playbook([purge_1, purge_2], progress=progress) >> Grew(2, 1) << Ask()
    (
        book
        >> leased(0, clock=5, lapse=Lapse.SERVE)
        << Send(Batch("L", 0, 2, "m2", True, (purge_1, purge_2)), Lease(Clock("b", 5), 300.0, 2))
    )
    assert book


def test_a_drained_edge_that_never_held_a_lease_is_waited_for_by_nobody() -> None:
    """Neither its refreshes nor its prefetches, nor what was retried."""
    again = Progress(cursor=1, begun=2, again=Ranges([(1, 1)]))
    book = Playbook([fetch_1, purge_2], progress=again, duty=Duty.DRAINED) >> Grew(2, 1) << Ask() >> silent << None

    assert book
    assert (book.progress.cursor, book.progress.again, book.machine.refreshed) == (2, Ranges(), 2)


def test_a_prefetch_that_failed_is_done_again() -> None:
    """Its failure is forgotten, and it is owed until it ends once more."""
    book = Playbook([purge_1, fetch_2]) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2, purge_1) >> ok(2)
    book << go_2
    book >> FetchAnswered(2, Fetched(FetchOutcome.OTHER, 404, 0, "404"))
    book << Warn("e did not prefetch http://a.test/a: 404")
    assert book
    assert book.progress.failure(2) is Reason.INTERNAL

    assert book >> Retried(Ranges([(1, 2)]), prefetch=True) << go_2
    assert not book.progress.settled(2) and book.progress.failure(2) is None
    assert book >> FetchAnswered(2, stored)
    assert book.progress.settled(2) and not book.progress.again


def test_what_was_retried_can_fail_again() -> None:
    """The new deadline counts, the old one does not."""
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask() >> silent << None >> Overdue(Ranges([(1, 1)])) << None
    assert book >> Retried(Ranges([(1, 1)]), prefetch=False) >> Overdue(Ranges([(1, 1)])) << None
    assert book.progress.failure(1) is None

    assert book >> Overdue(Ranges([(1, 1)]), again=True) << None
    assert book.progress.failure(1) is Reason.INTERNAL


def test_a_prefetch_that_was_not_begun_is_cancelled() -> None:
    """One that is under way ends by itself; one that waits is never begun."""
    rows = [fetch_1, fetch_2]
    book = Playbook(rows, fetch_window=1) >> Grew(2, 1) << Ask() >> stands(0) << batch(0, 2) >> ok(2) << Go((fetch_1,))

    assert book >> Cancelled(Ranges([(1, 2)])) << None
    assert book.progress.failure(2) is Reason.CANCELLED
    assert book >> FetchAnswered(1, stored) << None
    assert book.progress.cursor == 2


def test_each_kind_of_trouble_is_told_once_and_by_its_name() -> None:
    """Nobody looks for a broken line where a secret is wrong; and the end is told once for all."""
    book = Playbook([purge_1]) >> Grew(1, 1) << Ask()
    clock = 0.0
    for fault, said in [(Fault.UNREACHABLE, "Connection refused")] * 4 + [(Fault.DENIED, "403")] * 3:
        book >> Trouble(fault, said)
        clock += 10.0
        book.at(clock) >> Ticked()
    told = [line for line in book.actual if line.startswith("<< Warn")]

    assert len(told) == 2
    assert "e is out of reach: Connection refused" in told[0]
    assert "e refuses our secret (403)" in told[1] and "freshline edge set e --secret-file" in told[1]
    book >> stands(0)
    book >> ok(1)
    assert [line for line in book.actual if line.startswith("<< Warn")][2:] == [f"<< {Warn('e is back')}"]


def test_visitors_are_sent_where_a_lease_is_held() -> None:
    """Not while it catches up, not when it is drained, and not when it was not heard of."""
    book = in_touch([purge_1])
    assert book.machine.fresh(book.clock, book.machine.head)

    assert not book.machine.fresh(book.clock + 3600, book.machine.head)
    book >> silent
    assert not book.machine.fresh(book.clock, book.machine.head)
