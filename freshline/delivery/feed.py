"""The log as delivery reads it: stretches, decoded once for all edges that take part in the same tasks.

Every refresh goes to every edge, whatever group it was for: then a gate at a position has applied everything up to it,
literally, and neither an edge nor a domain that changes its group, and comes back, finds anything stale. Only what an
edge has to fetch, and which edges a task waits for, is a matter of groups, areas and tiers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from freshline.delivery.events import Stretch, Warm
from freshline.domain.action import Command, Commands, Fetch, commands, fetches
from freshline.domain.task import Task
from freshline.domain.topology import Scope
from freshline.log.base import Log

STRETCH_ROWS = 2000  #: read, and sent to a gate, at once
KEPT_STRETCHES = 16  #: edges go along nearly in step, so a few are enough
KEPT_FETCHES = 256  #: less so here: each edge at its own pace, some dozen rows at a time


class Feed:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: OrderedDict[tuple[Scope, int, int], Stretch] = OrderedDict()
        self._fetches: OrderedDict[tuple[Scope, int, int], tuple[Fetch, ...]] = OrderedDict()

    def stretch(self, scope: Scope, after: int, upto: int) -> Stretch:
        """What an edge with this scope is told of ``(after, upto]``, cut off after some thousand rows."""
        key = (scope, after, upto)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        made = self._read(scope, after, upto)
        self._kept[key] = made
        if len(self._kept) > KEPT_STRETCHES:
            self._kept.popitem(last=False)
        return made

    def _tasks(self, after: int, upto: int) -> Iterator[Task]:
        """Those with rows in ``(after, upto]``. One read need not reach that far: a long task may fill it."""
        while after < upto:
            tasks = self._log.read(after, upto - after)
            for task in tasks:
                if task.id > upto:
                    return
                yield task
            if not tasks:
                return
            after = tasks[-1].last

    def _read(self, scope: Scope, after: int, upto: int) -> Stretch:
        told: list[Command] = []
        warms: list[Warm] = []
        end = after
        for task in self._log.read(after, STRETCH_ROWS) if upto > after else ():
            if task.id > upto:
                end = upto
                break
            end = min(task.last, upto)
            if task.wish.kind.is_prefetch:
                if scope.takes(task.wish):
                    warms.append(Warm(max(task.id, after + 1), end, task.wish.account, task.wish.domain))
            else:
                told += (command for command in commands(task) if after < command.position <= end)
        else:
            end = max(end, after)
        mark = self._log.mark(end)
        assert mark is not None, f"the log lost its mark of {end}"
        return Stretch(after, end, mark, Commands(told), tuple(warms))

    def fetches(self, scope: Scope, after: int, upto: int) -> tuple[Fetch, ...]:
        """What an edge with this scope has to fetch of ``(after, upto]``."""
        key = (scope, after, upto)
        if (known := self._fetches.get(key)) is None:
            wanted = (task for task in self._tasks(after, upto) if task.wish.kind.is_prefetch)
            known = self._fetches[key] = tuple(
                fetch for task in wanted if scope.takes(task.wish) for fetch in fetches(task, after, upto)
            )
            if len(self._fetches) > KEPT_FETCHES:
                self._fetches.popitem(last=False)
        return known


class ScopedReader:
    """The feed as one edge's machine sees it."""

    def __init__(self, feed: Feed, scope: Scope) -> None:
        self._feed, self._scope = feed, scope

    def stretch(self, after: int, upto: int) -> Stretch:
        return self._feed.stretch(self._scope, after, upto)

    def fetches(self, after: int, upto: int) -> Sequence[Fetch]:
        return self._feed.fetches(self._scope, after, upto)
