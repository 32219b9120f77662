"""What is kept of a refresh or prefetch by media id: which URLs became which tasks, and why others did not.

How far a task has come is the log's to say, so a job never changes once it is kept.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

JOBS = 10_000  #: kept of one account; the oldest go


class Entry(msgspec.Struct, frozen=True):
    """One medium of a job."""

    media: str
    urls: tuple[str, ...] = ()  #: a task each
    first: int = 0  #: the id of the first task; the others follow it without a gap
    trouble: str = ""  #: why there are no tasks, in a word


class MediaJob(msgspec.Struct, frozen=True):
    id: str
    account: str
    created: int  #: Unix seconds
    type: str  #: in the caller's words, as are the next two
    policy: str
    user_data: str
    entries: tuple[Entry, ...]


class MediaJobs(Protocol):
    """Every change is kept when the call returns."""

    def close(self) -> None: ...

    def job(self, id_: str) -> MediaJob | None: ...

    def add(self, job: MediaJob, oldest: int) -> None:
        """Keep a job, and drop all that were made before ``oldest``."""
        ...
