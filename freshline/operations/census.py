"""How many rows there are in each status, over all accounts: for monitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Status
from freshline.log.base import Query
from freshline.operations.desk import Desk
from freshline.operations.placement import in_states

EVERY_KIND = tuple(Kind)


def rows_by_status(desk: Desk, accounts: Iterable[str]) -> dict[Status, int]:
    """Counted from cursors and totals, so it costs the same at ten rows and ten million."""
    kept = Ranges([(desk.log.oldest, desk.log.head)])
    counts: Counter[Status] = Counter()
    for account in accounts:
        for status in Status:
            selections = in_states(desk, account, [status], EVERY_KIND, kept)
            if selections:
                counts[status] += desk.log.find(Query(account, selections, limit=1)).total
    return {status: counts[status] for status in Status}
