"""What one call asks for one domain and one kind, and the rows it stands for.

A **position** is a row's place in the log: the first row ever is 1, and the number only grows. A task covers one
unbroken run of positions, and its id is the first of them. So one number orders everything: rows, tasks, the cursor of
an edge and the stamp on a cached object.

These values are made by the thousand, and none holds another that could hold it: so they are cheap ones, which the
garbage collector need not look at.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """What is asked for. The value is what the query operations print as ObjectType (CONTRACT 2)."""

    FILE = "file"
    DIRECTORY = "directory"
    REGEX = "regex"
    IGNORE_PARAMS = "IgnoreParams"
    TAG = "cachetag"
    PRELOAD = "preload"

    @property
    def is_prefetch(self) -> bool:
        return self is Kind.PRELOAD


class Status(StrEnum):
    """How far a row has come (CONTRACT 2)."""

    PENDING = "Pending"
    REFRESHING = "Refreshing"
    COMPLETE = "Complete"
    FAILED = "Failed"


class Reason(StrEnum):
    """Why a row failed, in the contract's words (CONTRACT 2, Description); the last one is ours."""

    INTERNAL = "Internal Error"
    ORIGIN_TIMEOUT = "Origin Timeout"
    ORIGIN_STATUS = "Origin Return StatusCode 5XX"
    CANCELLED = "Canceled"


Audience = tuple[str, str, bool]  #: group, area, parents only


class Wish(Struct, frozen=True, gc=False):
    """A task before it has a place in the log."""

    account: str
    domain: str
    group: str  #: the edge group that serves the domain at this moment
    kind: Kind
    paths: tuple[str, ...]  #: one row each, as the caller wrote them
    force: bool = False
    headers: tuple[tuple[str, str], ...] = ()  #: what a prefetch sends beside the URL (WithHeader)
    area: str = ""  #: a prefetch is for the edges of this area; empty: of all
    parents_only: bool = False  #: a prefetch is for those that others fetch through

    @property
    def audience(self) -> Audience:
        """Tasks with the same audience are for the same edges."""
        return self.group, self.area, self.parents_only


class Task(Struct, frozen=True, gc=False):
    """A wish the log has made durable."""

    id: int  #: position of its first row
    created: int  #: Unix seconds; never goes back along the log, whatever the clock did
    wish: Wish

    @property
    def last(self) -> int:
        """Position of its last row."""
        return self.id + len(self.wish.paths) - 1


class Rows(Struct, frozen=True, gc=False):
    """Neighbouring rows, of however many tasks, that differ in their paths and in nothing else."""

    first: int  #: position
    wish: Wish
    tasks: list[int] = []  #: of each row the id of its task, where that was asked for

    @property
    def last(self) -> int:
        return self.first + len(self.wish.paths) - 1


class Row(Struct, frozen=True, gc=False):
    """One line of a task, as the query operations list it. The other lines may be a thousand, and are not looked at."""

    position: int
    task: int  #: its id
    created: int  #: Unix seconds, of the task
    wish: Wish  #: as if this line had been asked for alone

    @property
    def path(self) -> str:
        return self.wish.paths[0]
