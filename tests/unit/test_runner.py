"""The rim of delivery, over a scripted edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest

from freshline.alarms import Alarms
from freshline.ambient import Ambient
from freshline.delivery.ages import Ages
from freshline.delivery.events import Above, Origin
from freshline.delivery.feed import Feed
from freshline.delivery.fetching import SPENT
from freshline.delivery.lateness import Deadlines, Lateness
from freshline.delivery.origins import OriginSlots
from freshline.delivery.pace import Pace
from freshline.delivery.runner import EdgeRunner
from freshline.delivery.settling import Settling
from freshline.domain.action import Fetch
from freshline.domain.edge import Edge, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Wish
from freshline.domain.topology import Topology
from freshline.drivers.base import Applied, Asked, Batch, Fault, Fetched, FetchOutcome, Gate, Lease, Probed, Trouble
from freshline.log.memory import MemoryLog

EDGE = Edge("e", "scripted", "g", "127.0.0.1:1", "127.0.0.1:2", "secret")


class Scripted:
    """A gate in memory, as docs/gates.md has it. ``forked``: another service, over a copy of our log, drives it too."""

    def __init__(self) -> None:
        self.gate = Gate(None, 0, None, True)
        self.forked = False
        self.flushes = 0
        self.held: list[Fetch] = []
        self.silent = False

    async def status(self, lease: Lease | None = None) -> Gate:
        return self.gate

    async def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Trouble:
        if self.silent:
            return Trouble(Fault.TIMEOUT, "no answer")
        if self.forked and self.gate.position < batch.upto:
            self.gate = replace(self.gate, position=batch.upto, mark="theirs")
        if batch.upto > self.gate.position:
            self.gate = replace(self.gate, position=batch.upto, mark=batch.mark)
        return Applied(self.gate.position, str(self.gate.mark), (), "ok")

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied:
        self.flushes += 1
        self.forked = False
        self.gate = Gate(log, position, mark, True)
        return Applied(position, mark, (), "ok")

    async def probe(self, what: Fetch) -> Probed | Trouble:
        raise AssertionError("delivery does not probe")

    async def fetch(self, what: Fetch) -> Fetched:
        self.held.append(what)
        await asyncio.Event().wait()
        return Fetched(FetchOutcome.STORED, 200, 1, "stored")

    async def close(self) -> None:
        pass


def run(
    log: MemoryLog,
    gate: Scripted,
    edge: Edge = EDGE,
    origins: OriginSlots | None = None,
    ambient: Ambient | None = None,
    above: Above | None = None,
    heartbeat_seconds: float = 0.05,
    follow: bool = False,
    moved: Callable[[str], None] = lambda edge: None,
    **deadlines: float,
) -> asyncio.Task[None]:
    ambient = ambient or Ambient()
    pace = Pace(retry_first_seconds=0.01, retry_most_seconds=0.02, heartbeat_seconds=heartbeat_seconds)
    runner = EdgeRunner(
        edge,
        gate,
        log,
        Feed(log),
        ambient,
        scope=Topology([edge]).scope(edge.name),
        above=above or Origin(),
        alarms=Alarms(),
        settling=Settling(log),
        pace=pace,
        lateness=Lateness(log, ambient, Ages(log, ambient), Deadlines(**deadlines)),
        origins=origins or OriginSlots(),
        follow=follow,
        moved=moved,
    )
    log.on_append(runner.wake)
    return asyncio.create_task(runner.run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_position_of_another_history_settles_nothing() -> None:
    """Two services over copies of one log: what the gate did for the other it did not do for us."""
    log, gate = MemoryLog(), Scripted()
    task = run(log, gate)
    await log.append([Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/1",))], now=time.time())
    await until(lambda: log.progress("e") is not None and log.progress("e").cursor == 1)
    assert gate.flushes == 1

    gate.forked = True
    await log.append([Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/2",))], now=time.time())
    await until(lambda: gate.flushes == 2)

    await until(lambda: log.progress("e").cursor == 2)
    assert [proof.said for proof in log.evidence("e", 2)] == ["flushed"]
    task.cancel()


async def test_an_edge_whose_fetches_hang_leaves_room_for_the_others() -> None:
    """Half of an origin's places at most are one edge's."""
    log, stuck, well = MemoryLog(), Scripted(), Scripted()
    origins = OriginSlots(each=4)
    other = replace(EDGE, name="other")
    tasks = [run(log, stuck, origins=origins), run(log, well, other, origins)]

    urls = tuple(f"http://a.test/{n}" for n in range(9))
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: len(stuck.held) == 2 and len(well.held) == 2)

    for task in tasks:
        task.cancel()


class Unreadable(MemoryLog):
    """One whose disk cannot be read for a moment."""

    broken = True

    def mark(self, position: int) -> str | None:
        if self.broken:
            raise OSError("I/O error")
        return super().mark(position)


async def test_a_log_that_cannot_be_read_ends_the_runner() -> None:
    """So that it is started anew: one that goes on would wait for ever for an answer that it has had."""
    log, gate = Unreadable(), Scripted()
    gate.gate = Gate(log.id, 0, "mark", True)

    with pytest.raises(OSError, match="I/O error"):
        await asyncio.wait_for(run(log, gate), 5)


async def test_children_hear_of_a_prefetch_that_was_retried() -> None:
    """Its row was passed long ago; that it is done now is news all the same."""
    log, gate, heard = MemoryLog(), Many(), list[str]()
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, ("http://a.test/1",))], now=time.time())
    await log.settle("e", Progress(1, again=Ranges([(1, 1)])))
    task = run(log, gate, moved=heard.append)
    await until(lambda: gate.held)

    await until(lambda: not log.progress("e").again)
    assert heard
    task.cancel()


Ended = Callable[[Sequence[tuple[int, Fetched | Trouble]]], None]


def _tell(ended: Ended, number: int, answer: Fetched | Trouble) -> None:
    ended([(number, answer)])


class Many(Scripted):
    """One that is asked for several objects at once, and answers each when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.ended: dict[str, Callable[[Fetched | Trouble], None]] = {}
        self.abandoned: list[str] = []
        self.takes = 64

    @property
    def fetches_at_once(self) -> int:
        return self.takes

    def fetch_each_then(
        self,
        whats: Sequence[Fetch],
        ended: Ended,
        over: Callable[[Trouble | None], None],
    ) -> Asked:
        self.asked.append([what.target for what in whats])
        for number, what in enumerate(whats):
            self.ended[what.target] = partial(_tell, ended, number)
        return Given(self.abandoned, whats[0].target)

    async def fetch(self, what: Fetch) -> Fetched:
        self.held.append(what)
        return Fetched(FetchOutcome.STORED, 200, 1, "stored")


