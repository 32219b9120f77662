"""One consistent look at a log's file: days, segments, chunks and counts as of one moment.

Segments and chunks are kept unpacked. They are known by their first position and their length, which no other content
ever has, so what is kept never goes stale.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

from freshline.domain.ranges import Range
from freshline.domain.task import Kind, Row, Rows, Task
from freshline.log.chunk import Chunk, Shape, unpack
from freshline.log.digest import Tail
from freshline.log.press import PLAIN, Press, is_plain, rows_together
from freshline.log.segment import ANY_DOMAIN, Segment
from freshline.log.statements import Statements

CHUNKS_KEPT_BYTES = 12 << 20
NEW_ROWS = 1 << 17  #: of the newest, callers ask for one beside the other; of older ones for one here and one there
SEGMENTS_KEPT = 256
PRESSES_KEPT = 8  #: one a day
SHAPES_KEPT = 8_192
COUNTS_KEPT = 2_048
UPTO_KEPT = 4_096
BITS_KEPT = 1_024  #: of some kilobyte at most, where segments are not of one long task

Stored = tuple[int, int, int, bytes]  #: a chunk: last position, number of rows, when it was begun, the rest

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The entries used last, up to a number, or to a weight of all."""

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._limit = limit
        self._weigh = weigh
        self._weight = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, entry: V) -> V:
        """Keep an entry that is not kept yet."""
        self._entries[key] = entry
        self._weight += self._weigh(entry)
        while self._weight > self._limit and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._weight -= self._weigh(oldest)
        return entry


@dataclass(slots=True)
class Kept:
    """What stays in memory from one look to the next."""

    chunks: Recent[tuple[int, int], Chunk] = field(
        default_factory=lambda: Recent(CHUNKS_KEPT_BYTES, lambda chunk: chunk.bytes)
    )
    #: By the first position of their day: one that was dropped may be begun again, by a clock that was set back.
    presses: Recent[int, Press] = field(default_factory=lambda: Recent(PRESSES_KEPT))
    segments: Recent[Range, Segment] = field(default_factory=lambda: Recent(SEGMENTS_KEPT))
    #: By that, and their number.
    shapes: Recent[tuple[int, int], Shape] = field(default_factory=lambda: Recent(SHAPES_KEPT))
    keys: dict[tuple[str, str, Kind], int] = field(default_factory=dict)
    #: Which rows of a segment are of some keys (their ids, as JSON).
    bits: Recent[tuple[str, Range], int] = field(default_factory=lambda: Recent(BITS_KEPT))
    #: How many rows of some keys lie in a run of positions. Rows never change, so that stays true, and the runs of a
    #: status are nearly the same from one query to the next.
    counts: Recent[tuple[str, int, int], int] = field(default_factory=lambda: Recent(COUNTS_KEPT))
    #: How many rows of some keys a day has up to a position, likewise: the end of one hour is the beginning of another.
    upto: Recent[tuple[str, int], int] = field(default_factory=lambda: Recent(UPTO_KEPT))


@dataclass(frozen=True, slots=True)
class Day:
    number: int
    first: int
    last: int
    digested: int  #: up to here paths are found by digest
    sql: Statements


