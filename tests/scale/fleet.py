"""python -m tests.scale [--edges 10000] [--tasks 1000000] [--seed 1]

A fleet in three tiers on a clock of its own, with the delivery code, the log and the settings that are shipped: what
is simulated is time, the network and the gates. Answers get lost, some edges are slow, regions are cut off for up to a
minute, some gates lose their memory and some cannot be reached until the last task was accepted.

What must hold: a gate is told exactly what was asked for, in order and without a gap; a row is Complete only when each
of its edges has applied it or serves nothing that is stored; in the end every edge has settled everything.
"""

from __future__ import annotations

import asyncio
import math
import random
import resource
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from freshline.config import Settings
from freshline.delivery.ages import Ages
from freshline.delivery.feed import Feed
from freshline.delivery.fleet import Fleet, Post
from freshline.delivery.lateness import Lateness
from freshline.delivery.origins import OriginSlots
from freshline.delivery.runner import EdgeRunner
from freshline.domain.edge import Edge, Progress
from freshline.domain.progress import row_state
from freshline.domain.run import Commands
from freshline.domain.task import Kind, Status, Wish
from freshline.domain.topology import Topology
from freshline.drivers.base import Batch, Lapse
from freshline.inventory.base import Inventory
from freshline.log.base import Settled
from tests.scale.gates import Net, SimGate
from tests.scale.virtual import VirtualAmbient, VirtualLoop, WatchedLog

GROUPS = 10
L1_PER_L2 = 40
L3 = 4
TASKS_AT_ONCE = 2000
COMMIT_SECONDS = 0.005  #: virtual: what a disk takes, in which others come together
SAMPLES = 500  #: rows whose way is followed
PATIENCE_SECONDS = 3600.0  #: virtual, after the last task was accepted