STORED = Fetched(FetchOutcome.STORED, 200, 1, "stored")


async def test_what_begins_together_is_asked_for_together_and_ends_by_itself() -> None:
    """In two requests by turns. One that is slow holds up neither what is settled of the others, nor what is next."""
    log, gate = MemoryLog(), Many()
    task = run(log, gate, origins=OriginSlots(each=16))
    urls = tuple(f"http://a.test/{n}" for n in range(16))
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: gate.asked)
    assert gate.asked == [["/0", "/1", "/2", "/3"], ["/4", "/5", "/6", "/7"]], "an edge has half of an origin's places"

    for n in (5, 6, 4, 7):
        gate.ended[f"/{n}"](STORED)
    await until(lambda: len(gate.asked) == 3)
    assert gate.asked[2] == ["/8", "/9", "/10", "/11"], "as many as ended"

    for n in (1, 2, 3):
        gate.ended[f"/{n}"](STORED)
    await until(lambda: len(gate.asked) == 4)
    assert gate.asked[3] == ["/12", "/13", "/14"]
    await until(lambda: log.progress("e").ahead == Ranges([(2, 8)]))

    gate.ended["/1"](STORED)  # said twice, it counts once
    gate.ended["/8"](Trouble(Fault.FAILED, "failed it broke"))
    await until(lambda: len(gate.asked) == 5 or gate.held)
    again = gate.held[0].target if gate.held else gate.asked[4][0]
    assert again in ("/15", "/8")
    task.cancel()


