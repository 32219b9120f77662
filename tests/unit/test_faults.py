"""Every error a table declares can be provoked, and arrives as declared.

``WAYS`` names one way for each row of each table; a row without a way, or a way without a row, fails here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from freshline.access.limits import Limits
from freshline.domain.errors import Fault
from freshline.spec import model
from freshline.spec.model import Operation
from freshline.wire import signature, times
from freshline.wire.request import Request
from tests.service import NOON, UNTHROTTLED, Answer, Service

Way = Callable[[], Awaitable[Answer]]

SPEC = model.load()
OPERATIONS = {op.action: op for op in SPEC}
NAMED = {  # the least that each operation takes
    "RefreshObjectCaches": {"ObjectPath": "http://img.test/a"},
    "PushObjectCache": {"ObjectPath": "http://img.test/a"},
    "RefreshObjectCacheByCacheTag": {"DomainName": "img.test", "CacheTag": "red"},
    "DescribeRefreshTasks": {},
    "DescribeRefreshTaskById": {"TaskId": "1"},
    "DescribePreloadDetailById": {"TaskId": "1"},
    "DescribeRefreshQuota": {},
    "DescribeCdnUserQuota": {},
}
HOUR_AGO, NOW = times.write(int(NOON) - 3600), times.write(int(NOON))
SPAN = {"StartTime": HOUR_AGO, "EndTime": NOW}


def way(action: str, limits: Limits = UNTHROTTLED, times_: int = 1, **params: str) -> Way:
    """The last of several equal calls."""

    async def answer() -> Answer:
        service = Service(limits)
        for _ in range(times_):
            last = await service.call(action, **{**NAMED[action], **params})
        return last

    return answer


def lines(count: int, end: str = "") -> str:
    return "\n".join(f"http://img.test/{n}{end}" for n in range(count))


async def expired_prefetch() -> Answer:
    service = Service()
    id_ = await service.push("http://img.test/a")
    service.clock.seconds += 3 * 86_400 + 1
    return await service.call("DescribePreloadDetailById", TaskId=str(id_))


async def tag_on_a_full_prefetch_queue() -> Answer:
    service = Service(replace(UNTHROTTLED, preload_queue=1))
    await service.push("http://far.test/a")
    return await service.call("RefreshObjectCacheByCacheTag", DomainName="img.test", CacheTag="red")


def submits(action: str, path: str = "ObjectPath", bucket: str = "url") -> dict[tuple[str, Fault], Way]:
    """Ways that all writing operations share."""
    tight_minute = replace(UNTHROTTLED, per_minute={bucket: 0.5})
    bad = {"RefreshObjectCacheByCacheTag": {"CacheTag": "a b"}}.get(action, {"ObjectPath": "http://img.test/\x00"})
    wild = {"RefreshObjectCacheByCacheTag": {"DomainName": "*.img.test"}}.get(action, {"ObjectPath": "*.img.test/a"})
    many = {"CacheTag": ",".join(f"t{n}" for n in range(1001))} if path == "CacheTag" else {path: lines(1001)}
    return {
        (action, Fault.OVER_LIMIT): way(action, **many),
        (action, Fault.PATH_MALFORMED): way(action, **bad),
        (action, Fault.DOMAIN_WILDCARD): way(action, **wild),
        (action, Fault.QUOTA_SPENT): way(action, replace(UNTHROTTLED, daily={**Limits().daily, bucket: 2}), 3),
        (action, Fault.MINUTE_SPENT): way(action, tight_minute),
    }


def queries(action: str) -> dict[tuple[str, Fault], Way]:
    """Ways that DescribeRefreshTasks and DescribeRefreshTaskById share."""
    return {
        (action, Fault.PATH_MALFORMED): way(action, ObjectPath="http://"),
        (action, Fault.TIMES_UNPAIRED): way(action, StartTime=HOUR_AGO),
        (action, Fault.TYPE_NEEDED): way(action, DomainName="img.test"),
        (action, Fault.START_MALFORMED): way(action, StartTime="yesterday", EndTime=NOW),
        (action, Fault.END_MALFORMED): way(action, StartTime=HOUR_AGO, EndTime="now"),
        (action, Fault.END_BEFORE_START): way(action, StartTime=NOW, EndTime=HOUR_AGO),
        (action, Fault.START_UNREAL): way(action, StartTime="2026-11-31T00:00:00Z", EndTime=NOW),
        (action, Fault.END_UNREAL): way(action, StartTime=HOUR_AGO, EndTime="2026-11-31T00:00:00Z"),
        (action, Fault.TYPE_WRONG): way(action, ObjectType="folder"),
        (action, Fault.STATUS_WRONG): way(action, ObjectType="file", Status="Pending"),
        (action, Fault.TOO_MANY_DOMAINS): way(
            action, ObjectType="file", DomainName=",".join(f"d{n}.test" for n in range(501))
        ),
        (action, Fault.TOO_LONG_AGO): way(action, StartTime="2026-11-01T00:00:00Z", EndTime=NOW),
    }


WAYS: dict[tuple[str, Fault], Way] = {
    **submits("RefreshObjectCaches"),
    **submits("PushObjectCache", bucket="preload"),
    **submits("RefreshObjectCacheByCacheTag", "CacheTag", bucket="dir"),
    **queries("DescribeRefreshTasks"),
    **queries("DescribeRefreshTaskById"),
    ("RefreshObjectCaches", Fault.TYPE_WRONG): way("RefreshObjectCaches", ObjectType="Folder"),
    ("RefreshObjectCaches", Fault.REFRESH_QUEUE_FULL): way(
        "RefreshObjectCaches", replace(UNTHROTTLED, refresh_queue=1), 2
    ),
    ("PushObjectCache", Fault.PRELOAD_QUEUE_FULL): way("PushObjectCache", replace(UNTHROTTLED, preload_queue=1), 2),
    ("PushObjectCache", Fault.TOO_MANY_URLS): way("PushObjectCache", ObjectPath=lines(101)),
    ("PushObjectCache", Fault.HEADERS_WRONG): way("PushObjectCache", WithHeader="{"),
    ("RefreshObjectCacheByCacheTag", Fault.TYPE_WRONG): way("RefreshObjectCacheByCacheTag", ObjectType="File"),
    ("RefreshObjectCacheByCacheTag", Fault.STATIONS_WRONG): way("RefreshObjectCacheByCacheTag", Stations="north"),
    ("RefreshObjectCacheByCacheTag", Fault.PATH_TOO_LONG): way("RefreshObjectCacheByCacheTag", CacheTag="x" * 1001),
    ("RefreshObjectCacheByCacheTag", Fault.PARAMETERS_GARBLED): way(
        "RefreshObjectCacheByCacheTag", CacheTag="x" * 16385
    ),
    ("RefreshObjectCacheByCacheTag", Fault.REFRESH_QUEUE_FULL): way(
        "RefreshObjectCacheByCacheTag", replace(UNTHROTTLED, refresh_queue=1), 2
    ),
    ("RefreshObjectCacheByCacheTag", Fault.PRELOAD_QUEUE_FULL): tag_on_a_full_prefetch_queue,
    ("DescribeRefreshTasks", Fault.TASK_ID_MALFORMED): way("DescribeRefreshTasks", TaskId="1.0"),
    ("DescribeRefreshTaskById", Fault.TASK_ID_MALFORMED): way("DescribeRefreshTaskById", TaskId="1.0"),
    ("DescribeRefreshTaskById", Fault.TASK_ID_COUNT): way("DescribeRefreshTaskById", TaskId=",".join("12345678901")),
    ("DescribeRefreshTaskById", Fault.PARAMETERS_GARBLED): way(
        "DescribeRefreshTaskById", ObjectType="file", DomainName="no domain"
    ),
    ("DescribePreloadDetailById", Fault.TASK_ID_MALFORMED): way("DescribePreloadDetailById", TaskId="1,2"),
    ("DescribePreloadDetailById", Fault.TOO_MANY_DOMAINS): way("DescribePreloadDetailById", DomainName="a.test," * 500),
    ("DescribePreloadDetailById", Fault.PARAMETERS_GARBLED): way("DescribePreloadDetailById", DomainName="no domain"),
    ("DescribePreloadDetailById", Fault.TOO_LONG_AGO): expired_prefetch,
    **{
        (op.action, Fault.RATE): way(op.action, Limits(rates={op.action: 1}), 2)
        for op in SPEC
        if Fault.RATE in op.own_faults
    },
}


def test_a_way_for_every_row() -> None:
    """No row is there for show."""
    assert WAYS.keys() == {(op.action, fault) for op in SPEC for fault in op.own_faults}


@pytest.mark.parametrize(("action", "fault"), sorted(WAYS))
async def test_fault(action: str, fault: Fault) -> None:
    """Status, code and message are the table's."""
    answer = await WAYS[action, fault]()

    assert answer.error == OPERATIONS[action].faults[fault]


