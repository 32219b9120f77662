"""Which rows have passed their deadline: worked out once for all edges that take part in the same tasks.

A thousand edges that are out of reach pass the same deadlines at the same moments. So the log is read in blocks that
begin at the same rows for everybody, and each block is read once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from freshline.ambient import Ambient
from freshline.delivery.ages import Ages
from freshline.domain.ranges import Range, Ranges
from freshline.domain.topology import Scope
from freshline.log.base import Log
from freshline.setting import setting

BLOCK_ROWS = 5000  #: looked through at one go
KEPT_BLOCKS = 256
LOOK_SECONDS = 1.0  #: how often deadlines are looked at


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a row may take before its task shows ``Failed``. Delivery of a refresh goes on all the same."""

    refresh_seconds: float = setting(600.0, "for a refresh", least=0.1, most=14 * 86_400)
    prefetch_seconds: float = setting(1800.0, "for a prefetch", least=0.1, most=14 * 86_400)


class Lateness:
    def __init__(self, log: Log, ambient: Ambient, ages: Ages, deadlines: Deadlines) -> None:
        self._log, self._ambient = log, ambient
        self.ages, self.deadlines = ages, deadlines
        self._look_again = float("-inf")
        self._late = {False: 0, True: 0}
        self._seconds = {False: deadlines.refresh_seconds, True: deadlines.prefetch_seconds}
        self._asked: dict[bool, tuple[int, float]] = {}  #: the row that was asked of last, and when it is late
        self._kept: OrderedDict[tuple[Scope, bool, int, int], list[Range]] = OrderedDict()

    def until(self, *, prefetch: bool) -> int:
        """Everything up to this row is past its deadline."""
        clock = self._ambient.monotonic()
        if clock >= self._look_again:
            self._look_again = clock + LOOK_SECONDS / 2  # who looks once a second sees no older answer than that
            for kind, seconds in self._seconds.items():
                self._late[kind] = self.ages.older_than(seconds)
        return self._late[prefetch]

    @property
    def shortest_seconds(self) -> float:
        return min(self._seconds.values())

    def pause_seconds(self, position: int, *, prefetch: bool) -> float:
        """Until anything beyond a row can be late; what comes yet is late after that."""
        now = self._ambient.monotonic()
        first, late = self._asked.get(prefetch, (0, 0.0))
        if first != position + 1:
            first = position + 1
            age = self.ages.of(max(first, self._log.oldest)) if first <= self._log.head else 0.0
            late = now + self._seconds[prefetch] - age
            if first <= self._log.head:
                self._asked[prefetch] = first, late
        return late - now

    def rows(self, scope: Scope, after: int, *, prefetch: bool) -> tuple[Ranges, int]:
        """What an edge with this scope is late with beyond a row, and how far was looked: a block at most."""
        until = self.until(prefetch=prefetch)
        after = max(after, self._log.oldest - 1)
        if after >= until:
            return Ranges(), after
        start = after - after % BLOCK_ROWS
        end = min(start + BLOCK_ROWS, until)
        key = (scope, prefetch, start, end)
        if (known := self._kept.get(key)) is None:
            known = self._kept[key] = self._read(scope, prefetch, start, end)
            if len(self._kept) > KEPT_BLOCKS:
                self._kept.popitem(last=False)
        return Ranges((max(first, after + 1), last) for first, last in known), end

    def _read(self, scope: Scope, prefetch: bool, start: int, end: int) -> list[Range]:
        groups = {group for group, _ in scope.serves}
        late: list[Range] = []
        for task in self._log.read(max(start, self._log.oldest - 1), end - start):
            if task.id > end:
                break
            wish = task.wish
            if wish.kind.is_prefetch is prefetch and wish.group in groups and scope.takes(wish):
                late.append((max(task.id, start + 1), min(task.last, end)))
        return late