async def test_a_gate_that_answers_and_never_ends_keeps_no_more_than_some_connections() -> None:
    """All that it was asked for is answered, so more is asked for: not with another connection each time."""
    log, gate = MemoryLog(), Many()
    task = run(log, gate, origins=OriginSlots(each=16))
    urls = tuple(f"http://a.test/{n}" for n in range(200))
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    answered: list[list[str]] = []

    def all_is_done() -> bool:
        for some in gate.asked[len(answered) :]:
            answered.append(some)
            for target in some:
                gate.ended[target](STORED)
        return (progress := log.progress("e")) is not None and progress.cursor == 200

    await until(all_is_done)

    assert len(gate.asked) > 20
    assert len(gate.asked) - len(gate.abandoned) <= SPENT + 2, "beside those that began last"
    task.cancel()


class Breaking(Many):
    broken = False

    @property
    def fetches_at_once(self) -> int:
        if self.broken:
            raise OSError("a fault of ours")
        return 64


async def test_a_runner_that_breaks_leaves_its_places_to_others() -> None:
    """Also where it had taken them and begun nothing: nobody else would give them back."""
    log, gate, origins = MemoryLog(), Breaking(), OriginSlots(each=4)
    task = run(log, gate, origins=origins)
    gate.broken = True
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, ("http://a.test/1", "http://a.test/2"))], now=time.time())
    with pytest.raises(OSError, match="fault of ours"):
        await asyncio.wait_for(task, 5)

    assert not origins.taken


async def test_a_gate_that_takes_one_at_a_time_is_asked_for_one_at_a_time() -> None:
    """Its driver could do more."""
    log, gate = MemoryLog(), Many()
    gate.takes = 1
    task = run(log, gate)
    urls = tuple(f"http://a.test/{n}" for n in range(9))
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: (progress := log.progress("e")) is not None and progress.cursor == 9)

    assert not gate.asked and len(gate.held) == 9
    task.cancel()


@pytest.mark.parametrize(("length", "most"), [(1, 16), (3_000, 5), (30_000, 1)])
async def test_a_request_is_no_longer_than_a_gate_reads(length: int, most: int) -> None:
    """Objects that are asked for with long headers are fewer to a request."""
    log, gate = MemoryLog(), Many()
    task = run(log, gate, origins=OriginSlots(each=64))
    wish = Wish(
        "1", "a.test", "g", Kind.PRELOAD, tuple(f"http://a.test/{n}" for n in range(32)), (), (("X", "y" * length),)
    )
    await log.append([wish], now=time.time())
    await until(lambda: len(gate.held) + sum(map(len, gate.asked)) == 32)

    assert max(map(len, gate.asked), default=1) == most
    task.cancel()


async def test_of_several_one_is_led_on_and_another_given_up() -> None:
    """What a redirect leads to is asked for by itself; a place that nobody wants any more is another's."""
    log, gate = MemoryLog(), Many()
    task = run(log, gate, origins=OriginSlots(each=6), follow=True, prefetch_seconds=0.4)
    urls = tuple(f"http://a.test/{n}" for n in range(4))
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: gate.asked)
    assert gate.asked == [["/0", "/1", "/2"]]

    gate.ended["/1"](Fetched(FetchOutcome.OTHER, 302, 0, "redirects to /there", "/there"))
    await until(lambda: [fetch.target for fetch in gate.held] == ["/there", "/3"])
    await until(lambda: log.progress("e").cursor == 4)  # the first and third were late
    assert [list(rows) for _, rows in log.progress("e").failed] == [[(1, 1), (3, 3)]]

    gate.ended["/0"](STORED)
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: len(gate.asked) == 2)
    assert gate.asked[1] == ["/0", "/1", "/2"], "each place is there again, and once"
    task.cancel()


