"""The states of many rows at once.

A task may have a thousand rows and a group a thousand edges. Rows between two cut points (an edge's cursor, the end of
a run it settled or gave up) are in the same state, so a state is computed once per stretch, not once per row.
"""

from __future__ import annotations

from bisect import bisect_left

from freshline.domain.progress import Fleet, RowState, row_state


class States:
    """States of the rows from ``first`` to ``last`` on one group of edges."""

    def __init__(self, fleet: Fleet, first: int, last: int) -> None:
        self._fleet = fleet
        self._cuts = sorted(_cuts(fleet, first, last)) if first < last else []
        self._known: dict[int, RowState] = {}

    def at(self, position: int) -> RowState:
        stretch = bisect_left(self._cuts, position)
        state = self._known.get(stretch)
        if state is None:
            state = self._known[stretch] = row_state(position, self._fleet)
        return state


def _cuts(fleet: Fleet, first: int, last: int) -> set[int]:
    """Every position after which a row's state may differ from that of the row before."""
    cuts: set[int] = set()
    for edge, progress in fleet:
        cuts.update((edge.joined, progress.cursor, progress.begun))
        for ranges in (progress.ahead, *(ranges for _, ranges in progress.failed)):
            for run_first, run_last in ranges.within(first, last):
                cuts.update((run_first - 1, run_last))
    return {cut for cut in cuts if first <= cut < last}
