"""A way to provoke each error that a table declares, made from the tables: by handler and by the handler's own words.

Nothing here names an operation or a product. A new row, or a new product, is covered the day its table is written, or
fails for want of a way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

from freshline.access.limits import DAILY, PER_MINUTE, Limits
from freshline.domain.errors import Fault
from freshline.operations.registry import HANDLERS
from freshline.schedule.base import State
from freshline.spec import model
from freshline.spec.model import Operation, Param
from freshline.wire import signature, times
from freshline.wire.request import Request
from tests.service import JOB, NOON, PLAN, STOPPED, UNTHROTTLED, Answer, Service

Way = Callable[[Operation, str], Awaitable[Answer]]  #: an operation, and the format to answer in

SPEC = model.load()
#: Those that answer to an account's own key. Roles are for its users: see tests/unit/test_roles.py.
OPERATIONS = {f"{op.product.version}.{op.action}": op for op in SPEC if op.product.service != "sts"}

HOUR_AGO, NOW = times.write(int(NOON) - 3600), times.write(int(NOON))
GENEROUS = replace(UNTHROTTLED, daily=dict.fromkeys(DAILY, 1_000_000), per_minute={})

LEAST = {  # by the handler's word: a value that will do
    "lines": "http://img.test/a",
    "domain_name": "img.test",
    "tags": "red",
    "ids": "1",
    "name": "img.test",
    "names": "img.test",
    "site_id": "123",  # e.com
    "content": '{"Files":["http://e.com/a"]}',
    "id": "job-1",
    "title": "nightly",
    "slots": '[{"Interval":60,"SliceLen":10}]',
    "media_ids": "film",
    "job": "nothing",
    "sources": '[{"content":"192.0.2.1","type":"ipaddr","priority":"20","port":80,"weight":"15"}]',
}
PLANS = {"start_plan": STOPPED.id, "stop_plan": PLAN.id, "change_plan": PLAN.id, "remove_plan": PLAN.id}
NEW = "new.test"  # a domain that nobody has


def least(op: Operation) -> dict[str, str]:
    """The least that an operation takes."""
    out = {
        name: enough(param) for name, param in op.params.items() if param.required or param.to in ("content", "lines")
    }
    if op.handler == "create_job":
        return out | spelled(op, {"lines": "http://e.com/a"})
    if op.handler in PLANS:
        out |= spelled(op, {"id": PLANS[op.handler]})
    elif has(op, "id"):
        out |= spelled(op, {"id": JOB.id})
    return out | spelled(op, {"name": NEW}) if op.handler == "add_domain" else out


def enough(param: Param) -> str:
    if param.type == "strings":
        return '["http://e.com/a"]'
    return next(iter(param.values)) if param.type == "choice" else LEAST[param.to]


def spelled(op: Operation, words: dict[str, str]) -> dict[str, str]:
    """Parameters by the handler's words, in the operation's own. Lines go where and as it takes them."""
    names = {param.to: name for name, param in op.params.items()}
    if "lines" in words and "lines" in names and op.params[names["lines"]].type == "strings":
        words = words | {"lines": json.dumps(words["lines"].splitlines())}
    if "lines" in words and "content" in names:
        files = words["lines"].replace("img.test", "e.com").splitlines()
        words = {**words, "content": json.dumps({"Files": files})}
        del words["lines"]
    return {names[word]: value for word, value in words.items()}


def has(op: Operation, word: str) -> bool:
    return any(param.to == word or (word, param.to) == ("lines", "content") for param in op.params.values())


def declared(op: Operation) -> set[Fault]:
    """Every row an operation can answer with, but for those that the gateway's tests provoke."""
    of_params = {fault for param in op.params.values() for fault in param.faults()}
    plain = {Fault.PARAMETER_MISSING, Fault.PARAMETER_WRONG}
    shared = {Fault.RATE, Fault.ACCOUNT_SUSPENDED, Fault.SERVICE_CLOSED, Fault.PARAMETERS_GARBLED}
    return (op.own_faults | HANDLERS[op.handler].raises | of_params | shared) - plain


# -- the last of several equal calls ----------------------------------------------
def way(limits: Limits = UNTHROTTLED, times_: int = 1, **words: str) -> Way:
    async def answer(op: Operation, format_: str) -> Answer:
        service = Service(limits)
        params = {**least(op), **spelled(op, words), "Format": format_}
        for _ in range(times_):
            last = await service.ask(op, **params)
        return last

    return answer


