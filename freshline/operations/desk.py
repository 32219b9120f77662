"""What a handler works with, and the call it works on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from freshline.access.limits import Limits
from freshline.access.principal import Principal
from freshline.access.throttle import Throttle
from freshline.ambient import Ambient
from freshline.domain.edge import Edge, Progress
from freshline.domain.progress import Fleet
from freshline.domain.task import Audience, Wish
from freshline.domain.topology import Topology
from freshline.inventory.base import Inventory
from freshline.log.base import Log
from freshline.media.base import MediaJobs
from freshline.media.memory import MemoryMediaJobs
from freshline.operations.shown import AsOf, Shown
from freshline.operations.states import Standing
from freshline.schedule.base import Schedule, Slice
from freshline.schedule.memory import MemorySchedule


@dataclass(frozen=True, slots=True)
class Desk:
    """The same for all calls."""

    log: Log
    inventory: Inventory
    limits: Limits
    ambient: Ambient = field(default_factory=Ambient)
    schedule: Schedule = field(default_factory=MemorySchedule)
    media: MediaJobs = field(default_factory=MemoryMediaJobs)
    minutes: Throttle = field(default_factory=Throttle)  #: lines a minute and domain
    entering: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Rows on their way into the log, by account and whether they are prefetches: not in it, and yet in the queue."""
    unnoted: deque[Slice] = field(default_factory=deque)  #: that the schedule could not be told of

    shown: Shown = field(init=False)
    _standings: dict[Audience, tuple[int, Topology, Standing]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", Shown(self.log))

    def fleet(self, group: str | None = None) -> Fleet:
        """The edges that tasks of a group wait for, or of any, and how far each has come at this moment."""
        topology = self.inventory.topology
        return self._now(tuple(topology.edges.values()) if group is None else topology.serving(group))

    def as_of(self) -> AsOf:
        """What every state of a row depends on, at this moment; to be asked before the states are."""
        return self.log.moved, self.inventory.topology

    def standing(self, wish: Wish) -> Standing:
        """How far those are that have something to do for a task; the same until one has moved, come or gone."""
        moved, topology = self.as_of()
        known = self._standings.get(wish.audience)
        if known is None or known[0] != moved or known[1] is not topology:
            standing = Standing.of(self._now(topology.taking(wish)))
            known = self._standings[wish.audience] = moved, topology, standing
        return known[2]

    def _now(self, edges: Sequence[Edge]) -> Fleet:
        return [(edge, self.log.progress(edge.name) or Progress()) for edge in edges]


class Call(msgspec.Struct, frozen=True):
    """One call, known to be who it says and within its rate."""

    account: str
    request_id: str
    now: float  #: Unix seconds
    monotonic: float
    caller: Principal
