"""Refresh and prefetch: from lines to durable tasks.

A call is taken whole or not at all. Everything is checked before anything is stored; the log then takes the quota and
the tasks in one transaction, so bad input stores nothing and spends nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import re2
from msgspec.structs import replace

from freshline.access.throttle import Draw
from freshline.domain import target
from freshline.domain.action import pattern
from freshline.domain.errors import Fault, Refused
from freshline.domain.task import Kind, Task, Wish
from freshline.inventory.base import Domain
from freshline.log.base import Overspent
from freshline.operations import backlog
from freshline.operations.desk import Call, Desk
from freshline.operations.quota import BUCKETS, spend

ITEM_LIMIT = 1_000  #: bytes of one tag, or of one line for a routine: "The size of ObjectPath is bigger than 1000."
PATTERN_MEMORY = 1 << 18  #: bytes RE2 may take for one pattern: (x{1000}){1000} is refused, not compiled

AS_BROWSERS = (("Accept-Encoding", "gzip"),)  #: what a prefetch sends where its caller has no word in it

_SCHEME = re.compile("^https?://", re.IGNORECASE | re.ASCII)  #: or the long s of Unicode were one, and here alone

SUBMITS = frozenset(
    {Fault.OVER_LIMIT, Fault.PATH_MALFORMED, Fault.DOMAIN_WILDCARD, Fault.DOMAIN_UNKNOWN, Fault.DOMAIN_OFFLINE,
     Fault.QUOTA_SPENT, Fault.MINUTE_SPENT}
)  # fmt: skip
REFRESHES = SUBMITS | {Fault.REFRESH_QUEUE_FULL}
PREFETCHES = SUBMITS | {Fault.TOO_MANY_URLS, Fault.PRELOAD_QUEUE_FULL}
TAGS = REFRESHES | {Fault.PATH_TOO_LONG, Fault.PRELOAD_QUEUE_FULL}


class RefreshArgs(msgspec.Struct, frozen=True):
    lines: tuple[str, ...]
    kind: str
    force: bool = False
    domain_name: str | None = None  #: whose lines these are; a line may then begin with the path
    within: frozenset[str] | None = None  #: the domains that lines may be of, where not all the caller's


class RoutineArgs(RefreshArgs, frozen=True):
    merge_domain_name: tuple[str, ...] | None = None  #: these three are checked by the table, otherwise idle
    routine_id: str | None = None
    stations: str | None = None


class PrefetchArgs(msgspec.Struct, frozen=True):
    lines: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    area: str | None = None  #: only the edges of this area
    parents_only: bool = False  #: only those that others fetch through
    #: These steer parts of the vendor's network that have no counterpart here. Checked, otherwise idle.
    query_hashkey: bool = False
    consistency_hash: bool = False
    object_type: str | None = None
    domain_name: str | None = None  #: whose lines these are; a line may then begin with the path
    within: frozenset[str] | None = None  #: the domains that lines may be of, where not all the caller's


class TagArgs(msgspec.Struct, frozen=True):
    domain_name: str
    tags: tuple[str, ...]
    force: bool = False
    object_type: str | None = None  #: checked by the table, otherwise idle
    stations: str | None = None  #: likewise
    merge_domain_name: tuple[str, ...] | None = None  #: likewise


async def refresh(desk: Desk, call: Call, args: RefreshArgs) -> dict[str, Any]:
    kind = Kind(args.kind)
    if len(args.lines) > min(desk.limits.per_call[BUCKETS[kind]], desk.limits.urls_per_call):
        raise Refused(Fault.OVER_LIMIT)
    wishes = _wishes(desk, call, kind, args.lines, args.domain_name, args.within, force=args.force)
    backlog.check_refreshes(desk, call, len(args.lines))
    return await _submit(desk, call, kind, wishes)


async def refresh_routine(desk: Desk, call: Call, args: RoutineArgs) -> dict[str, Any]:
    """A refresh of what code at the edge keeps: no line may be long, and none is taken while prefetches queue up."""
    if any(len(line.encode()) > ITEM_LIMIT for line in args.lines):
        raise Refused(Fault.PATH_TOO_LONG)
    backlog.check_prefetches(desk, call, 1)
    return await refresh(desk, call, args)


async def prefetch(desk: Desk, call: Call, args: PrefetchArgs) -> dict[str, Any]:
    if len(args.lines) > desk.limits.urls_per_call:
        raise Refused(Fault.OVER_LIMIT)
    if len(args.lines) > desk.limits.per_call["preload"]:
        raise Refused(Fault.TOO_MANY_URLS)
    more = {"headers": args.headers, "area": args.area or "", "parents_only": args.parents_only}
    wishes = _wishes(desk, call, Kind.PRELOAD, args.lines, args.domain_name, args.within, **more)
    backlog.check_prefetches(desk, call, len(args.lines))
    return await _submit(desk, call, Kind.PRELOAD, wishes)


def check_prefetch(desk: Desk, call: Call, lines: Sequence[str], within: frozenset[str]) -> None:
    """What can be known of a prefetch before it is due.

    :raises Refused: a line is no URL of these domains
    """
    _wishes(desk, call, Kind.PRELOAD, lines, within=within)


async def refresh_by_tag(desk: Desk, call: Call, args: TagArgs) -> dict[str, Any]:
    if "*" in args.domain_name:
        raise Refused(Fault.DOMAIN_WILDCARD)
    # A tag may cover anything, so it would have to wait for every prefetch before it: a full queue takes no more.
    backlog.check_prefetches(desk, call, 1)
    return await refresh_tags(desk, call, [args.domain_name], args.tags, force=args.force)


async def refresh_tags(
    desk: Desk, call: Call, names: Sequence[str], tags: Sequence[str], *, force: bool
) -> dict[str, Any]:
    """The same tags on each of some domains."""
    if len(tags) > desk.limits.urls_per_call:
        raise Refused(Fault.OVER_LIMIT)
    if any(len(tag.encode()) > ITEM_LIMIT for tag in tags):
        raise Refused(Fault.PATH_TOO_LONG)
    if not all(tag and tag.isprintable() and " " not in tag for tag in tags):
        raise Refused(Fault.PATH_MALFORMED)
    domains = [_domain(desk, call, name) for name in names]
    backlog.check_refreshes(desk, call, len(tags) * len(domains))
    wishes = [Wish(call.account, domain.name, domain.group, Kind.TAG, tuple(tags), force) for domain in domains]
    return await _submit(desk, call, Kind.TAG, wishes)


async def one_by_one(desk: Desk, call: Call, kind: Kind, urls: Sequence[str]) -> list[Task]:
    """A task for each URL, all of them or none, without a gap between their ids. The URLs may be of any domains.

    :param kind: files to be refreshed, or prefetches
    """
    together = _wishes(desk, call, kind, urls, within=frozenset(map(target.domain, urls)))
    if kind.is_prefetch:
        backlog.check_prefetches(desk, call, len(urls))
    else:
        backlog.check_refreshes(desk, call, len(urls))
    headers = AS_BROWSERS if kind.is_prefetch else ()
    wishes = [replace(wish, paths=(path,), headers=headers) for wish in together for path in wish.paths]
    return await _append(desk, call, kind, wishes)


async def _submit(desk: Desk, call: Call, kind: Kind, wishes: Sequence[Wish]) -> dict[str, Any]:
    return {"task_ids": ",".join(str(task.id) for task in await _append(desk, call, kind, wishes))}


async def _append(desk: Desk, call: Call, kind: Kind, wishes: Sequence[Wish]) -> list[Task]:
    bucket = BUCKETS[kind]
    amount = sum(len(wish.paths) for wish in wishes)
    queue = call.account, kind.is_prefetch
    draws = _minute(desk, bucket, wishes)
    if (wait := desk.minutes.take(draws, call.monotonic)) > 0:
        raise Refused(Fault.MINUTE_SPENT, retry_after_seconds=wait)
    desk.entering[queue] += amount  # from here on others may be let in while this one waits
    try:
        return await desk.log.append(wishes, [spend(desk, call, bucket, amount)], now=call.now)
    except Overspent:
        desk.minutes.give_back(draws)
        raise Refused(Fault.QUOTA_SPENT) from None
    except Exception:
        desk.minutes.give_back(draws)
        raise
    finally:
        desk.entering[queue] -= amount
        if not desk.entering[queue]:
            del desk.entering[queue]


def _minute(desk: Desk, bucket: str, wishes: Collection[Wish]) -> list[Draw]:
    limit = desk.limits.per_minute.get(bucket)
    if limit is None:
        return []
    lines = Counter[str]()
    for wish in wishes:
        lines[wish.domain] += len(wish.paths)
    return [Draw((bucket, domain), count, limit / 60, limit) for domain, count in lines.items()]


def _wishes(
    desk: Desk,
    call: Call,
    kind: Kind,
    lines: Sequence[str],
    only: str | None = None,
    within: frozenset[str] | None = None,
    **more: Any,
) -> list[Wish]:
    """One wish per domain, in the order the domains first appear.

    :param only: the domain all lines are of; a line may leave it out and begin with the path
    :param within: the domains they may be of
    :param more: further fields of each wish
    """
    read = READERS[kind]
    by_domain: dict[str, list[str]] = {}
    if only is not None:
        lines = [only + line if line.startswith("/") else line for line in lines]
    try:
        common = target.common_domain(lines) if read is _file and lines else None
        if common is not None:
            by_domain[common] = list(lines)
        else:
            for line in lines:
                by_domain.setdefault(read(line), []).append(line)
    except target.WildcardDomain:
        raise Refused(Fault.DOMAIN_WILDCARD) from None
    except target.BadTarget:
        raise Refused(Fault.PATH_MALFORMED) from None
    if only is not None and by_domain.keys() != {only}:
        raise Refused(Fault.PATH_MALFORMED)
    if within is None and len(by_domain) > desk.limits.domains_per_call:
        raise Refused(Fault.OVER_LIMIT)
    domains = [_domain(desk, call, name) for name in by_domain]
    if within is not None and not by_domain.keys() <= within:
        raise Refused(Fault.PATH_MALFORMED)
    return [
        Wish(call.account, domain.name, domain.group, kind, tuple(by_domain[domain.name]), **more) for domain in domains
    ]


def _domain(desk: Desk, call: Call, name: str) -> Domain:
    """A domain of the caller's. Another account's is answered like one that is not there."""
    domain = desk.inventory.domain(name)
    if domain is None or domain.account != call.account:
        raise Refused(Fault.DOMAIN_UNKNOWN)
    if not domain.online:
        raise Refused(Fault.DOMAIN_OFFLINE)
    return domain


# -- what a line of each kind must look like; each gives the domain it is about ----
def _file(line: str) -> str:
    return target.domain(line)


def _directory(line: str) -> str:
    at = target.parse(line)
    if at.query is not None or not line.endswith("/"):
        raise target.BadTarget("a directory ends with /")
    return at.domain


def _object(line: str) -> str:
    at = target.parse(line)
    if line.endswith("/") or at.path == "/":
        raise target.BadTarget("a prefetch names one object, not a directory")
    return at.domain


def _regex(line: str) -> str:
    """``[http[s]://]host[:port]/pattern``; the pattern is checked the way it will be read."""
    if len(line.encode()) > target.PATH_LIMIT or not line.isprintable() or " " in line:
        raise target.BadTarget("too long, or holds a space or a control character")
    authority, slash, _ = _SCHEME.sub("", line).partition("/")
    at = target.parse(authority)
    if not slash or at.query is not None:  # a pattern of nothing would cover the whole domain
        raise target.BadTarget("no pattern")
    options = re2.Options()
    options.max_mem = PATTERN_MEMORY
    options.log_errors = False
    try:
        re2.compile(pattern(line), options)
    except re2.error:
        raise target.BadTarget("not a pattern of RE2") from None
    return at.domain


READERS: dict[Kind, Callable[[str], str]] = {
    Kind.FILE: _file,
    Kind.DIRECTORY: _directory,
    Kind.REGEX: _regex,
    Kind.IGNORE_PARAMS: _file,
    Kind.PRELOAD: _object,
}