def either(**ways: Way) -> Way:
    """By the first of these words that the operation has."""

    async def answer(op: Operation, format_: str) -> Answer:
        word = next(word for word in ways if has(op, word))
        return await ways[word](op, format_)

    return answer


def lines(count: int, end: str = "") -> str:
    return "\n".join(f"http://img.test/{n}{end}" for n in range(count))


async def suspended(op: Operation, format_: str) -> Answer:
    service = Service()
    service.books.accounts["1"] = replace(service.books.accounts["1"], enabled=False)
    return await service.ask(op, **least(op), Format=format_)


async def closed(op: Operation, format_: str) -> Answer:
    service = Service()
    account = replace(service.books.accounts["1"], closed=frozenset({op.product.service}))
    service.books.accounts["1"] = account
    return await service.ask(op, **least(op), Format=format_)


async def too_often(op: Operation, format_: str) -> Answer:
    return await way(Limits(rates={op.action: 1}), 2)(op, format_)


async def repeated(op: Operation, format_: str) -> Answer:
    service = Service()
    return await resigned(service, op, least(op) | {"Format": format_}, lambda target: target + "&X=1&X=2")


async def no_text(op: Operation, format_: str) -> Answer:
    (name,) = spelled(op, {"lines": ""})
    params = least(op) | {"Format": format_, name: "BYTE"}
    return await resigned(Service(), op, params, lambda target: target.replace(f"{name}=BYTE", f"{name}=%FF"))


async def unreadable(op: Operation, format_: str) -> Answer:
    (name,) = (name for name, param in op.params.items() if param.wrong is Fault.CONTENT_WRONG)
    return await Service().ask(op, **least(op) | {name: "{", "Format": format_})


async def behind_prefetches(op: Operation, format_: str) -> Answer:
    service = Service(replace(UNTHROTTLED, preload_queue=1))
    await service.push("http://far.test/a")
    return await service.ask(op, **least(op), Format=format_)


async def expired(op: Operation, format_: str) -> Answer:
    service = Service()
    id_ = await service.push("http://img.test/a")
    service.clock.seconds += 3 * 86_400 + 1
    return await service.ask(op, **spelled(op, {"ids": str(id_)}), Format=format_)


async def finished(op: Operation, format_: str) -> Answer:
    service = Service()
    for plan in (PLAN, STOPPED):
        service.schedule.change_plan(replace(plan, status=State.FINISHED))
    return await service.ask(op, **least(op), Format=format_)


async def taken(op: Operation, format_: str) -> Answer:
    service = Service()
    service.books.add_domain(NEW, "2", "main")
    return await service.ask(op, **least(op), Format=format_)


def of_domain(name: str) -> Way:
    return either(
        name=way(name=name),
        names=way(names=name),
        tags=way(domain_name=name),
        domain_name=way(domain_name=name, lines="/a"),
        lines=way(lines=f"http://{name}/a"),
    )


