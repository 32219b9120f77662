"""A cache server, and how far it has come along the log."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from freshline.domain.ranges import NOTHING, Ranges
from freshline.domain.task import Reason


@dataclass(frozen=True, slots=True)
class Edge:
    """One cache server as the operator declared it."""

    name: str
    kind: str  #: which driver speaks to it: ``nginx``, ``varnish``
    group: str
    gate: str  #: where its gate listens, ``host:port``
    site: str  #: where visitors (and a prefetch on their behalf) reach it, ``host:port``
    secret: str = field(repr=False)
    joined: int = 0  #: rows up to this position are none of its business


@dataclass(frozen=True, slots=True)
class Progress:
    """What one edge has settled. The same few numbers at ten rows and at ten million.

    A row is *settled* on the edge when ``position <= cursor`` or it is in ``ahead``; it counts as *proven* when it is
    settled and not in ``failed``.
    """

    cursor: int = 0  #: everything up to here is settled
    ahead: Ranges = NOTHING  #: settled beyond the cursor
    begun: int = 0  #: something up to here has been sent
    failed: tuple[tuple[Reason, Ranges], ...] = ()  #: what the edge did not do (in time), by reason

    def settled(self, position: int) -> bool:
        return position <= self.cursor or position in self.ahead

    def failure(self, position: int) -> Reason | None:
        return next((reason for reason, ranges in self.failed if position in ranges), None)

    def with_failures(self, reason: Reason, ranges: Ranges) -> Progress:
        """The same progress with more rows given up, joined into the runs already there."""
        known = dict(self.failed)
        known[reason] = known.get(reason, NOTHING) | ranges
        return replace(self, failed=tuple(known.items()))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was said between us and one gate, for the rows from ``first`` to ``last``."""

    edge: str
    first: int
    last: int
    sent: float  #: Unix seconds
    answered: float
    said: str  #: the gate's answer, in one line
