"""Refresh and prefetch: a call is taken whole or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from freshline.access.limits import Limits
from freshline.domain.task import Kind
from tests.service import UNTHROTTLED, Answer, Service

HUGE = "x" * 1100


async def refresh(service: Service, path: str, **params: str) -> Answer:
    signed = service.signed_v1("POST", {"ObjectPath": path, **params}, Action="RefreshObjectCaches", Format="JSON")
    return await service.send(signed)


def spent(service: Service) -> dict[str, int]:
    return dict(service.log.used("1", service.app._limits.day(service.clock.now())))


async def test_one_task_per_domain() -> None:
    """Lines of one domain are one task, in the order domains first appear; what was written is kept as written."""
    service = Service()
    lines = ["http://img.test/a?x=1&y=%20", "example.com/b", "HTTPS://IMG.test/c", "//", "img.test/é"]
    refused = await refresh(service, "\n".join(lines))
    answer = await refresh(service, "\r\n".join([*lines[:3], "", lines[4], ""]))

    assert refused.error[1] == "InvalidObjectPath.Malformed"
    assert answer.json["RefreshTaskId"] == "1,4"
    first, second = service.log.read(0, 10)
    assert first.wish.paths == (lines[0], lines[2], lines[4])
    assert second.wish.paths == (lines[1],)
    assert (first.wish.domain, first.wish.group, first.wish.account) == ("img.test", "main", "1")
    assert spent(service) == {"url": 4}


@pytest.mark.parametrize(
    ("type_", "line", "kind", "bucket"),
    [
        ("File", "http://img.test/a", Kind.FILE, "url"),
        ("file", "img.test/", Kind.FILE, "url"),
        ("Directory", "http://img.test/a/", Kind.DIRECTORY, "dir"),
        ("Directory", "img.test/", Kind.DIRECTORY, "dir"),
        ("Regex", "http://img.test/a/.*\\.(jpg|png)", Kind.REGEX, "regex"),
        ("Regex", "img.test/[0-9]/[^/]*", Kind.REGEX, "regex"),
        ("IgnoreParams", "http://img.test/a?x=1", Kind.IGNORE_PARAMS, "ignore_params"),
        ("ExQuery", "http://img.test/a", Kind.IGNORE_PARAMS, "ignore_params"),
    ],
)
async def test_kinds(type_: str, line: str, kind: Kind, bucket: str) -> None:
    """Each ObjectType is its own kind of task and is paid from its own allowance."""
    service = Service()
    answer = await refresh(service, line, ObjectType=type_, Force="true")

    assert answer.json["RefreshTaskId"] == "1"
    task = service.log.task(1)
    assert task is not None and (task.wish.kind, task.wish.force) == (kind, True)
    assert spent(service) == {bucket: 1}


@pytest.mark.parametrize(
    ("type_", "path", "code"),
    [
        ("File", "http://img.test/a b", "InvalidObjectPath.Malformed"),
        ("File", "http://img.test/a\tb", "InvalidObjectPath.Malformed"),
        ("File", "http://img.test/a\x00", "InvalidObjectPath.Malformed"),
        ("File", "http://img.test/a\rGET / HTTP/1.1", "InvalidObjectPath.Malformed"),
        ("File", "http://img.test/a\x85b", "InvalidObjectPath.Malformed"),
        ("File", f"http://img.test/{HUGE}", "InvalidObjectPath.Malformed"),
        ("File", "ftp://img.test/a", "InvalidObjectPath.Malformed"),
        ("File", "http://user@img.test/a", "InvalidObjectPath.Malformed"),
        ("File", "http://img.test/a#b", "InvalidObjectPath.Malformed"),
        ("File", "/a", "InvalidObjectPath.Malformed"),
        ("File", '"><script>', "InvalidObjectPath.Malformed"),
        ("File", "http://*.img.test/a", "InvalidExtensiveDomain.ValueNotSupported"),
        ("File", "http://foreign.test/a", "InvalidDomain.NotFound"),
        ("File", "http://nowhere.test/a", "InvalidDomain.NotFound"),
        ("File", "http://off.test/a", "InvalidDomain.Offline"),
        ("File", "\n".join(f"d{n}.test/a" for n in range(11)), "SingleRequest.OverLimit"),
        ("File", "\n".join(["img.test/a"] * 1001), "SingleRequest.OverLimit"),
        ("File", "\n".join(["img.test/a"] * 100_000), "SingleRequest.OverLimit"),
        ("File", "\n\r\n\n", "MissingObjectPath"),
        ("Directory", "http://img.test/a", "InvalidObjectPath.Malformed"),
        ("Directory", "http://img.test", "InvalidObjectPath.Malformed"),
        ("Directory", "http://img.test/a/?x=/", "InvalidObjectPath.Malformed"),
        ("Directory", "\n".join(["img.test/"] * 101), "SingleRequest.OverLimit"),
        ("Regex", "http://img.test/(a", "InvalidObjectPath.Malformed"),
        ("Regex", "http://img.test/(?=a)", "InvalidObjectPath.Malformed"),
        ("Regex", "http://img.test/(x{1000}){1000}", "InvalidObjectPath.Malformed"),
        ("Regex", "http://img.test/\\pN{500}", "InvalidObjectPath.Malformed"),
        ("Regex", "http://img.test/.* ", "InvalidObjectPath.Malformed"),
        ("Regex", "http://img.test", "InvalidObjectPath.Malformed"),
        ("Regex", "img.test?x/.*", "InvalidObjectPath.Malformed"),
        ("Regex", f"img.test/{HUGE}", "InvalidObjectPath.Malformed"),
        ("Regex", "http://.*/a", "InvalidExtensiveDomain.ValueNotSupported"),
        ("Regex", "http://foreign.test/.*", "InvalidDomain.NotFound"),
        ("Regex", "img.test/a\nimg.test/b", "SingleRequest.OverLimit"),
    ],
)
async def test_bad_lines(type_: str, path: str, code: str) -> None:
    """One bad line, and nothing is stored and nothing spent."""
    service = Service()
    good = {"Directory": "img.test/ok/", "Regex": ""}.get(type_, "img.test/ok")
    answer = await refresh(service, path if not good or "\n" in path else f"{good}\n{path}", ObjectType=type_)

    assert answer.error[1] == code
    assert service.log.head == 0
    assert spent(service) == {}


@pytest.mark.parametrize("path", ["http://img.test/", "http://img.test", "img.test/a/", "img.test/a?x=/"])
async def test_a_prefetch_names_one_object(path: str) -> None:
    """A directory cannot be fetched."""
    answer = await Service().call("PushObjectCache", ObjectPath=path)

    assert answer.error[1] == "InvalidObjectPath.Malformed"


async def test_prefetch() -> None:
    """Headers come along; where none are given it is gzip, as the contract says."""
    service = Service()
    header = '{"Accept-Encoding": ["br", "gzip"], "X-A": "é"}'
    await service.push("http://img.test/a", Area="domestic", L2Preload="False", QueryHashkey="true", WithHeader=header)
    await service.push("http://img.test/a")

    first, second = service.log.read(0, 10)
    assert first.wish.headers == (("Accept-Encoding", "br"), ("Accept-Encoding", "gzip"), ("X-A", "é"))
    assert second.wish.headers == (("Accept-Encoding", "gzip"),)
    assert spent(service) == {"preload": 2}


async def test_tags() -> None:
    """Each tag is a row; a tag is paid for like a directory."""
    service = Service()
    answer = await service.call(
        "RefreshObjectCacheByCacheTag", DomainName="IMG.test", CacheTag="red, blue,", Force="true"
    )

    assert answer.json["RefreshTaskId"] == "1"
    task = service.log.task(1)
    assert task is not None
    assert (task.wish.kind, task.wish.paths, task.wish.domain, task.wish.force) == (
        Kind.TAG,
        ("red", "blue"),
        "img.test",
        True,
    )
    assert spent(service) == {"dir": 2}


@pytest.mark.parametrize("name", ["foreign.test", "nowhere.test"])
async def test_tags_of_a_foreign_domain(name: str) -> None:
    """Another's domain is as good as none."""
    answer = await Service().call("RefreshObjectCacheByCacheTag", DomainName=name, CacheTag="red")

    assert answer.error[:2] == (404, "InvalidDomain.NotFound")


