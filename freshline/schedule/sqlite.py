"""The schedule in an SQLite file of its own. Changes are few, and each is on the disk when it returns."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from freshline import datafile
from freshline.schedule.base import JOBS, PLANS, Full, Job, Plan, Slice, State

VERSION = 1  #: of the schema

SCHEMA = """
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    site INTEGER NOT NULL,
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    urls TEXT NOT NULL,
    done INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    trouble TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE plan (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL REFERENCES job,
    start INTEGER NOT NULL,
    end INTEGER,
    interval_seconds INTEGER NOT NULL,
    slice INTEGER NOT NULL,
    status TEXT NOT NULL,
    due INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX plan_of_job ON plan (job)
"""


class SqliteSchedule:
    def __init__(self, connection: sqlite3.Connection, place: datafile.Place) -> None:
        self._db = connection
        self._place = place

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteSchedule:
        """Open the schedule at a path, or make it.

        :raises WrongFile: the file is something else
        """
        file = Path(path)
        return cls(datafile.open_for_writing(file, "schedule", VERSION, SCHEMA), datafile.Place(file, "schedule"))

    def close(self) -> None:
        self._db.close()

    # -- jobs -----------------------------------------------------------------
    def job(self, id_: str) -> Job | None:
        return next(iter(self._jobs("SELECT * FROM job WHERE id = ?", id_)), None)

    def jobs(self, account: str, site: int) -> list[Job]:
        return self._jobs(
            "SELECT * FROM job WHERE account = ? AND site = ? ORDER BY created DESC, id DESC", account, site
        )

    def add_job(self, job: Job) -> None:
        if self._count("SELECT count(*) FROM job WHERE account = ?", job.account) >= JOBS:
            raise Full
        values = (job.id, job.account, job.site, job.name, job.created, json.dumps(job.urls), 0, 0, "")
        self._change("INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def reset_job(self, id_: str) -> None:
        self._change("UPDATE job SET done = 0, tasks = 0, trouble = '' WHERE id = ?", (id_,))

    def remove_job(self, id_: str) -> None:
        with self._db:  # all of it, or nothing
            self._db.execute("BEGIN IMMEDIATE")
            self._change("DELETE FROM plan WHERE job = ?", (id_,))
            self._db.execute("DELETE FROM job WHERE id = ?", (id_,))

    # -- plans ----------------------------------------------------------------
    def plan(self, id_: str) -> Plan | None:
        return next(iter(self._plans("SELECT * FROM plan WHERE id = ?", id_)), None)

    def plans(self, job: str) -> list[Plan]:
        return self._plans("SELECT * FROM plan WHERE job = ? ORDER BY start, id", job)

    def due(self, now: float) -> list[Plan]:
        return self._plans(
            "SELECT * FROM plan WHERE status IN ('waiting', 'running') AND due <= ?1 "
            "OR status = 'running' AND due > ?1 + interval_seconds ORDER BY due, id",
            int(now),
        )

    def add_plan(self, plan: Plan) -> None:
        if self._count("SELECT count(*) FROM plan WHERE job = ?", plan.job) >= PLANS:
            raise Full
        self._put(plan)

    def change_plan(self, plan: Plan) -> Plan:
        self._put(plan)
        return plan

    def remove_plan(self, id_: str) -> None:
        self._change("DELETE FROM plan WHERE id = ?", (id_,))

    # -- a slice --------------------------------------------------------------
    def took(self, taken: Slice) -> None:
        job = taken.job
        with self._db:  # all of it, or nothing
            self._db.execute("BEGIN IMMEDIATE")
            noted = self._change(
                "UPDATE job SET done = done + ?, tasks = tasks + ? WHERE id = ? AND done = ?",
                (taken.count, taken.tasks, job.id, job.done),
            )
            self._move(taken.plan, State.FINISHED if noted and taken.last else State.RUNNING, taken.due)

    def put_off(self, plan: Plan, due: int) -> None:
        self._move(plan, State.RUNNING, due)

    def failed(self, plan: Plan, trouble: str) -> None:
        with self._db:  # all of it, or nothing
            self._db.execute("BEGIN IMMEDIATE")
            self._change("UPDATE job SET trouble = ? WHERE id = ?", (trouble, plan.job))
            self._move(plan, State.FAILED, plan.due)

    def finished(self, plan: Plan) -> None:
        self._move(plan, State.FINISHED, plan.due)

    # -- inside ---------------------------------------------------------------
    def _put(self, plan: Plan) -> None:
        values = (plan.id, plan.job, plan.start, plan.end, plan.interval_seconds, plan.slice, plan.status, plan.due)
        self._change("INSERT OR REPLACE INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _move(self, plan: Plan, status: State, due: int) -> None:
        """What was stopped, changed or removed meanwhile stays so."""
        self._change(
            "UPDATE plan SET status = ?, due = ? WHERE id = ? AND status IN ('waiting', 'running') AND due = ?",
            (status, due, plan.id, plan.due),
        )

    def _change(self, statement: str, values: tuple[object, ...]) -> int:
        """How many rows it changed.

        :raises Lost: the file is gone
        """
        self._place.check()
        return self._db.execute(statement, values).rowcount

    def _count(self, statement: str, value: str) -> int:
        count: int = self._db.execute(statement, (value,)).fetchone()[0]
        return count

    def _jobs(self, statement: str, *values: object) -> list[Job]:
        rows = self._db.execute(statement, values)
        return [
            Job(id_, account, site, name, created, tuple(json.loads(urls)), done, tasks, trouble)
            for id_, account, site, name, created, urls, done, tasks, trouble in rows
        ]

    def _plans(self, statement: str, *values: object) -> list[Plan]:
        rows = self._db.execute(statement, values)
        return [
            Plan(id_, job, start, end, interval_seconds, slice_, State(status), due)
            for id_, job, start, end, interval_seconds, slice_, status, due in rows
        ]
