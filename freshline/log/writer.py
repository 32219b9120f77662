"""The one thread that writes: what waits while a commit runs goes into the next commit together.

A caller hears of success after COMMIT and of nothing before it. What a transaction changes in memory is either private
to this thread, and read again from the file if the transaction fails, or shown to readers only after COMMIT.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from freshline.domain.edge import Evidence, Progress
from freshline.domain.task import Kind, Task, Wish
from freshline.log import cursors
from freshline.log.base import LogUnavailable, Overspent, Spend
from freshline.log.digest import TAIL_ROWS, Tail
from freshline.log.merging import SEGMENT_ROWS, Merging
from freshline.log.segment import CHUNK_ROWS, Segment, encode_chunk
from freshline.log.statements import DAY_SECONDS, Statements, statements

GROUP_ROWS = 65_536  #: rows in one commit, unless a single append is longer
QUOTA_SLACK_DAYS = 1  #: an account's day may begin up to 14 hours before or after ours


@dataclass(slots=True)
class Append:
    wishes: Sequence[Wish]
    spends: Sequence[Spend]
    now: float
    done: asyncio.Future[Any]

    @property
    def rows(self) -> int:
        return sum(len(wish.paths) for wish in self.wishes)


@dataclass(slots=True)
class Settle:
    edge: str
    progress: Progress | None  #: ``None``: forget the edge
    evidence: Sequence[Evidence]
    done: asyncio.Future[Any]
    rows: int = 0


@dataclass(slots=True)
class Drop:
    before: int
    done: asyncio.Future[Any]
    rows: int = GROUP_ROWS  #: always a commit of its own


Op = Append | Settle | Drop


@dataclass(slots=True)
class _Group:
    """What one transaction will have done."""

    tasks: list[Task] = field(default_factory=list)
    used: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    progress: dict[str, Progress | None] = field(default_factory=dict)
    oldest_quota: int | None = None  #: quota days before this are gone
    outcomes: list[tuple[Op, Any, BaseException | None]] = field(default_factory=list)


@dataclass(slots=True)
class Today:
    """The day that appends go to."""

    number: int
    first: int
    sql: Statements
    counts: dict[int, int] = field(default_factory=dict)  #: rows so far by key id


class Writer:
    """What is public here is what is durable; the event loop reads it while the thread works."""

    def __init__(self, connection: sqlite3.Connection, tail: Tail, announce: Callable[[int], None]) -> None:
        """Start the thread.

        :param tail: the rows whose digests are not in the file
        :param announce: called in the event loop after a commit that moved the head, with the new head
        """
        self._db = connection
        self._announce = announce
        self._queue: deque[Op] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._dead = False
        self._taken: list[Op] = []  #: being written
        self.used: dict[tuple[str, int], dict[str, int]] = {}  #: inner dictionaries are replaced, never changed
        self.progress: dict[str, Progress] = {}
        self.tail = self._tail = tail
        self._merging = Merging(connection)
        self._load()
        self._thread = threading.Thread(target=self._run, name="freshline-log-writer", daemon=True)
        self._thread.start()

    def submit(self, ops: Iterable[Op]) -> None:
        with self._wake:
            self._queue.extend(ops)
            self._wake.notify()
        if self._dead:
            self._refuse_all()

    def stop(self) -> None:
        """Finish what is queued, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def join(self) -> None:
        self._thread.join()

    def _load(self) -> None:
        """Read what the file says, at the start and after a transaction that failed."""
        self._stale = False
        db = self._db
        self._head, self._created = db.execute("SELECT head, created FROM meta").fetchone()
        self._keys = {
            (account, domain, kind): key
            for key, account, domain, kind in db.execute("SELECT id, account, domain, kind FROM key")
        }
        self._edges: dict[str, int] = {}
        progress = {}
        for id_, name, blob in db.execute("SELECT id, name, progress FROM edge"):
            self._edges[name] = id_
            progress[name] = cursors.decode(blob)
        used: dict[tuple[str, int], dict[str, int]] = {}
        for account, day, bucket, amount in db.execute("SELECT account, day, bucket, used FROM quota"):
            used.setdefault((account, day), {})[bucket] = amount
        self.progress, self.used = progress, used
        newest = db.execute("SELECT day, first FROM day ORDER BY day DESC LIMIT 1").fetchone()
        self._today = Today(newest[0], newest[1], statements(newest[0])) if newest else None
        self._tail = self.tail = self.tail.upto(self._head)
        self._merging.load()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except BaseException:
            # A mistake of ours. Nobody shall wait for an answer that never comes; the traceback goes to stderr.
            self._dead = True
            self._refuse_all()
            raise

    def _refuse_all(self) -> None:
        with self._wake:
            ops, self._queue = [*self._taken, *self._queue], deque()
        if ops:
            self._tell(_Group(outcomes=[(op, None, LogUnavailable("the log's writer has failed")) for op in ops]))

    def _work(self) -> None:
        while True:
            with self._wake:
                if not self._queue and not self._stopping and not self._merging.due:
                    self._wake.wait()
                ops = self._take()
                if not ops and self._stopping:
                    return
            if ops:
                self._taken = ops
                self._tell(self._commit(ops))
                self._taken = []
            if self._merging.due and (not self._queue or self._merging.overdue):
                self._merging.step()

    def _take(self) -> list[Op]:
        ops: list[Op] = []
        rows = 0
        while self._queue and (not ops or rows + self._queue[0].rows <= GROUP_ROWS):
            ops.append(self._queue.popleft())
            rows += ops[-1].rows
        return ops

    def _commit(self, ops: list[Op]) -> _Group:
        """One transaction, or one for each if together they failed for a reason that is only one's."""
        group = _Group()
        try:
            if self._stale:
                self._load()
            self._db.execute("BEGIN IMMEDIATE")
            for op in ops:
                try:
                    group.outcomes.append((op, self._do(op, group), None))
                except Overspent as refusal:
                    group.outcomes.append((op, None, refusal))
            self._write(group)
            self._db.execute("COMMIT")
        except sqlite3.Error as trouble:
            self._undo()
            return _Group(outcomes=[(op, None, LogUnavailable(str(trouble))) for op in ops])
        except Exception as trouble:
            self._undo()
            if len(ops) == 1:
                return _Group(outcomes=[(ops[0], None, trouble)])
            for op in ops[:-1]:
                self._tell(self._commit([op]))
            return self._commit(ops[-1:])
        self._publish(group)
        return group

    def _undo(self) -> None:
        self._stale = True
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            self._db.execute("ROLLBACK")

    def _publish(self, group: _Group) -> None:
        """Let readers see what is durable now."""
        self.tail = self._tail
        self.used.update(group.used)
        if group.oldest_quota is not None:
            self.used = {key: used for key, used in self.used.items() if key[1] >= group.oldest_quota}
        for edge, progress in group.progress.items():
            if progress is None:
                self.progress.pop(edge, None)
            else:
                self.progress[edge] = progress
        if self._today is not None:
            self._merging.grown(self._today.number, self._head)

    def _tell(self, group: _Group) -> None:
        loop = group.outcomes[0][0].done.get_loop()
        with suppress(RuntimeError):  # the loop is gone, and all who waited with it
            loop.call_soon_threadsafe(self._resolve, group)

    def _resolve(self, group: _Group) -> None:
        if group.tasks:
            self._announce(group.tasks[-1].last)
        for op, result, trouble in group.outcomes:
            if op.done.done():  # its caller went away
                continue
            if trouble is not None:
                op.done.set_exception(trouble)
            else:
                op.done.set_result(result)

    def _do(self, op: Op, group: _Group) -> Any:
        match op:
            case Append():
                return self._append(op, group)
            case Settle():
                self._settle(op, group)
            case Drop():
                self._drop(op, group)
        return None

    def _append(self, op: Append, group: _Group) -> list[Task]:
        spent: dict[tuple[str, int], dict[str, int]] = {}
        for spend in op.spends:
            key = (spend.account, spend.day)
            buckets = spent.setdefault(key, dict(group.used.get(key) or self.used.get(key) or {}))
            buckets[spend.bucket] = buckets.get(spend.bucket, 0) + spend.amount
            if buckets[spend.bucket] > spend.limit:
                raise Overspent(spend.bucket)
        group.used |= spent
        tasks = []
        for wish in op.wishes:
            assert wish.paths, "a task without rows has no place in the log"
            self._created = max(self._created, int(op.now))
            task = Task(self._head + 1, self._created, wish)
            self._head = task.last
            tasks.append(task)
        group.tasks += tasks
        return tasks

    def _settle(self, op: Settle, group: _Group) -> None:
        group.progress[op.edge] = op.progress
        if op.progress is None:
            self._db.execute("DELETE FROM edge WHERE name = ?", (op.edge,))
            self._edges.pop(op.edge, None)
            return
        edge = self._edges.get(op.edge)
        if edge is None:
            # Its progress follows with the newest of the group.
            edge = self._edges[op.edge] = (
                self._db.execute("INSERT INTO edge (name, progress) VALUES (?, '')", (op.edge,)).lastrowid or 0
            )
        if op.evidence and self._today:
            # In the newest day's table whatever it is about: it stays as long as its rows, or longer.
            self._db.executemany(
                self._today.sql["insert_evidence"],
                [
                    (edge, (it.last - it.first).bit_length(), it.first, it.last, it.sent, it.answered, it.said)
                    for it in op.evidence
                ],
            )

    def _drop(self, op: Drop, group: _Group) -> None:
        today = op.before // DAY_SECONDS
        for (day,) in self._db.execute("SELECT day FROM day WHERE day < ? ORDER BY day", (today,)).fetchall():
            first, last, head = self._db.execute(statements(day)["newest_head"]).fetchone()
            self._db.execute("UPDATE meta SET dropped = ?", (Segment.decode(first, head).mark(last),))
            for drop in statements(day).drop:
                self._db.execute(drop)
            self._db.execute("DELETE FROM day WHERE day = ?", (day,))
            if self._today and self._today.number == day:
                self._today = None
                self._tail = Tail(self._head + 1, self._head)
        group.oldest_quota = today - QUOTA_SLACK_DAYS
        self._db.execute("DELETE FROM quota WHERE day < ?", (group.oldest_quota,))
        self._merging.load()

    # -- what a group leaves in the file -------------------------------------------------------------------------

    def _write(self, group: _Group) -> None:
        for number, tasks in groupby(group.tasks, lambda task: task.created // DAY_SECONDS):
            self._write_day(number, list(tasks))
        if self._today is not None and len(self._tail) >= TAIL_ROWS:
            self._store_tail(self._today, self._tail)
            self._tail = Tail(self._today.first, self._tail.end)
        if group.tasks:
            self._db.execute("UPDATE meta SET head = ?, created = ?", (self._head, self._created))
        for (account, day), buckets in group.used.items():
            self._db.executemany(
                "INSERT OR REPLACE INTO quota VALUES (?, ?, ?, ?)",
                [(account, day, bucket, used) for bucket, used in buckets.items()],
            )
        for edge, progress in group.progress.items():
            if progress is not None:
                self._db.execute(
                    "UPDATE edge SET progress = ? WHERE id = ?", (cursors.encode(progress), self._edges[edge])
                )

    def _write_day(self, number: int, tasks: list[Task]) -> None:
        if self._today is None or self._today.number != number:
            self._begin_day(number, tasks[0].id)
        bundle: list[Task] = []
        rows = 0
        for task in tasks:
            if bundle and rows + len(task.wish.paths) > SEGMENT_ROWS:
                self._write_segment(bundle)
                bundle, rows = [], 0
            bundle.append(task)
            rows += len(task.wish.paths)
        self._write_segment(bundle)

    def _begin_day(self, number: int, first: int) -> None:
        if self._today is not None:
            self._store_tail(self._today, self._tail)
        self._db.execute("INSERT INTO day VALUES (?, ?, ?, ?)", (number, first, first - 1, first - 1))
        sql = statements(number)
        for statement in sql.create.split(";"):
            self._db.execute(statement)
        self._today = Today(number, first, sql)
        self._tail = Tail(first, first - 1)

    def _write_segment(self, tasks: list[Task]) -> None:
        assert self._today is not None
        sql = self._today.sql
        segment = Segment.of(tasks, secrets.token_hex(4))
        self._db.execute(sql["insert_segment"], (segment.first, segment.last, segment.created, segment.encode()))
        paths = [path for task in tasks for path in task.wish.paths]
        self._db.executemany(
            sql["insert_chunk"],
            [
                (segment.first + at, encode_chunk(paths[at : at + CHUNK_ROWS]))
                for at in range(0, len(paths), CHUNK_ROWS)
            ],
        )
        counts = self._today.counts
        parts = []
        for name, (count, share) in segment.shares().items():
            key = self._key(*name)
            before = counts.get(key)
            if before is None:
                before = self._db.execute(sql["upto"], (f"[{key}]", segment.first)).fetchone()[0]
            parts.append((key, segment.first, count, before, share))
            counts[key] = before + count
        self._db.executemany(sql["insert_part"], parts)
        for task in tasks:
            self._tail.add(task)

    def _key(self, account: str, domain: str, kind: Kind) -> int:
        key = self._keys.get((account, domain, kind))
        if key is None:
            key = self._keys[account, domain, kind] = (
                self._db.execute(
                    "INSERT INTO key (account, domain, kind) VALUES (?, ?, ?)", (account, domain, kind)
                ).lastrowid
                or 0
            )
        return key

    def _store_tail(self, today: Today, tail: Tail) -> None:
        run = tail.start + 1 - today.first
        self._db.executemany(
            today.sql["insert_digests"], [((bucket << 32) + run, blob) for bucket, blob in tail.blobs()]
        )
        self._db.execute("UPDATE day SET digested = ? WHERE day = ?", (tail.end, today.number))