async def test_two_calls_never_spend_the_same_unit() -> None:
    """Fifty calls at once for ten units: ten are taken, and what is left is nothing."""
    service = Service(replace(UNTHROTTLED, daily={**Limits().daily, "url": 10}))
    answers = await asyncio.gather(*(refresh(service, "img.test/a") for _ in range(50)))

    assert sorted(answer.status for answer in answers) == [200] * 10 + [400] * 40
    assert service.log.head == 10
    assert (await service.call("DescribeRefreshQuota")).json["UrlRemain"] == "0"


async def test_over_quota_as_a_whole() -> None:
    """A call that would pass the limit takes nothing of what is left."""
    service = Service(replace(UNTHROTTLED, daily={**Limits().daily, "url": 3}))
    too_much = await refresh(service, "\n".join(["img.test/a"] * 4))
    enough = await refresh(service, "\n".join(["img.test/a"] * 3))

    assert (too_much.status, enough.status) == (400, 200)


async def test_the_quota_day() -> None:
    """Allowances are whole again at midnight in UTC+8, or wherever the operator's day begins."""
    service = Service(replace(UNTHROTTLED, daily={**Limits().daily, "url": 1}))
    service.clock.seconds = 1_795_276_799  # 15:59:59Z
    first, second = await refresh(service, "img.test/a"), await refresh(service, "img.test/a")
    service.clock.seconds += 1
    third = await refresh(service, "img.test/a")

    assert [answer.status for answer in (first, second, third)] == [200, 400, 200]


async def test_by_the_minute_and_domain() -> None:
    """One domain's minute is not another's; what the quota refuses costs no minute."""
    limits = replace(UNTHROTTLED, per_minute={"url": 2}, daily={**Limits().daily, "url": 4})
    service = Service(limits)
    answers = [await refresh(service, path) for path in ("img.test/a\nimg.test/b", "img.test/c", "e.com/a\ne.com/b")]
    service.clock.seconds += 60
    over = await refresh(service, "img.test/c")
    service.log._used.clear()
    again = await refresh(service, "img.test/c\nimg.test/d")

    assert [answer.status for answer in answers] == [200, 400, 200]
    assert answers[1].error[1] == "QuotaPerMinuteExceeded.Refresh"
    assert over.error[1] == "QuotaExceeded.Refresh"
    assert again.status == 200


async def test_a_queue_drains() -> None:
    """A full queue takes more once the edges have caught up; the account's rows count, not its neighbours'."""
    service = Service(replace(UNTHROTTLED, refresh_queue=2))
    other = await service.call(
        "RefreshObjectCaches", "otherid", "othersecret", ObjectPath="foreign.test/a\nforeign.test/b"
    )
    first = await refresh(service, "img.test/a\nimg.test/b")
    full = await refresh(service, "img.test/c")
    await service.settle("a", "b", cursor=4)
    drained = await refresh(service, "img.test/c")

    assert [answer.status for answer in (other, first, full, drained)] == [200, 200, 400, 200]
    assert full.error[1] == "TooMany.Refresh"
