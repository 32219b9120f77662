"""Any page of any query, with its exact total, at the price of a few look-ups.

Every segment says of every key how many rows of it come before. So the rows of a key in a run of positions are a
difference of two look-ups, and the page at an offset is found by a few guesses, whatever lies before it.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from freshline.domain.ranges import Range, Ranges
from freshline.log import digest as digests
from freshline.log import share
from freshline.log.base import Page, Query
from freshline.log.digest import Tail
from freshline.log.segment import Key, Segment
from freshline.log.view import Day, View

FEW_KEYS = 16  #: for as many, their shares of a segment are read; for more, its head
STROLL = 32  #: offsets below this are walked to, others found by halving


def find(view: View, query: Query, tail: Tail) -> Page:
    if query.path is not None:
        return _find_path(view, query, query.path, tail)
    threads = _threads(view, query)
    days = [(day, [strand for thread in threads if (strand := _Strand.of(view, day, thread))]) for day in view.days]
    total = sum(strand.count for _, strands in days for strand in strands)
    positions: list[int] = []
    skip = query.offset
    for day, strands in reversed(days):
        count = sum(strand.count for strand in strands)
        if skip >= count:
            skip -= count
            continue
        positions += _page(view, day, strands, skip, query.limit - len(positions))
        skip = 0
        if len(positions) >= query.limit:
            break
    return Page(total, tuple(view.rows(positions)))


@dataclass(frozen=True, slots=True)
class _Thread:
    """The keys of one account that are asked for within the same positions."""

    account: str
    keys: frozenset[Key]
    ids: str  #: as JSON, for SQL
    within: Ranges

    def upto(self, view: View, day: Day, position: int) -> int:
        """How many rows the day has up to a position."""
        if position < day.first:
            return 0
        first, last = view.span_at(position)
        if position >= last:
            return _counted(view, day, self.ids, position)
        return _counted(view, day, self.ids, first - 1) + self._inside(view, day, first, position)

    def between(self, view: View, day: Day, first: int, last: int) -> int:
        start, end = view.span_at(first)
        if last <= end and (first, last) != (start, end):
            return self._inside(view, day, first, last)
        return self.upto(view, day, last) - self.upto(view, day, first - 1)

    def _inside(self, view: View, day: Day, first: int, last: int) -> int:
        """How many rows there are in a part of one segment."""
        if len(self.keys) <= FEW_KEYS:
            start, _ = view.span_at(first)
            shares = view.db.execute(day.sql["shares"], (self.ids, start))
            return sum(share.count(held, first - start, last - start) for (held,) in shares)
        return view.segment_at(first).count(self.account, self.keys, first, last)


class _Strand:
    """One thread in one day: the runs of positions it has there that hold any rows."""

    def __init__(self, thread: _Thread, runs: list[Range], counts: list[int]) -> None:
        self.thread = thread
        self.runs = runs
        self.count = sum(counts)
        self._counts = counts
        self._firsts = [first for first, _ in runs]
        self._upto = [0, *accumulate(counts)]

    @classmethod
    def of(cls, view: View, day: Day, thread: _Thread) -> _Strand | None:
        runs, counts = [], []
        known = view.counts
        for first, last in thread.within.within(day.first, day.last):
            run = (thread.ids, first, last)
            count = known.get(run)
            if count is None:
                count = known.put(run, thread.between(view, day, first, last))
            if count:
                runs.append((first, last))
                counts.append(count)
        return cls(thread, runs, counts) if runs else None

    def above(self, view: View, day: Day, position: int) -> int:
        """How many rows lie past a position."""
        at = bisect_right(self._firsts, position) - 1
        rest = self.count - self._upto[at + 1]
        if at >= 0 and self.runs[at][1] > position:
            rest += self.thread.between(view, day, position + 1, self.runs[at][1])
        return rest

    def newest(self, view: View, day: Day, position: int) -> int | None:
        """The newest position up to this one whose segment holds rows of ours."""
        for first, last in reversed(self.runs[: bisect_right(self._firsts, position)]):
            top = min(last, position)
            (start,) = view.db.execute(day.sql["newest"], (self.thread.ids, top)).fetchone()
            if start is None:
                return None
            _, end = view.span_at(start)
            if end >= first:
                return min(end, top)
        return None

    def within(self, segment: Segment, position: int) -> Iterator[Range]:
        """Our rows in a segment up to a position, as runs."""
        at = max(bisect_right(self._firsts, segment.first) - 1, 0)
        for first, last in self.runs[at : bisect_right(self._firsts, position)]:
            yield from segment.runs(self.thread.account, self.thread.keys, first, min(last, position))


def _threads(view: View, query: Query) -> list[_Thread]:
    together: dict[Ranges, dict[Key, int]] = {}
    for selection in query.selections:
        for kind in selection.kinds:
            id_ = view.key(query.account, selection.domain, kind)
            if id_ is not None:
                together.setdefault(selection.within, {})[selection.domain, kind] = id_
    return [
        _Thread(query.account, frozenset(keys), json.dumps(list(keys.values())), within)
        for within, keys in together.items()
    ]


def _page(view: View, day: Day, strands: list[_Strand], skip: int, limit: int) -> list[int]:
    """Positions of one day, newest first."""
    position = day.last
    if skip > STROLL:
        position, skip = _locate(view, day, strands, skip)
    out: list[int] = []
    for first, last in _down(view, day, strands, position):
        size = last - first + 1
        if skip >= size:
            skip -= size
            continue
        out += range(last - skip, first - 1, -1)[: limit - len(out)]
        skip = 0
        if len(out) >= limit:
            break
    return out


def _down(view: View, day: Day, strands: list[_Strand], position: int) -> Iterator[Range]:
    """Runs of rows from a position downwards."""
    while True:
        tops = [top for strand in strands if (top := strand.newest(view, day, position)) is not None]
        if not tops:
            return
        position = max(tops)
        segment = view.segment_at(position)
        yield from sorted((run for strand in strands for run in strand.within(segment, position)), reverse=True)
        position = segment.first - 1


def _locate(view: View, day: Day, strands: list[_Strand], skip: int) -> tuple[int, int]:
    """The end of the segment that holds the row after ``skip`` others, and how many of those it holds itself."""
    low, high = day.first - 1, day.last
    above_low, above_high = sum(strand.count for strand in strands), 0  # rows past each; skip lies between
    for step in itertools.count():
        # Where it would be if rows lay evenly, which is nearly always near; now and then the middle, if they do not.
        part = 0.5 if step % 3 == 2 else (skip - above_high + 0.5) / (above_low - above_high)
        first, last = view.span_at(min(max(high - int(part * (high - low)), low + 1), high))
        last = min(last, day.last)
        above = sum(strand.above(view, day, last) for strand in strands)
        if above > skip:
            low, above_low = last, above
            continue
        above_first = sum(strand.above(view, day, first - 1) for strand in strands)
        if above_first > skip:
            return last, skip - above
        high, above_high = first - 1, above_first
    raise AssertionError("a row that was counted is not there")


def _counted(view: View, day: Day, ids: str, position: int) -> int:
    count: int = view.db.execute(day.sql["upto"], (ids, position)).fetchone()[0]
    return count


def _find_path(view: View, query: Query, path: str, tail: Tail) -> Page:
    found: set[int] = set()
    for selection in query.selections:
        for domain in [selection.domain] if selection.domain else view.domains(query.account):
            (digest,) = digests.digests(query.account, domain, [path])
            needles = [digests.window(digest, kind) for kind in selection.kinds]
            bucket = digests.bucket_of(digest)
            for needle in needles:
                found.update(at for at in tail.matches(bucket, needle) if view.holds(at) and at in selection.within)
            for day in view.days:
                if next(selection.within.within(day.first, day.last), None) is None:
                    continue
                for (entries,) in view.db.execute(day.sql["digests"], (bucket,)):
                    for needle in needles:
                        hits = (day.first + offset for offset in digests.matches(entries, needle))
                        found.update(at for at in hits if at <= view.head and at in selection.within)
    positions = sorted(found, reverse=True)[query.offset : query.offset + query.limit]
    rows = tuple(row for row in view.rows(positions) if row.path == path)
    return Page(len(found) - len(positions) + len(rows), rows)
