"""Asking how far tasks have come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from freshline.domain.errors import Fault, Refused
from freshline.domain.progress import RowState, percent
from freshline.domain.task import Audience, Row, Status, Task
from freshline.log.base import Page, Query
from freshline.operations import selection, shown
from freshline.operations.desk import Call, Desk
from freshline.operations.selection import FILTERS, Filter
from freshline.operations.states import Standing, States
from freshline.wire import times
from freshline.wire.render import Items

TASKS = FILTERS
DETAILS = frozenset({Fault.TOO_LONG_AGO})
FETCHED = "Successfully preloaded"  # CONTRACT Appendix A


class TasksArgs(Filter, frozen=True):
    page_number: int = 1
    page_size: int = 20
    resource_group_id: str | None = None  #: checked by the table; there are no resource groups here


class DetailArgs(msgspec.Struct, frozen=True):
    ids: tuple[int, ...]
    domains: tuple[str, ...] | None = None


def tasks(desk: Desk, call: Call, args: TasksArgs) -> dict[str, Any]:
    """One page of rows, newest first, and how many there are in all."""
    selection.check(desk, call, args)
    offset = (args.page_number - 1) * args.page_size
    page = Page(0, ())
    if args.ids is not None and args.path is args.status is None:
        page = _of_tasks(selection.named(desk, call, args), offset, args.page_size)
    elif chosen := selection.selections(desk, call, args):
        page = desk.log.find(Query(call.account, chosen, args.path, offset, args.page_size))
    return {
        "page_number": args.page_number,
        "page_size": args.page_size,
        "total": page.total,
        "tasks": list(_listed(desk, page.rows)),
    }


def tasks_by_id(desk: Desk, call: Call, args: Filter) -> dict[str, Any]:
    """Every row of each task asked for, in that order."""
    ids, account, since = args.ids or (), call.account, selection.oldest(desk, call)
    narrowed = not selection.holds_all(args)
    plain = not narrowed and args.path is args.status is None
    if not plain:
        selection.check(desk, call, args)
    as_of = desk.as_of()
    if plain and (told := desk.shown.again(account, ids, since, as_of)) is not None:
        return {"total": len(told), "tasks": told}
    listed = Items()
    found: list[Task] = []
    standing: Standing | None = None
    audience: Audience | None = None
    for kept in desk.shown.find(ids):
        task = kept.task
        if task.wish.account != account or task.created < since or (narrowed and not selection.holds(args, task)):
            continue
        if standing is None or kept.audience != audience:
            audience, standing = kept.audience, desk.standing(task.wish)
        found.append(task)
        rows = kept.rows(standing)
        listed += rows if args.path is args.status is None else [row for row in rows if _is_wanted(args, row)]
    if plain and found and len(found) == len(ids):
        desk.shown.tell(account, ids, listed, found, as_of)
    return {"total": len(listed), "tasks": listed}


def preload_detail(desk: Desk, call: Call, args: DetailArgs) -> dict[str, Any]:
    """One prefetch, URL by URL."""
    (id_,) = args.ids
    task = desk.log.task(id_)
    if task is None or task.wish.account != call.account or not task.wish.kind.is_prefetch:
        return {"total": 0, "details": []}
    if task.created < selection.oldest(desk, call):
        raise Refused(Fault.TOO_LONG_AGO)
    if args.domains is not None and task.wish.domain not in args.domains:
        return {"total": 0, "details": []}
    states = States(desk.standing(task.wish), task.id, task.last)
    rows = [states.at(task.id + at) for at in range(len(task.wish.paths))]
    status = _together(rows)
    detail = {
        "id": str(task.id),
        "domain": task.wish.domain,
        "created": times.write(task.created),
        "ended": _ended(desk, task) if status in (Status.COMPLETE, Status.FAILED) else "",
        "code": "1" if status is Status.FAILED else "0",
        "process": _mean(rows),
        "status": status.value,
        "urls": [
            {
                "path": path,
                "process": row.process,
                "description": FETCHED if row.status is Status.COMPLETE else row.description,
            }
            for path, row in zip(task.wish.paths, rows, strict=True)
        ],
    }
    return {"total": 1, "details": [detail]}


def _of_tasks(tasks: Sequence[Task], offset: int, limit: int) -> Page:
    """A page of their rows. The tasks are at hand, so nothing is looked for in the log.

    :param tasks: newest first
    """
    rows: list[Row] = []
    skip = offset
    for task in tasks:
        paths = task.wish.paths
        for at in range(len(paths) - 1 - skip, max(len(paths) - 1 - skip - (limit - len(rows)), -1), -1):
            wish = task.wish if len(paths) == 1 else replace(task.wish, paths=(paths[at],))
            rows.append(Row(task.id + at, task.id, task.created, wish))
        skip = max(skip - len(paths), 0)
    return Page(sum(len(task.wish.paths) for task in tasks), tuple(rows))


def _listed(desk: Desk, rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
    """Rows of any tasks with their states, in the order given."""
    spans: dict[Audience, tuple[int, int]] = {}
    for row in rows:
        first, last = spans.get(row.wish.audience, (row.position, row.position))
        spans[row.wish.audience] = min(first, row.position), max(last, row.position)
    states: dict[Audience, States] = {}
    for row in rows:
        audience = row.wish.audience
        if audience not in states:
            states[audience] = States(desk.standing(row.wish), *spans[audience])
        yield shown.row(row.task, row.created, row.wish.kind, row.path, states[audience].at(row.position))


def _is_wanted(args: Filter, row: Mapping[str, Any]) -> bool:
    return args.path in (None, row["path"]) and args.status in (None, row["status"])


def _together(rows: Sequence[RowState]) -> Status:
    """One status for all: failed if any did, complete if all are."""
    found = {row.status for row in rows}
    if Status.FAILED in found:
        return Status.FAILED
    return found.pop() if len(found) == 1 else Status.REFRESHING


def _mean(rows: Sequence[RowState]) -> str:
    hundredths = sum(round(float(row.process.rstrip("%")) * 100) for row in rows)
    return percent(hundredths, 10_000 * len(rows))


def _ended(desk: Desk, task: Task) -> str:
    """When the last gate answered for the last row it had to do; nothing where no gate did."""
    latest = desk.log.heard({edge.name for edge, _ in desk.standing(task.wish).fleet}, task.id, task.last)
    return times.write(int(latest)) if latest else ""
