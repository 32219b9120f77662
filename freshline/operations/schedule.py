"""Prefetches that begin later: jobs, and the plans that work through them slice by slice.

A slice goes the way of any prefetch, with its quota, queue and checks, at the moment it is due.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from freshline.access.principal import Kind, Principal
from freshline.domain import target
from freshline.domain.errors import Fault, Refused
from freshline.log.base import LogUnavailable
from freshline.operations import submit
from freshline.operations.desk import Call, Desk
from freshline.operations.sites import SITE, hosts_of
from freshline.operations.submit import PrefetchArgs
from freshline.schedule.base import URLS, Full, Job, Plan, Slice, State
from freshline.wire import times
from freshline.wire.slots import Slot

LOGGER = logging.getLogger(__name__)
OPEN = (State.WAITING, State.RUNNING)
LINES = frozenset({Fault.PATH_MALFORMED, Fault.DOMAIN_WILDCARD, Fault.DOMAIN_UNKNOWN, Fault.DOMAIN_OFFLINE})

CREATES = SITE | LINES | {Fault.CONTENT_MISSING, Fault.OVER_LIMIT, Fault.SCHEDULE_FULL}
KNOWN = frozenset({Fault.SCHEDULE_UNKNOWN})
SWITCHES = KNOWN | {Fault.SCHEDULE_STATE}
UPDATES = SWITCHES | {Fault.SLOT_WRONG}

OTHER = "OtherErrors"
SERVICE = "esa"  #: no other product has schedules
#: Why a slice was not taken, in the contract's words for ErrorInfo; anything else is OTHER.
TROUBLES = {
    Fault.QUOTA_SPENT: "QuotaExcess",
    Fault.PATH_MALFORMED: "InvalidUrl",
    Fault.DOMAIN_UNKNOWN: "InvalidDomain",
    Fault.DOMAIN_OFFLINE: "InvalidDomain",
}
#: These pass by themselves: the slice is tried again when the next is due.
PASSING = {Fault.MINUTE_SPENT, Fault.PRELOAD_QUEUE_FULL}


class CreateJobArgs(msgspec.Struct, frozen=True):
    site_id: int
    title: str
    way: str
    lines: tuple[str, ...] = ()
    oss_url: str | None = None


class CreatePlansArgs(msgspec.Struct, frozen=True):
    id: str
    slots: tuple[Slot, ...]


class JobsArgs(msgspec.Struct, frozen=True):
    site_id: int
    page_number: int = 1
    page_size: int = 20
    start: int | None = None  #: Unix milliseconds, as that operation has it
    end: int | None = None


class IdArgs(msgspec.Struct, frozen=True):
    id: str


class UpdateArgs(msgspec.Struct, frozen=True):
    id: str
    start: str | None = None
    end: str | None = None
    interval: int | None = None
    slice: int | None = None


# -- jobs -------------------------------------------------------------------------
def create_job(desk: Desk, call: Call, args: CreateJobArgs) -> dict[str, Any]:
    hosts = frozenset(hosts_of(desk, call, args.site_id))
    if not args.lines:
        raise Refused(Fault.CONTENT_MISSING)
    if len(args.lines) > URLS:
        raise Refused(Fault.OVER_LIMIT)
    submit.check_prefetch(desk, call, args.lines, hosts)
    job = Job(desk.ambient.token(12), call.account, args.site_id, args.title, int(call.now), args.lines)
    try:
        desk.schedule.add_job(job)
    except Full:
        raise Refused(Fault.SCHEDULE_FULL) from None
    return _job(desk, job)


def job(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    return _job(desk, _own_job(desk, call, args.id))


def jobs(desk: Desk, call: Call, args: JobsArgs) -> dict[str, Any]:
    hosts_of(desk, call, args.site_id)
    found = [
        each
        for each in desk.schedule.jobs(call.account, args.site_id)
        if (args.start is None or args.start <= each.created * 1000)
        and (args.end is None or each.created * 1000 <= args.end)
    ]
    first = (args.page_number - 1) * args.page_size
    return {"total": len(found), "jobs": [_job(desk, each) for each in found[first : first + args.page_size]]}


def reset_job(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    """Back to the first URL. Plans go on from there."""
    mine = _own_job(desk, call, args.id)
    desk.schedule.reset_job(mine.id)
    return _job(desk, _own_job(desk, call, mine.id))


def remove_job(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    desk.schedule.remove_job(_own_job(desk, call, args.id).id)
    return {}


# -- plans ------------------------------------------------------------------------
def create_plans(desk: Desk, call: Call, args: CreatePlansArgs) -> dict[str, Any]:
    """Those that are right are made; those that are not are told with what is wrong."""
    mine = _own_job(desk, call, args.id)
    made, failed, messages = list[dict[str, Any]](), list[dict[str, Any]](), list[str]()
    for slot in args.slots:
        plan = _planned(desk, call, mine, slot)
        try:
            if (wrong := _wrong(desk, plan)) is None:
                desk.schedule.add_plan(plan)
                made.append(_plan(call, plan))
                continue
        except Full:
            wrong = "too many executions"
        failed.append(_plan(call, replace(plan, id="", status=State.FAILED)))
        messages.append(wrong)
    return {
        "total": len(args.slots),
        "made": len(made),
        "successes": made,
        "failures": failed,
        "messages": messages,
    }


def plans(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    found = desk.schedule.plans(_own_job(desk, call, args.id).id)
    return {"total": len(found), "plans": [_plan(call, each) for each in found]}


def stop_plan(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    """No further slice. What was submitted goes on: a task cannot be called back (CONTRACT 1)."""
    mine = _own_plan(desk, call, args.id)
    if mine.status not in OPEN:
        raise Refused(Fault.SCHEDULE_STATE)
    return _plan(call, desk.schedule.change_plan(replace(mine, status=State.STOPPED)))


def start_plan(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    """Go on after a stop or a failure, at once or at its start."""
    mine = _own_plan(desk, call, args.id)
    if mine.status not in (State.STOPPED, State.FAILED):
        raise Refused(Fault.SCHEDULE_STATE)
    due = max(mine.start, int(call.now))
    return _plan(call, desk.schedule.change_plan(replace(mine, status=State.WAITING, due=due)))


def change_plan(desk: Desk, call: Call, args: UpdateArgs) -> dict[str, Any]:
    mine = _own_plan(desk, call, args.id)
    if mine.status not in (State.WAITING, State.STOPPED):
        raise Refused(Fault.SCHEDULE_STATE)
    try:
        start = mine.start if args.start is None else times.read_any(args.start)
        end = mine.end if args.end is None else times.read_any(args.end)
    except ValueError:
        raise Refused(Fault.SLOT_WRONG) from None
    changed = replace(
        mine,
        start=start,
        end=end,
        due=max(start, int(call.now)),
        interval_seconds=mine.interval_seconds if args.interval is None else args.interval,
        slice=mine.slice if args.slice is None else args.slice,
    )
    if _wrong(desk, changed) is not None:
        raise Refused(Fault.SLOT_WRONG)
    return _plan(call, desk.schedule.change_plan(changed))


def remove_plan(desk: Desk, call: Call, args: IdArgs) -> dict[str, Any]:
    desk.schedule.remove_plan(_own_plan(desk, call, args.id).id)
    return {}


# -- when the time comes ----------------------------------------------------------
async def run_due(desk: Desk, turn: Callable[[], Awaitable[None]] | None = None) -> None:
    """Submit every slice that is due.

    A slice is a task before the schedule knows. If we die in between it is submitted again; what is fresh by then is
    not fetched twice. While the schedule cannot be written nothing is submitted.

    :param turn: lets others have theirs, after each plan
    """
    _note(desk)
    for plan in desk.schedule.due(desk.ambient.now()):
        if desk.schedule.plan(plan.id) == plan:  # while others were written, it may have been stopped or changed
            await _run(desk, plan)
        if turn is not None:
            await turn()


async def _run(desk: Desk, plan: Plan) -> None:
    now = desk.ambient.now()
    owner = desk.schedule.job(plan.job)
    assert owner is not None, "plans go with their jobs"
    account = desk.inventory.account(owner.account)
    if account is None or not account.enabled or SERVICE in account.suspended | account.closed:
        desk.schedule.failed(plan, OTHER)
        return
    lines = owner.left[: plan.slice]
    if not lines or (plan.end is not None and plan.end < now):
        desk.schedule.finished(plan)
        return
    call = Call(owner.account, "", now, desk.ambient.monotonic(), Principal(owner.account, Kind.ROOT, owner.account))
    hosts = frozenset(map(target.domain, lines))  # of one site, however many
    try:
        made = await submit.prefetch(desk, call, PrefetchArgs(lines, submit.AS_BROWSERS, within=hosts))
    except Refused as refused:
        if refused.fault in PASSING:
            desk.schedule.put_off(plan, plan.after(now))
        else:
            desk.schedule.failed(plan, TROUBLES.get(refused.fault, OTHER))
    except LogUnavailable as trouble:
        LOGGER.warning("plan %s put off: %s", plan.id, trouble)
    else:
        desk.unnoted.append(Slice(plan, plan.after(now), owner, len(lines), made["task_ids"].count(",") + 1))
        _note(desk)


def _note(desk: Desk) -> None:
    """Tell the schedule of slices that are tasks. One it could not be told of would be submitted every second."""
    while desk.unnoted:
        desk.schedule.took(desk.unnoted[0])
        desk.unnoted.popleft()


# -- inside -----------------------------------------------------------------------
def _own_job(desk: Desk, call: Call, id_: str) -> Job:
    found = desk.schedule.job(id_)
    if found is None or found.account != call.account:
        raise Refused(Fault.SCHEDULE_UNKNOWN)
    return found


def _own_plan(desk: Desk, call: Call, id_: str) -> Plan:
    found = desk.schedule.plan(id_)
    if found is None:
        raise Refused(Fault.SCHEDULE_UNKNOWN)
    _own_job(desk, call, found.job)
    return found


def _planned(desk: Desk, call: Call, of: Job, slot: Slot) -> Plan:
    start = int(call.now) if slot.start is None else slot.start
    due = max(start, int(call.now))
    return Plan(desk.ambient.token(12), of.id, start, slot.end, slot.interval, slot.slice_len, State.WAITING, due)


def _wrong(desk: Desk, plan: Plan) -> str | None:
    if plan.end is not None and plan.end <= plan.start:
        return "EndTime is earlier than StartTime"
    if not 1 <= plan.interval_seconds <= 86_400:
        return "Interval is not between 1 and 86400"
    most = min(desk.limits.per_call["preload"], desk.limits.urls_per_call)
    if not 1 <= plan.slice <= most:
        return f"SliceLen is not between 1 and {most}"
    return None


def _job(desk: Desk, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "account": job.account,
        "site": job.site,
        "name": job.name,
        "way": "textBox",
        "type": "preload",
        "created": times.write(job.created),
        "domains": ",".join(_domains(job.urls)),
        "urls": len(job.urls),
        "done": job.done,
        "tasks": job.tasks,
        "trouble": job.trouble,
        "plans": len(desk.schedule.plans(job.id)),
        "nothing": "",
    }


def _domains(urls: Sequence[str]) -> list[str]:
    """A page lists hundreds of jobs, each of thousands of URLs: what stands before the path is read once."""
    starts = dict.fromkeys(url[: url.find("/", len("https://")) + 1] or url for url in urls)
    return list(dict.fromkeys(map(target.domain, starts)))


def _plan(call: Call, plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "account": call.account,
        "job": plan.job,
        "start": times.write(plan.start),
        "end": "" if plan.end is None else times.write(plan.end),
        "interval": plan.interval_seconds,
        "slice": plan.slice,
        "status": plan.status.value,
    }
