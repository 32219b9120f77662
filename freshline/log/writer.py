"""The one thread that writes: what waits while a commit runs goes into the next commit together.

A caller hears of success after COMMIT and of nothing before it. If a transaction fails, what the thread has in memory
is read again from the file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from freshline.log.base import LogUnavailable, Overspent
from freshline.log.digest import Tail
from freshline.log.gathering import Gathering
from freshline.log.group import GROUP_ROWS, Group, Op
from freshline.log.hold import Hold
from freshline.log.merging import Merging
from freshline.log.store import Store

QUIET_SECONDS = 60.0  #: nothing has been written for as long: what costs more than it is worth in a rush is done then


class Writer:
    def __init__(self, connection: sqlite3.Connection, tail: Tail, announce: Callable[[int], None], hold: Hold) -> None:
        """Start the thread.

        :param tail: the rows whose digests are not in the file
        :param announce: called in the event loop after a commit that moved the head, with the new head
        :param hold: taken by readers for as long as nothing is written
        """
        self._db = connection
        self._announce = announce
        self._hold = hold
        self._queue: deque[Op] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self.trouble = ""  #: why nothing can be written now
        self._dead = False
        self._taken: list[Op] = []  #: being written
        self.store = Store(connection, tail)
        self._stale = False  #: a transaction failed, so what the store has in memory is not what the file says
        self._merging = Merging(connection)
        self._merging.load()
        self._gathering = Gathering(connection)
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

    def _run(self) -> None:
        try:
            self._work()
        except BaseException:
            # A mistake of ours. Nobody shall wait for an answer that never comes; the traceback goes to stderr.
            self._dead = True
            self.trouble = "the log's writer has failed"
            self._refuse_all()
            raise

    def _refuse_all(self) -> None:
        with self._wake:
            ops, self._queue = [*self._taken, *self._queue], deque()
        if ops:
            self._tell(Group(outcomes=[(op, None, LogUnavailable("the log's writer has failed")) for op in ops]))

    def _work(self) -> None:
        while True:
            with self._wake:
                if not self._queue and not self._stopping and not self._merging.due and not self._gathering.due:
                    self._hold.allow()
                    woken = self._wake.wait(None if self._gathering.quiet else QUIET_SECONDS)
                    self._hold.forbid()
                    self._gathering.quiet = not woken
                ops = self._take()
                if not ops and self._stopping:
                    return
            if ops:
                self._taken = ops
                self._tell(self._commit(ops))
                self._taken = []
            for chore in (self._merging, self._gathering):
                if chore.due and (not self._queue or chore.overdue):
                    chore.step()

    def _take(self) -> list[Op]:
        ops: list[Op] = []
        rows = 0
        while self._queue and (not ops or rows + self._queue[0].rows <= GROUP_ROWS):
            ops.append(self._queue.popleft())
            rows += ops[-1].rows
        return ops

    def _commit(self, ops: list[Op]) -> Group:
        """One transaction, or one for each if together they failed for a reason that is only one's."""
        group = Group()
        try:
            if self._stale:
                self.store.load()
                self._stale = False
            self._db.execute("BEGIN IMMEDIATE")
            for op in ops:
                try:
                    group.outcomes.append((op, self.store.do(op, group), None))
                except Overspent as refusal:
                    group.outcomes.append((op, None, refusal))
            self.store.write(group)
            self._db.execute("COMMIT")
        except sqlite3.Error as trouble:
            self._undo()
            self.trouble = str(trouble)
            return Group(outcomes=[(op, None, LogUnavailable(str(trouble))) for op in ops])
        except Exception as trouble:
            self._undo()
            if len(ops) == 1:
                return Group(outcomes=[(ops[0], None, trouble)])
            for op in ops[:-1]:
                self._tell(self._commit([op]))
            return self._commit(ops[-1:])
        self.trouble = ""
        self.store.publish(group)
        if group.oldest_quota is not None:  # days went
            self._merging.load()
        self._merging.grown(self.store.today, self.store.head)
        self._gathering.grown(group.stored or group.oldest_quota is not None)
        return group

    def _undo(self) -> None:
        self._stale = True
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            self._db.execute("ROLLBACK")

    def _tell(self, group: Group) -> None:
        loop = group.outcomes[0][0].done.get_loop()
        with suppress(RuntimeError):  # the loop is gone, and all who waited with it
            loop.call_soon_threadsafe(self._resolve, group)

    def _resolve(self, group: Group) -> None:
        if group.tasks:
            self._announce(group.tasks[-1].last)
        for op, result, trouble in group.outcomes:
            if op.done.done():  # its caller went away
                continue
            if trouble is not None:
                op.done.set_exception(trouble)
            else:
                op.done.set_result(result)
