"""How many rows there are in each status, over all accounts: for monitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from freshline.domain.progress import rows_with
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Status
from freshline.log.base import Query, Selection
from freshline.operations.desk import Desk

EVERY_KIND = tuple(Kind)


def rows_by_status(desk: Desk, accounts: Iterable[str]) -> dict[Status, int]:
    """Counted from cursors and totals, so it costs the same at ten rows and ten million."""
    kept = Ranges([(desk.log.oldest, desk.log.head)])
    counts: Counter[Status] = Counter()
    for account in accounts:
        domains = desk.inventory.domains(account)
        groups = {domain.group for domain in domains}
        for status in Status:
            within = {group: rows_with(status, desk.fleet(group), desk.log.head) & kept for group in groups}
            selections = (
                (Selection(None, EVERY_KIND, next(iter(within.values()))),)
                if len(groups) == 1
                else tuple(Selection(domain.name, EVERY_KIND, within[domain.group]) for domain in domains)
            )
            if selections:
                counts[status] += desk.log.find(Query(account, selections, limit=1)).total
    return {status: counts[status] for status in Status}
