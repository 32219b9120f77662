"""A cache server, and how far it has come along the log."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from freshline.domain.ranges import NOTHING, Ranges
from freshline.domain.task import Reason


class Duty(StrEnum):
    """What the operator wants of an edge for now."""

    ACTIVE = "active"
    PAUSED = "paused"  #: it is told nothing, and tasks wait for it
    DRAINED = "drained"  #: it is kept up to date, out of rotation, and nothing waits for it once its lease is over


@dataclass(frozen=True, slots=True)
class Edge:
    """One cache server as the operator declared it."""

    name: str
    kind: str  #: which driver speaks to it: ``nginx``, ``varnish``, ``squid``, ``trafficserver``
    group: str
    gate: str  #: where its gate listens, ``host:port``
    site: str  #: where visitors (and a prefetch on their behalf) reach it, ``host:port``
    secret: str = field(repr=False)
    joined: int = 0  #: rows up to this position are none of its business
    parents: tuple[str, ...] = ()  #: the edges it fetches through; none: it asks the origin itself
    area: str = ""  #: where its visitors are, ``domestic`` or ``overseas``; empty: anywhere
    duty: Duty = Duty.ACTIVE


@dataclass(frozen=True, slots=True)
class Progress:
    """What one edge has settled. The same few numbers at ten rows and at ten million.

    A row is *settled* on the edge when ``position <= cursor`` or it is in ``ahead``, unless it is asked for ``again``;
    it counts as *proven* when it is settled and not in ``failed``.
    """

    cursor: int = 0  #: everything up to here is settled
    ahead: Ranges = NOTHING  #: settled beyond the cursor
    begun: int = 0  #: something up to here has been sent
    failed: tuple[tuple[Reason, Ranges], ...] = ()  #: what the edge did not do (in time), by reason
    again: Ranges = NOTHING  #: retried, and not settled since
    leased_seconds: float = 0.0  #: the longest lease it may hold
    lapses: bool = False  #: without a lease it serves nothing that is stored

    def settled(self, position: int) -> bool:
        return (position <= self.cursor or position in self.ahead) and position not in self.again

    def ended(self) -> Ranges:
        """Every row that has come to an end once, whatever was asked for again since."""
        return Ranges([(1, self.cursor), *self.ahead])

    def done(self) -> Ranges:
        """Every row that is settled."""
        return self.ended() - self.again

    def passed(self) -> int:
        """No row beyond this one is settled."""
        return max(self.cursor, self.ahead.last)

    def failure(self, position: int) -> Reason | None:
        return next((reason for reason, ranges in self.failed if position in ranges), None)

    def with_settled(self, rows: Ranges) -> Progress:
        """The same progress with these rows settled too: the cursor runs as far as nothing is missing."""
        ahead = self.ahead | rows
        cursor = ahead.run_after(self.cursor)
        begun, again = max(self.begun, cursor), self.again - rows
        return Progress(cursor, ahead.beyond(cursor), begun, self.failed, again, self.leased_seconds, self.lapses)

    def with_begun(self, upto: int) -> Progress:
        """The same progress, with something up to here sent."""
        it = self
        return Progress(it.cursor, it.ahead, upto, it.failed, it.again, it.leased_seconds, it.lapses)

    def with_failures(self, reason: Reason, ranges: Ranges) -> Progress:
        """The same progress with more rows given up, joined into the runs already there."""
        known = dict(self.failed)
        known[reason] = known.get(reason, NOTHING) | ranges
        return replace(self, failed=tuple(known.items()))

    def without_failures(self, ranges: Ranges) -> Progress:
        """The same progress with these rows not given up."""
        left = ((reason, rows - ranges) for reason, rows in self.failed)
        return replace(self, failed=tuple((reason, rows) for reason, rows in left if rows))

    def failures(self, within: Ranges) -> Ranges:
        """Those of some rows that were given up, whatever for."""
        found = NOTHING
        for _, ranges in self.failed:
            found |= within & ranges
        return found


@dataclass(frozen=True, slots=True)
class Gone:
    """An edge that was removed, as it stood then."""

    name: str
    number: int  #: tells it from others that had its name
    groups: tuple[str, ...]  #: whose tasks waited for it
    joined: int
    went: int  #: where the log stood
    progress: Progress


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was said between us and one gate, for the rows from ``first`` to ``last``."""

    edge: str
    first: int
    last: int
    sent: float  #: Unix seconds
    answered: float
    said: str  #: the gate's answer, in one line
    bytes: int = 0  #: that it stored; the log keeps their sum by task alone (Log.warmed)
    task: int = 0  #: the prefetch that these are of
