"""Refresh and prefetch by media id: every play URL of a medium becomes a task of its own.

What a medium is played from is in the inventory. One medium is taken whole or not at all, and what was in the way of
it is told by the job: the call itself only fails where its parameters are wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from freshline.domain.errors import Fault, Refused
from freshline.domain.media import Media
from freshline.domain.task import Audience, Kind, Status
from freshline.log.base import LogUnavailable
from freshline.media.base import Entry, MediaJob
from freshline.operations import selection, submit
from freshline.operations.desk import Call, Desk
from freshline.operations.states import States
from freshline.wire import times

KINDS = {"Refresh": Kind.FILE, "Preload": Kind.PRELOAD}
NO_STREAM = "no_stream"  #: what no fault has a word for: nothing of the medium is asked for
TASK_FAILED = "task_failed"
#: These leave a medium out of the job, since nothing the caller repeats will help.
FORBIDDING = (Fault.DOMAIN_UNKNOWN, Fault.DOMAIN_OFFLINE)


class RefreshMediaArgs(msgspec.Struct, frozen=True):
    """``None``: all of them."""

    media_ids: tuple[str, ...]
    type: str
    formats: tuple[str, ...] | None = None
    definitions: tuple[str, ...] | None = None
    stream_types: tuple[str, ...] | None = None
    result: str = "Single"
    slice_flag: bool = False
    slice_count: int = 5
    user_data: str = ""  #: kept and told again


class MediaJobArgs(msgspec.Struct, frozen=True):
    job: str
    media: str | None = None


async def refresh_media(desk: Desk, call: Call, args: RefreshMediaArgs) -> dict[str, Any]:
    """Tasks first, the job after them: if we die in between the caller has no answer, and asks again."""
    known: list[Media] = []
    strange, forbidden = list[str](), list[str]()
    for id_ in dict.fromkeys(args.media_ids):
        found = desk.inventory.media(id_)
        if found is None or found.account != call.account:
            strange.append(id_)
        else:
            known.append(found)
    entries: list[Entry] = []
    for media in known:
        try:
            entries.append(await _submit(desk, call, args, media))
        except Refused as refused:
            if refused.fault in FORBIDDING:
                forbidden.append(media.id)
            else:
                entries.append(Entry(media.id, trouble=f"{args.type} {refused.fault}"))
        except LogUnavailable:
            if not any(entry.urls for entry in entries):
                raise
            entries.append(Entry(media.id, trouble=Fault.UNAVAILABLE))
    job = ""
    if entries:
        job = desk.ambient.token(16)
        made = int(call.now)
        kept = MediaJob(job, call.account, made, args.type, _policy(args), args.user_data, tuple(entries))
        desk.media.add(kept, selection.oldest(desk, call))
    return {"job": job, "strange": ",".join(strange), "forbidden": ",".join(forbidden)}


def media_jobs(desk: Desk, call: Call, args: MediaJobArgs) -> dict[str, Any]:
    """A job's media. One that is unknown, another account's or too old has none."""
    job = desk.media.job(args.job)
    if job is None or job.account != call.account or job.created < selection.oldest(desk, call):
        return {"jobs": []}
    return {
        "jobs": [_told(desk, job, entry) for entry in job.entries if args.media is None or args.media == entry.media]
    }


async def _submit(desk: Desk, call: Call, args: RefreshMediaArgs, media: Media) -> Entry:
    urls = media.chosen(
        args.formats,
        args.definitions,
        args.stream_types,
        latest=args.result == "Single",
        slices=args.slice_count if args.slice_flag else 0,
    )
    if not urls:
        return Entry(media.id, trouble=NO_STREAM)
    tasks = await submit.one_by_one(desk, call, KINDS[args.type], urls)
    return Entry(media.id, tuple(task.wish.paths[0] for task in tasks), tasks[0].id)


def _policy(args: RefreshMediaArgs) -> str:
    """What was asked for, as the contract's sample of FilterPolicy has it."""
    lists = {"Formats": args.formats, "Definitions": args.definitions, "StreamType": args.stream_types}
    return json.dumps(
        {name: ",".join(values) for name, values in lists.items() if values is not None}
        | {"ResultType": args.result, "SliceFlag": args.slice_flag, "SliceCount": args.slice_count}
    )


def _told(desk: Desk, job: MediaJob, entry: Entry) -> dict[str, Any]:
    failed = {url: description for url, status, description in _states(desk, job, entry) if status is Status.FAILED}
    trouble = entry.trouble or (TASK_FAILED if failed else "")
    return {
        "id": job.id,
        "media": entry.media,
        "type": job.type,
        "policy": job.policy,
        "status": "fail" if trouble else "success",
        "urls": ",".join(url for url in entry.urls if url not in failed),
        "tasks": ",".join(str(entry.first + at) for at in range(len(entry.urls))),
        "trouble": trouble,
        "said": next(iter(failed.values()), trouble),
        "user_data": job.user_data,
        "created": times.write(job.created),
    }


def _states(desk: Desk, job: MediaJob, entry: Entry) -> Iterator[tuple[str, Status, str]]:
    """URL, status and description of each task that is still kept. URLs of several domains may be of several groups.

    A log that was put back from an old copy may have other tasks there, also other people's; those are passed over.
    """
    if not entry.urls:
        return
    last = entry.first + len(entry.urls) - 1
    states: dict[Audience, States] = {}
    for task in desk.log.read(entry.first - 1, len(entry.urls)):
        ours = entry.first <= task.id <= last and task.wish.account == job.account
        if not ours or task.wish.paths != (entry.urls[task.id - entry.first],):
            continue
        audience = task.wish.audience
        if audience not in states:
            states[audience] = States(desk.standing(task.wish), entry.first, last)
        state = states[audience].at(task.id)
        yield task.wish.paths[0], state.status, state.description
