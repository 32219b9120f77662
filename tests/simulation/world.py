"""A fleet in one process: one clock, one seed, the real delivery machine, and everything else as bad as it can be.

Gates, caches, the origin and the network are models written from docs/gates.md. Requests and answers get lost or late,
edges stop and come back with an old disk cache, a torn journal or no memory at all, are cut off while their visitors
go on reading, fetch through each other, count time on clocks that run apart; the service dies at any moment, and the
log itself may be put back from an old copy. What must hold is checked after every event.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from freshline.delivery.events import (
    Answered,
    Ask,
    Event,
    FetchAnswered,
    Flush,
    Go,
    Grew,
    Noted,
    Origin,
    Overdue,
    Send,
    Settle,
    Stands,
    Stretch,
    Ticked,
    Warm,
    Warn,
    When,
)
from freshline.delivery.machine import EdgeDelivery
from freshline.delivery.pace import Pace
from freshline.domain.action import Command, Fetch, Verb
from freshline.domain.edge import Edge, Evidence, Progress
from freshline.domain.progress import row_state
from freshline.domain.ranges import NOTHING, Ranges
from freshline.domain.task import Status
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

LOG = "log"
HOST = "a.test"
PATHS = [f"/{directory}/{name}" for directory in "xy" for name in "123"]


@dataclass
class Accepted:
    """A row of the log, and the versions the origin had when it was accepted."""

    what: Command | Fetch
    mark: str
    versions: dict[str, int]
    at: float


class SimLog:
    """The log as the machine reads it. ``restore`` puts an old copy back: same id, another history."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.rows: list[Accepted] = []
        self.dropped = 0

    @property
    def head(self) -> int:
        return len(self.rows)

    @property
    def oldest(self) -> int:
        return self.dropped + 1

    def mark(self, position: int) -> str | None:
        if position == 0:
            return LOG
        return self.rows[position - 1].mark if self.dropped <= position <= self.head and position else None

    def stretch(self, after: int, upto: int) -> Stretch:
        end = min(upto, max(after, self.dropped) + self._dice.randint(1, 7)) if upto > after else after
        rows = [self.rows[p - 1].what for p in range(after + 1, end + 1) if p > self.dropped]
        mark = self.mark(end)
        assert mark is not None
        return Stretch(
            after,
            end,
            mark,
            tuple(row for row in rows if isinstance(row, Command)),
            tuple(
                Warm(row.position, row.position, f"{row.position % 3}", HOST) for row in rows if isinstance(row, Fetch)
            ),
        )

    def fetches(self, after: int, upto: int) -> list[Fetch]:
        rows = [self.rows[p - 1].what for p in range(max(after, self.dropped) + 1, upto + 1)]
        return [row for row in rows if isinstance(row, Fetch)]


@dataclass
class SimEdge:
    """A cache with a gate. ``journal`` is what survives a restart; ``disk`` too."""

    name: str
    log: str | None = None
    position: int = 0
    mark: str | None = None
    rules: list[Command] = field(default_factory=list)
    generation: int = 0
    synced: bool = False
    up: bool = True
    boots: int = 0
    disk: dict[str, tuple[int, int, int]] = field(default_factory=dict)  #: path -> version, stamp, generation
    parents: tuple[str, ...] = ()
    lapse: Lapse = Lapse.SERVE
    rate: float = 1.0  #: of its clock
    cut: float = 0.0  #: until then nothing passes between it and the service
    leased_until: float = float("-inf")  #: on its own clock, milliseconds
    now: Callable[[], float] = lambda: 0.0
    careless: bool = False  #: serves what it has, whatever it said

    def clock(self) -> Clock:
        return Clock(f"b{self.boots}", int(self.now() * 1000 * self.rate))

    def take(self, lease: Lease | None) -> None:
        """docs/gates.md, Clock and lease."""
        clock = self.clock()
        if lease is None or lease.clock.boot != clock.boot or lease.clock.milliseconds > clock.milliseconds:
            return
        if self.log is not None and self.synced and self.position >= lease.position:
            self.leased_until = max(self.leased_until, lease.clock.milliseconds + lease.seconds * 1000)

    def holds(self) -> bool:
        return self.clock().milliseconds < self.leased_until

    def status(self, lease: Lease | None = None) -> Gate:
        self.take(lease)
        clock = self.clock()
        left = str(max(0, int(self.leased_until - clock.milliseconds)) if self.holds() else 0)
        return Gate(self.log, self.position, self.mark, self.synced, clock, self.lapse, {"lease": left})

    def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift:
        if self.log != batch.log:
            return Adrift("other")
        if self.position < batch.after:
            return Adrift("behind")
        if batch.upto > self.position:
            self.rules += [command for command in batch.commands if command.position > self.position]
            self.position, self.mark = batch.upto, batch.mark
        if batch.live:
            self.synced = True
        assert self.mark is not None
        self.take(lease)
        return Applied(self.position, self.mark, (), "ok", self.clock())

    def flush(self, log: str, position: int, mark: str) -> Applied:
        self.log, self.position, self.mark = log, position, mark
        self.rules, self.synced = [], True
        self.generation += 1
        return Applied(position, mark, (), "ok", self.clock())

    def lookup(self, path: str) -> int | None:
        """The version a visitor would get from the cache, or ``None``: it goes to a parent, or to the origin."""
        if not self.synced or path not in self.disk or not (self.lapse is Lapse.SERVE or self.holds() or self.careless):
            return None
        version, stamp, generation = self.disk[path]
        if generation != self.generation or stamp < self.newest(path):
            return None
        return version

    def newest(self, path: str) -> int:
        return max((rule.position for rule in self.rules if covers(rule, path)), default=0)

    def restart(self, how: str, dice: random.Random) -> None:
        self.boots += 1
        self.up = True
        self.synced = False
        self.leased_until = float("-inf")
        if how == "torn" and self.rules:
            lost = dice.randint(1, len(self.rules))
            self.rules = self.rules[:-lost]
            self.position = self.rules[-1].position if self.rules else self.position
            if not self.rules:
                self.log = None
                self.generation += 1
            else:
                self.mark = None  # set below by the world, which knows the marks
        elif how == "wiped":
            self.log, self.position, self.mark, self.rules = None, 0, None, []
            self.generation += 1


