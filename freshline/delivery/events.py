"""The words of delivery: what can happen to an edge (events), and what is to be done about it (commands)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from freshline.domain.action import Command as GateCommand
from freshline.domain.action import Fetch
from freshline.domain.edge import Evidence, Progress
from freshline.domain.ranges import Ranges
from freshline.drivers.base import Adrift, Applied, Batch, Fetched, Gate, Lease, Trouble


# -- events: what happened ----------------------------------------------------
@dataclass(frozen=True, slots=True)
class Grew:
    """The log now ends at ``head`` and still holds everything from ``oldest``."""

    head: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Warm:
    """An unbroken run of rows that are to be prefetched, of one account and one domain."""

    first: int
    last: int
    account: str
    host: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of ``(after, upto]`` that concern this edge. Prefetches are named here, and read when they are due."""

    after: int
    upto: int
    mark: str  #: the log's mark at ``upto``
    commands: Sequence[GateCommand] = ()
    warms: tuple[Warm, ...] = ()
    oldest: int = 0  #: rows before this one were gone from the log when it was read


@dataclass(frozen=True, slots=True)
class Stands:
    """The gate said where it stands. ``ours``: its position and mark are found in our log."""

    gate: Gate
    ours: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to the batch or flush that was under way."""

    answer: Applied | Adrift | Trouble


class FetchAnswered(NamedTuple):
    position: int
    answer: Fetched | Trouble


@dataclass(frozen=True, slots=True)
class FetchesAnswered:
    """Some at once: what thousands a second do is settled together."""

    each: Sequence[tuple[int, Fetched | Trouble]]


@dataclass(frozen=True, slots=True)
class Overdue:
    """These rows have passed their deadline, settled or not. ``again``: that which began when they were retried."""

    rows: Ranges
    again: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """The operator wants what the edge has given up of these rows to be done after all."""

    rows: Ranges
    prefetch: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The operator wants none of these prefetches begun any more."""

    rows: Ranges


@dataclass(frozen=True, slots=True)
class Noted:
    """So much of the progress stands in the log now."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Ticked:
    pass


Event = (
    Grew
    | Stands
    | Answered
    | FetchAnswered
    | FetchesAnswered
    | Overdue
    | Retried
    | Cancelled
    | Noted
    | Ticked
    | Trouble
)


class When(NamedTuple):
    """The moment of an event, handed in with it."""

    wall: float  #: Unix seconds, for evidence
    clock: float  #: monotonic seconds, for delays
    dice: float = 0.5  #: in [0, 1), for jitter


# -- commands: what to do -----------------------------------------------------
@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the gate where it stands."""

    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Send:
    batch: Batch
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Flush:
    position: int


@dataclass(frozen=True, slots=True)
class Go:
    """Have the edge fetch these objects."""

    fetches: tuple[Fetch, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Make this durable."""

    progress: Progress
    evidence: tuple[Evidence, ...] = ()
    urgent: bool = True  #: false: somebody who looks may see it a moment later


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the operator."""

    text: str


Command = Ask | Send | Flush | Go | Settle | Warn


class Reader(Protocol):
    """How the machine reads the log: a plain call, because reading returns at once."""

    def stretch(self, after: int, upto: int) -> Stretch:
        """Rows after ``after``, at most to ``upto``, some thousands of them."""
        ...

    def fetches(self, after: int, upto: int) -> Sequence[Fetch]:
        """The prefetches of ``(after, upto]`` that concern this edge, in order."""
        ...


class Above(Protocol):
    """How far the parents of an edge are; plain calls too."""

    def refreshed(self) -> float:
        """Every parent has settled all refreshes up to here; infinite if there are none."""
        ...

    def warmed(self) -> float:
        """Every parent is done with all prefetches up to here, and perhaps with more; infinite if there are none."""
        ...

    def settled(self, position: int) -> bool:
        """Every parent is done with a prefetch, well or badly."""
        ...


class Places(Protocol):
    """Places at the origins, which all edges share; a plain call again."""

    def take(self, host: str, most: int) -> int:
        """As many of the domain's as there are, up to ``most``. Each is given back once its fetch has ended."""
        ...


class Plenty:
    """Places for whoever comes."""

    def take(self, host: str, most: int) -> int:
        return most


class Origin:
    """What lies above an edge without parents: it is always up to date."""

    def refreshed(self) -> float:
        return float("inf")

    def warmed(self) -> float:
        return float("inf")

    def settled(self, position: int) -> bool:
        return True
