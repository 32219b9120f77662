"""Sites: a domain by its number, with the caller's domains below it.

A site's purges and prefetches are tasks like all others; only how they are asked for differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from freshline.domain.errors import Fault, Refused
from freshline.domain.task import Kind
from freshline.inventory.base import Domain
from freshline.operations import inspect, submit
from freshline.operations.desk import Call, Desk
from freshline.operations.inspect import TasksArgs
from freshline.operations.quota import QuotaArgs, quota
from freshline.operations.selection import FILTERS
from freshline.operations.submit import PrefetchArgs, RefreshArgs
from freshline.wire.content import CacheKey, Content

SITE = frozenset({Fault.SITE_UNKNOWN})
PURGES = submit.REFRESHES | SITE | {Fault.CONTENT_MISSING, Fault.PATH_TOO_LONG}
PRELOADS = submit.PREFETCHES | SITE | {Fault.CONTENT_MISSING}
LISTS = (FILTERS - {Fault.TYPE_NEEDED}) | SITE

#: What a type means here. A host is the directory at its root; the whole site is that of each of its hosts.
KINDS = {
    "file": Kind.FILE,
    "cachekey": Kind.FILE,
    "cachetag": Kind.TAG,
    "directory": Kind.DIRECTORY,
    "ignoreparams": Kind.IGNORE_PARAMS,
    "hostname": Kind.DIRECTORY,
    "purgeall": Kind.DIRECTORY,
}


class PurgeArgs(msgspec.Struct, frozen=True):
    site_id: int
    type: str
    content: Content = Content()
    force: bool = False
    edge_compute_purge: bool = False  #: what code at the edge keeps goes like all else


class PreloadArgs(PrefetchArgs, frozen=True):
    site_id: int | None = None


class SiteTasksArgs(TasksArgs, frozen=True):
    site_id: int | None = None


class SiteQuotaArgs(QuotaArgs, frozen=True):
    bucket: str
    site_id: int | None = None


async def purge(desk: Desk, call: Call, args: PurgeArgs) -> dict[str, Any]:
    hosts = hosts_of(desk, call, args.site_id)
    lines = _lines(args.type, args.content, hosts)
    if not lines:
        raise Refused(Fault.CONTENT_MISSING)
    if KINDS[args.type] is Kind.TAG:
        return await submit.refresh_tags(desk, call, hosts, lines, force=args.force)
    refresh = RefreshArgs(tuple(lines), KINDS[args.type].value, args.force, within=frozenset(hosts))
    return await submit.refresh(desk, call, refresh)


async def preload(desk: Desk, call: Call, args: PreloadArgs) -> dict[str, Any]:
    if not args.lines:
        raise Refused(Fault.CONTENT_MISSING)
    if args.site_id is not None:
        args = msgspec.structs.replace(args, within=frozenset(hosts_of(desk, call, args.site_id)))
    return await submit.prefetch(desk, call, args)


def site_tasks(desk: Desk, call: Call, args: SiteTasksArgs) -> dict[str, Any]:
    """Of one site, or of all the caller's domains."""
    if args.site_id is not None:
        args = msgspec.structs.replace(args, domains=tuple(hosts_of(desk, call, args.site_id)))
    return inspect.tasks(desk, call, args)


def site_quota(desk: Desk, call: Call, args: SiteQuotaArgs) -> dict[str, Any]:
    """One allowance. There is none by the month, which is written 0."""
    if args.site_id is not None:
        hosts_of(desk, call, args.site_id)
    all_ = quota(desk, call, args)
    whole, left = all_[f"{args.bucket}.quota"], all_[f"{args.bucket}.left"]
    return {"quota": whole, "used": whole - left, "none": 0}


def hosts_of(desk: Desk, call: Call, site: int) -> list[str]:
    """The site's own name, and the caller's names below it.

    :raises Refused: it is not the caller's
    """
    found = desk.inventory.domain_by_id(site)
    if found is None or found.account != call.account:
        raise Refused(Fault.SITE_UNKNOWN)
    return [found.name, *(domain.name for domain in desk.inventory.domains(call.account) if _below(domain, found))]


def _below(domain: Domain, site: Domain) -> bool:
    return domain.name.endswith("." + site.name)


def _lines(type_: str, content: Content, hosts: Sequence[str]) -> list[str]:
    match type_:
        case "file":
            return [each.url if isinstance(each, CacheKey) else each for each in content.files]
        case "cachekey":
            return [key.url for key in content.cache_keys]
        case "cachetag":
            return content.cache_tags
        case "directory":
            return content.directories
        case "ignoreparams":
            return content.ignore_params
        case "hostname":
            return [host + "/" for host in content.hostnames]
        case _:
            return [host + "/" for host in hosts]