class Prompted(Scripted):
    """One that is asked without a task, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, Callable[[Fetched | Trouble], None]] = {}
        self.abandoned: list[str] = []

    def fetch_then(self, what: Fetch, done: Callable[[Fetched | Trouble], None]) -> Asked:
        if what.target == "/broken":
            raise ValueError("a driver's own fault")
        self.asked[what.target] = done
        return Given(self.abandoned, what.target)


@dataclass
class Given:
    abandoned: list[str]
    target: str

    def abandon(self) -> None:
        self.abandoned.append(self.target)


async def test_what_is_asked_without_a_task_ends_in_every_way() -> None:
    """Stored, led on to another object, broken by a fault of ours, given up when it is late, and at the end."""
    log, gate = MemoryLog(), Prompted()
    task = run(log, gate, origins=OriginSlots(each=8), follow=True, prefetch_seconds=0.6)
    urls = tuple(f"http://a.test/{name}" for name in ("stored", "here", "broken", "late"))
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: len(gate.asked) == 3)

    gate.asked["/stored"](STORED)
    gate.asked["/here"](Fetched(FetchOutcome.OTHER, 302, 0, "redirects to /there", "/there"))
    await until(lambda: "/there" in gate.asked)
    gate.asked["/there"](STORED)
    await until(lambda: log.progress("e").cursor == 4)
    assert [list(rows) for _, rows in log.progress("e").failed] == [[(3, 4)]]
    assert gate.abandoned == ["/late"]

    gate.asked.clear()
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await until(lambda: len(gate.asked) == 3)  # each place is there again
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(gate.abandoned) == ["/here", "/late", "/late", "/stored"]


@pytest.mark.parametrize(
    ("deadlines", "late"),
    [
        ({"refresh_seconds": 0.1, "prefetch_seconds": 60.0}, [1]),
        ({"refresh_seconds": 60.0, "prefetch_seconds": 0.1}, [2, 3]),
    ],
)
async def test_what_was_retried_has_the_deadline_of_its_kind_after_a_restart(
    deadlines: dict[str, float], late: list[int]
) -> None:
    """That a row was to be done again says not whether it is a refresh; it used to be taken for a prefetch."""
    log, gate = MemoryLog(), Scripted()
    await log.append([Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/1",))], now=time.time())
    urls = ("http://a.test/2", "http://a.test/3")
    await log.append([Wish("1", "a.test", "g", Kind.PRELOAD, urls)], now=time.time())
    await log.settle("e", Progress(ahead=Ranges([(2, 3)]), begun=3, again=Ranges([(1, 3)])))
    gate.gate, gate.silent = Gate(log.id, 0, log.mark(0), True), True

    task = run(log, gate, **deadlines)
    await until(lambda: log.progress("e").failed)

    ((_, failed),) = log.progress("e").failed
    assert [position for position in (1, 2, 3) if position in failed] == late
    task.cancel()


class Stepped(Ambient):
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.off = 0.0

    def now(self) -> float:
        return time.time() + self.off


class Stuck:
    """Parents that get nowhere."""

    def refreshed(self) -> float:
        return 0.0

    def warmed(self) -> float:
        return 0.0

    def settled(self, position: int) -> bool:
        return False


async def test_a_row_that_comes_while_an_edge_has_nothing_to_do_is_late_in_time() -> None:
    """One that waits for its parents is not looked at for every row, and all the same when the first is late."""
    log, gate = MemoryLog(), Scripted()
    task = run(log, gate, above=Stuck(), heartbeat_seconds=60.0, refresh_seconds=0.3)
    await until(lambda: log.progress("e") is not None)

    await log.append([Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/1",))], now=time.time())
    await until(lambda: log.progress("e").failed)

    assert log.progress("e").cursor == 0
    task.cancel()


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0], ids=["back", "ahead"])
async def test_a_deadline_comes_in_time_whatever_becomes_of_the_wall_clock(step: float) -> None:
    """A clock that is set back delays no deadline, and one that is set ahead brings none."""
    log, gate, ambient = MemoryLog(), Scripted(), Stepped()
    task = run(log, gate, ambient=ambient, refresh_seconds=2.0)
    wish = Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/1",))
    await log.append([wish], now=ambient.now())
    await until(lambda: log.progress("e") is not None and log.progress("e").cursor == 1)
    gate.silent = True
    asked = time.monotonic()
    await log.append([wish], now=ambient.now())
    ambient.off = step
    await log.append([wish], now=ambient.now())

    await until(lambda: log.progress("e").failed)

    assert 1.9 < time.monotonic() - asked < 8
    assert log.progress("e").failures(Ranges([(1, 3)])) == Ranges([(2, 3)])
    task.cancel()
