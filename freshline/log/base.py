"""What every log promises.

1. What :meth:`Log.append` returned is durable, together with the quota it spent: both or neither.
2. Positions are dense and only grow; a reader that follows them never skips a late commit.
3. Nothing is kept per row and edge, and no row of its own per URL.
4. Totals are exact, and any page of any selection costs the same.

Writing is awaited (one writer, group commit). Reading is plain calls that return at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from freshline.domain.edge import Evidence, Gone, Progress
from freshline.domain.errors import Unavailable
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Row, Rows, Task, Wish


class Overspent(Exception):
    """A spend would pass its limit. Nothing was stored. ``args[0]`` is the bucket."""


class LogUnavailable(Unavailable):
    """The store cannot take writes now (disk full, closed). Nothing was stored."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Units to take from a daily allowance, in the same transaction as the tasks."""

    account: str
    day: int  #: as the caller counts days; the log only compares it
    bucket: str  #: ``"url"``, ``"dir"``, …
    amount: int
    limit: int


@dataclass(frozen=True, slots=True)
class Settled:
    """How far an edge has come, and what proves it."""

    edge: str
    progress: Progress
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one domain (or of all, ``None``), of some kinds, within some positions."""

    domain: str | None
    kinds: tuple[Kind, ...]  #: never empty
    within: Ranges


@dataclass(frozen=True, slots=True)
class Query:
    """The union of disjoint selections of one account, newest row first."""

    account: str
    selections: tuple[Selection, ...]
    path: str | None = None  #: only rows whose ObjectPath is exactly this
    offset: int = 0
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Page:
    total: int  #: rows in all, whatever the page
    rows: tuple[Row, ...]


#: Of one domain: from which position on its rows are of which group, in order. What is before the first is of that.
Placed = tuple[tuple[int, str], ...]


class Log(Protocol):
    @property
    def id(self) -> str:
        """Unique for ever: a gate remembers which log its position belongs to."""
        ...

    @property
    def head(self) -> int:
        """The last durable position; 0 while empty."""
        ...

    @property
    def oldest(self) -> int:
        """The first position still kept; ``head + 1`` when nothing is."""
        ...

    async def append(self, wishes: Sequence[Wish], spends: Sequence[Spend] = (), *, now: float) -> list[Task]:
        """Make tasks of wishes, in their order, in one transaction with the spends.

        :param now: Unix seconds. ``created`` of the tasks is this or, if the clock went back, the newest there is
        :raises Overspent: a spend would pass its limit
        :raises LogUnavailable: nothing can be written now
        """
        ...

    def mark(self, position: int) -> str | None:
        """A short random word that belongs to a stretch of the log and is never the same in two histories.

        A gate hands back the mark it was given with its position; if ours differs, the log was restored from a copy
        and took another way since. ``None`` for positions that are not kept, but for the last that was dropped: a
        gate that stands there has missed nothing. Position 0 has the log's id as its mark.
        """
        ...

    def read(self, after: int, limit: int) -> list[Task]:
        """Tasks in order, from the one that holds position ``after + 1``, about ``limit`` rows of them."""
        ...

    def rows(self, after: int, upto: int, *, whose: bool = False) -> list[Rows]:
        """The rows of ``(after, upto]`` that there are, in order: neighbours that were asked for alike together.

        :param whose: with the tasks that they are of
        """
        ...

    def task(self, id_: int) -> Task | None:
        """The task with exactly this id, if it is still kept."""
        ...

    def tasks(self, ids: Sequence[int]) -> list[Task | None]:
        """The same for several at once, in the order asked."""
        ...

    def find(self, query: Query) -> Page: ...

    def placed(self, account: str) -> Mapping[str, Placed]:
        """Of which groups the rows of an account's domains are, whatever became of the domains since.

        A domain without rows is not in it; nor are, in a log of an older freshline, rows from before this was kept.
        """
        ...

    def position_at(self, seconds: int) -> int:
        """The first position created at or after this time; ``head + 1`` if there is none."""
        ...

    def used(self, account: str, day: int) -> Mapping[str, int]:
        """What was spent of every bucket on a day."""
        ...

    def progress(self, edge: str) -> Progress | None:
        """What an edge has settled, as last made durable; ``None`` for an edge never admitted."""
        ...

    @property
    def moved(self) -> int:
        """Another number after an edge's progress has changed: what was worked out from it is out of date."""
        ...

    async def settle(self, edge: str, progress: Progress, evidence: Sequence[Evidence] = ()) -> None:
        """Make an edge's progress durable, with what proves it. The newest progress replaces the one before."""
        ...

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        """The same for several edges, in one transaction: all of it or nothing."""
        ...

    async def forget(self, edge: str, groups: Collection[str] = (), joined: int = 0) -> None:
        """An edge is no more; one that gets its name later begins anew. What it did is told by :meth:`gone`.

        :param groups: whose tasks waited for it, those accepted after position ``joined``
        """
        ...

    def gone(self) -> list[Gone]:
        """The edges that were forgotten since the oldest position that is kept, in the order in which they went."""
        ...

    def evidence_of(self, gone: Gone, first: int, last: int) -> list[Evidence]:
        """As :meth:`evidence`, of an edge that was forgotten."""
        ...

    def evidence(self, edge: str, first: int, last: int | None = None) -> list[Evidence]:
        """What was said about any of some positions, or about one, oldest first."""
        ...

    def heard(self, edges: Collection[str], first: int, last: int) -> float:
        """When the last of some edges answered for any of some positions, Unix seconds; 0: none has."""
        ...

    def warmed(self, task: int) -> Mapping[str, int]:
        """Bytes that each edge has stored of a prefetch; edges that stored none are left out."""
        ...

    def on_append(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` in the event loop after each commit that moved the head."""
        ...

    async def drop_before(self, seconds: int) -> None:
        """Drop the whole days that lie entirely before this time (rows, quota, evidence)."""
        ...

    async def close(self) -> None:
        """Finish what was begun, refuse the rest."""
        ...
