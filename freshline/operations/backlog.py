"""How much an account has in the queue: rows that are neither complete nor failed.

Counting them exactly costs a search, so the distance from the head of the log to the edge that is furthest behind
answers first: no account can have more in the queue than all have together.
"""

from __future__ import annotations

from freshline.domain.errors import Fault, Refused
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Status
from freshline.log.base import Query
from freshline.operations.desk import Call, Desk
from freshline.operations.placement import in_states

REFRESHES = tuple(kind for kind in Kind if not kind.is_prefetch)
PREFETCHES = tuple(kind for kind in Kind if kind.is_prefetch)


def check_refreshes(desk: Desk, call: Call, more: int) -> None:
    """:raises Refused: with ``more`` rows the account's queue of refreshes would pass its limit"""
    if not _fits(desk, call.account, REFRESHES, desk.limits.refresh_queue - more):
        raise Refused(Fault.REFRESH_QUEUE_FULL)


def check_prefetches(desk: Desk, call: Call, more: int) -> None:
    """:raises Refused: with ``more`` rows the account's queue of prefetches would pass its limit"""
    if not _fits(desk, call.account, PREFETCHES, desk.limits.preload_queue - more):
        raise Refused(Fault.PRELOAD_QUEUE_FULL)


def _fits(desk: Desk, account: str, kinds: tuple[Kind, ...], room: int) -> bool:
    room -= desk.entering[account, kinds is PREFETCHES]
    head = desk.log.head
    furthest = min((max(edge.joined, progress.cursor) for edge, progress in desk.fleet()), default=head)
    return head - furthest <= room or _waiting(desk, account, kinds, head) <= room


def _waiting(desk: Desk, account: str, kinds: tuple[Kind, ...], head: int) -> int:
    selections = in_states(desk, account, (Status.PENDING, Status.REFRESHING), kinds, Ranges([(1, head)]))
    return desk.log.find(Query(account, selections, limit=1)).total if selections else 0