MANY_DOMAINS = ",".join(f"d{n}.test" for n in range(501))
SPAN = {"start": HOUR_AGO, "end": NOW}
WAYS: dict[Fault, Way] = {
    Fault.RATE: too_often,
    Fault.ACCOUNT_SUSPENDED: suspended,
    Fault.SERVICE_CLOSED: closed,
    Fault.PARAMETERS_GARBLED: repeated,
    # writing
    Fault.OVER_LIMIT: either(tags=way(tags=",".join(f"t{n}" for n in range(1001))), lines=way(lines=lines(10_001))),
    Fault.TOO_MANY_URLS: way(lines=lines(101)),
    Fault.LINES_GARBLED: no_text,
    Fault.PATH_MALFORMED: either(
        tags=way(tags="a b"), lines=way(lines="http://img.test/\x00"), path=way(path="http://")
    ),
    Fault.PATH_TOO_LONG: either(
        content=way(type="cachetag", content=json.dumps({"CacheTags": ["x" * 1001]})),
        tags=way(tags="x" * 1001),
        lines=way(lines="http://img.test/" + "x" * 990),
    ),
    Fault.DOMAIN_WILDCARD: of_domain("*.img.test"),
    Fault.DOMAIN_UNKNOWN: of_domain("foreign.test"),
    Fault.DOMAIN_OFFLINE: of_domain("off.test"),
    Fault.TYPE_WRONG: either(
        kind=way(kind="nothing"), object_type=way(object_type="nothing"), type=way(type="nothing")
    ),
    Fault.STATIONS_WRONG: way(stations="north"),
    Fault.HEADERS_WRONG: way(headers="{"),
    Fault.QUOTA_SPENT: way(replace(UNTHROTTLED, daily=dict.fromkeys(DAILY, 2)), 3),
    Fault.MINUTE_SPENT: way(replace(UNTHROTTLED, per_minute=dict.fromkeys(PER_MINUTE, 0.5))),
    Fault.REFRESH_QUEUE_FULL: way(replace(UNTHROTTLED, refresh_queue=1), 2),
    Fault.PRELOAD_QUEUE_FULL: behind_prefetches,
    # asking
    Fault.TASK_ID_MALFORMED: way(ids="1.0"),
    Fault.TASK_ID_COUNT: way(ids=",".join("12345678901")),
    Fault.TIMES_UNPAIRED: way(start=HOUR_AGO),
    Fault.START_MALFORMED: way(start="yesterday", end=NOW),
    Fault.END_MALFORMED: way(start=HOUR_AGO, end="now"),
    Fault.END_BEFORE_START: way(start=NOW, end=HOUR_AGO),
    Fault.START_UNREAL: way(start="2026-11-31T00:00:00Z", end=NOW),
    Fault.END_UNREAL: way(start=HOUR_AGO, end="2026-11-31T00:00:00Z"),
    Fault.TOO_LONG_AGO: either(start=way(start="2026-11-01T00:00:00Z", end=NOW), ids=expired),
    Fault.TYPE_NEEDED: way(domains="img.test"),
    Fault.STATUS_WRONG: way(status="Pending"),
    Fault.TOO_MANY_DOMAINS: way(domains=MANY_DOMAINS),
    # domains
    Fault.PAGE_NUMBER_WRONG: way(page_number="0"),
    Fault.PAGE_SIZE_WRONG: way(page_size="501"),
    Fault.DOMAIN_NAME_WRONG: either(name=way(name="\x00"), names=way(names="no domain")),
    Fault.DOMAIN_STATUS_WRONG: way(status="asleep"),
    Fault.DOMAIN_TYPE_WRONG: way(type="carrier-pigeon"),
    Fault.SEARCH_WRONG: way(search="by_smell"),
    Fault.CHANGED_SINCE_WRONG: way(since="yesterday"),
    Fault.CHANGED_UNTIL_WRONG: way(until="now"),
    Fault.SOURCES_WRONG: way(sources="[]"),
    Fault.SCOPE_WRONG: way(scope="moon"),
    Fault.GROUP_UNKNOWN: way(group="nowhere"),
    Fault.DOMAIN_TAKEN: taken,
    Fault.DOMAIN_COUNT: way(replace(UNTHROTTLED, domains=2)),
    Fault.CHARGE_WRONG: way(charge="PayInKind"),
    # prefetches that begin later
    Fault.INSERT_WAY_WRONG: way(way="oss"),
    Fault.SLOT_WRONG: either(slots=way(slots="[]"), start=way(start="soon")),
    Fault.SCHEDULE_UNKNOWN: way(id="nothing"),
    Fault.SCHEDULE_STATE: finished,
    Fault.SCHEDULE_FULL: way(times_=101),
    # sites
    Fault.SITE_UNKNOWN: way(site_id="999"),
    Fault.CONTENT_WRONG: unreadable,
    Fault.CONTENT_MISSING: either(content=way(content='{"Hostnames":["e.com"]}'), lines=way(lines="")),
}


async def resigned(service: Service, op: Operation, params: dict[str, str], change: Callable[[str], str]) -> Answer:
    """A V1 call whose request line was changed before it was signed."""
    signed = service.signed_v1(max(op.methods), Version=op.product.version, Action=op.action, **params)
    query = change(signed.target).partition("?")[2].encode()
    right = signature._hmac_v1("testsecret", signature.string_to_sign_v1(Request(signed.method, query)))
    pairs = b"&".join(pair for pair in query.split(b"&") if not pair.startswith(b"Signature="))
    return await service.raw(signed.method, b"/?" + pairs + b"&Signature=" + right.replace(b"+", b"%2B"))
