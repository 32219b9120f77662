"""An SQLite file of ours: told apart from other files, and opened the one way we trust.

Every commit is on the disk when it returns (WAL, ``synchronous=FULL``). What a file is and in which version of its
schema stands inside it, so a wrong file is refused by name instead of failing somewhere later.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from freshline.domain.errors import Unavailable

CACHE_KILOBYTES = 32 * 1024  #: page cache of one connection
READING_KILOBYTES = 8 * 1024  #: of one that only reads: the inner pages of ten million rows, and some leaves


class WrongFile(Exception):
    """The file is not what it should be; the text names the file and what it is instead."""


class WrongVersion(WrongFile):
    """It is one of ours, in a version of the schema that this program does not know; the text says what to do."""


class Lost(Unavailable):
    """The file is no longer where it was opened: what is written to it is gone with the last process that has it."""


class InUse(Exception):
    """Another process has the file open for writing."""


class Place:
    """Where a file was when it was opened. Asking whether it still is costs one look at the directory."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path.absolute(), what
        self._was = self._look()

    def trouble(self) -> str:
        """Empty while the file is there."""
        try:
            same = self._look() == self._was
        except OSError as error:
            return f"the {self._what} {self._path} cannot be reached: {error.strerror}"
        return "" if same else f"the {self._what} {self._path} is another file than the one that was opened"

    def check(self) -> None:
        """:raises Lost: it is not there"""
        if trouble := self.trouble():
            raise Lost(trouble)

    def _look(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_dev, found.st_ino


def open_for_writing(path: Path, what: str, version: int, schema: str) -> sqlite3.Connection:
    """Open a file of ours, or make it.

    :param what: the kind of file, as a noun: ``"log"``
    :param schema: statements that make its tables; a ``;`` only ever ends one
    :raises WrongFile: it holds something else, another version, or is damaged
    """
    connection = _connect(path.absolute().as_uri() + "?mode=rwc", path, what)
    try:
        if not _tables(connection):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN EXCLUSIVE")
            if not _tables(connection):  # another process may have been first
                for statement in f"{schema};CREATE TABLE file (what TEXT NOT NULL, version INTEGER NOT NULL)".split(
                    ";"
                ):
                    connection.execute(statement)
                connection.execute("INSERT INTO file VALUES (?, ?)", (what, version))
            connection.execute("COMMIT")
        _check(connection, path, what, version)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.DatabaseError as trouble:
        connection.close()
        raise _explained(path, what, trouble) from trouble
    except WrongFile:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, what: str, version: int) -> sqlite3.Connection:
    """Open a file of ours that is there; nothing can be written through this.

    :raises FileNotFoundError: there is none
    :raises WrongFile: it holds something else, another version, or is damaged
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {what} at {path}")
    connection = _connect(path.absolute().as_uri() + "?mode=ro", path, what)
    try:
        connection.execute("PRAGMA query_only=1")
        connection.execute(f"PRAGMA cache_size=-{READING_KILOBYTES}")
        _check(connection, path, what, version)
    except sqlite3.DatabaseError as trouble:
        connection.close()
        raise _explained(path, what, trouble) from trouble
    except WrongFile:
        connection.close()
        raise
    return connection


def lock(path: Path, what: str) -> int:
    """Take the right to write, which one process can have; it ends with the process or with ``os.close``.

    The lock is on a file beside ``path``: SQLite would lose its own locks if we opened and closed its file.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise InUse(f"the {what} {path} is in use by process {holder or 'unknown'}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _connect(uri: str, path: Path, what: str) -> sqlite3.Connection:
    try:
        # isolation_level None: transactions begin and end where we say, not where the module guesses.
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=5.0
        )
        connection.execute(f"PRAGMA cache_size=-{CACHE_KILOBYTES}")
    except sqlite3.DatabaseError as trouble:
        raise _explained(path, what, trouble) from trouble
    return connection


def _tables(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return count


def _check(connection: sqlite3.Connection, path: Path, what: str, version: int) -> None:
    found = None
    with suppress(sqlite3.OperationalError):  # no such table
        found = connection.execute("SELECT what, version FROM file").fetchone()
    if found is None or found[0] != what:
        raise WrongFile(f"{path} is no freshline {what}" + (f" but a freshline {found[0]}" if found else ""))
    if found[1] != version:
        raise WrongVersion(
            f"{path} is a freshline {what} of version {found[1]}; this program needs version {version}: "
            + (
                "it was written by a newer freshline; run that one, or put back a copy from before its upgrade"
                if found[1] > version
                else f"it was written by an older freshline; run that one, or move the file away and begin a new {what}"
            )
        )


def _explained(path: Path, what: str, trouble: sqlite3.DatabaseError) -> Exception:
    if trouble.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
        return WrongFile(f"{path} is no freshline {what}")
    if trouble.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
        return WrongFile(f"{path} is damaged: {trouble}")
    return OSError(f"{path} cannot be opened as a freshline {what}: {trouble}")
