"""From cursors to Status, Process and Description.

No state is kept per row and edge. A row's state follows from its position and the handful of numbers each edge keeps,
so asking costs the same at ten rows and ten million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freshline.domain.edge import Edge, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason, Status

WORST_FIRST = (Reason.CANCELLED, Reason.ORIGIN_STATUS, Reason.ORIGIN_TIMEOUT, Reason.INTERNAL)
Fleet = Sequence[tuple[Edge, Progress]]  #: the edges of one group


@dataclass(frozen=True, slots=True)
class RowState:
    """What the API says of a row."""

    status: Status
    process: str  #: ``"99.37%"``
    description: str


COMPLETE = RowState(Status.COMPLETE, "100%", "")


def row_state(position: int, fleet: Fleet) -> RowState:
    """The state of one row on the edges it must reach."""
    due = [progress for edge, progress in fleet if edge.joined < position]
    reasons = [reason for progress in due for reason, ranges in progress.failed if position in ranges]
    proven = sum(progress.settled(position) and progress.failure(position) is None for progress in due)
    if reasons:
        return RowState(Status.FAILED, percent(proven, len(due)), worst(reasons))
    if proven == len(due):
        return COMPLETE
    begun = proven or any(progress.begun >= position for progress in due)
    return RowState(Status.REFRESHING if begun else Status.PENDING, percent(proven, len(due)), "")


def rows_with(status: Status, fleet: Fleet, head: int) -> Ranges:
    """Every position up to ``head`` whose row is in ``status``: the inverse of :func:`row_state`."""
    everything = Ranges([(1, head)])
    complete, begun = everything, Ranges()
    given_up: set[Ranges] = set()  # what an origin fails, it fails on many edges
    for edge, progress in fleet:
        not_due = Ranges([(1, edge.joined)])
        settled = (Ranges([(1, progress.cursor), *progress.ahead]) & everything) - progress.again
        given_up.update(ranges.beyond(edge.joined) for _, ranges in progress.failed)
        complete &= settled | not_due
        begun |= (settled | Ranges([(1, min(progress.begun, head))])) - not_due
    failed = Ranges(run for ranges in given_up for run in ranges) & everything
    match status:
        case Status.FAILED:
            return failed
        case Status.COMPLETE:
            return complete - failed
        case Status.REFRESHING:
            return begun - complete - failed
        case Status.PENDING:
            return everything - begun - complete - failed


def percent(part: int, whole: int) -> str:
    """``"100%"``, ``"0%"``, else two places; 100 only when nothing is missing."""
    if part >= whole:
        return "100%"
    hundredths = part * 10_000 // whole
    return f"{hundredths / 100:g}%"


def worst(reasons: Sequence[Reason]) -> Reason:
    """The one reason to print: what the origin did tells more than that something broke."""
    return min(reasons, key=WORST_FIRST.index)
