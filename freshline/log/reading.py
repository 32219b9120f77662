"""All that can be asked of a log's file, over a connection that only reads.

Every question is answered from one snapshot, so a commit, a merge or a dropped day in between changes no answer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from freshline.domain.edge import Evidence, Gone, Progress
from freshline.domain.task import Rows, Task, Wish
from freshline.log import cursors, proofs
from freshline.log.base import LogUnavailable, Page, Placed, Query, Settled, Spend
from freshline.log.digest import Tail
from freshline.log.finding import find
from freshline.log.statements import DAY_SECONDS, statements
from freshline.log.view import Day, Kept, View

DAYS = "SELECT head, day, first, digested FROM meta LEFT JOIN day ORDER BY day DESC"


class Look:
    """A view, for as long as the context lasts. Not a generator: that costs as much as the transaction."""

    __slots__ = ("_reading",)

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __enter__(self) -> View:
        self._reading._db.execute("BEGIN")
        try:
            return self._reading._seen()
        except BaseException:
            self._reading._db.execute("COMMIT")
            raise

    def __exit__(self, *_: object) -> None:
        self._reading._db.execute("COMMIT")


class Reading:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._kept = Kept()
        self._id: str = connection.execute("SELECT id FROM meta").fetchone()[0]

    @property
    def id(self) -> str:
        return self._id

    @property
    def head(self) -> int:
        with self._view() as view:
            return view.head

    @property
    def oldest(self) -> int:
        with self._view() as view:
            return view.oldest

    def mark(self, position: int) -> str | None:
        if position == 0:
            return self._id
        with self._view() as view:
            if position == view.oldest - 1:
                mark: str | None = self._db.execute("SELECT dropped FROM meta").fetchone()[0]
                return mark
            return view.segment_at(position).mark(position) if view.holds(position) else None

    def read(self, after: int, limit: int) -> list[Task]:
        out: list[Task] = []
        rows = 0
        if limit < 1:
            return out
        with self._view() as view:
            for task in view.tasks(after + 1):
                out.append(task)
                rows += len(task.wish.paths)
                if rows >= limit:
                    break
        return out

    def rows(self, after: int, upto: int, *, whose: bool = False) -> list[Rows]:
        with self._view() as view:
            return list(view.alike(after + 1, upto, whose=whose))

    def task(self, id_: int) -> Task | None:
        return self.tasks([id_])[0]

    def tasks(self, ids: Sequence[int]) -> list[Task | None]:
        with self._view() as view:
            return [view.task(id_) if view.holds(id_) else None for id_ in ids]

    def find(self, query: Query) -> Page:
        tail = self._tail() if query.path is not None else None  # before the snapshot: see Store.publish
        with self._view() as view:
            return find(view, query, tail)

    def placed(self, account: str) -> Mapping[str, Placed]:
        with suppress(sqlite3.OperationalError):  # a log of an older freshline, which no newer one has opened yet
            return read_placed(self._db).get(account, {})
        return {}

    def position_at(self, seconds: int) -> int:
        with self._view() as view:
            for day in view.days:
                if day.number >= seconds // DAY_SECONDS:
                    return day.first if day.number > seconds // DAY_SECONDS else view.since(day, seconds)
            return view.head + 1

    def used(self, account: str, day: int) -> Mapping[str, int]:
        return dict(self._db.execute("SELECT bucket, used FROM quota WHERE account = ? AND day = ?", (account, day)))

    def progress(self, edge: str) -> Progress | None:
        found = self._db.execute("SELECT progress FROM edge WHERE name = ?", (edge,)).fetchone()
        return cursors.decode(found[0]) if found else None

    @property
    def moved(self) -> int:
        """Changes with every commit of whoever writes the file."""
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def gone(self) -> list[Gone]:
        with suppress(sqlite3.OperationalError):  # a log of an older freshline, which no newer one has opened yet
            found = self._db.execute(
                "SELECT name, id, groups, joined, went, progress FROM gone WHERE went >= ? ORDER BY went, rowid",
                (self.oldest,),
            )
            return [
                Gone(name, number, tuple(json.loads(groups)), joined, went, cursors.decode(progress))
                for name, number, groups, joined, went, progress in found
            ]
        return []

    def evidence(self, edge: str, first: int, last: int | None = None) -> list[Evidence]:
        known = self._db.execute("SELECT id FROM edge WHERE name = ?", (edge,)).fetchone()
        return [] if known is None else self._evidence(edge, known[0], first, first if last is None else last)

    def evidence_of(self, gone: Gone, first: int, last: int) -> list[Evidence]:
        return self._evidence(gone.name, gone.number, first, last)

    def _evidence(self, name: str, number: int, first: int, last: int) -> list[Evidence]:
        out: list[Evidence] = []
        with self._view() as view:
            for day in _days_from(view, first, last):
                found = proofs.find(self._db, day.sql, number, max(first, view.oldest), last)
                out += [Evidence(name, it.first, it.last, it.sent, it.answered, it.said) for it in found]
        return out

    def heard(self, edges: Collection[str], first: int, last: int) -> float:
        numbers = {number for number, name in self._db.execute("SELECT id, name FROM edge") if name in edges}
        with self._view() as view:
            days = _days_from(view, first, last)
            found = (proofs.latest(self._db, day.sql, numbers, max(first, view.oldest), last) for day in days)
            return max(found, default=0.0)

    def warmed(self, task: int) -> Mapping[str, int]:
        found = "SELECT name, bytes FROM warmed JOIN edge ON edge.id = warmed.edge WHERE task = ? ORDER BY name"
        return dict(self._db.execute(found, (task,)))

    def _tail(self) -> Tail:
        with self._view() as view:
            return view.tail()

    def _ceiling(self) -> int | None:
        """Nothing past this is shown; ``None``: show what is there."""
        return None

    def _view(self) -> Look:
        return Look(self)

    def _seen(self) -> View:
        """In a transaction that has begun."""
        return View(self._db, self._kept, *self._days())

    def _days(self) -> tuple[int, list[Day]]:
        """The head, and the days up to it."""
        found, ceiling = self._db.execute(DAYS).fetchall(), self._ceiling()
        head = found[0][0] if ceiling is None else min(found[0][0], ceiling)
        days: list[Day] = []
        last = head
        for _, number, first, digested in found:
            if number is not None and first <= head:
                days.append(Day(number, first, last, digested, statements(number)))
                last = first - 1
        return head, days[::-1]


def read_placed(db: sqlite3.Connection) -> dict[str, dict[str, Placed]]:
    """By account and domain."""
    out: dict[str, dict[str, Placed]] = {}
    for account, domain, first, group in db.execute("SELECT * FROM placed ORDER BY account, domain, first"):
        of_account = out.setdefault(account, {})
        of_account[domain] = (*of_account.get(domain, ()), (first, group))
    return out


class ReadOnlyLog(Reading):
    """What another process may have of a log: every question, no change."""

    async def append(self, wishes: Sequence[Wish], spends: Sequence[Spend] = (), *, now: float) -> list[Task]:
        self._refuse()

    async def settle(self, edge: str, progress: Progress, evidence: Sequence[Evidence] = ()) -> None:
        self._refuse()

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        self._refuse()

    async def forget(self, edge: str, groups: Collection[str] = (), joined: int = 0) -> None:
        self._refuse()

    async def drop_before(self, seconds: int) -> None:
        self._refuse()

    def on_append(self, wake: Callable[[], None]) -> None:
        self._refuse()

    async def close(self) -> None:
        self._db.close()

    def _refuse(self) -> NoReturn:
        raise LogUnavailable("the log is open for reading only")


def _days_from(view: View, first: int, last: int) -> list[Day]:
    """Those in which something may have been said about some positions."""
    first = max(first, view.oldest)
    return view.days[view.days.index(view.day_of(first)) :] if first <= last and view.holds(first) else []
