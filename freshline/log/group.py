"""What callers ask of the writer, and what one commit answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from freshline.domain.edge import Evidence, Progress
from freshline.domain.task import Task, Wish
from freshline.log.base import Settled, Spend

GROUP_ROWS = 65_536  #: rows in one commit, unless a single append is longer


@dataclass(slots=True)
class Append:
    wishes: Sequence[Wish]
    spends: Sequence[Spend]
    now: float
    done: asyncio.Future[Any]

    @property
    def rows(self) -> int:
        return sum(len(wish.paths) for wish in self.wishes)


@dataclass(slots=True)
class Settle:
    settled: Sequence[Settled]
    done: asyncio.Future[Any]
    rows: int = 0


@dataclass(slots=True)
class Forget:
    edge: str
    groups: Collection[str]
    joined: int
    done: asyncio.Future[Any]
    rows: int = 0


@dataclass(slots=True)
class Drop:
    before: int
    done: asyncio.Future[Any]
    rows: int = GROUP_ROWS  #: always a commit of its own


Op = Append | Settle | Forget | Drop


@dataclass(slots=True)
class Group:
    """What one transaction will have done."""

    tasks: list[Task] = field(default_factory=list)
    used: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    progress: dict[str, Progress | None] = field(default_factory=dict)  #: ``None``: the edge is forgotten
    evidence: list[tuple[int, Evidence]] = field(default_factory=list)  #: with the numbers of its edges
    placed: list[tuple[str, str, int, str]] = field(default_factory=list)  #: account, domain, first position, group
    oldest_quota: int | None = None  #: quota days before this are gone
    stored: bool = False  #: digests
    outcomes: list[tuple[Op, Any, BaseException | None]] = field(default_factory=list)
