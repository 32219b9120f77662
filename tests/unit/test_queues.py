"""Queues, minutes and days hold exactly, however many calls come at once and over whichever product."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from freshline.access.limits import DAILY, Limits
from freshline.api.app import App
from freshline.domain.edge import Progress
from freshline.log.sqlite import SqliteLog
from freshline.spec import model
from tests.service import UNTHROTTLED, Answer, Service
from tests.ways import OPERATIONS

REFRESHES = ["2018-05-10.RefreshObjectCaches", "2014-11-11.RefreshObjectCaches", "2018-01-15.RefreshDcdnObjectCaches",
             "2017-11-15.RefreshScdnObjectCaches", "2017-03-21.RefreshVodObjectCaches"]  # fmt: skip
PREFETCHES = ["2018-05-10.PushObjectCache", "2014-11-11.PushObjectCache", "2018-01-15.PreloadDcdnObjectCaches",
              "2017-11-15.PreloadScdnObjectCaches", "2017-03-21.PreloadVodObjectCaches"]  # fmt: skip
ROOMY = dict.fromkeys(DAILY, 1_000_000)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """A log that makes its callers wait, as the real one does: others are let in meanwhile."""
    log = SqliteLog.open(tmp_path / "log.db")
    yield log
    await log.close()


def over(log: SqliteLog, limits: Limits) -> Service:
    service = Service()
    service.app = App(model.load(), log, service.books, service.clock, limits=limits)
    return service


async def at_once(service: Service, names: list[str], calls: int, lines: Callable[[int], str]) -> list[Answer]:
    """Many calls at the same time, over all products in turn."""
    return await asyncio.gather(
        *(service.ask(OPERATIONS[names[n % len(names)]], ObjectPath=lines(n)) for n in range(calls))
    )


def codes(answers: list[Answer]) -> set[str]:
    return {answer.error[1] for answer in answers if answer.status != 200}


@pytest.mark.parametrize(
    ("names", "limit", "code"),
    [(REFRESHES, "refresh_queue", "TooMany.Refresh"), (PREFETCHES, "preload_queue", "PreloadQueueFull")],
)
async def test_queue(log: SqliteLog, names: list[str], limit: str, code: str) -> None:
    """Thirty calls of three lines at once, and room for ten lines: three are taken, and then one line more."""
    service = over(log, replace(UNTHROTTLED, daily=ROOMY, **{limit: 10}))
    answers = await at_once(service, names, 30, lambda n: f"img.test/{n}/1\nimg.test/{n}/2\nfar.test/{n}/3")
    last = await service.ask(OPERATIONS[names[0]], ObjectPath="img.test/last")
    none = await service.ask(OPERATIONS[names[0]], ObjectPath="img.test/none")

    assert log.head == 10
    assert [answer.status for answer in answers].count(200) == 3 and codes(answers) == {code}
    assert (last.status, none.error[1]) == (200, code)

    for edge in ("a", "b", "c"):
        await log.settle(edge, Progress(cursor=4, begun=10))
    answers = await at_once(service, names, 8, lambda n: f"img.test/again/{n}")
    assert [answer.status for answer in answers].count(200) == 4


async def test_queues_are_apart(log: SqliteLog) -> None:
    """Refreshes fill no queue of prefetches, and one account fills none of another's."""
    service = over(log, replace(UNTHROTTLED, refresh_queue=1, preload_queue=1))

    await service.refresh("http://img.test/a")
    await service.push("http://img.test/a")
    other = await service.call("RefreshObjectCaches", "otherid", "othersecret", ObjectPath="foreign.test/a")
    assert other.status == 200


async def test_a_call_that_failed_leaves_the_queue(log: SqliteLog) -> None:
    """What the log refused is in no queue."""
    service = over(log, replace(UNTHROTTLED, refresh_queue=2, daily={**ROOMY, "dir": 0}))
    for _ in range(5):
        answer = await service.call("RefreshObjectCaches", ObjectPath="img.test/a/", ObjectType="Directory")
        assert answer.error[1] == "QuotaExceeded.Refresh"
    await service.refresh("http://img.test/a", "http://img.test/b")


@pytest.mark.parametrize(
    ("names", "bucket", "line", "type_"),
    [
        (REFRESHES, "url", "a", "File"),
        (REFRESHES, "dir", "a/", "Directory"),
        (PREFETCHES, "preload", "a", None),
    ],
)
async def test_minute(log: SqliteLog, names: list[str], bucket: str, line: str, type_: str | None) -> None:
    """A domain's minute holds exactly at once and over all products, fills up evenly, and says how long to wait."""
    service = over(log, replace(UNTHROTTLED, per_minute={bucket: 6}, daily=ROOMY))
    more = {} if type_ is None else {"ObjectType": type_}

    async def call(n: int, host: str = "img.test") -> Answer:
        return await service.ask(OPERATIONS[names[n % len(names)]], ObjectPath=f"{host}/{n}/{line}", **more)

    answers = await asyncio.gather(*(call(n) for n in range(20)))
    assert [answer.status for answer in answers].count(200) == 6
    assert codes(list(answers)) == {"QuotaPerMinuteExceeded.Refresh"}
    assert answers[-1].headers["x-acs-retry-after"] == "10000"
    assert (await call(0, "e.com")).status == 200

    service.clock.seconds += 9.5
    assert (await call(21)).status == 400
    service.clock.seconds += 1
    assert [(await call(n)).status for n in (22, 23)] == [200, 400]


async def test_day_over_all_products_and_a_restart(tmp_path: Path) -> None:
    """Units are spent once, over whichever product, and stay spent when the service is started again."""
    limits = replace(UNTHROTTLED, daily={**ROOMY, "url": 12})
    log = SqliteLog.open(tmp_path / "log.db")
    answers = await at_once(over(log, limits), REFRESHES, 40, lambda n: f"img.test/{n}")
    await log.close()
    log = SqliteLog.open(tmp_path / "log.db")
    service = over(log, limits)
    left = (await service.call("DescribeRefreshQuota")).json["UrlRemain"]
    more = await service.call("RefreshObjectCaches", ObjectPath="img.test/more")
    await log.close()

    assert [answer.status for answer in answers].count(200) == 12
    assert codes(answers) == {"QuotaExceeded.Refresh"}
    assert (left, more.error[1]) == ("0", "QuotaExceeded.Refresh")


async def test_rates_are_each_operation_s() -> None:
    """The same name in two versions is two operations; each account has its own count."""
    service = Service(Limits(rates={"DescribeRefreshQuota": 2}))
    new, old = OPERATIONS["2018-05-10.DescribeRefreshQuota"], OPERATIONS["2014-11-11.DescribeRefreshQuota"]
    first = [(await service.ask(new)).status for _ in range(3)]
    second = [(await service.ask(old)).status for _ in range(3)]
    other = await service.call("DescribeRefreshQuota", "otherid", "othersecret")

    assert (first, second) == ([200, 200, 400], [200, 200, 503])
    assert other.status == 200
