"""Runs of digests become one, in steps between commits: a look-up reads a blob of each run there is.

Of the newest day some runs of one size become one of the next, so there are never many. What is left of a day that is
over becomes one, and of the newest likewise when nothing is written for a while, unless most of it is in one run
already. While a run is being made its parts count, and it does not (its level is below 0); then they are dropped. What
a crash leaves half made is dropped likewise, and made anew.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from freshline.log.digest import BUCKETS, ENTRY, PART_ENTRIES, PARTS, blob_id, split
from freshline.log.statements import Statements, statements

TOGETHER = 4  #: runs of one size become one
OVERDUE = 4 * TOGETHER  #: when as many wait, writers wait for a step
STEP_BUCKETS = 512  #: copied or dropped in one transaction; fewer where they are split
SAMPLE_BUCKETS = 16  #: looked at to see how long they are
NOT_WHOLE = -1


@dataclass(slots=True)
class _Day:
    number: int
    over: bool
    levels: dict[int, int]  #: of each run

    def parts(self, quiet: bool) -> tuple[list[int], int]:
        """What is to become one next, and the level of that; nothing where nothing is.

        :param quiet: nothing has been written for a while
        """
        sizes = {number: TOGETHER**level for number, level in self.levels.items()}
        numbers: list[int] = []
        if self.over:
            numbers = list(sizes)
        else:
            for level in set(self.levels.values()):
                alike = [number for number, of in self.levels.items() if of == level]
                if len(alike) >= TOGETHER:
                    numbers = alike[:TOGETHER]
                    break
            if quiet and sizes and not numbers:
                *small, largest = sorted(sizes, key=sizes.__getitem__)
                whole = TOGETHER * sum(sizes[number] for number in small) >= sizes[largest]
                numbers = [*small, largest] if whole else small
        if len(numbers) < 2:
            return [], 0
        size, level = sum(sizes[number] for number in numbers), 0
        while TOGETHER ** (level + 1) <= size:
            level += 1
        return numbers, level


@dataclass(slots=True)
class _Job:
    """A run that is being made of others, or dropped where there are none."""

    sql: Statements
    run: int
    parts: Sequence[int] = ()
    level: int = NOT_WHOLE
    split: int = 0
    bucket: int = 0  #: done up to here


class Gathering:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._days: list[_Day] = []
        self._jobs: list[_Job] = []  #: the last one is being done
        self._stale = True  #: the file has other runs than we know
        self._resting = False  #: the last step failed; wait until a commit has succeeded
        self.quiet = False  #: nothing has been written for a while

    def grown(self, stored: bool) -> None:
        """A commit succeeded.

        :param stored: and may have stored a run, or dropped days
        """
        self._resting = self.quiet = False
        self._stale = self._stale or stored

    @property
    def due(self) -> bool:
        if self._resting:
            return False
        return self._stale or bool(self._jobs) or any(day.parts(self.quiet)[0] for day in self._days)

    @property
    def overdue(self) -> bool:
        return self.due and any(len(day.levels) >= OVERDUE and not day.over for day in self._days)

    def step(self) -> None:
        try:
            if self._stale:
                self._load()
            elif self._jobs:
                self._db.execute("BEGIN IMMEDIATE")
                done = self._copy(self._jobs[-1]) if self._jobs[-1].parts else self._drop(self._jobs[-1])
                self._db.execute("COMMIT")
                if done:
                    self._jobs.pop()
                    self._stale = True
            else:
                self._begin()
        except sqlite3.Error:
            self._resting = self._stale = True
            self._jobs = []
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _load(self) -> None:
        busy = self._jobs[-1] if self._jobs else None
        numbers = [number for (number,) in self._db.execute("SELECT day FROM day ORDER BY day")]
        self._days, self._jobs = [], []
        for number in numbers:
            sql = statements(number)
            levels: dict[int, int] = dict(self._db.execute(sql["runs"]).fetchall())
            self._jobs += (_Job(sql, run) for run, level in levels.items() if level == NOT_WHOLE)
            whole = {run: level for run, level in levels.items() if level != NOT_WHOLE}
            self._days.append(_Day(number, number != numbers[-1], whole))
        self._stale = False
        if busy is not None:  # its day may have gone, and then it has
            self._jobs = [busy if (job.sql, job.run) == (busy.sql, busy.run) else job for job in self._jobs]
            self._jobs.sort(key=lambda job: job is busy)

    def _begin(self) -> None:
        for day in self._days:
            parts, level = day.parts(self.quiet)
            if parts:
                sql = statements(day.number)
                bits = self._bits(sql, parts)
                run = self._db.execute(sql["insert_run"], (NOT_WHOLE, bits)).lastrowid or 0
                self._jobs.append(_Job(sql, run, parts, level, bits))
                return

    def _bits(self, sql: Statements, parts: Sequence[int]) -> int:
        """How far the buckets of these runs together have to be split."""
        held = sum(len(entries) for blobs in self._held(sql, parts, 0, SAMPLE_BUCKETS).values() for entries in blobs)
        entries = held // ENTRY // SAMPLE_BUCKETS
        return next(bits for bits in range(PARTS + 1) if entries >> bits <= PART_ENTRIES or bits == PARTS)

    def _held(self, sql: Statements, parts: Sequence[int], first: int, end: int) -> dict[int, list[bytes]]:
        """What some runs have in the buckets from ``first`` to before ``end``."""
        held = defaultdict[int, list[bytes]](list)
        for part in parts:
            window = blob_id(part, first), blob_id(part, end) - 1
            for id_, entries in self._db.execute(sql["digests_of"], window):
                held[(id_ >> PARTS) % BUCKETS].append(entries)
        return held

    def _copy(self, job: _Job) -> bool:
        end = min(job.bucket + (STEP_BUCKETS >> job.split), BUCKETS)
        held = self._held(job.sql, job.parts, job.bucket, end)
        self._db.executemany(
            job.sql["insert_digests"],
            [
                (blob_id(job.run, bucket, part), entries)
                for bucket, blobs in sorted(held.items())
                for part, entries in split(b"".join(blobs), job.split)
            ],
        )
        job.bucket = end
        if job.bucket < BUCKETS:
            return False
        self._db.execute(job.sql["whole_run"], (job.level, job.run))
        self._db.executemany(job.sql["whole_run"], [(NOT_WHOLE, part) for part in job.parts])
        return True

    def _drop(self, job: _Job) -> bool:
        end = min(job.bucket + STEP_BUCKETS, BUCKETS)
        self._db.execute(job.sql["drop_digests"], (blob_id(job.run, job.bucket), blob_id(job.run, end) - 1))
        job.bucket = end
        if job.bucket < BUCKETS:
            return False
        self._db.execute(job.sql["drop_run"], (job.run,))
        return True
