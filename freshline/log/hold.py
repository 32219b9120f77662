"""A read transaction that is kept from one look-up to the next, for as long as nothing is written.

To begin one and to end it takes three calls of the system, which is more than all else that SQLite does for one row.
Whoever writes ends it first. So it never shows anything but the newest state, and never keeps the write-ahead log from
being folded into the file.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress

SERIALIZED = sqlite3.threadsafety == 3  #: one connection may be used by two threads at once, as SQLite is mostly built


class Hold:
    """On the connection that the event loop reads from. The writer has a thread and a connection of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._lock = threading.Lock()
        self._idle = False  #: nothing is written, or will be before :meth:`forbid`
        self._held = False

    def take(self) -> bool:
        """The loop is about to look something up: whether there is a transaction, for now."""
        if not self._held and self._idle:
            with self._lock:
                if self._idle:
                    self._db.execute("BEGIN")
                    self._held = True
        return self._held

    def end(self) -> None:
        """The loop needs a transaction that surely stays."""
        if self._held:
            with self._lock:
                self._end()

    def allow(self) -> None:
        """The writer rests."""
        self._idle = SERIALIZED

    def forbid(self) -> None:
        """The writer is about to write."""
        with self._lock:
            self._idle = False
            self._end()

    def _end(self) -> None:
        if self._held and self._db.in_transaction:
            with suppress(sqlite3.Error):  # SQLite ends it by itself after an error; nothing was written in it
                self._db.execute("COMMIT")
        self._held = False