def warm(row: Fetch) -> Warm:
    return Warm(row.position, row.position, f"{row.position % 3}", row.host)


def covers(rule: Command, path: str) -> bool:
    what = rule.what.decode()
    return path == what if rule.verb is Verb.FILE else path.startswith(what)


class SimAbove:
    """The parents of one edge, as the service has them."""

    def __init__(self, world: World, edge: SimEdge) -> None:
        self.world, self.edge = world, edge

    def refreshed(self) -> float:
        return min((self.world.machines[parent].refreshed for parent in self.edge.parents), default=float("inf"))

    def warmed(self) -> float:
        found = [self.world.machines[parent].progress for parent in self.edge.parents]
        return min((0 if each.again else each.cursor for each in found), default=float("inf"))

    def settled(self, position: int) -> bool:
        found = [self.world.machines[parent].progress for parent in self.edge.parents]
        return all(each.settled(position) or each.failure(position) is not None for each in found)


#: Which edges fetch through which, by turns.
TREES: list[dict[int, tuple[int, ...]]] = [{}, {1: (0,), 2: (0,)}, {2: (0, 1)}, {1: (0,), 2: (1,)}]


class World:
    """One run. Without ``stamps`` or ``leases`` in the caches, or ``order`` in the service, it should go wrong."""

    def __init__(
        self,
        seed: int,
        *,
        steps: int = 200,
        edges: int = 3,
        stamps: bool = True,
        order: bool = True,
        leases: bool = True,
        tree: dict[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.dice = random.Random(seed)
        self.seed, self.steps, self.stamps, self.order, self.leases = seed, steps, stamps, order, leases
        self.restores = seed % 2 == 0
        self.now = 0.0
        self.tie = itertools.count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.faulty = True
        self.log = SimLog(self.dice)
        self.versions = dict.fromkeys(PATHS, 1)
        tree = TREES[self.dice.randrange(len(TREES))] if tree is None else tree
        self.edges = [
            SimEdge(
                f"edge{n}",
                parents=tuple(f"edge{parent}" for parent in tree.get(n, ())),
                lapse=self.dice.choice(list(Lapse)),
                rate=self.dice.uniform(0.985, 1.015),
                now=lambda: self.now,
                careless=not leases,
            )
            for n in range(edges)
        ]
        self.kept: dict[str, Progress] = {}
        self.machines: dict[str, EdgeDelivery] = {}
        self.life = dict.fromkeys((edge.name for edge in self.edges), 0)  #: of the service, per edge
        self.complete: set[int] = set()
        self.trace: list[str] = []
        self.reads_after_complete = 0
        self.excused = 0  #: rows settled for want of a lease
        for edge in self.edges:
            self.boot(edge)

    # -- time -----------------------------------------------------------------
    def after(self, seconds: float, then: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + seconds, next(self.tie), then))

    def run(self) -> World:
        self.after(0, self.step)
        self.after(0.1, self.tick)
        while self.queue:
            self.now, _, then = heapq.heappop(self.queue)
            then()
            self.check()
        for edge in self.edges:
            machine = self.machines[edge.name]
            assert machine.progress.cursor == self.log.head, f"seed {self.seed}: {edge.name} is stuck: {machine}"
        return self

    def tick(self) -> None:
        for edge in self.edges:
            self.feed(edge, Ticked())
        busy = any(self.machines[edge.name].progress.cursor < self.log.head for edge in self.edges)
        if self.steps > 0 or (busy and self.now < 5000):
            self.after(0.1, self.tick)

    # -- the service ----------------------------------------------------------
    def boot(self, edge: SimEdge) -> None:
        self.life[edge.name] += 1
        progress = self.kept.get(edge.name, Progress())
        pace = Pace(flush_again_seconds=5.0, fetch_window=2, heartbeat_seconds=1.0, lease_heartbeats=4)
        above = SimAbove(self, edge) if self.order else Origin()
        self.machines[edge.name] = EdgeDelivery(edge.name, LOG, self.log, progress, pace, above)

    def feed(self, edge: SimEdge, event: Event) -> None:
        machine = self.machines[edge.name]
        when = When(self.now, self.now, self.dice.random())
        grew = [Grew(self.log.head, self.log.oldest)] if machine.head < self.log.head else []
        for each in (*grew, event):
            for command in machine.handle(each, when):
                self.trace.append(f"{self.now:.3f} {edge.name} {command}")
                self.do(edge, command)

    def do(self, edge: SimEdge, command: object) -> None:
        match command:
            case Ask(lease):
                self.call(edge, lambda: edge.status(lease), self.stands, lambda trouble: trouble)
            case Send(batch, lease):
                self.call(edge, lambda: edge.apply(batch, lease), Answered, Answered)
            case Flush(position):
                mark = self.log.mark(position)
                assert mark is not None
                self.call(edge, lambda: edge.flush(LOG, position, mark), Answered, Answered)
            case Go(fetches):
                for fetch in fetches:
                    self.warm(edge, fetch)
            case Settle(progress, evidence):
                life = self.life[edge.name]
                self.excused += sum(1 for each in evidence if isinstance(each, Evidence) and "no lease" in each.said)

                def written() -> None:
                    if life == self.life[edge.name]:
                        self.kept[edge.name] = progress
                        self.feed(edge, Noted(progress))

                self.after(self.dice.uniform(0, 0.02), written) if self.faulty else written()
            case Warn():
                pass

    def stands(self, gate: Gate) -> Stands:
        return Stands(gate, self.is_ours(gate))

    def is_ours(self, gate: Gate) -> bool:
        return gate.log == LOG and gate.mark is not None and self.log.mark(gate.position) == gate.mark

    def call(
        self,
        edge: SimEdge,
        act: Callable[[], object],
        answered: Callable[..., Event],
        troubled: Callable[[Trouble], Event],
    ) -> None:
        """One request over a network that loses requests and answers, or takes its time with both."""
        life, fate = self.life[edge.name], self.dice.random() if self.faulty else 1.0
        there, back = self.dice.uniform(0, 0.05), self.dice.uniform(0, 0.05)
        if self.faulty and self.dice.random() < 0.05:
            there = self.dice.uniform(1, 4)  # arrives long after we gave up on it

        def tell(event: Event) -> None:
            if life == self.life[edge.name]:
                self.feed(edge, event)

        done = False

        def settle(event: Event) -> None:
            nonlocal done
            if not done:
                done = True
                tell(event)

        def arrive() -> None:
            if edge.up and fate > 0.1 and self.now >= edge.cut:
                answer = act()
                if fate > 0.2:
                    self.after(back, lambda: settle(answered(answer)))

        self.after(there, arrive)
        self.after(1.0, lambda: settle(troubled(Trouble(Fault.TIMEOUT, "no answer"))))

    # -- caches ---------------------------------------------------------------
    def get(self, edge: SimEdge, path: str, then: Callable[[int | None], None]) -> None:
        """What one who asks the edge for a path gets, at once or later: a version, or nothing if it came to nothing."""
        if not edge.up or (edge.lapse is Lapse.REFUSE and not edge.holds() and self.leases):
            then(None)
        elif (version := edge.lookup(path)) is not None:
            then(version)
        else:
            self.fetch(edge, path, then)

    def fetch(self, edge: SimEdge, path: str, then: Callable[[int | None], None]) -> None:
        """The edge asks a parent, or the origin: stamped when it begins, stored when it ends."""
        stamp = max(edge.position, edge.newest(path)) if self.stamps else 1 << 60
        boots, generation = edge.boots, edge.generation

        def ended(version: int | None) -> None:
            alive = edge.up and edge.boots == boots
            if alive and edge.synced and version is not None:
                edge.disk[path] = (version, stamp, generation)
            then(version if alive else None)

        def arrived(version: int | None) -> None:
            self.after(self.dice.uniform(0.01, 3.0), lambda: ended(version))

        if edge.parents:
            parent = self.edge(self.dice.choice(edge.parents))
            self.after(self.dice.uniform(0, 0.05), lambda: self.get(parent, path, arrived))
        else:
            arrived(self.versions[path])

    def edge(self, name: str) -> SimEdge:
        return next(edge for edge in self.edges if edge.name == name)

    def warm(self, edge: SimEdge, fetch: Fetch) -> None:
        life = self.life[edge.name]

        def told(version: int | None) -> None:
            if life == self.life[edge.name]:
                answer = (
                    Trouble(Fault.UNREACHABLE, "gone meanwhile")
                    if version is None
                    else Fetched(FetchOutcome.STORED, 200, 1, "")
                )
                self.feed(edge, FetchAnswered(fetch.position, answer))

        if edge.up and self.now >= edge.cut:
            self.fetch(edge, fetch.target, told)
        else:
            self.after(0.1, lambda: told(None))

    def read(self, edge: SimEdge, path: str) -> None:
        """A visitor: what is Complete when it asks must not come in an older version, however long it takes."""
        begun = self.now
        must = {p: self.log.rows[p - 1] for p in self.complete if p <= self.log.head}
        due = {p: row for p, row in must.items() if isinstance(row.what, Command) and covers(row.what, path)}

        def got(version: int | None) -> None:
            for position, row in due.items():
                if version is not None:
                    self.reads_after_complete += 1
                    assert version >= row.versions[path], (
                        f"seed {self.seed} at {begun:.3f}: {edge.name} served {path} v{version}, "
                        f"but row {position} is Complete and was accepted at v{row.versions[path]}"
                    )

        self.get(edge, path, got)

    # -- what happens ---------------------------------------------------------
    def step(self) -> None:
        edge, path, roll = self.dice.choice(self.edges), self.dice.choice(PATHS), self.dice.random()
        if roll < 0.20:
            self.versions[path] += 1
        elif roll < 0.55:
            self.read(edge, path)
        elif roll < 0.75:
            self.accept(path if self.dice.random() < 0.7 else path[:3])
        elif roll < 0.82:
            self.accept(path, prefetch=True)
        elif roll < 0.86:
            edge.up = False
            # A torn journal and a log put back from a copy in one life are two disasters at once: docs/design.md.
            how = self.dice.choice(["kept", "kept", "wiped" if self.restores else "torn", "wiped"])
            self.after(self.dice.uniform(0.1, 5), lambda: self.come_back(edge, how))
        elif roll < 0.88:
            edge.cut = self.now + self.dice.choice([1, 5, 20]) * self.dice.random()
        elif roll < 0.90:
            self.boot(edge)
        elif roll < 0.905:
            self.overdue(edge)
        elif roll < 0.908 and self.log.head > 5 and self.restores:
            self.restore()
        self.steps -= 1
        if self.steps > 0:
            self.after(self.dice.uniform(0, 0.5), self.step)
        else:
            self.faulty = False

    def come_back(self, edge: SimEdge, how: str) -> None:
        edge.restart(how, self.dice)
        if edge.log is not None and edge.mark is None:
            edge.mark = self.log.mark(edge.position)

    def accept(self, path: str, prefetch: bool = False) -> None:
        position = self.log.head + 1
        what: Command | Fetch
        if prefetch:
            what = Fetch(position, "http", HOST, path)
        else:
            what = Command(position, True, Verb.FILE if path in PATHS else Verb.DIR, HOST, path.encode())
        self.log.rows.append(Accepted(what, f"{self.dice.getrandbits(64):x}", dict(self.versions), self.now))
        for edge in self.edges:
            self.feed(edge, Ticked())

    def overdue(self, edge: SimEdge) -> None:
        self.feed(edge, Overdue(Ranges([(1, self.log.head // 2)])))

    def restore(self) -> None:
        """The operator puts an old copy of the log back and starts the service anew: tasks since then are gone."""
        head = self.dice.randint(1, self.log.head - 1)
        del self.log.rows[head:]
        self.complete = {position for position in self.complete if position <= head}
        for edge in self.edges:
            kept = self.kept.get(edge.name, Progress())
            cursor = min(kept.cursor, self.dice.randint(0, head))
            self.kept[edge.name] = replace(kept, cursor=cursor, ahead=NOTHING, begun=head, failed=())
            self.boot(edge)

    # -- what must be true ----------------------------------------------------
    def check(self) -> None:
        fleet = [
            (Edge(edge.name, "sim", "g", "h:1", "h:2", ""), self.kept.get(edge.name, Progress())) for edge in self.edges
        ]
        lowest = min(progress.cursor for _, progress in fleet)
        for position in range(1, self.log.head + 1):
            if position in self.complete:
                continue
            if position <= lowest + 50 and row_state(position, fleet).status is Status.COMPLETE:
                self.complete.add(position)