def topology(edges: int) -> Topology:
    """Three tiers: most are L1, each forty fetch through two L2, and these through two of a few L3."""
    tops, middles = min(L3, edges), max(2, edges // L1_PER_L2)
    made = [_edge(f"l3-{n}", "g0") for n in range(tops)]
    made += [_edge(f"l2-{n}", f"g{n % GROUPS}", (f"l3-{n % tops}", f"l3-{(n + 1) % tops}")) for n in range(middles)]
    for n in range(edges - len(made)):
        above = n % middles
        made.append(_edge(f"l1-{n}", f"g{n % GROUPS}", (f"l2-{above}", f"l2-{(above + 1) % middles}")))
    return Topology(made)


def _edge(name: str, group: str, parents: tuple[str, ...] = ()) -> Edge:
    return Edge(name, "simulated", group, "127.0.0.1:1", "127.0.0.1:2", "secret", parents=parents)


@dataclass
class Report:
    edges: int
    tasks: int
    seed: int
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(f"{name:38} {value}" for name, value in self.figures.items())


class Histogram:
    """Of seconds, exact to 2 %."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self._counts[round(math.log(max(seconds, 1e-3)) * 50)] += 1

    def percentile(self, percent: float) -> float:
        left = sum(self._counts.values()) * percent / 100
        for bucket, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return math.exp(bucket / 50)
        return math.nan

    def __str__(self) -> str:
        return " / ".join(f"{self.percentile(percent):.3g}" for percent in (50, 95, 99)) + " s"


class Scale:
    def __init__(
        self, loop: VirtualLoop, home: Path, edges: int, tasks: int, seed: int, say: Callable[[str], None]
    ) -> None:
        self.loop, self.tasks, self.seed, self.say = loop, tasks, seed, say
        self.dice = random.Random(seed)
        self.log = WatchedLog.in_virtual_time(home / "log.db")
        loop.clock.busy = lambda: self.log.under_way > 0
        self.topology = topology(edges)
        self.net = Net(self.dice, check=self._check_batch)
        self.gates = {name: self._gate() for name in self.topology.edges}
        self.paths: list[str] = []  #: by position, from 1
        self.warm: list[int] = []  #: positions of prefetches
        self.accepted: list[tuple[int, float]] = []  #: of rows that are followed
        self.missing: dict[int, int] = {}  #: of those: how many edges have not settled them
        self.lags, self.completions = Histogram(), Histogram()
        self.cursors = dict.fromkeys(self.topology.edges, 0)
        self.settles = self.commits = self.proofs = self.looked_complete = self.looked_open = 0
        self.log.settled = self._settled

    def _gate(self) -> SimGate:
        dice, roll = self.dice, self.dice.random()
        slow = roll < 0.01
        gate = SimGate(
            self.net,
            seconds=2.0 if slow else dice.uniform(0.005, 0.08),
            loss=0.001,
            lapse=Lapse.SERVE if dice.random() < 0.5 else Lapse.BYPASS,
            start=dice.randrange(10**9),
        )
        if roll > 0.995:
            gate.cut_until = math.inf  # nobody has seen it yet
        return gate

    # -- what is watched ------------------------------------------------------
    async def _settled(self, settled: Sequence[Settled]) -> None:
        await asyncio.sleep(COMMIT_SECONDS)
        self.commits += 1
        self.settles += len(settled)
        now = self.loop.time()
        for each in settled:
            self.proofs += len(each.evidence)
            before, cursor = self.cursors[each.edge], each.progress.cursor
            if cursor > before:
                self.cursors[each.edge] = cursor
                self._passed(before, cursor, now)

    def _passed(self, before: int, cursor: int, now: float) -> None:
        key = (before, math.inf)
        for at in range(bisect_right(self.accepted, key), len(self.accepted)):
            position, accepted = self.accepted[at]
            if position > cursor:
                break
            self.lags.add(now - accepted)
            self.missing[position] -= 1
            if not self.missing[position]:
                self.completions.add(now - accepted)

    def _check_batch(self, batch: Batch) -> None:
        """What a gate is told is what was asked for."""
        first, last = bisect_right(self.warm, batch.after), bisect_right(self.warm, batch.upto)
        assert len(batch.commands) == batch.upto - batch.after - (last - first), f"{batch.after} to {batch.upto}: a gap"
        assert isinstance(batch.commands, Commands)
        for run in batch.commands.runs:
            asked = "".join(f"{path}\n" for path in self.paths[run.first - 1 : run.last])
            assert run.lines.decode() == asked.replace(f"http://{run.host}", ""), f"{run} is not {asked}"

    def _look(self) -> None:
        """What callers are told of some rows, beside what the gates are."""
        head = self.log.head
        for position in {self.dice.randint(max(1, head - 20_000), head) for _ in range(3)}:
            task = self.log.read(position - 1, 1)[0]
            due = [(edge, self.log.progress(edge.name) or Progress()) for edge in self.topology.taking(task.wish)]
            if row_state(position, due).status is not Status.COMPLETE:
                self.looked_open += 1
                continue
            self.looked_complete += 1
            for edge, _ in due:
                gate = self.gates[edge.name]
                if task.wish.kind.is_prefetch:
                    assert position in gate.fetched, f"row {position} is Complete, and {edge.name} never fetched it"
                else:
                    fine = gate.position >= position or not gate.serves_what_is_stored() or not gate.synced
                    assert fine, f"row {position} is Complete, and {edge.name} stands at {gate.position}"

    # -- what happens ---------------------------------------------------------
    async def run(self) -> Report:
        loop, began = self.loop, time.perf_counter()
        bare = _resident()
        fleet = self._fleet()
        running = loop.create_task(fleet.run())
        faults = loop.create_task(self._faults())
        try:
            return await self._measured(fleet, running, faults, bare, began)
        finally:
            faults.cancel()
            running.cancel()
            await asyncio.gather(running, faults, return_exceptions=True)
            await self.log.close()

    async def _measured(
        self, fleet: Fleet, running: asyncio.Task[None], faults: asyncio.Task[None], bare: int, began: float
    ) -> Report:
        loop = self.loop
        while len(fleet.runners) < len(self.gates):
            await asyncio.sleep(0.1)
        started, spent = time.perf_counter(), time.process_time()
        held = _resident()
        await self._accept(running)
        faults.cancel()
        self.net.calm = True
        for gate in self.gates.values():
            gate.cut_until = 0.0
        over = loop.time()
        while min(self.cursors.values()) < self.log.head or self._behind():
            assert loop.time() < over + PATIENCE_SECONDS, f"stuck: {self._stuck(fleet)}"
            assert not running.done(), "the fleet ended"
            await asyncio.sleep(1.0)
            self._look()
        took, worked = time.perf_counter() - started, time.process_time() - spent
        self._check_end(fleet)
        rows = self.log.head * len(self.gates)
        report = Report(len(self.gates), self.tasks, self.seed)
        report.figures = {
            "edges × tasks, seed": f"{report.edges:,} × {report.tasks:,}, {report.seed}",
            "virtual time": f"{over:.0f} s, and {loop.time() - over:.0f} s until all was settled",
            "wall time (processor time)": f"{took:.1f} s ({worked:.1f} s), start {started - began:.1f} s",
            "requests to gates": f"{self.net.requests:,}, lost {self.net.lost:,}",
            "processor time a request": f"{worked / self.net.requests * 1e6:.0f} µs, network and gates included",
            "rows × edges a second": f"{rows / took:,.0f}",
            "settles, in commits, with proofs": f"{self.settles:,}, {self.commits:,}, {self.proofs:,}",
            "accepted → proven, p50 / p95 / p99": str(self.lags),
            "accepted → on all edges": str(self.completions),
            "rows looked at, Complete / not yet": f"{self.looked_complete} / {self.looked_open}",
            "memory at the end, most": f"{_peak() / 1e6:.0f} MB",
            "memory of an edge, at the start": f"{(held - bare) / len(self.gates) / 1e3:.1f} kB",
        }
        return report

    def _fleet(self) -> Fleet:
        settings = Settings()
        ambient = VirtualAmbient(self.loop, random.Random(self.seed))
        feed, origins = Feed(self.log), OriginSlots(settings.gates.fetches_per_domain)
        lateness = Lateness(self.log, ambient, Ages(self.log, ambient), settings.deadlines)

        def runner(post: Post) -> EdgeRunner:
            return EdgeRunner(
                post.edge,
                self.gates[post.edge.name],
                self.log,
                feed,
                ambient,
                scope=post.scope,
                above=post.above,
                moved=post.moved,
                alarms=post.alarms,
                settling=post.settling,
                pace=settings.delivery,
                lateness=lateness,
                origins=origins,
            )

        return Fleet(cast(Inventory, SimpleNamespace(topology=self.topology)), self.log, runner)

    async def _accept(self, running: asyncio.Task[None]) -> None:
        step, shown, wall = max(1, self.tasks // SAMPLES), 0, time.perf_counter()
        while (done := len(self.paths)) < self.tasks:
            count = min(TASKS_AT_ONCE, self.tasks - done, max(1, self.tasks // 20))
            ambient_now = 1_700_000_000.0 + self.loop.time()
            wishes = [self._wish(done + at + 1) for at in range(count)]
            await self.log.append(wishes, now=ambient_now)
            for position in range(done + 1, done + count + 1):
                if position % step == 0:
                    self.accepted.append((position, self.loop.time()))
                    self.missing[position] = len(self.gates)
            await asyncio.sleep(self.dice.uniform(0.5, 1.5))
            self._look()
            assert not running.done(), "the fleet ended"
            if 20 * (done + count) // self.tasks > shown:
                shown = 20 * (done + count) // self.tasks
                self.say(
                    f"{self.loop.time():7.0f} s: {done + count:,} accepted, {self.net.requests:,} requests, "
                    f"{_peak() / 1e6:.0f} MB, {time.perf_counter() - wall:.0f} s of wall time"
                )

    def _wish(self, position: int) -> Wish:
        domain = position // 20 % 50  # callers ask for several things at once
        warm = position % max(1, self.tasks // 5) == 7  # a few: each edge of a group fetches each
        self.paths.append(f"http://d{domain}.test/{self.dice.getrandbits(40):x}/{position}.jpg")
        if warm:
            self.warm.append(position)
        kind = Kind.PRELOAD if warm else Kind.FILE
        return Wish("1", f"d{domain}.test", f"g{domain % GROUPS}", kind, (self.paths[-1],))

    async def _faults(self) -> None:
        names, dice = list(self.gates), self.dice
        while True:
            await asyncio.sleep(dice.expovariate(1 / 5))
            now, roll = self.loop.time(), dice.random()
            if roll < 0.5:  # a region is cut off
                start, size = dice.randrange(len(names)), max(1, len(names) // 50)
                for name in names[start : start + size]:
                    gate = self.gates[name]
                    gate.cut_until = max(gate.cut_until, now + dice.uniform(1, 60))
            elif roll < 0.6:  # one has lost its memory, and its disk
                gate = self.gates[dice.choice(names)]
                gate.log, gate.position, gate.mark, gate.synced = None, 0, None, False
                gate.leased_until = float("-inf")

    def _check_end(self, fleet: Fleet) -> None:
        head = self.log.head
        for name, gate in self.gates.items():
            progress = self.log.progress(name)
            assert progress is not None and progress.cursor == head, f"{name} has not settled all: {progress}"
            assert gate.position == head, f"{name} is settled, and its gate stands at {gate.position}"
            scope = self.topology.scope(name)
            for position in self.warm:
                wish = self.log.read(position - 1, 1)[0].wish
                given_up = progress.failure(position) is not None
                assert not scope.takes(wish) or given_up or position in gate.fetched, f"{name} never fetched {position}"
        assert self.looked_complete, "nobody saw a row that was Complete"

    def _behind(self) -> bool:
        """A gate that held no lease was settled without having been told."""
        return any(gate.position < self.log.head for gate in self.gates.values())

    def _stuck(self, fleet: Fleet) -> str:
        name = min(self.cursors, key=self.cursors.__getitem__)
        machine = fleet.runners[name].machine
        return f"{name} at {self.cursors[name]} of {self.log.head}, {machine.lane}, {machine.failures} failures"


def simulate(home: Path, edges: int, tasks: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(Scale(loop, home, edges, tasks, seed, say).run())
    finally:
        loop.close()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
