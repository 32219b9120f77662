"""What a handler works with, and the call it works on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from freshline.access.limits import Limits
from freshline.access.principal import Principal
from freshline.access.throttle import Throttle
from freshline.ambient import Ambient
from freshline.domain.edge import Edge, Progress
from freshline.domain.progress import Fleet
from freshline.inventory.base import Inventory
from freshline.log.base import Log
from freshline.media.base import MediaJobs
from freshline.media.memory import MemoryMediaJobs
from freshline.operations.shown import Shown
from freshline.operations.states import Standing
from freshline.schedule.base import Schedule
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

    shown: Shown = field(init=False)
    _standings: dict[str, tuple[int, Sequence[Edge], Standing]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", Shown(self.log))

    def fleet(self, group: str | None = None) -> Fleet:
        """The edges of a group, or all, and how far each has come at this moment."""
        return [(edge, self.log.progress(edge.name) or Progress()) for edge in self.inventory.edges(group)]

    def standing(self, group: str) -> Standing:
        """How far the edges of a group have come; the same as before until one has moved, come or gone."""
        moved, edges = self.log.moved, self.inventory.edges(group)
        known = self._standings.get(group)
        if known is None or known[0] != moved or known[1] != edges:
            known = self._standings[group] = moved, edges, Standing.of(self.fleet(group))
        return known[2]


@dataclass(frozen=True, slots=True)
class Call:
    """One call, known to be who it says and within its rate."""

    account: str
    request_id: str
    now: float  #: Unix seconds
    monotonic: float
    caller: Principal
