"""The states of many rows at once.

A task may have a thousand rows and a group a thousand edges. What every edge has passed is complete, which is one
number for the group; it is worked out once until an edge moves. Of other rows those between two cut points (an edge's
cursor, the end of a run it settled or gave up) are in the same state, so a state is computed once per stretch.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from freshline.domain.progress import COMPLETE, Fleet, RowState, row_state
from freshline.domain.ranges import Ranges


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a group of edges is."""

    fleet: Fleet
    passed: int | None  #: every edge is done with the rows up to here; ``None``: there is no edge
    left: tuple[Ranges, ...]  #: what edges gave up, or do again; never joined, which costs a step per run

    @classmethod
    def of(cls, fleet: Fleet) -> Standing:
        left = [progress.again for _, progress in fleet if progress.again]
        left += [ranges for _, progress in fleet for _, ranges in progress.failed]
        # Rows that an edge joined after are none of its business, and so done.
        passed = min((max(edge.joined, progress.cursor) for edge, progress in fleet), default=None)
        return cls(fleet, passed, tuple(left))

    def is_complete(self, first: int, last: int) -> bool:
        """Whether all these rows are, surely; if not, they must be looked at closely."""
        if self.passed is not None and last > self.passed:
            return False
        return not any(ranges.touches(first, last) for ranges in self.left)


class States:
    """States of the rows from ``first`` to ``last`` on one group of edges."""

    def __init__(self, standing: Standing, first: int, last: int) -> None:
        self._standing = standing
        self._bounds = first, last
        self._cuts: list[int] | None = None
        self._known: dict[int, RowState] = {}

    def at(self, position: int) -> RowState:
        if self._standing.is_complete(position, position):
            return COMPLETE
        if self._cuts is None:
            self._cuts = sorted(_cuts(self._standing.fleet, *self._bounds))
        stretch = bisect_left(self._cuts, position)
        state = self._known.get(stretch)
        if state is None:
            state = self._known[stretch] = row_state(position, self._standing.fleet)
        return state


def _cuts(fleet: Fleet, first: int, last: int) -> set[int]:
    """Every position after which a row's state may differ from that of the row before."""
    cuts: set[int] = set()
    if first == last:
        return cuts
    for edge, progress in fleet:
        cuts.update((edge.joined, progress.cursor, progress.begun))
        for ranges in (progress.ahead, progress.again, *(ranges for _, ranges in progress.failed)):
            for run_first, run_last in ranges.within(first, last):
                cuts.update((run_first - 1, run_last))
    return {cut for cut in cuts if first <= cut < last}
