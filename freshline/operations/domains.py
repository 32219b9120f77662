"""The caller's domains: asked for, added, changed, switched and removed.

A resource group is a group of edges. Origins, type and scope are kept and told again, no more: where a cache fetches
from is configured in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from freshline.domain.errors import Fault, Refused
from freshline.domain.source import Source
from freshline.inventory.base import Domain, Taken
from freshline.operations.desk import Call, Desk
from freshline.wire import times

DEFAULT_GROUP = "default"  #: of a new domain where there are several and the caller names none

OWNED = frozenset({Fault.DOMAIN_UNKNOWN})
CHANGES = OWNED | {Fault.GROUP_UNKNOWN}
ADDS = frozenset({Fault.DOMAIN_WILDCARD, Fault.DOMAIN_TAKEN, Fault.DOMAIN_COUNT, Fault.GROUP_UNKNOWN})

SEARCHES: dict[str, Callable[[str, str], bool]] = {
    "fuzzy_match": lambda name, part: part in name,
    "pre_match": str.startswith,
    "suf_match": str.endswith,
    "full_match": lambda name, part: name in part.split(","),
}


class DomainsArgs(msgspec.Struct, frozen=True):
    """``None``: not asked for."""

    page_number: int = 1
    page_size: int = 20
    name: str | None = None
    search: str = "fuzzy_match"
    status: str | None = None  #: ``""`` is one that no domain here is ever in
    type: str | None = None
    scope: str | None = None
    group: str | None = None
    source: str | None = None
    since: int | None = None
    until: int | None = None
    absent: str | bool | None = None  #: something that no domain here has: a tag, a plan
    by_age: bool = False  #: the order of the list, which is else by name
    order: str | None = None  #: checked by the table, otherwise idle
    shown: bool = False  #: these two are checked by the table, otherwise idle
    web_site_type: str = ""


class DomainArgs(msgspec.Struct, frozen=True):
    name: str


class ServiceArgs(msgspec.Struct, frozen=True):
    charge: str | None = None  #: checked by the table, otherwise idle


class AddArgs(msgspec.Struct, frozen=True):
    name: str
    sources: tuple[Source, ...] = ()
    type: str = "web"
    scope: str = "domestic"
    group: str | None = None
    check_url: str | None = None  #: these are checked by the table, otherwise idle
    top_level_domain: str | None = None
    scene: str | None = None
    function_type: str | None = None


class ChangeArgs(msgspec.Struct, frozen=True):
    name: str
    sources: tuple[Source, ...] | None = None
    group: str | None = None
    top_level_domain: str | None = None


class SwitchArgs(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    online: bool


def domains(desk: Desk, call: Call, args: DomainsArgs) -> dict[str, Any]:
    """One page of the caller's domains."""
    found = [domain for domain in desk.inventory.domains(call.account) if _asked_for(domain, args)]
    if args.by_age:
        found.sort(key=lambda domain: domain.created)
    first = (args.page_number - 1) * args.page_size
    return {
        "page_number": args.page_number,
        "page_size": args.page_size,
        "total": len(found),
        "domains": [_told(domain) for domain in found[first : first + args.page_size]],
    }


def domain(desk: Desk, call: Call, args: DomainArgs) -> dict[str, Any]:
    return _told(own(desk, call, args.name))


def account_service(desk: Desk, call: Call, args: ServiceArgs) -> dict[str, Any]:
    """That the account may call at all; what it would be charged is the vendor's business."""
    mine = desk.inventory.domains(call.account)
    opened = min((domain.created for domain in mine if domain.created), default=int(call.now))
    return {
        "instance": call.account,
        "charge": "PayByTraffic",
        "opened": times.write(opened),
        "nothing": "",
        "locks": (),
    }


def add_domain(desk: Desk, call: Call, args: AddArgs) -> dict[str, Any]:
    if "*" in args.name:
        raise Refused(Fault.DOMAIN_WILDCARD)
    group = _group(desk, args.group)
    if len(desk.inventory.domains(call.account)) >= desk.limits.domains:
        raise Refused(Fault.DOMAIN_COUNT)
    try:
        desk.inventory.add_domain(
            args.name, call.account, group, type_=args.type, scope=args.scope, sources=args.sources
        )
    except Taken:
        raise Refused(Fault.DOMAIN_TAKEN) from None
    return {}


def change_domain(desk: Desk, call: Call, args: ChangeArgs) -> dict[str, Any]:
    own(desk, call, args.name)
    group = None if args.group is None else _group(desk, args.group)
    desk.inventory.change_domain(args.name, group=group, sources=args.sources)
    return {}


def switch_domains(desk: Desk, call: Call, args: SwitchArgs) -> dict[str, Any]:
    """All or none: they are all looked up first."""
    for mine in [own(desk, call, name) for name in args.names]:
        desk.inventory.change_domain(mine.name, online=args.online)
    return {}


def remove_domain(desk: Desk, call: Call, args: DomainArgs) -> dict[str, Any]:
    """Its tasks stay, and can be asked for as long as any."""
    desk.inventory.remove_domain(own(desk, call, args.name).name)
    return {}


def own(desk: Desk, call: Call, name: str) -> Domain:
    """:raises Refused: it is not the caller's; another account's is answered like one that is not there"""
    found = desk.inventory.domain(name)
    if found is None or found.account != call.account:
        raise Refused(Fault.DOMAIN_UNKNOWN)
    return found


def _group(desk: Desk, wanted: str | None) -> str:
    """The group of edges that a domain shall be served by."""
    groups = {edge.group for edge in desk.inventory.edges()}
    if wanted is None:
        return groups.pop() if len(groups) == 1 else DEFAULT_GROUP
    if wanted not in groups:
        raise Refused(Fault.GROUP_UNKNOWN)
    return wanted


def _asked_for(domain: Domain, args: DomainsArgs) -> bool:
    return (
        not args.absent
        and (args.name is None or SEARCHES[args.search](domain.name, args.name.lower()))
        and (args.status is None or args.status == _status(domain))
        and (args.type is None or args.type == domain.type)
        and (args.scope is None or args.scope == domain.scope)
        and (args.group is None or args.group == domain.group)
        and (args.source is None or any(args.source == source.content for source in domain.sources))
        and (args.since is None or args.since <= domain.modified)
        and (args.until is None or domain.modified <= args.until)
    )


def _status(domain: Domain) -> str:
    return "online" if domain.online else "offline"


def _told(domain: Domain) -> dict[str, Any]:
    return {
        "id": domain.id,
        "name": domain.name,
        "status": _status(domain),
        "type": domain.type,
        "scope": domain.scope,
        "group": domain.group,
        "created": times.write(domain.created),
        "modified": times.write(domain.modified),
        "sources": _origins(domain.sources),
        # What caches do with TLS, names of ours for a domain and descriptions are not known here.
        "tls": "off",
        "sandbox": "normal",
        "access": "CNAME",
        "nothing": "",
    }


def _origins(sources: Sequence[Source]) -> list[dict[str, Any]]:
    return [
        {
            "type": source.type,
            "content": source.content,
            "port": source.port,
            "priority": source.priority,
            "weight": source.weight,
            "enabled": "online",
        }
        for source in sources
    ]