WRONG = {  # what a parameter of each type may never be
    "flag": ["1", "yes", "True "],
    "number": ["0", "-1", "1.0", " 5", "1_0", "٣", "1e2", "9" * 30, "x"],
    "choice": ["nothing-of-the-kind", "file\x00"],
    "ids": ["x", "1.0", " 5", "1_0", "٣", "-1", "0", "007", "1,", ",", "1,x", "9" * 19],
    "time": ["now", "2026-11-21", "2026-11-21T12:00:00+08:00", "１"],
    "domain": ["no domain", "a/b", "http://a", "-", "x" * 254],
    "domains": ["no domain", "a,,b", "a/b"],
    "headers": [
        "{",
        "[]",
        '"x"',
        '{"a b": "x"}',
        '{"A": "x\\ny"}',
        '{"Host": "x"}',
        '{"A": 1}',
        '{"Range": "x"}',
        "[" * 9999,
    ],
    "tags": ["a b", "a\x00", "\x7f"],
    "text": ["a\x00b", "a\nb", "\x1b"],
    "lines": [],  # see test_submit
}
CASES = [
    (op.action, name, value)
    for op in SPEC
    for name, param in op.params.items()
    for value in [*WRONG[param.type], "\udcff"]
]


@pytest.mark.parametrize(("action", "name", "value"), CASES)
async def test_wrong_parameter(action: str, name: str, value: str) -> None:
    """A value that is not of its parameter's type is refused by the table's code, and never guessed at."""
    service = Service()
    params = {**NAMED[action], name: value}
    if value == "\udcff":  # a byte that is not UTF-8
        signed = service.signed_v1(Action=action, Format="JSON", **{**params, name: "BYTE"})
        answer = await resigned(service, signed.target.replace(f"{name}=BYTE", f"{name}=%FF"))
    else:
        answer = await service.call(action, **params)
    operation = OPERATIONS[action]

    assert answer.error in [filled(operation, fault, name) for fault in operation.params[name].faults()]
    assert service.log.head == 0


