"""One consistent look at a log's file: days, segments, tasks and counts as of one moment.

Segments and chunks are kept decoded. They are known by their first and last position, which no other content ever has,
so what is kept never goes stale.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Generic, TypeVar

from freshline.domain.ranges import Range
from freshline.domain.task import Kind, Row, Rows, Task, Wish
from freshline.log.digest import Tail
from freshline.log.segment import ANY_DOMAIN, CHUNK_ROWS, Segment, Shape, decode_chunk
from freshline.log.statements import Statements

SEGMENTS_KEPT = 256
CHUNKS_KEPT = 2048
COUNTS_KEPT = 2048

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The entries used last, up to a number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, entry: V) -> V:
        self._entries[key] = entry
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return entry


@dataclass(slots=True)
class Kept:
    """What stays in memory from one look to the next."""

    segments: Recent[Range, Segment] = field(default_factory=lambda: Recent(SEGMENTS_KEPT))
    chunks: Recent[tuple[int, int, int], list[str]] = field(default_factory=lambda: Recent(CHUNKS_KEPT))
    keys: dict[tuple[str, str, Kind], int] = field(default_factory=dict)
    #: How many rows of some keys (their ids, as JSON) lie in a run of positions. Rows never change, so that stays true,
    #: and the runs of a status are nearly the same from one query to the next.
    counts: Recent[tuple[str, int, int], int] = field(default_factory=lambda: Recent(COUNTS_KEPT))


@dataclass(frozen=True, slots=True)
class Day:
    number: int
    first: int
    last: int
    digested: int  #: up to here paths are found by digest
    sql: Statements


def _wish(shape: Shape, paths: Sequence[str]) -> Wish:
    return Wish(
        account=shape.account,
        domain=shape.domain,
        group=shape.group,
        kind=shape.kind,
        paths=tuple(paths),
        force=shape.force,
        headers=shape.headers,
        area=shape.area,
        parents_only=shape.parents_only,
    )


class View:
    def __init__(self, db: sqlite3.Connection, kept: Kept, head: int, days: list[Day]) -> None:
        self.db = db
        self.head = head
        self.days = days
        self._kept = kept
        self._firsts = [day.first for day in days]
        self._span = (0, -1)  #: of the segment looked at last

    @property
    def counts(self) -> Recent[tuple[str, int, int], int]:
        return self._kept.counts

    @property
    def oldest(self) -> int:
        return self._firsts[0] if self._firsts else self.head + 1

    def holds(self, position: int) -> bool:
        return self.oldest <= position <= self.head

    def day_of(self, position: int) -> Day:
        return self.days[bisect_right(self._firsts, position) - 1]

    def span_at(self, position: int) -> Range:
        """First and last position of the segment that holds a position."""
        first, last = self._span
        if not first <= position <= last:
            sql = self.day_of(position).sql
            self._span = self.db.execute(sql["segment_at"], (position,)).fetchone()
        return self._span

    def segment_at(self, position: int) -> Segment:
        span = self.span_at(position)
        segment = self._kept.segments.get(span)
        if segment is None:
            (head,) = self.db.execute(self.day_of(position).sql["head"], (span[0],)).fetchone()
            segment = self._kept.segments.put(span, Segment.decode(span[0], head))
        return segment

    def paths(self, segment: Segment, first: int, last: int) -> list[str]:
        out: list[str] = []
        start = (first - segment.first) // CHUNK_ROWS
        for number in range(start, (last - segment.first) // CHUNK_ROWS + 1):
            out += self._chunk(segment, number)
        skip = first - segment.first - start * CHUNK_ROWS
        return out[skip : skip + last - first + 1]

    def _chunk(self, segment: Segment, number: int) -> list[str]:
        key = (segment.first, segment.last, number)
        chunk = self._kept.chunks.get(key)
        if chunk is None:
            first = segment.first + number * CHUNK_ROWS
            (blob,) = self.db.execute(self.day_of(first).sql["chunk"], (first,)).fetchone()
            chunk = self._kept.chunks.put(key, decode_chunk(blob))
        return chunk

    def task(self, segment: Segment, place: int) -> Task:
        first, last = segment.span(place)
        wish = _wish(segment.shapes[segment.which[place]], self.paths(segment, first, last))
        return Task(first, segment.created + segment.ages[place], wish)

    def alike(self, first: int, last: int) -> Iterator[Rows]:
        """The rows from one position to another. Their chunks are not kept: such a reader goes on to the next."""
        first, last = max(first, self.oldest), min(last, self.head)
        while first <= last:
            segment = self.segment_at(first)
            end = min(segment.last, last)
            start = segment.first + (first - segment.first) // CHUNK_ROWS * CHUNK_ROWS
            chunks = self.db.execute(self.day_of(first).sql["chunks"], (start, end))
            paths = list(chain.from_iterable(decode_chunk(blob) for (blob,) in chunks))
            for shape, tasks in groupby(range(segment.at(first), segment.at(end) + 1), segment.which.__getitem__):
                *_, task = tasks
                stop = min(segment.span(task)[1], end)
                yield Rows(first, _wish(segment.shapes[shape], paths[first - start : stop - start + 1]))
                first = stop + 1

    def tasks(self, position: int) -> Iterator[Task]:
        """Every task from the one that holds a position."""
        position = max(position, self.oldest)
        while position <= self.head:
            segment = self.segment_at(position)
            for place in range(segment.at(position), len(segment)):
                if segment.span(place)[0] > self.head:
                    return
                yield self.task(segment, place)
            position = segment.last + 1

    def rows(self, positions: list[int]) -> list[Row]:
        tasks: dict[int, Task] = {}
        out = []
        for position in positions:
            segment = self.segment_at(position)
            place = segment.at(position)
            first, _ = segment.span(place)
            task = tasks.get(first)
            if task is None:
                task = tasks[first] = self.task(segment, place)
            out.append(Row(position, task.wish.paths[position - first], task))
        return out

    def key(self, account: str, domain: str | None, kind: Kind) -> int | None:
        """What rows like these are counted under; ``None`` if there never were any."""
        name = (account, domain or ANY_DOMAIN, kind)
        key = self._kept.keys.get(name)
        if key is None:
            found = self.db.execute("SELECT id FROM key WHERE account = ? AND domain = ? AND kind = ?", name).fetchone()
            if found is None:
                return None
            key = self._kept.keys[name] = found[0]
        return key

    def domains(self, account: str) -> list[str]:
        """Every domain an account ever had rows for."""
        found = self.db.execute(
            "SELECT DISTINCT domain FROM key WHERE account = ? AND domain <> ?", (account, ANY_DOMAIN)
        )
        return [domain for (domain,) in found]

    def tail(self) -> Tail:
        """The rows of the newest day that are not in its digests."""
        if not self.days:
            return Tail(self.head + 1, self.head)
        day = self.days[-1]
        tail = Tail(day.first, day.digested)
        for task in self.tasks(day.digested + 1):
            tail.add(task)
        return tail
