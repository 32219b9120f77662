"""The log as delivery reads it: decoded once for all edges, wherever each of them stands.

A thousand edges stand at as many places as there were commits, and take part in different prefetches. So what is kept
are blocks that begin at the same rows for everybody; what an edge is told next is cut out of them.

Every refresh goes to every edge, whatever group it was for: then a gate at a position has applied everything up to it,
literally, and neither an edge nor a domain that changes its group, and comes back, finds anything stale. Only what an
edge has to fetch, and which edges a task waits for, is a matter of groups, areas and tiers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from msgspec.structs import replace

from freshline.delivery.events import Stretch, Warm
from freshline.domain.action import Fetch, fetches
from freshline.domain.run import Commands, Run, of_rows
from freshline.domain.task import Rows, Wish
from freshline.domain.topology import Scope
from freshline.log.base import Log

STRETCH_ROWS = 2000  #: read, and sent to a gate, at once; up to half as many more where blocks do not fit
KEPT_BLOCKS = 16  #: of so many rows each: edges go along nearly in step, so a few are enough
KEPT_STRETCHES = 64  #: and of these, each where some edge stands
FETCH_ROWS = 512  #: decoded at once, of which an edge takes up some dozens
KEPT_FETCHES = 64  #: of so many rows each: less in step, each edge at its own pace


class Feed:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._kept: OrderedDict[tuple[Scope, int, int], Stretch] = OrderedDict()
        self._told: OrderedDict[tuple[int, int], Commands] = OrderedDict()
        self._fetches: OrderedDict[tuple[int, int], list[tuple[Wish, list[Fetch]]]] = OrderedDict()

    def stretch(self, scope: Scope, after: int, upto: int) -> Stretch:
        """What an edge with this scope is told of ``(after, upto]``, cut off after some thousand rows."""
        key = (scope, after, upto)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        made = self._read(scope, after, upto)
        self._kept[key] = made
        if len(self._kept) > KEPT_STRETCHES:
            self._kept.popitem(last=False)
        return made

    def _read(self, scope: Scope, after: int, upto: int) -> Stretch:
        end = max(after, _end(after, upto))
        blocks = [self._block(number, end) for number in range(after // STRETCH_ROWS, -(-end // STRETCH_ROWS))]
        warms: list[Warm] = []
        for block in blocks:
            for first, last, wish in block.prefetches:
                if first <= end and last > after and scope.takes(wish):
                    warms.append(Warm(max(first, after + 1), min(last, end), wish.account, wish.domain))
        mark = self._log.mark(end)
        assert mark is not None, f"the log lost its mark of {end}"
        oldest = max((block.oldest for block in blocks), default=0)
        return Stretch(after, end, mark, self._commands(blocks, after, end), tuple(warms), oldest)

    def _commands(self, blocks: Sequence[Block], after: int, end: int) -> Commands:
        """The refreshes of ``(after, end]``: the same ones for every scope."""
        if (known := self._told.get((after, end))) is None:
            known = self._told[after, end] = Commands(run for block in blocks for run in block.told(after, end))
            if len(self._told) > KEPT_STRETCHES:
                self._told.popitem(last=False)
        self._told.move_to_end((after, end))
        return known

    def _block(self, number: int, upto: int) -> Block:
        """The rows after ``number * STRETCH_ROWS``, at least as far as ``upto`` or its own end."""
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = Block(number * STRETCH_ROWS)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        upto = min(upto, (number + 1) * STRETCH_ROWS)
        if block.end < upto:
            block.add(self._log.rows(block.end, upto), upto)
        return block

    def fetches(self, scope: Scope, after: int, upto: int) -> list[Fetch]:
        """What an edge with this scope has to fetch of ``(after, upto]``."""
        out: list[Fetch] = []
        for number in range(after // FETCH_ROWS, -(-upto // FETCH_ROWS)):
            for wish, rows in self._prefetches(number):
                first = rows[0].position
                if first > upto:
                    break
                if first + len(rows) > after + 1 and scope.takes(wish):
                    out += rows[max(after + 1 - first, 0) : upto + 1 - first]
        return out

    def _prefetches(self, number: int) -> list[tuple[Wish, list[Fetch]]]:
        """Those of the rows after ``number * FETCH_ROWS``, by who wants them, as far as the log goes now."""
        after = number * FETCH_ROWS
        upto = min(after + FETCH_ROWS, self._log.head)
        key = (after, upto)
        if (known := self._fetches.get(key)) is None:
            alike = (rows for rows in self._log.rows(after, upto, whose=True) if rows.wish.kind.is_prefetch)
            known = self._fetches[key] = [(replace(rows.wish, paths=()), fetches(rows)) for rows in alike]
            if len(self._fetches) > KEPT_FETCHES:
                self._fetches.popitem(last=False)
        self._fetches.move_to_end(key)
        return known


def _end(after: int, upto: int) -> int:
    """Where a stretch ends: edges that are far behind fall into step, since theirs end where blocks do."""
    if upto - after <= STRETCH_ROWS:
        return upto
    return min(upto, ((after + STRETCH_ROWS // 2) // STRETCH_ROWS + 1) * STRETCH_ROWS)


class Block:
    """Some thousand rows of the log, decoded for everybody as far as anybody has asked for them."""

    __slots__ = ("_ends", "_firsts", "_runs", "end", "oldest", "prefetches")

    def __init__(self, after: int) -> None:
        self.end = after  #: rows up to here are in it
        self.oldest = 0  #: rows before this one were dropped from the log before they could be read
        self._runs: list[Run] = []
        self._firsts: list[int] = []  #: of these, the first positions
        self._ends: list[int] = []  #: and the last ones
        self.prefetches: list[tuple[int, int, Wish]] = []  #: first and last row, of tasks that are alike

    def add(self, alike: Sequence[Rows], upto: int) -> None:
        """What comes next in the log."""
        first = alike[0].first if alike else upto + 1
        if first > self.end + 1:
            self.oldest = first
        self.prefetches += ((rows.first, rows.last, rows.wish) for rows in alike if rows.wish.kind.is_prefetch)
        for run in of_rows(alike):
            self._runs.append(run)
            self._firsts.append(run.first)
            self._ends.append(run.last)
        self.end = upto

    def told(self, after: int, upto: int) -> list[Run]:
        """The refreshes of ``(after, upto]``."""
        runs = self._runs[bisect_right(self._ends, after) : bisect_right(self._firsts, upto)]
        if runs:
            runs[0] = runs[0].within(after, upto)
            runs[-1] = runs[-1].within(after, upto)
        return runs


class ScopedReader:
    """The feed as one edge's machine sees it."""

    def __init__(self, feed: Feed, scope: Scope) -> None:
        self._feed, self._scope = feed, scope

    def stretch(self, after: int, upto: int) -> Stretch:
        return self._feed.stretch(self._scope, after, upto)

    def fetches(self, after: int, upto: int) -> Sequence[Fetch]:
        return self._feed.fetches(self._scope, after, upto)
