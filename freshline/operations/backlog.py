"""How much an account has in the queue: rows that are neither complete nor failed.

Counting them exactly costs a search, so the distance from the head of the log to the edge that is furthest behind
answers first: no account can have more in the queue than all have together.
"""

from __future__ import annotations

from collections.abc import Collection

from freshline.domain.errors import Fault, Refused
from freshline.domain.progress import rows_with
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Status
from freshline.log.base import Query, Selection
from freshline.operations.desk import Call, Desk

REFRESHES = tuple(kind for kind in Kind if not kind.is_prefetch)
PREFETCHES = tuple(kind for kind in Kind if kind.is_prefetch)


def check_refreshes(desk: Desk, call: Call, groups: Collection[str], more: int) -> None:
    """:raises Refused: with ``more`` rows the queue of refreshes would pass its limit"""
    if not _fits(desk, call, groups, REFRESHES, desk.limits.refresh_queue - more):
        raise Refused(Fault.REFRESH_QUEUE_FULL)


def check_prefetches(desk: Desk, call: Call, groups: Collection[str], more: int) -> None:
    """:raises Refused: with ``more`` rows the queue of prefetches would pass its limit"""
    if not _fits(desk, call, groups, PREFETCHES, desk.limits.preload_queue - more):
        raise Refused(Fault.PRELOAD_QUEUE_FULL)


def _fits(desk: Desk, call: Call, groups: Collection[str], kinds: tuple[Kind, ...], room: int) -> bool:
    head = desk.log.head
    done = [max(edge.joined, progress.cursor) for group in groups for edge, progress in desk.fleet(group)]
    if head - min(done, default=head) <= room:
        return True
    return sum(_waiting(desk, call.account, group, kinds, head) for group in groups) <= room


def _waiting(desk: Desk, account: str, group: str, kinds: tuple[Kind, ...], head: int) -> int:
    fleet = desk.fleet(group)
    within: Ranges = rows_with(Status.PENDING, fleet, head) | rows_with(Status.REFRESHING, fleet, head)
    names = [domain.name for domain in desk.inventory.domains(account) if domain.group == group]
    selections = tuple(Selection(name, kinds, within) for name in names)
    return desk.log.find(Query(account, selections, limit=1)).total if selections else 0
