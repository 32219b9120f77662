"""Tasks as callers saw them last.

Whoever waits for a task asks for it again and again, and nearly always gets the answer of the time before. So tasks
that were asked for are kept with their rows, and a row is made and encoded anew only when its state is another. An
answer is kept whole for as long as no edge moves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from freshline.domain.progress import COMPLETE, RowState
from freshline.domain.task import Audience, Kind, Task
from freshline.domain.topology import Topology
from freshline.log.base import Log
from freshline.operations.states import Standing, States
from freshline.wire import times
from freshline.wire.render import Item, Items

KEPT_ROWS = 16_384  #: about a kilobyte each
TOLD_ROWS = 16_384  #: in whole answers, about a quarter of that

AsOf = tuple[int, Topology]  #: how far edges were (``Log.moved``), and which there were


class Kept(Struct, gc=False):  # there are thousands, which the collector would look at each time it looks at all
    """A task, and its rows as they were made last; none were yet where there are no states."""

    task: Task
    last: int  #: position of its last row
    audience: Audience
    states: Sequence[RowState] = ()
    items: list[Item] | None = None
    complete: bool = False  #: all of them

    def rows(self, standing: Standing) -> list[Item]:
        """Every row in its state. Not to be changed by whoever gets them."""
        task, items = self.task, self.items
        if standing.is_complete(task.id, self.last):
            if items is None or not self.complete:
                items = [row(task.id, task.created, task.wish.kind, path, COMPLETE) for path in task.wish.paths]
                self.items, self.states, self.complete = items, [COMPLETE] * len(items), True
            return items
        stretches = States(standing, task.id, self.last)
        states = [stretches.at(position) for position in range(task.id, self.last + 1)]
        before: Sequence[RowState | None] = self.states or [None] * len(states)
        items = self.items = items or [Item()] * len(states)
        for at, state in enumerate(states):
            if state != before[at]:
                items[at] = row(task.id, task.created, task.wish.kind, task.wish.paths[at], state)
        self.states, self.complete = states, all(state is COMPLETE for state in states)
        return items


@dataclass(slots=True)
class _Told:
    """What was answered to a question of which nothing was missing."""

    items: Items
    as_of: AsOf
    first: int  #: the lowest id
    created: int  #: when the oldest task was
    again: bool = False  #: it was asked for again since it was last looked at whether to drop it


class Shown:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._rows = 0
        self._told: OrderedDict[tuple[str, Sequence[int]], _Told] = OrderedDict()  #: by account and ids
        self._told_rows = 0

    def again(self, account: str, ids: Sequence[int], since: int, as_of: AsOf) -> Items | None:
        """What was told of these tasks before, if that is still so.

        :param since: tasks that are older cannot be asked for
        """
        told = self._told.get((account, ids))
        if told is None or told.created < since or told.first < self._log.oldest:
            return None
        if told.as_of[0] != as_of[0] or told.as_of[1] is not as_of[1]:
            return None
        told.again = True  # to move it to the end would be to hash all the ids once more
        return told.items

    def tell(self, account: str, ids: Sequence[int], items: Items, tasks: Sequence[Task], as_of: AsOf) -> None:
        """Keep an answer.

        :param tasks: those of the ids, every one of them
        """
        before = self._told.pop((account, ids), None)
        self._told_rows += len(items) - (len(before.items) if before else 0)
        first, created = min(task.id for task in tasks), min(task.created for task in tasks)
        self._told[account, ids] = _Told(items, as_of, first, created)
        while self._told_rows > TOLD_ROWS:
            key, oldest = self._told.popitem(last=False)
            if oldest.again:
                oldest.again = False
                self._told[key] = oldest
            else:
                self._told_rows -= len(oldest.items)

    def find(self, ids: Sequence[int]) -> list[Kept]:
        """Those of these tasks that the log still holds, in the order asked."""
        known, oldest = self._kept, self._log.oldest
        found = [known.get(id_) for id_ in ids]
        if None in found:
            found = self._fetch(ids, found)
        elif self._rows > KEPT_ROWS // 2:  # before that, nobody is near the end that goes first
            for id_ in ids:
                known.move_to_end(id_)
        return [kept for kept in found if kept is not None and kept.task.id >= oldest]

    def _fetch(self, ids: Sequence[int], found: list[Kept | None]) -> list[Kept | None]:
        """What is not at hand, from the log; and keep it.

        :param found: of each id, in their order, what is
        """
        known, rows = self._kept, self._rows
        missing = [at for at, kept in enumerate(found) if kept is None]
        for at, task in zip(missing, self._log.tasks([ids[at] for at in missing]), strict=True):
            if task is not None:
                found[at] = kept = Kept(task, task.last, task.wish.audience)
                if known.setdefault(task.id, kept) is kept:
                    rows += len(task.wish.paths)
        while rows > KEPT_ROWS and len(known) > 1:
            _, oldest = known.popitem(last=False)
            rows -= len(oldest.task.wish.paths)
        self._rows = rows
        return found


def row(task: int, created: int, kind: Kind, path: str, state: RowState) -> Item:
    """One row as the query operations list it.

    :param task: its id
    """
    return Item(
        id=str(task),
        path=path,
        kind=kind.value,
        status=state.status.value,
        process=state.process,
        created=times.write(created),
        description=state.description,
    )