class View:
    def __init__(self, db: sqlite3.Connection, kept: Kept, head: int, days: list[Day]) -> None:
        self.db = db
        self.head = head
        self.days = days
        self.kept = kept
        self._firsts = [day.first for day in days]
        self.oldest = days[0].first if days else head + 1
        self._span = (0, -1)  #: of the segment looked at last
        self._stored: Stored | None = None  #: looked at last
        self._chunk: Chunk | None = None  #: likewise

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
        segment = self.kept.segments.get(span)
        if segment is None:
            (head,) = self.db.execute(self.day_of(position).sql["head"], (span[0],)).fetchone()
            segment = self.kept.segments.put(span, Segment.decode(span[0], head))
        return segment

    def chunk_at(self, position: int, *, alone: bool = False) -> Chunk:
        """The frame that holds a position, or the chunk.

        :param alone: a row is wanted here and one there. Such a one is kept only where it is new; else it would cost
            more to push another one out, which nobody has touched for long, than to unpack it again
        """
        chunk = self._chunk
        if chunk is not None and chunk.first <= position <= chunk.last:
            return chunk
        last, count, created, packed = self._stored_at(position)
        first, rows = last - count + 1, rows_together(packed, count)
        at = (position - first) // rows
        begin = first + at * rows
        held = begin, min(rows, last - begin + 1)
        chunk = self.kept.chunks.get(held)
        if chunk is None:
            chunk = Chunk(begin, created, self._press(self.day_of(position), packed).frame(packed, count, at))
            if not alone or position > self.head - NEW_ROWS:
                self.kept.chunks.put(held, chunk)
        self._chunk = chunk
        return chunk

    def _stored_at(self, position: int) -> Stored:
        """The chunk that holds a position, as it is stored."""
        stored = self._stored
        if stored is None or not stored[0] - stored[1] < position <= stored[0]:
            sql = self.day_of(position).sql
            stored = self._stored = self.db.execute(sql["chunk_at"], (position,)).fetchone()
        return stored

    def _press(self, day: Day, packed: bytes) -> Press:
        """What a chunk of a day is unpacked with."""
        if is_plain(packed):
            return PLAIN
        press = self.kept.presses.get(day.first)
        if press is None:
            press = self.kept.presses.put(day.first, Press(*self.db.execute(day.sql["dictionary"]).fetchone()))
        return press

    def task(self, id_: int) -> Task | None:
        """The task that begins at a position which is held."""
        if id_ <= self.head - NEW_ROWS and (task := self._lone(id_)):
            return task
        chunk = self.chunk_at(id_, alone=True)
        place = chunk.place(id_)
        return self._task(chunk, place) if chunk.span(place)[0] == id_ else None

    def _lone(self, id_: int) -> Task | None:
        """A task if it has one row; of its neighbours nothing is made, and none is kept.

        In as few calls as can be. The call that asks has filled the processor's caches with other things, and each of
        ours costs several times what it does when it is made again and again.
        """
        day = self.day_of(id_)
        last, count, created, packed = self._stored = self.db.execute(day.sql["chunk_at"], (id_,)).fetchone()
        frame, row = self._press(day, packed).frame_with(packed, count, id_ - (last - count + 1))
        single = unpack(frame).single(row, created)
        if single is None:
            return None
        path, number, created = single
        return Task(id_, created, self._shape(day, number).wish((path,)))

    def _task(self, chunk: Chunk, place: int) -> Task:
        """A task of which a chunk holds some rows."""
        first, last = chunk.span(place)
        number, created = chunk.of(place)
        return Task(
            first, created, self._shape(self.day_of(first), number).wish(tuple(self._paths(chunk, first, last)))
        )

    def _paths(self, chunk: Chunk, first: int, last: int) -> list[str]:
        if chunk.first <= first and last <= chunk.last:
            return chunk.paths[first - chunk.first : last - chunk.first + 1]
        out: list[str] = []
        while first <= last:
            chunk = self.chunk_at(first)
            out += chunk.paths[first - chunk.first : last - chunk.first + 1]
            first = chunk.last + 1
        return out

    def _shape(self, day: Day, number: int) -> Shape:
        key = day.first, number
        shape = self.kept.shapes.get(key)
        if shape is None:
            (packed,) = self.db.execute(day.sql["shape"], (number,)).fetchone()
            shape = self.kept.shapes.put(key, Shape.decode(packed))
        return shape

    def alike(self, first: int, last: int, *, whose: bool = False) -> Iterator[Rows]:
        """The rows from one position to another. Their chunks are not kept: such a reader goes on to the next.

        :param whose: with the tasks that they are of
        """
        first, last = max(first, self.oldest), min(last, self.head)
        while first <= last:
            day = self.day_of(first)
            end = min(day.last, last)
            number, paths, tasks = 0, list[str](), list[int]()
            for until, count, created, packed in self.db.execute(day.sql["chunks"], (first, end)):
                begin = until - count + 1
                chunk = Chunk(begin, created, *self._press(day, packed).frames(packed, count))
                start = first + len(paths)
                places = range(chunk.place(start), chunk.place(min(chunk.last, end)) + 1)
                for alike, some in groupby(places, chunk.shapes.__getitem__):
                    *_, place = some
                    stop = min(begin + chunk.ends[place] - 1, end)
                    if alike != number and paths:
                        yield Rows(first, self._shape(day, number).wish(tuple(paths)), tasks)
                        first, paths, tasks = first + len(paths), [], []
                    number = alike
                    paths += chunk.paths[start - begin : stop - begin + 1]
                    if whose:
                        tasks += chunk.whose(start, stop)
                    start = stop + 1
            if paths:
                yield Rows(first, self._shape(day, number).wish(tuple(paths)), tasks)
            first = end + 1

    def tasks(self, position: int) -> Iterator[Task]:
        """Every task from the one that holds a position."""
        position = max(position, self.oldest)
        while position <= self.head:
            chunk = self.chunk_at(position)
            for place in range(chunk.place(position), len(chunk)):
                task = self._task(chunk, place)
                if task.id > self.head:
                    return
                yield task
                position = task.last + 1

    def rows(self, positions: Sequence[int], *, alone: bool = False) -> list[Row]:
        out = []
        for position in positions:
            chunk = self.chunk_at(position, alone=alone)
            single, first = chunk.single(position), position
            if single is None:
                place = chunk.place(position)
                single, first = (chunk.path(position), *chunk.of(place)), chunk.span(place)[0]
            path, number, created = single
            out.append(Row(position, first, created, self._shape(self.day_of(position), number).wish((path,))))
        return out

    def since(self, day: Day, seconds: int) -> int:
        """The first position of a day created at or after a time, or the one after the day."""
        found = self.db.execute(day.sql["since"], (seconds,)).fetchone()
        return min(found[0], day.last + 1) if found else day.last + 1

    def key(self, account: str, domain: str | None, kind: Kind) -> int | None:
        """What rows like these are counted under; ``None`` if there never were any."""
        name = (account, domain or ANY_DOMAIN, kind)
        key = self.kept.keys.get(name)
        if key is None:
            found = self.db.execute("SELECT id FROM key WHERE account = ? AND domain = ? AND kind = ?", name).fetchone()
            if found is None:
                return None
            key = self.kept.keys[name] = found[0]
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
