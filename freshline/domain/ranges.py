"""Sets of positions as sorted, disjoint, inclusive ranges.

An edge's state is a cursor and the exceptions beyond it. Exceptions come in runs, so a run costs two numbers however
long it is. A change of a few runs among many costs two copies of arrays, and no step per run: an origin that fails now
and then leaves ten thousand of them, and every answer of an edge makes a new set.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import sub

Range = tuple[int, int]  #: first and last position, both included
FEW = 8  #: a set with so many times fewer runs than another is spliced into it


class Ranges:
    """An immutable set of positions. ``Ranges([(1, 3), (4, 9)])`` is one run, 1 to 9."""

    __slots__ = ("_firsts", "_hash", "_lasts")

    def __init__(self, runs: Iterable[Range] = ()) -> None:
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in sorted(runs):
            if last < first:
                continue
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        self._firsts = firsts
        self._lasts = lasts
        self._hash: int | None = None

    @classmethod
    def of(cls, firsts: list[int], lasts: list[int]) -> Ranges:
        """The runs that begin and end there, which are in order and part from each other already."""
        made = cls.__new__(cls)
        made._firsts, made._lasts, made._hash = firsts, lasts, None
        return made

    @property
    def last(self) -> int:
        """The last position; 0: there is none."""
        return self._lasts[-1] if self._lasts else 0

    @property
    def ends(self) -> list[int]:
        """First and last position of each run, by turns."""
        out = self._firsts * 2
        out[::2], out[1::2] = self._firsts, self._lasts
        return out

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        """How many runs, not how many positions."""
        return len(self._firsts)

    def __contains__(self, position: int) -> bool:
        at = bisect_right(self._firsts, position) - 1
        return at >= 0 and position <= self._lasts[at]

    def __eq__(self, other: object) -> bool:
        return other is self or (
            isinstance(other, Ranges) and self._firsts == other._firsts and self._lasts == other._lasts
        )

    def __hash__(self) -> int:
        if self._hash is None:  # asked for once per domain of a query
            self._hash = hash((tuple(self._firsts), tuple(self._lasts)))
        return self._hash

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    def size(self) -> int:
        """How many positions."""
        steps: int = sum(map(sub, self._lasts, self._firsts))
        return steps + len(self._firsts)

    def __or__(self, other: Ranges) -> Ranges:
        if not other._firsts:
            return self
        if not self._firsts:
            return other
        few, many = sorted((self, other), key=len)
        if len(few) * FEW > len(many):
            return Ranges([*self, *other])
        firsts, lasts = many._firsts.copy(), many._lasts.copy()
        for first, last in few:
            at = bisect_left(lasts, first - 1)  # what it touches lies from here
            end = bisect_right(firsts, last + 1)  # to before here
            if at < end:
                first, last = min(first, firsts[at]), max(last, lasts[end - 1])
            firsts[at:end], lasts[at:end] = [first], [last]
        return Ranges.of(firsts, lasts)

    def __and__(self, other: Ranges) -> Ranges:
        if not self._firsts or not other._firsts:
            return NOTHING
        few, many = sorted((self, other), key=len)
        if len(few) * FEW <= len(many):
            return Ranges(run for first, last in few for run in many.within(first, last))
        out: list[Range] = []
        mine, theirs = list(self), list(other)
        i = j = 0
        while i < len(mine) and j < len(theirs):
            first, last = max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])
            if first <= last:
                out.append((first, last))
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return Ranges(out)

    def __sub__(self, other: Ranges) -> Ranges:
        if not self._firsts or not other._firsts:
            return self
        if len(other) * FEW <= len(self):
            return self._without_few(other)
        out: list[Range] = []
        for first, last in self:
            start = first
            for hole_first, hole_last in other.within(first, last):
                out.append((start, hole_first - 1))
                start = hole_last + 1
            out.append((start, last))
        return Ranges(out)

    def _without_few(self, holes: Ranges) -> Ranges:
        firsts, lasts = self._firsts, self._lasts
        copied = False
        for first, last in holes:
            at, end = bisect_left(lasts, first), bisect_right(firsts, last)
            if at >= end:
                continue
            if not copied:
                firsts, lasts, copied = firsts.copy(), lasts.copy(), True
            left = [(firsts[at], first - 1), (last + 1, lasts[end - 1])]
            kept = [run for run in left if run[0] <= run[1]]
            firsts[at:end], lasts[at:end] = [run[0] for run in kept], [run[1] for run in kept]
        return Ranges.of(firsts, lasts) if copied else self

    def within(self, first: int, last: int) -> Iterator[Range]:
        """The runs that touch [first, last], cut to it."""
        if last < first:
            return
        at = max(bisect_right(self._firsts, first) - 1, 0)
        end = bisect_right(self._firsts, last)
        for run_first, run_last in zip(self._firsts[at:end], self._lasts[at:end], strict=True):
            if run_last >= first:
                yield max(run_first, first), min(run_last, last)

    def touches(self, first: int, last: int) -> bool:
        """Whether any of [first, last] is in it."""
        at = bisect_right(self._firsts, last) - 1
        return at >= 0 and self._lasts[at] >= first

    def beyond(self, position: int) -> Ranges:
        """What lies past a position."""
        at = bisect_left(self._lasts, position + 1)
        if at == 0 and (not self._firsts or self._firsts[0] > position):
            return self
        firsts, lasts = self._firsts[at:], self._lasts[at:]
        if not firsts:
            return NOTHING
        firsts[0] = max(firsts[0], position + 1)
        return Ranges.of(firsts, lasts)

    def run_after(self, position: int) -> int:
        """The last position of the unbroken run that starts right after ``position``; ``position`` if there is none."""
        at = bisect_right(self._firsts, position + 1) - 1
        return self._lasts[at] if at >= 0 and self._lasts[at] > position else position


NOTHING = Ranges()
