"""What a driver can do, and what an edge can answer.

The edge's troubles are values, never exceptions: delivery decides what to do about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from freshline.domain.action import Command, Fetch


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything the edge's domains were asked to forget in ``(after, upto]``. Empty batches move the position too."""

    log: str
    after: int
    upto: int
    mark: str  #: the log's mark at ``upto``
    live: bool  #: ``upto`` was the head of the log: an edge that just started may trust its old cache again
    commands: Sequence[Command]


@dataclass(frozen=True, slots=True)
class Clock:
    """What a gate's clock read. It only grows, and is another one each time its server starts."""

    boot: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Until the gate's clock is ``seconds`` past what it read, visitors may get what is stored (docs/gates.md)."""

    clock: Clock
    seconds: float
    position: int  #: a gate that does not stand here yet does not take it


class Lapse(StrEnum):
    """What visitors get of a gate without a lease."""

    SERVE = "serve"  #: what it has
    BYPASS = "bypass"  #: nothing that is stored
    REFUSE = "refuse"  #: 503


@dataclass(frozen=True, slots=True)
class Gate:
    """Where a gate stands."""

    log: str | None  #: ``None``: bound to no log (new, or it lost its memory)
    position: int
    mark: str | None
    synced: bool  #: false: just started, its old cache is out of use until it is told it has caught up
    clock: Clock | None = None  #: ``None``: it knows no leases
    lapse: Lapse = Lapse.SERVE
    detail: Mapping[str, str] = field(default_factory=dict)  #: whatever else it says of itself


@dataclass(frozen=True, slots=True)
class Applied:
    """The gate stands at ``position``; rows in ``refused`` it will never do."""

    position: int
    mark: str
    refused: tuple[tuple[int, str], ...]
    said: str
    clock: Clock | None = None


@dataclass(frozen=True, slots=True)
class Adrift:
    """The gate does not stand where the batch begins, or belongs to another log: ask where it stands."""

    said: str


class Fault(StrEnum):
    UNREACHABLE = "unreachable"  #: no connection
    TIMEOUT = "timeout"  #: it may or may not have happened
    DENIED = "wrong secret"
    WRONG_KIND = "wrong kind"  #: a gate of ours, in another kind of server than the inventory says
    GARBAGE = "garbage"  #: something answered, and it is not our gate
    FAILED = "failed"  #: the gate says that it could not


@dataclass(frozen=True, slots=True)
class Trouble:
    fault: Fault
    said: str


class FetchOutcome(StrEnum):
    STORED = "stored"  #: the object is whole in the cache
    ORIGIN_TIMEOUT = "origin timeout"
    ORIGIN_STATUS = "origin status"  #: the origin answered 5XX
    OTHER = "other"  #: any other answer, a cut body, an object that may not be stored


@dataclass(frozen=True, slots=True)
class Fetched:
    outcome: FetchOutcome
    status: int  #: the origin's answer as the edge passed it on; 0 if there was none
    bytes: int  #: size of the stored object, 0 if unknown
    said: str
    location: str = ""  #: where a redirect leads, as the origin wrote it


class Presence(StrEnum):
    ABSENT = "absent"
    OBSOLETE = "obsolete"  #: on disk or in memory, but a newer command covers it: it will not be served
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Probed:
    presence: Presence
    stamp: int | None  #: position the gate had reached when the object's origin fetch began, where it can tell
    said: str


class Driver(Protocol):
    """One edge. Every call is bounded in time and safe to repeat; the first three may bring a lease with them."""

    async def status(self, lease: Lease | None = None) -> Gate | Trouble: ...

    async def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift | Trouble: ...

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied | Trouble:
        """Forget everything fetched before now, bind to this log, stand at this position."""
        ...

    async def probe(self, what: Fetch) -> Probed | Trouble:
        """Is it stored, and with which stamp. Never asks the origin."""
        ...

    async def fetch(self, what: Fetch) -> Fetched | Trouble:
        """Bring the object into the cache, whole. Its body never comes here."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Prompt(Protocol):
    """A driver that can be asked and told without a task for each: ``done`` is called once, in a later turn."""

    def ask(self, lease: Lease | None, done: Callable[[Gate | Trouble], None]) -> None:
        """:meth:`Driver.status`"""
        ...

    def tell(self, batch: Batch, lease: Lease | None, done: Callable[[Applied | Adrift | Trouble], None]) -> None:
        """:meth:`Driver.apply`"""
        ...


@runtime_checkable
class Several(Protocol):
    """A driver that can ask for many objects in one request, and is answered one by one."""

    fetches_at_once: int  #: as the edge said last; it may have a gate that takes no more than one

    def fetch_each_then(
        self,
        whats: Sequence[Fetch],
        ended: Callable[[Sequence[tuple[int, Fetched | Trouble]]], None],
        over: Callable[[Trouble | None], None],
    ) -> Asked:
        """Bring them all into the cache.

        :param ended: called with those that have ended, each once and by its index, as soon as that is known
        :param over: called once, in a later turn of the loop, unless it is given up before: with what befell all that
            ``ended`` was not called for
        """
        ...


class Asked(Protocol):
    """Something that was asked for, and may be given up."""

    def abandon(self) -> None: ...


@runtime_checkable
class Direct(Protocol):
    """A driver that can be asked for an object without a task for it."""

    def fetch_then(self, what: Fetch, done: Callable[[Fetched | Trouble], None]) -> Asked:
        """:meth:`Driver.fetch`

        :param done: called once, in a later turn of the loop, unless it is given up before
        """
        ...
