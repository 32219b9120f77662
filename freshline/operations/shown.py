"""Tasks as callers saw them last.

Whoever waits for a task asks for it again and again, and nearly always gets the answer of the time before. So tasks
that were asked for are kept with their rows, and a row is made and encoded anew only when its state is another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from freshline.domain.progress import RowState
from freshline.domain.task import Task
from freshline.log.base import Log
from freshline.operations.states import Standing, States
from freshline.wire import times
from freshline.wire.render import Item

KEPT_ROWS = 16_384  #: about a kilobyte each


@dataclass(slots=True)
class _Known:
    task: Task
    states: list[RowState]
    items: list[Item]


class Shown:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._rows = 0

    def tasks(self, ids: Sequence[int]) -> list[Task]:
        """Those of them that the log still holds, in the order asked."""
        known, oldest = self._known, self._log.oldest
        found = {id_: known[id_].task for id_ in ids if id_ in known and id_ >= oldest}
        if len(found) < len(ids):
            missing = [id_ for id_ in ids if id_ not in found]
            found.update({task.id: task for task in self._log.tasks(missing) if task is not None})
        return [found[id_] for id_ in ids if id_ in found]

    def rows(self, task: Task, standing: Standing) -> list[Item]:
        """Every row of a task in its state. Not to be changed by whoever gets them."""
        known = self._known.get(task.id)
        if known is not None:
            self._known.move_to_end(task.id)
            states = _states(task, standing)
            if states != known.states:
                known.items = [
                    item if before == state else row(task, path, state)
                    for item, before, state, path in zip(
                        known.items, known.states, states, task.wish.paths, strict=True
                    )
                ]
                known.states = states
            return known.items
        states = _states(task, standing)
        items = [row(task, path, state) for path, state in zip(task.wish.paths, states, strict=True)]
        self._known[task.id] = _Known(task, states, items)
        self._rows += len(items)
        while self._rows > KEPT_ROWS:
            _, oldest = self._known.popitem(last=False)
            self._rows -= len(oldest.items)
        return items


def row(task: Task, path: str, state: RowState) -> Item:
    """One row as the query operations list it."""
    return Item(
        id=str(task.id),
        path=path,
        kind=task.wish.kind.value,
        status=state.status.value,
        process=state.process,
        created=times.write(task.created),
        description=state.description,
    )


def _states(task: Task, standing: Standing) -> list[RowState]:
    states = States(standing, task.id, task.last)
    return [states.at(position) for position in range(task.id, task.last + 1)]
