"""Any page of any query, with its exact total, at the price of a few look-ups.

Every segment says of every key how many rows of it come before. So the rows of a key in a run of positions are a
difference of two look-ups, and the page at an offset is found by a few guesses, whatever lies before it.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from freshline.domain.ranges import Range, Ranges
from freshline.domain.task import Row
from freshline.log import digest as digests
from freshline.log import share
from freshline.log.base import Page, Query, Selection
from freshline.log.digest import Tail
from freshline.log.view import Day, View

FEW_KEYS = 16  #: for as many, their shares of a segment are read; for more, its head
FEW_ROWS = 64  #: as many positions are looked at one by one
STROLL = 32  #: offsets below this are walked to, others found by halving


def find(view: View, query: Query, tail: Tail | None) -> Page:
    """:param tail: the rows whose digests are not in the file; only needed for a path"""
    if query.path is not None:
        assert tail is not None
        return _find_path(view, query, query.path, tail)
    if (few := _few(view, query)) is not None:
        return Page(len(few), tuple(few[query.offset : query.offset + query.limit]))
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


def _few(view: View, query: Query) -> list[Row] | None:
    """The rows that are asked for, where the positions are few enough to be looked at one by one."""
    asked: dict[int, list[Selection]] = {}
    for selection in query.selections:
        for first, last in selection.within.within(view.oldest, view.head):
            if len(asked) + last - first >= FEW_ROWS:
                return None
            for position in range(first, last + 1):
                asked.setdefault(position, []).append(selection)
    return [
        row
        for row in view.rows(sorted(asked, reverse=True))
        if row.wish.account == query.account
        and any(
            selection.domain in (None, row.wish.domain) and row.wish.kind in selection.kinds
            for selection in asked[row.position]
        )
    ]


class _Thread:
    """The keys of one account that are asked for within the same positions."""

    def __init__(self, view: View, ids: Sequence[int], within: Ranges, any_domain: bool) -> None:
        self._view = view
        self.ids = json.dumps(ids)  # for SQL
        self.within = within
        self._many = frozenset(ids) if len(ids) > FEW_KEYS and not any_domain else None

    def upto(self, day: Day, position: int, *, ends: bool = False) -> int:
        """How many rows the day has up to a position.

        :param ends: a segment surely ends there
        """
        if position < day.first:
            return 0
        known = self._view.kept.upto
        count = known.get((self.ids, position))
        if count is None:
            first, last = (position, position) if ends else self._view.span_at(position)
            if position >= last:
                count = self._counted(day, position)
            else:
                count = self._counted(day, first - 1) + self._inside(day, first, position)
            known.put((self.ids, position), count)
        return count

    def between(self, day: Day, first: int, last: int) -> int:
        start, end = self._view.span_at(first)
        if last <= end and (first, last) != (start, end):
            return self._inside(day, first, last)
        return self.upto(day, last) - self.upto(day, first - 1)

    def _inside(self, day: Day, first: int, last: int) -> int:
        """How many rows there are in a part of one segment."""
        start, _ = self._view.span_at(first)
        return (self.bits(day, first) >> (first - start) & share.run(0, last - first + 1)).bit_count()

    def _counted(self, day: Day, position: int) -> int:
        """How many rows there are in segments that begin at or before a position."""
        count: int = self._view.db.execute(day.sql["upto"], (self.ids, position)).fetchone()[0]
        return count

    def bits(self, day: Day, position: int) -> int:
        """Which rows of the segment that holds a position are of these keys, whatever is asked within."""
        view = self._view
        span = view.span_at(position)
        bits = view.kept.bits.get((self.ids, span))
        if bits is None:
            bits = view.kept.bits.put((self.ids, span), self._read(day, span))
        return bits

    def _read(self, day: Day, span: Range) -> int:
        first, last = span
        if self._many is not None:
            return self._view.segment_at(first).bits(self._many)
        bits = 0
        for (held,) in self._view.db.execute(day.sql["shares"], (self.ids, first)):
            bits |= share.decode(held, last - first + 1)
        return bits


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
        known = view.kept.counts
        for first, last in thread.within.within(day.first, day.last):
            run = (thread.ids, first, last)
            count = known.get(run)
            if count is None:
                count = known.put(run, thread.between(day, first, last))
            if count:
                runs.append((first, last))
                counts.append(count)
        return cls(thread, runs, counts) if runs else None

    def above(self, day: Day, position: int, *, ends: bool = False) -> int:
        """How many rows lie past a position."""
        at = bisect_right(self._firsts, position) - 1
        rest = self.count - self._upto[at + 1]
        if at >= 0 and self.runs[at][1] > position:
            upto = self.thread.upto
            rest += (
                self._upto[at + 1] - self._upto[at] - upto(day, position, ends=ends) + upto(day, self.runs[at][0] - 1)
            )
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

    def bits(self, day: Day, span: Range, position: int) -> int:
        """Our rows of a segment up to a position."""
        start, end = span
        at = max(bisect_right(self._firsts, start) - 1, 0)
        mask = 0
        for first, last in self.runs[at : bisect_right(self._firsts, position)]:
            first, last = max(first, start), min(last, position, end)
            if first <= last:
                mask |= share.run(first - start, last - start + 1)
        return mask & self.thread.bits(day, start) if mask else 0


def _threads(view: View, query: Query) -> list[_Thread]:
    together: dict[tuple[Ranges, bool], list[int]] = {}
    for selection in query.selections:
        for kind in selection.kinds:
            id_ = view.key(query.account, selection.domain, kind)
            if id_ is not None:
                # A segment's head knows only domains, so keys for any domain go by themselves. There are few of them.
                together.setdefault((selection.within, selection.domain is None), []).append(id_)
    return [_Thread(view, ids, *shared) for shared, ids in together.items()]


def _page(view: View, day: Day, strands: list[_Strand], skip: int, limit: int) -> list[int]:
    """Positions of one day, newest first."""
    position = day.last
    if skip > STROLL:
        position, skip = _locate(view, day, strands, skip)
    out: list[int] = []
    while len(out) < limit:
        tops = [top for strand in strands if (top := strand.newest(view, day, position)) is not None]
        if not tops:
            break
        position = max(tops)
        span = view.span_at(position)
        bits = 0
        for strand in strands:
            bits |= strand.bits(day, span, position)
        count = bits.bit_count()
        if skip < count:
            out += (span[0] + row for row in share.newest(bits, skip, limit - len(out)))
        skip = max(skip - count, 0)
        position = span[0] - 1
    return out


def _locate(view: View, day: Day, strands: list[_Strand], skip: int) -> tuple[int, int]:
    """The end of the segment that holds the row after ``skip`` others, and how many of those it holds itself."""
    low, high = day.first - 1, day.last
    above_low, above_high = sum(strand.count for strand in strands), 0  # rows past each; skip lies between
    for step in itertools.count():
        # Where it would be if rows lay evenly, which is nearly always near; now and then the middle, if they do not.
        part = 0.5 if step % 3 == 2 else (skip - above_high + 0.5) / (above_low - above_high)
        first, last = view.span_at(min(max(high - int(part * (high - low)), low + 1), high))
        last = min(last, day.last)
        above = sum(strand.above(day, last) for strand in strands)
        if above > skip:
            low, above_low = last, above
            continue
        above_first = sum(strand.above(day, first - 1, ends=True) for strand in strands)
        if above_first > skip:
            return last, skip - above
        high, above_high = first - 1, above_first
    raise AssertionError("a row that was counted is not there")


def _find_path(view: View, query: Query, path: str, tail: Tail) -> Page:
    found: set[int] = set()
    for selection in query.selections:
        days = [day for day in view.days if selection.within.touches(day.first, day.last)]
        for domain in [selection.domain] if selection.domain else view.domains(query.account):
            (digest,) = digests.digests(query.account, domain, [path])
            where = digests.BUCKETS, digests.bucket_of(digest), digest[0], digests.PARTS
            hits = [at for at in tail.matches(digest, selection.kinds) if at >= view.oldest]
            for day in days:
                for (entries,) in view.db.execute(day.sql["digests"], where):
                    hits += [day.first + at for at in digests.matches(entries, digest, selection.kinds)]
            found.update(at for at in hits if at <= view.head and at in selection.within)
    positions = sorted(found, reverse=True)[query.offset : query.offset + query.limit]
    rows = tuple(row for row in view.rows(positions, alone=True) if row.path == path)
    return Page(len(found) - len(positions) + len(rows), rows)
