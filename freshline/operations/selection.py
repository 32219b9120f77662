"""Which rows a query asks for: the filters of the query operations, checked and turned into selections of the log.

Filters combine with AND (CONTRACT 2). Status is not stored anywhere; which positions are in a status follows from how
far the edges are, so it becomes ranges of positions like the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from freshline.domain import target
from freshline.domain.errors import Fault, Refused
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Status, Task
from freshline.log.base import Selection
from freshline.operations.desk import Call, Desk
from freshline.operations.placement import in_states

GRACE_SECONDS = 60  #: "three days ago" was computed by the caller before the call was sent

FILTERS = frozenset(
    {Fault.TIMES_UNPAIRED, Fault.START_UNREAL, Fault.END_BEFORE_START, Fault.TOO_LONG_AGO, Fault.TYPE_NEEDED,
     Fault.PATH_MALFORMED}
)  # fmt: skip


class Filter(msgspec.Struct, frozen=True):
    """What a caller may narrow a query by. ``None``: not asked for."""

    ids: tuple[int, ...] | None = None
    path: str | None = None  #: exactly this ObjectPath
    domains: tuple[str, ...] | None = None
    kind: str | None = None  #: ``""`` is a kind the contract knows and we have no rows of (block, unblock)
    status: str | None = None
    start: int | None = None
    end: int | None = None
    kinds: list[str] | None = None  #: all that the operation is about, where that is not every kind
    type_needed: bool = True  #: with domains or a status


def check(desk: Desk, call: Call, wanted: Filter) -> None:
    """What the tables cannot say: how the filters go together.

    :raises Refused: they do not
    """
    start, end = wanted.start, wanted.end
    if (start is None) != (end is None):
        raise Refused(Fault.TIMES_UNPAIRED)
    if start is not None and end is not None:
        if start > call.now + desk.limits.window_seconds:
            raise Refused(Fault.START_UNREAL)
        if end <= start:
            raise Refused(Fault.END_BEFORE_START)
        if start < oldest(desk, call) - GRACE_SECONDS:
            raise Refused(Fault.TOO_LONG_AGO)
    if wanted.type_needed and wanted.kind is None and (wanted.domains is not None or wanted.status is not None):
        raise Refused(Fault.TYPE_NEEDED)
    if wanted.path is not None and not _names_a_tag(wanted):
        domain_of(wanted.path)


def oldest(desk: Desk, call: Call) -> int:
    """The time from which on tasks can be asked for."""
    return int(call.now) - desk.limits.kept_seconds


def domain_of(path: str) -> str:
    """The domain an ObjectPath speaks of. A pattern need not be a URL, so only its host is read.

    :raises Refused: it has none
    """
    head = path.partition("?")[0]
    scheme, mark, rest = head.partition("://")
    authority = (rest if mark else scheme).partition("/")[0]
    try:
        return target.parse(f"{scheme}://{authority}" if mark else authority).domain
    except target.BadTarget:
        raise Refused(Fault.PATH_MALFORMED) from None


def own_tasks(desk: Desk, call: Call, ids: Sequence[int]) -> list[Task]:
    """Tasks of the caller's that are young enough to be asked for. All others look alike: not there."""
    since = oldest(desk, call)
    tasks = (kept.task for kept in desk.shown.find(ids))
    return [task for task in tasks if task.wish.account == call.account and task.created >= since]


def named(desk: Desk, call: Call, wanted: Filter) -> list[Task]:
    """The caller's tasks that are asked for by id and pass the filters that are the same for all rows, newest first."""
    kinds = wanted.kinds
    tasks = {
        task.id: task
        for task in own_tasks(desk, call, wanted.ids or ())
        if holds(wanted, task) and (kinds is None or task.wish.kind.value in kinds)
    }
    return [tasks[id_] for id_ in sorted(tasks, reverse=True)]


def holds(wanted: Filter, task: Task) -> bool:
    """Whether a task passes all filters that are the same for all its rows."""
    return (
        (wanted.domains is None or task.wish.domain in wanted.domains)
        and (wanted.kind is None or task.wish.kind.value == wanted.kind)
        and (wanted.start is None or wanted.start <= task.created)
        and (wanted.end is None or task.created <= wanted.end)
    )


def holds_all(wanted: Filter) -> bool:
    """Whether every task passes."""
    return wanted.domains is None and wanted.kind is None and wanted.start is None and wanted.end is None


def selections(desk: Desk, call: Call, wanted: Filter) -> tuple[Selection, ...]:
    """The same filters as disjoint selections of the log; none where nothing can be found."""
    if wanted.kind == "":
        return ()
    kinds = tuple(map(Kind, wanted.kinds or Kind)) if wanted.kind is None else (Kind(wanted.kind),)
    within = _within(desk, call, wanted)
    if not within:
        return ()
    names = _names(wanted)
    if wanted.status is None:
        if names is None:
            return (Selection(None, kinds, within),)
        return tuple(Selection(name, kinds, within) for name in names)
    return in_states(desk, call.account, [Status(wanted.status)], kinds, within, names)


def _within(desk: Desk, call: Call, wanted: Filter) -> Ranges:
    log = desk.log
    since = oldest(desk, call)
    first = log.position_at(since if wanted.start is None else max(since, wanted.start))
    last = log.head if wanted.end is None else log.position_at(wanted.end + 1) - 1
    within = Ranges([(first, last)])
    if wanted.ids is not None:
        within &= Ranges((task.id, task.last) for task in own_tasks(desk, call, wanted.ids))
    return within


def _names(wanted: Filter) -> list[str] | None:
    """The domains asked for, or ``None`` for all."""
    if wanted.path is None or _names_a_tag(wanted):
        return None if wanted.domains is None else list(wanted.domains)
    domain = domain_of(wanted.path)
    return [domain] if wanted.domains is None or domain in wanted.domains else []


def _names_a_tag(wanted: Filter) -> bool:
    """Then the path is one, and tells of no domain."""
    return wanted.kind == Kind.TAG
