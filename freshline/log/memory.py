"""The log as plain lists: slow, obvious, and what the others are compared with.

Nothing here is clever on purpose. It keeps a row per URL and forgets everything when the process ends.
"""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from freshline.domain.edge import Evidence, Gone, Progress
from freshline.domain.task import Row, Rows, Task, Wish
from freshline.log.base import LogUnavailable, Overspent, Page, Placed, Query, Selection, Settled, Spend

DAY_SECONDS = 86_400


class MemoryLog:
    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._head = 0
        self._created = 0  #: of the newest task there ever was
        self._tasks: list[Task] = []
        self._rows: list[Row] = []
        self._marks: dict[int, str] = {}  #: by position
        self._used: dict[tuple[str, int], dict[str, int]] = {}
        self._progress: dict[str, Progress] = {}
        self._evidence: list[Evidence] = []
        self._gone: list[tuple[Gone, list[Evidence]]] = []
        self._moved = 0
        self._wakes: list[Callable[[], None]] = []
        self._closed = False

    @property
    def id(self) -> str:
        return self._id

    @property
    def head(self) -> int:
        return self._head

    @property
    def oldest(self) -> int:
        return self._tasks[0].id if self._tasks else self._head + 1

    async def append(self, wishes: Sequence[Wish], spends: Sequence[Spend] = (), *, now: float) -> list[Task]:
        self._refuse_if_closed()
        used = {key: dict(buckets) for key, buckets in self._used.items()}
        for spend in spends:
            buckets = used.setdefault((spend.account, spend.day), {})
            buckets[spend.bucket] = buckets.get(spend.bucket, 0) + spend.amount
            if buckets[spend.bucket] > spend.limit:
                raise Overspent(spend.bucket)
        self._used = used
        tasks = []
        mark = secrets.token_hex(4)
        for wish in wishes:
            assert wish.paths, "a task without rows has no place in the log"
            self._created = max(self._created, int(now))
            task = Task(self._head + 1, self._created, wish)
            for at, path in enumerate(wish.paths):
                self._rows.append(Row(task.id + at, task.id, task.created, replace(wish, paths=(path,))))
                self._marks[task.id + at] = mark
            self._head = task.last
            tasks.append(task)
        self._tasks += tasks
        if tasks:
            for wake in self._wakes:
                wake()
        return tasks

    def mark(self, position: int) -> str | None:
        return self._id if position == 0 else self._marks.get(position)

    def read(self, after: int, limit: int) -> list[Task]:
        out: list[Task] = []
        rows = 0
        for task in self._tasks:
            if task.last > after and rows < limit:
                out.append(task)
                rows += len(task.wish.paths)
        return out

    def rows(self, after: int, upto: int, *, whose: bool = False) -> list[Rows]:
        wanted = [row for row in self._rows if after < row.position <= upto]
        return [Rows(row.position, row.wish, [row.task] if whose else []) for row in wanted]

    def task(self, id_: int) -> Task | None:
        return next((task for task in self._tasks if task.id == id_), None)

    def tasks(self, ids: Sequence[int]) -> list[Task | None]:
        return [self.task(id_) for id_ in ids]

    def find(self, query: Query) -> Page:
        rows = [row for row in reversed(self._rows) if _asked_for(row, query)]
        return Page(len(rows), tuple(rows[query.offset : query.offset + query.limit]))

    def placed(self, account: str) -> Mapping[str, Placed]:
        out: dict[str, Placed] = {}
        for task in self._tasks:
            if task.wish.account == account:
                runs = out.setdefault(task.wish.domain, ())
                if not runs or runs[-1][1] != task.wish.group:
                    out[task.wish.domain] = (*runs, (task.id, task.wish.group))
        return out

    def position_at(self, seconds: int) -> int:
        return next((task.id for task in self._tasks if task.created >= seconds), self._head + 1)

    def used(self, account: str, day: int) -> Mapping[str, int]:
        return dict(self._used.get((account, day), {}))

    def progress(self, edge: str) -> Progress | None:
        return self._progress.get(edge)

    @property
    def moved(self) -> int:
        return self._moved

    async def settle(self, edge: str, progress: Progress, evidence: Sequence[Evidence] = ()) -> None:
        await self.settle_all([Settled(edge, progress, evidence)])

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        self._refuse_if_closed()
        self._moved += 1
        for each in settled:
            self._progress[each.edge] = each.progress
            self._evidence += each.evidence

    async def forget(self, edge: str, groups: Collection[str] = (), joined: int = 0) -> None:
        self._refuse_if_closed()
        self._moved += 1
        progress = self._progress.pop(edge, None)
        mine = [piece for piece in self._evidence if piece.edge == edge]
        self._evidence = [piece for piece in self._evidence if piece.edge != edge]
        if progress is not None:
            self._gone.append((Gone(edge, len(self._gone), tuple(sorted(groups)), joined, self._head, progress), mine))

    def gone(self) -> list[Gone]:
        return [gone for gone, _ in self._gone if gone.went >= self.oldest]

    def evidence_of(self, gone: Gone, first: int, last: int) -> list[Evidence]:
        first = max(first, self.oldest)
        if not first <= last or first > self._head:
            return []
        return [it for it in self._gone[gone.number][1] if it.first <= last and it.last >= first]

    def evidence(self, edge: str, first: int, last: int | None = None) -> list[Evidence]:
        first, last = max(first, self.oldest), first if last is None else last
        if not first <= last or first > self._head:
            return []
        return [it for it in self._evidence if it.edge == edge and it.first <= last and it.last >= first]

    def heard(self, edges: Collection[str], first: int, last: int) -> float:
        return max((it.answered for edge in edges for it in self.evidence(edge, first, last)), default=0.0)

    def warmed(self, task: int) -> Mapping[str, int]:
        sums = Counter[str]()
        for piece in self._evidence:
            if piece.task == task and piece.bytes:
                sums[piece.edge] += piece.bytes
        return dict(sums)

    def on_append(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    async def drop_before(self, seconds: int) -> None:
        self._refuse_if_closed()
        today = seconds // DAY_SECONDS
        self._tasks = [task for task in self._tasks if task.created // DAY_SECONDS >= today]
        self._rows = [row for row in self._rows if row.position >= self.oldest]
        self._marks = {position: mark for position, mark in self._marks.items() if position >= self.oldest - 1}
        self._evidence = [piece for piece in self._evidence if piece.last >= self.oldest]
        # An account's day may begin up to 14 hours before or after ours, so the day before is not over for all.
        self._used = {key: buckets for key, buckets in self._used.items() if key[1] >= today - 1}

    async def close(self) -> None:
        self._closed = True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")


def _asked_for(row: Row, query: Query) -> bool:
    wish = row.wish
    if wish.account != query.account or (query.path is not None and row.path != query.path):
        return False
    return any(_selected(row, selection) for selection in query.selections)


def _selected(row: Row, selection: Selection) -> bool:
    wish = row.wish
    return selection.domain in (None, wish.domain) and wish.kind in selection.kinds and row.position in selection.within
