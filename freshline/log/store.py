"""What one transaction does to the log's file, and what is kept of the file in memory to do it.

Only the writer's thread calls anything here. The public attributes are what is durable: the event loop reads them
meanwhile, so they change after COMMIT and never before.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from freshline.domain.edge import Progress
from freshline.domain.task import Kind, Task
from freshline.log import cursors
from freshline.log.base import Overspent, Placed
from freshline.log.chunk import Chunk, Laid, Shape
from freshline.log.digest import TAIL_ROWS, Tail, blob_id
from freshline.log.group import Append, Drop, Forget, Group, Op, Settle
from freshline.log.merging import SEGMENT_ROWS
from freshline.log.press import Press, learn
from freshline.log.proofs import Proofs
from freshline.log.reading import read_placed
from freshline.log.segment import ANY_DOMAIN, Segment
from freshline.log.statements import DAY_SECONDS, Statements, statements
from freshline.log.wide import execute_wide

UPDATE_EDGES = """
WITH new (id, progress) AS (VALUES {rows}) UPDATE edge SET progress = new.progress FROM new WHERE edge.id = new.id
"""
LEARNED_CHUNKS = 80  #: what a dictionary is learned from: more take longer and make no better one
SHAPES_KNOWN = 4_096  #: of the newest day; one that was forgotten is written again
QUOTA_SLACK_DAYS = 1  #: an account's day may begin up to 14 hours before or after ours


@dataclass(slots=True)
class _Today:
    """The day that appends go to."""

    number: int
    first: int
    sql: Statements
    proofs: Proofs
    press: Press
    counts: dict[int, int] = field(default_factory=dict)  #: rows so far by key id
    shapes: dict[Shape, int] = field(default_factory=dict)  #: their numbers


class Store:
    def __init__(self, connection: sqlite3.Connection, tail: Tail) -> None:
        """:param tail: the rows whose digests are not in the file"""
        self._db = connection
        self.used: dict[tuple[str, int], dict[str, int]] = {}  #: inner dictionaries are replaced, never changed
        self.progress: dict[str, Progress] = {}
        self.placed: dict[str, dict[str, Placed]] = {}  #: by account and domain; inner ones are replaced likewise
        self._groups: dict[tuple[str, str], str] = {}  #: of the newest row of each account and domain
        self.moved = 0  #: counts the changes of ``progress``, each after it was made
        self.tail = self._tail = tail
        self._head = 0
        self._created = 0
        self._keys: dict[tuple[str, str, Kind], int] = {}
        self._any: dict[int, int] = {}  #: of a domain's key, the one for any domain
        self._edges: dict[str, int] = {}
        self._today: _Today | None = None
        self.load()

    @property
    def head(self) -> int:
        return self._head

    @property
    def today(self) -> int | None:
        """The number of the day that appends go to."""
        return self._today.number if self._today else None

    def load(self) -> None:
        """Read what the file says, at the start and after a transaction that failed."""
        db = self._db
        self._head, self._created = db.execute("SELECT head, created FROM meta").fetchone()
        self._keys = {
            (account, domain, kind): key
            for key, account, domain, kind in db.execute("SELECT id, account, domain, kind FROM key")
        }
        self._any = {}
        self._edges = {}
        progress = {}
        for id_, name, blob in db.execute("SELECT id, name, progress FROM edge"):
            self._edges[name] = id_
            progress[name] = cursors.decode(blob)
        used: dict[tuple[str, int], dict[str, int]] = {}
        for account, day, bucket, amount in db.execute("SELECT account, day, bucket, used FROM quota"):
            used.setdefault((account, day), {})[bucket] = amount
        self.progress, self.used, self.placed = progress, used, read_placed(db)
        self._groups = {
            (account, domain): runs[-1][1] for account, of in self.placed.items() for domain, runs in of.items()
        }
        self.moved += 1
        newest = db.execute("SELECT day, first FROM day ORDER BY day DESC LIMIT 1").fetchone()
        self._today = self._day(*newest) if newest else None
        self._tail = self.tail = self.tail.upto(self._head)

    def publish(self, group: Group) -> None:
        """Let readers see what is durable now."""
        self.tail = self._tail
        for account, domain, first, name in group.placed:
            before = self.placed.get(account, {})
            self.placed[account] = {**before, domain: (*before.get(domain, ()), (first, name))}
        if group.oldest_quota is not None:  # days went
            self.placed = read_placed(self._db)
        self.used.update(group.used)
        if group.oldest_quota is not None:
            self.used = {key: used for key, used in self.used.items() if key[1] >= group.oldest_quota}
        for edge, progress in group.progress.items():
            if progress is None:
                self.progress.pop(edge, None)
            else:
                self.progress[edge] = progress
        self.moved += bool(group.progress)

    def do(self, op: Op, group: Group) -> Any:
        """Take one thing into the transaction; most of it waits for :meth:`write`.

        :raises Overspent: it would pass a limit, and has changed nothing
        """
        match op:
            case Append():
                return self._append(op, group)
            case Settle():
                self._settle(op, group)
            case Forget():
                self._forget(op, group)
            case Drop():
                self._drop(op, group)
        return None

    def _append(self, op: Append, group: Group) -> list[Task]:
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
            if self._groups.get((wish.account, wish.domain)) != wish.group:
                self._groups[wish.account, wish.domain] = wish.group
                group.placed.append((wish.account, wish.domain, task.id, wish.group))
        group.tasks += tasks
        return tasks

    def _settle(self, op: Settle, group: Group) -> None:
        warmed: list[tuple[int, int, int]] = []
        for settled in op.settled:
            group.progress[settled.edge] = settled.progress
            edge = self._edges.get(settled.edge)
            if edge is None:
                # Its progress follows with the newest of the group.
                edge = self._edges[settled.edge] = (
                    self._db.execute("INSERT INTO edge (name, progress) VALUES (?, '')", (settled.edge,)).lastrowid or 0
                )
            group.evidence += ((edge, it) for it in settled.evidence)
            warmed += ((it.task, edge, it.bytes) for it in settled.evidence if it.bytes)
        self._db.executemany(
            "INSERT INTO warmed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes", warmed
        )

    def _forget(self, op: Forget, group: Group) -> None:
        progress = group.progress.get(op.edge) or self.progress.get(op.edge)
        if progress is not None and op.edge in self._edges:
            gone = (self._edges[op.edge], op.edge, json.dumps(sorted(op.groups)), op.joined, self._head)
            self._db.execute("INSERT INTO gone VALUES (?, ?, ?, ?, ?, ?)", (*gone, cursors.encode(progress)))
        group.progress[op.edge] = None
        self._db.execute("DELETE FROM warmed WHERE edge = ?", (self._edges.pop(op.edge, 0),))
        self._db.execute("DELETE FROM edge WHERE name = ?", (op.edge,))

    def _drop(self, op: Drop, group: Group) -> None:
        today = op.before // DAY_SECONDS
        for (day,) in self._db.execute("SELECT day FROM day WHERE day < ? ORDER BY day", (today,)).fetchall():
            first, last, head = self._db.execute(statements(day)["newest_head"]).fetchone()
            self._db.execute("UPDATE meta SET dropped = ?", (Segment.decode(first, head).mark(last),))
            self._db.execute("DELETE FROM warmed WHERE task <= ?", (last,))
            self._db.execute("DELETE FROM gone WHERE went <= ?", (last,))
            for drop in statements(day).drop:
                self._db.execute(drop)
            self._db.execute("DELETE FROM day WHERE day = ?", (day,))
            if self._today and self._today.number == day:
                self._today = None
                self._tail = Tail(self._head + 1, self._head)
        self._db.execute(
            "DELETE FROM placed AS old WHERE EXISTS (SELECT * FROM placed AS later WHERE later.account = old.account"
            " AND later.domain = old.domain AND later.first > old.first AND later.first <="
            " coalesce((SELECT min(first) FROM day), ?))",
            (self._head + 1,),
        )
        group.oldest_quota = today - QUOTA_SLACK_DAYS
        self._db.execute("DELETE FROM quota WHERE day < ?", (group.oldest_quota,))

    # -- what a group leaves in the file -------------------------------------------------------------------------

    def write(self, group: Group) -> None:
        """Write what the group has gathered. After this, COMMIT."""
        if group.evidence and self._today is not None:
            # In the newest day's table whatever it is about: it stays as long as its rows, or longer.
            self._today.proofs.add(group.evidence)
        for number, tasks in groupby(group.tasks, lambda task: task.created // DAY_SECONDS):
            self._write_day(number, list(tasks), group)
        if self._today is not None and len(self._tail) >= TAIL_ROWS:
            self._store_tail(self._today, self._tail)
            self._tail = Tail(self._today.first, self._tail.end)
            group.stored = True
            if not self._today.press.knows:
                self._learn(self._today, self._today)
        if group.tasks:
            self._db.execute("UPDATE meta SET head = ?, created = ?", (self._head, self._created))
        self._db.executemany("INSERT INTO placed VALUES (?, ?, ?, ?)", group.placed)
        for (account, day), buckets in group.used.items():
            self._db.executemany(
                "INSERT OR REPLACE INTO quota VALUES (?, ?, ?, ?)",
                [(account, day, bucket, used) for bucket, used in buckets.items()],
            )
        settled = [
            (self._edges[edge], cursors.encode(progress))
            for edge, progress in group.progress.items()
            if progress is not None
        ]
        execute_wide(self._db, UPDATE_EDGES, settled)

    def _write_day(self, number: int, tasks: list[Task], group: Group) -> None:
        if self._today is None or self._today.number != number:
            self._begin_day(number, tasks[0].id)
            group.stored = True
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
        before = self._today
        if before is not None:
            self._store_tail(before, self._tail)
        self._db.execute("INSERT INTO day VALUES (?, ?, ?, ?)", (number, first, first - 1, first - 1))
        sql = statements(number)
        for statement in sql.create.split(";"):
            self._db.execute(statement)
        self._today = self._day(number, first)
        self._tail = Tail(first, first - 1)
        if before is not None and before.press.knows:  # else it was a short one
            self._learn(before, self._today)

    def _day(self, number: int, first: int) -> _Today:
        sql = statements(number)
        known = self._db.execute(sql["dictionary"]).fetchone()
        return _Today(number, first, sql, Proofs(self._db, sql), Press(*known or ()))

    def _learn(self, of: _Today, today: _Today) -> None:
        """Compress what comes with a dictionary.

        :param of: whose newest rows it is learned from
        """
        frames: list[bytes] = []
        for last, count, created, packed in self._db.execute(of.sql["newest_chunks"], (LEARNED_CHUNKS,)):
            chunk = Chunk(last - count + 1, created, *of.press.frames(packed, count))
            frames += Laid(chunk.paths, chunk.ends, chunk.shapes, chunk.created).frames()
        dictionary = learn(frames)
        self._db.execute(today.sql["insert_dictionary"], (dictionary,))
        today.press = Press(dictionary)

    def _write_segment(self, tasks: list[Task]) -> None:
        assert self._today is not None
        today, sql = self._today, self._today.sql
        laid = Laid()
        sizes: list[tuple[int, int]] = []
        moments: dict[int, int] = {}
        for task in tasks:
            moments.setdefault(task.created, task.id)
            wish = task.wish
            laid.add(wish.paths, self._shape(today, Shape.of(wish)), task.created)
            sizes.append((self._key(wish.account, wish.domain, wish.kind), len(wish.paths)))
        segment = Segment.of(tasks[0].id, sizes, secrets.token_hex(4))
        self._db.execute(sql["insert_segment"], (segment.first, segment.last))
        self._db.execute(sql["insert_head"], (segment.first, segment.encode()))
        self._db.executemany(sql["insert_chunk"], laid.chunks(segment.first, today.press))
        self._db.executemany(sql["insert_moment"], moments.items())
        parts = []
        for key, (count, share) in segment.shares(self._any.__getitem__).items():
            before = today.counts.get(key)
            if before is None:
                before = self._db.execute(sql["upto"], (f"[{key}]", segment.first)).fetchone()[0]
            parts.append((key, segment.first, count, before, share))
            today.counts[key] = before + count
        self._db.executemany(sql["insert_part"], parts)
        for task in tasks:
            self._tail.add(task)

    def _shape(self, today: _Today, shape: Shape) -> int:
        number = today.shapes.get(shape)
        if number is None:
            if len(today.shapes) >= SHAPES_KNOWN:
                today.shapes.clear()
            made = self._db.execute(today.sql["insert_shape"], (shape.encode(),)).lastrowid
            number = today.shapes[shape] = made or 0
        return number

    def _key(self, account: str, domain: str, kind: Kind) -> int:
        """What rows of a domain are counted under; there is one for any domain beside it."""
        key = self._keys.get((account, domain, kind))
        if key is None:
            key = self._keys[account, domain, kind] = (
                self._db.execute(
                    "INSERT INTO key (account, domain, kind) VALUES (?, ?, ?)", (account, domain, kind)
                ).lastrowid
                or 0
            )
        if key not in self._any:
            self._any[key] = key if domain == ANY_DOMAIN else self._key(account, ANY_DOMAIN, kind)
        return key

    def _store_tail(self, today: _Today, tail: Tail) -> None:
        run = self._db.execute(today.sql["insert_run"], (0, 0)).lastrowid or 0
        self._db.executemany(
            today.sql["insert_digests"], [(blob_id(run, bucket), blob) for bucket, blob in tail.blobs()]
        )
        self._db.execute("UPDATE day SET digested = ? WHERE day = ?", (tail.end, today.number))
