"""The rows of an account that are in some states, as selections of the log.

What state a row is in follows from how far the edges of its group are. A domain's rows are not all of one group: it may
have been moved, or removed and added again, and rows stay what they were. So each stretch of a domain's rows is looked
up with the group that it is of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from freshline.domain.progress import rows_with
from freshline.domain.ranges import Range, Ranges
from freshline.domain.task import Kind, Status
from freshline.log.base import Placed, Selection
from freshline.operations.desk import Desk


def in_states(
    desk: Desk,
    account: str,
    states: Iterable[Status],
    kinds: tuple[Kind, ...],
    within: Ranges,
    names: Collection[str] | None = None,
) -> tuple[Selection, ...]:
    """Disjoint selections; none where nothing can be found.

    :param names: of these domains; ``None``: of all there ever were
    """
    head = desk.log.head
    placed = dict(desk.log.placed(account))
    for domain in desk.inventory.domains(account):  # rows that the log cannot place are of the domain's group
        placed.setdefault(domain.name, ((1, domain.group),))
    if names is not None:
        placed = {name: placed[name] for name in names if name in placed}
    states = tuple(states)
    found: dict[str, Ranges] = {}
    for group in {group for runs in placed.values() for _, group in runs}:
        fleet, rows = desk.fleet(group), Ranges()
        for state in states:
            rows |= rows_with(state, fleet, head)
        found[group] = rows & within
    if names is None and len(found) == 1:
        (only,) = found.values()
        return (Selection(None, kinds, only),) if only else ()
    chosen = ((name, _rows(runs, found, head)) for name, runs in placed.items())
    return tuple(Selection(name, kinds, rows) for name, rows in chosen if rows)


def _rows(runs: Placed, found: dict[str, Ranges], head: int) -> Ranges:
    if len(runs) == 1:  # as they are: domains that share them are counted together
        return found[runs[0][1]]
    out = Ranges()
    for at, (first, group) in enumerate(runs):
        stretch: Range = (first if at else 1, runs[at + 1][0] - 1 if at + 1 < len(runs) else head)
        out |= found[group] & Ranges([stretch])
    return out
