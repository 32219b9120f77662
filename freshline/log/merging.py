"""Small neighbouring segments become one, in steps between commits.

Calls of one URL each leave a segment per commit. Ten million of those would be counted just as exactly, but at fifty
times the space. Every row is merged once at most, and what it is known by - position, task, created, mark - stays.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass

from freshline.log.chunk import Chunk, Laid
from freshline.log.press import Press
from freshline.log.segment import ANY_DOMAIN, Segment
from freshline.log.statements import Statements, statements

SEGMENT_ROWS = 4_096  #: rows in one segment, unless a single task is longer
SMALL_ROWS = 256  #: segments that hold fewer on average are worth merging
OVERDUE_ROWS = 16 * SEGMENT_ROWS  #: when this much waits, writers wait for a step


@dataclass(slots=True)
class _Day:
    number: int
    merged: int  #: up to here there is nothing left to do
    last: int


class Merging:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._days: list[_Day] = []
        self._resting = False  #: the last step failed; wait until a commit has succeeded
        self._any: dict[int, int] = {}  #: of a domain's key, the one for any domain; both are there for ever

    def load(self) -> None:
        """Read what is left to do."""
        head = self._db.execute("SELECT head FROM meta").fetchone()[0]
        rows = self._db.execute("SELECT day, first, merged FROM day ORDER BY day").fetchall()
        firsts = [first for _, first, _ in rows[1:]]
        lasts = [*(first - 1 for first in firsts), head]
        self._days = [
            _Day(number, merged, last) for (number, _, merged), last in zip(rows, lasts[: len(rows)], strict=True)
        ]

    def grown(self, number: int | None, head: int) -> None:
        """A commit succeeded; ``number`` is the newest day now."""
        self._resting = False
        if number != (self._days[-1].number if self._days else None):
            self.load()
        if self._days:
            self._days[-1].last = head

    @property
    def due(self) -> bool:
        return not self._resting and self._waiting() >= SEGMENT_ROWS

    @property
    def overdue(self) -> bool:
        return not self._resting and self._waiting() >= OVERDUE_ROWS

    def step(self) -> None:
        """Merge one run of segments, or find that it needs no merging."""
        try:
            for day in self._days:
                if day.merged < day.last:
                    self._step(day, statements(day.number))
                    return
        except sqlite3.Error:
            self._resting = True
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _waiting(self) -> int:
        """Rows not looked at yet. What remains of a day that is over counts as a whole segment."""
        over = sum(max(day.last - day.merged, SEGMENT_ROWS) for day in self._days[:-1] if day.merged < day.last)
        return over + sum(day.last - day.merged for day in self._days[-1:])

    def _step(self, day: _Day, sql: Statements) -> None:
        run: list[tuple[int, int, bytes]] = []
        for first, last, head in self._db.execute(sql["segments_after"], (day.merged, SEGMENT_ROWS)):
            if run and last - run[0][0] + 1 > SEGMENT_ROWS:
                break
            run.append((first, last, head))
        rows = run[-1][1] - run[0][0] + 1
        if len(run) > 1 and rows / len(run) < SMALL_ROWS:
            self._merge(day, sql, [Segment.decode(first, head) for first, _, head in run])
        day.merged = run[-1][1]

    def _merge(self, day: _Day, sql: Statements, parts: list[Segment]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        whole = Segment.joined(parts)
        span = (whole.first, whole.last)
        laid = Laid()
        known = db.execute(sql["dictionary"]).fetchone()
        press = Press(*known or ())
        for last, count, created, packed in db.execute(sql["chunks"], span):
            laid.take(Chunk(last - count + 1, created, *press.frames(packed, count)))
        assert len(laid.paths) == whole.rows, "a segment and its chunks differ"
        db.execute(sql["drop_segments"], span)
        db.execute(sql["drop_heads"], span)
        db.execute(sql["drop_chunks"], span)
        db.execute(sql["insert_segment"], span)
        db.execute(sql["insert_head"], (whole.first, whole.encode()))
        db.executemany(sql["insert_chunk"], laid.chunks(whole.first, press))
        for key, (count, share) in whole.shares(self._any_of).items():
            (before,) = db.execute(sql["before"], (key, *span)).fetchone()
            db.execute(sql["drop_parts"], (key, *span))
            db.execute(sql["insert_part"], (key, whole.first, count, before, share))
        db.execute("UPDATE day SET merged = ? WHERE day = ?", (whole.last, day.number))
        db.execute("COMMIT")

    def _any_of(self, key: int) -> int:
        if key not in self._any:
            (self._any[key],) = self._db.execute(
                "SELECT any.id FROM key JOIN key AS any ON any.account = key.account AND any.kind = key.kind "
                "WHERE key.id = ? AND any.domain = ?",
                (key, ANY_DOMAIN),
            ).fetchone()
        return self._any[key]