async def resigned(service: Service, target: str) -> Answer:
    query = target.partition("?")[2].encode()
    right = signature._hmac_v1("testsecret", signature.string_to_sign_v1(Request("GET", query)))
    pairs = b"&".join(pair for pair in query.split(b"&") if not pair.startswith(b"Signature="))
    return await service.raw("GET", b"/?" + pairs + b"&Signature=" + right.replace(b"+", b"%2B"))


def filled(operation: Operation, fault: Fault, name: str) -> tuple[int, str, str]:
    row = operation.faults[fault]
    return row.status, row.code.format(param=name), row.message.format(param=name)


@pytest.mark.parametrize(
    ("action", "name"), [(op.action, name) for op in SPEC for name, param in op.params.items() if param.required]
)
@pytest.mark.parametrize("value", [None, ""])
async def test_missing_parameter(action: str, name: str, value: str | None) -> None:
    """What must be there and is not is asked for by name; empty is not there."""
    params = {key: text for key, text in NAMED[action].items() if key != name}
    answer = await Service().call(action, **params, **({} if value is None else {name: value}))

    assert answer.error == (400, f"Missing{name}", f"{name} is mandatory for this action.")


@pytest.mark.parametrize("action", sorted(OPERATIONS))
async def test_repeated_parameter(action: str) -> None:
    """A parameter that comes twice is refused: which one is meant nobody can say."""
    service = Service()
    signed = service.signed_v1(Action=action, Format="JSON", **NAMED[action])
    answer = await resigned(service, signed.target + "&X=1&X=2")
    row = OPERATIONS[action].faults[Fault.PARAMETERS_GARBLED]

    assert answer.error == (400, row.code, row.message.format(param="X"))
