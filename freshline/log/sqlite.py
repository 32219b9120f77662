"""The log in one SQLite file: nothing to install, nothing to run.

Writing goes through one thread and its group commits (:mod:`freshline.log.writer`); reading happens in the event
loop's thread on a connection of its own, because a look-up costs less than handing it to another thread.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from freshline import datafile
from freshline.domain.edge import Evidence, Progress
from freshline.domain.task import Task, Wish
from freshline.log.base import LogUnavailable, Placed, Settled, Spend
from freshline.log.digest import Tail
from freshline.log.group import Append, Drop, Forget, Op, Settle
from freshline.log.hold import Hold
from freshline.log.reading import Look, Reading, ReadOnlyLog
from freshline.log.statements import script
from freshline.log.view import Recent, View
from freshline.log.writer import Writer

VERSION = 9  #: of the schema
CHECKPOINT_PAGES = 4_000  #: the write-ahead log is folded into the file when it is this long
MARKS_KEPT = 1_024  #: of the positions asked for last
MOMENTS_KEPT = 1_024  #: likewise, of seconds
WAL_BYTES = 64 << 20  #: what it may keep of the disk after it grew longer


class SqliteLog(Reading):
    """Open with :meth:`open`, or from another process with :meth:`reader`."""

    def __init__(
        self, reading: sqlite3.Connection, writing: sqlite3.Connection, lock: int, place: datafile.Place
    ) -> None:
        super().__init__(reading)
        self._place = place
        self._writing = writing
        self._lock = lock
        self._head: int | None = None
        self._oldest: int | None = None
        self._hold = Hold(reading)
        self._known: View | None = None  #: of the days as they are until the head moves or some are dropped
        self._dropping = 0
        with self._view() as view:
            self._head = view.head
            tail = view.tail()
        self._wakes: list[Callable[[], None]] = []
        self._waiting: list[Op] = []  #: handed to the writer together, once per turn of the loop
        self._closed = False
        self._marks: Recent[int, str] = Recent(MARKS_KEPT)
        self._moments: Recent[int, int] = Recent(MOMENTS_KEPT)
        self._writer = Writer(writing, tail, self._announce, self._hold)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteLog:
        """Open the log at a path for reading and writing, or make it.

        :raises InUse: another process writes it
        :raises WrongFile: the file is something else
        """
        file = Path(path)
        lock = datafile.lock(file, "log")
        try:
            writing = datafile.open_for_writing(file, "log", VERSION, script("log"))
            writing.execute(script("placed"))
            writing.execute(script("warmed"))
            writing.execute(script("gone"))
            writing.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            writing.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            if not writing.execute("SELECT count(*) FROM meta").fetchone()[0]:
                writing.execute("INSERT INTO meta VALUES (?, 0, 0, NULL)", (uuid.uuid4().hex,))
            reading = datafile.open_for_reading(file, "log", VERSION)
            return cls(reading, writing, lock, datafile.Place(file, "log"))
        except BaseException:
            os.close(lock)
            raise

    @staticmethod
    def reader(path: str | os.PathLike[str]) -> ReadOnlyLog:
        """Look into a log that another process may be writing.

        :raises FileNotFoundError: there is none
        :raises WrongFile: the file is something else
        """
        return ReadOnlyLog(datafile.open_for_reading(Path(path), "log", VERSION))

    @property
    def head(self) -> int:
        return self._head or 0

    async def append(self, wishes: Sequence[Wish], spends: Sequence[Spend] = (), *, now: float) -> list[Task]:
        done: asyncio.Future[list[Task]] = asyncio.get_running_loop().create_future()
        return await self._submit(Append(wishes, spends, now, done))

    async def settle(self, edge: str, progress: Progress, evidence: Sequence[Evidence] = ()) -> None:
        await self.settle_all([Settled(edge, progress, evidence)])

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        await self._submit(Settle(settled, asyncio.get_running_loop().create_future()))

    async def forget(self, edge: str, groups: Collection[str] = (), joined: int = 0) -> None:
        await self._submit(Forget(edge, groups, joined, asyncio.get_running_loop().create_future()))

    async def drop_before(self, seconds: int) -> None:
        self._known, self._dropping = None, self._dropping + 1
        loop = asyncio.get_running_loop()
        dropping = loop.create_task(self._submit(Drop(seconds, loop.create_future())))
        dropping.add_done_callback(self._dropped)
        await asyncio.shield(dropping)  # days may go after whoever waits has gone

    def _dropped(self, _: asyncio.Task[list[Task]]) -> None:
        self._oldest, self._dropping = None, self._dropping - 1

    def used(self, account: str, day: int) -> Mapping[str, int]:
        return dict(self._writer.store.used.get((account, day), {}))

    def placed(self, account: str) -> Mapping[str, Placed]:
        return self._writer.store.placed.get(account, {})

    def progress(self, edge: str) -> Progress | None:
        return self._writer.store.progress.get(edge)

    @property
    def moved(self) -> int:
        return self._writer.store.moved

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty while all is well."""
        return "the log is closed" if self._closed else self._place.trouble() or self._writer.trouble

    @property
    def oldest(self) -> int:
        """Asked for all the time, and moved only by the first append and by days that are dropped."""
        if self._oldest is None:
            self._oldest = super().oldest
        return self._oldest

    def tasks(self, ids: Sequence[int]) -> list[Task | None]:
        """In no transaction, or one that may end at any moment: rows never change, and days go when we say so."""
        known = self._known
        if known is None or known.head != self._head or not (self._hold.take() or len(ids) == 1):
            return super().tasks(ids)
        return [known.task(id_) if known.holds(id_) else None for id_ in ids]

    def mark(self, position: int) -> str | None:
        """Asked for by every edge at every answer, and never another one while the position is kept."""
        if not self.oldest <= position <= self.head:
            return super().mark(position)
        known = self._marks.get(position)
        if known is None and (known := super().mark(position)) is not None:
            self._marks.put(position, known)
        return known

    def position_at(self, seconds: int) -> int:
        """Asked for by every list, and the same for a second. What was found stays the first there is."""
        known = self._moments.get(seconds)
        if known is None:
            known = super().position_at(seconds)
            if known <= self.head:
                self._moments.put(seconds, known)
        return max(known, self.oldest)

    def on_append(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._writer.stop()
        await asyncio.to_thread(self._writer.join)
        await asyncio.sleep(0)  # let what the writer said last reach its callers
        self._db.close()
        self._writing.close()
        os.close(self._lock)

    async def _submit(self, op: Op) -> list[Task]:
        if self._closed:
            raise LogUnavailable("the log is closed")
        if not self._waiting:  # who comes in the same turn of the loop goes into the same commit
            if trouble := self._place.trouble():  # it could be written, and nobody would ever read it
                raise LogUnavailable(trouble)
            op.done.get_loop().call_soon(self._hand_over)
        self._waiting.append(op)
        result: list[Task] = await op.done
        return result

    def _hand_over(self) -> None:
        if self._waiting:
            self._writer.submit(self._waiting)
            self._waiting = []

    def _announce(self, head: int) -> None:
        if self._oldest is not None and self._oldest > self.head:
            self._oldest = None
        self._head = head
        for wake in self._wakes:
            wake()

    def _view(self) -> Look:
        self._hold.end()
        return super()._view()

    def _seen(self) -> View:
        """The days are the same until the head moves. While any are being dropped, the file says which are left."""
        known = self._known
        if known is None or known.head != self._head:
            known = super()._seen()
            if not self._dropping:
                self._known = known
        return View(self._db, self._kept, known.head, known.days)

    def _tail(self) -> Tail:
        return self._writer.store.tail

    def _ceiling(self) -> int | None:
        return self._head
