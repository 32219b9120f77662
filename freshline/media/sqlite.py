"""Jobs in an SQLite file of their own; each is on the disk when it is answered."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import msgspec

from freshline import datafile
from freshline.media.base import JOBS, MediaJob

VERSION = 1  #: of the schema

SCHEMA = """
CREATE TABLE job (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    created INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX job_by_age ON job (created);
CREATE INDEX job_of_account ON job (account)
"""


class SqliteMediaJobs:
    def __init__(self, connection: sqlite3.Connection, place: datafile.Place) -> None:
        self._db = connection
        self._place = place

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteMediaJobs:
        """Open the jobs at a path, or make the file.

        :raises WrongFile: the file is something else
        """
        file, what = Path(path), "list of media jobs"
        return cls(datafile.open_for_writing(file, what, VERSION, SCHEMA), datafile.Place(file, what))

    def close(self) -> None:
        self._db.close()

    def job(self, id_: str) -> MediaJob | None:
        row = self._db.execute("SELECT body FROM job WHERE id = ?", (id_,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=MediaJob)

    def add(self, job: MediaJob, oldest: int) -> None:
        self._place.check()
        with self._db:  # all of it, or nothing
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM job WHERE created < ?", (oldest,))
            self._db.execute(
                "INSERT INTO job (id, account, created, body) VALUES (?, ?, ?, ?)",
                (job.id, job.account, job.created, msgspec.json.encode(job)),
            )
            self._db.execute(
                "DELETE FROM job WHERE number IN "
                "(SELECT number FROM job WHERE account = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (job.account, JOBS),
            )
