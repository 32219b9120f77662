"""Scheduled prefetches: slices when they are due, stopped when they are told, and going on after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freshline.access.limits import Limits
from freshline.api.app import App
from freshline.datafile import Lost
from freshline.operations.schedule import run_due
from freshline.schedule.memory import MemorySchedule
from freshline.schedule.sqlite import SqliteSchedule
from freshline.spec import model
from freshline.wire import times
from tests.service import NOON, UNTHROTTLED, Service
from tests.ways import OPERATIONS

URLS = [f"http://e.com/{n}" for n in range(5)]


class Scheduler:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def said(self, action: str, **params: str) -> Any:
        answer = await self.service.ask(OPERATIONS[f"2024-09-10.{action}"], **params)
        assert answer.status == 200, answer.content
        return answer.json

    async def trouble(self, action: str, **params: str) -> str:
        return str((await self.service.ask(OPERATIONS[f"2024-09-10.{action}"], **params)).error[1])

    async def job(self, *urls: str) -> str:
        made = await self.said("CreateScheduledPreloadJob", SiteId="123", Name="nightly", InsertWay="textBox",
                               UrlList="\n".join(urls))  # fmt: skip
        return str(made["Id"])

    async def plan(self, job: str, **slot: Any) -> str:
        slot = {"Interval": 60, "SliceLen": 2, **slot}
        made = await self.said("CreateScheduledPreloadExecutions", Id=job, Executions=json.dumps([slot]))
        assert made["FailedMessages"] == []
        return str(made["SuccessExecutions"][0]["Id"])

    async def after(self, seconds: float) -> list[str]:
        """What was submitted by then, since the beginning."""
        self.service.clock.seconds = NOON + seconds
        await run_due(self.service.app.desk)
        tasks = self.service.log.read(0, 1000)
        return [path for task in tasks for path in task.wish.paths]

    async def status(self, job: str) -> list[str]:
        return [it["Status"] for it in (await self.said("ListScheduledPreloadExecutions", Id=job))["Executions"]]


@pytest.fixture(params=["memory", "sqlite"])
def it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scheduler]:
    service = Service()
    on_disk = request.param == "sqlite"
    service.schedule = SqliteSchedule.open(tmp_path / "schedule.db") if on_disk else MemorySchedule()
    _serve(service)
    yield Scheduler(service)
    service.schedule.close()


async def test_slice_by_slice(it: Scheduler) -> None:
    """From its start, a plan takes the next URLs every interval until none is left."""
    job = await it.job(*URLS)
    await it.plan(job, StartTime=times.write(int(NOON) + 30), EndTime="2026-11-21T21:00:00+08:00")

    assert await it.after(29) == []
    assert await it.status(job) == ["waiting"]
    assert await it.after(30) == URLS[:2]
    assert await it.after(89) == URLS[:2]
    assert await it.status(job) == ["running"]
    assert await it.after(90) == URLS[:4]
    assert await it.after(150) == URLS
    assert await it.status(job) == ["finished"]
    assert await it.after(500) == URLS

    told = await it.said("GetScheduledPreloadJob", Id=job)
    assert (told["UrlCount"], told["UrlSubmitted"], told["TaskSubmitted"], told["Domains"]) == (5, 5, 3, "e.com")
    listed = await it.said("ListScheduledPreloadJobs", SiteId="123")
    assert (listed["TotalCount"], listed["Jobs"][0]["ExecutionCount"]) == ("1", 1)
    assert (await it.said("DescribePreloadTasks", SiteId="123"))["TotalCount"] == 5


async def test_stop_and_start(it: Scheduler) -> None:
    """A plan that was stopped takes nothing until it is started again, and goes on where it was."""
    job = await it.job(*URLS)
    plan = await it.plan(job)
    assert await it.after(0) == URLS[:2]

    stopped = await it.said("StopScheduledPreloadExecution", Id=plan)
    assert stopped["Status"] == "stopped"
    assert await it.after(600) == URLS[:2]
    assert await it.trouble("StopScheduledPreloadExecution", Id=plan) == "InvalidStatus.Execution"

    await it.said("StartScheduledPreloadExecution", Id=plan)
    assert await it.after(601) == URLS[:4]
    assert await it.trouble("StartScheduledPreloadExecution", Id=plan) == "InvalidStatus.Execution"
    assert await it.trouble("UpdateScheduledPreloadExecution", Id=plan, SliceLen="1") == "InvalidStatus.Execution"


async def test_change_reset_and_remove(it: Scheduler) -> None:
    """A plan changes before it runs; a job begins anew; what is removed does nothing more."""
    job = await it.job(*URLS)
    plan = await it.plan(job, StartTime=times.write(int(NOON) + 30))
    changed = await it.said("UpdateScheduledPreloadExecution", Id=plan, SliceLen="5", StartTime="2026-11-21T12:00:10+Z")
    assert (changed["SliceLen"], changed["StartTime"]) == (5, "2026-11-21T12:00:10Z")
    assert await it.after(10) == URLS

    await it.said("ResetScheduledPreloadJob", Id=job)
    again = await it.plan(job)
    assert await it.after(20) == URLS + URLS[:2]
    await it.said("DeleteScheduledPreloadExecution", Id=again)
    assert await it.after(200) == URLS + URLS[:2]

    await it.plan(job)
    await it.said("DeleteScheduledPreloadJob", Id=job)
    assert await it.after(400) == URLS + URLS[:2]
    assert await it.trouble("GetScheduledPreloadJob", Id=job) == "InvalidId.NotFound"


async def test_an_end(it: Scheduler) -> None:
    """Past its end a plan takes nothing, and its job keeps what is left."""
    job = await it.job(*URLS)
    await it.plan(job, EndTime=times.write(int(NOON) + 30))

    assert await it.after(0) == URLS[:2]
    assert await it.after(60) == URLS[:2]
    assert await it.status(job) == ["finished"]
    assert (await it.said("GetScheduledPreloadJob", Id=job))["UrlSubmitted"] == 2


async def test_what_was_missed(it: Scheduler) -> None:
    """A service that was away makes up for nothing: the interval spares the origin, then too."""
    job = await it.job(*URLS)
    await it.plan(job, SliceLen=1)

    assert await it.after(0) == URLS[:1]
    assert await it.after(610) == URLS[:2]
    assert await it.after(611) == URLS[:2]
    assert await it.after(660) == URLS[:3]


async def test_a_start_that_is_past(it: Scheduler) -> None:
    """It begins at once, and not with all that it would have done by now."""
    job = await it.job(*URLS)
    await it.plan(job, SliceLen=1, StartTime=times.write(int(NOON) - 3600))

    assert await it.after(0) == URLS[:1]
    assert await it.after(1) == URLS[:1]
    assert await it.after(60) == URLS[:2]


async def test_a_clock_that_ran_ahead(it: Scheduler) -> None:
    """Nothing is put off for longer than its interval, however far ahead the clock was when it was noted."""
    job = await it.job(*URLS)
    await it.plan(job, SliceLen=1)
    later = await it.plan(job, StartTime=times.write(int(NOON) + 3 * 86_400))

    assert await it.after(0) == URLS[:1]
    assert await it.after(86_400) == URLS[:2]
    assert await it.after(70) == URLS[:3]
    assert await it.after(71) == URLS[:3]
    assert await it.after(120) == URLS[:4]
    assert it.service.schedule.plan(later).status == "waiting"


async def test_changed_while_a_slice_is_written(it: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a caller says of a job or a plan in the middle of a slice is not undone by its end."""
    job, append = await it.job(*URLS), it.service.log.append
    plan = await it.plan(job)

    def meanwhile(action: str, **params: str) -> None:
        async def appended(*wishes: Any, **more: Any) -> Any:
            made = await append(*wishes, **more)
            await it.said(action, **params)
            return made

        monkeypatch.setattr(it.service.log, "append", appended)

    meanwhile("UpdateScheduledPreloadExecution", Id=plan, StartTime=times.write(int(NOON) + 600))
    assert await it.after(0) == URLS[:2]
    monkeypatch.undo()
    assert await it.after(599) == URLS[:2]
    assert await it.after(600) == URLS[:4]

    meanwhile("ResetScheduledPreloadJob", Id=job)
    assert await it.after(660) == URLS
    monkeypatch.undo()
    assert (await it.said("GetScheduledPreloadJob", Id=job))["UrlSubmitted"] == 0
    assert await it.after(720) == URLS + URLS[:2]


async def test_others_have_their_turn(it: Scheduler) -> None:
    """Between plans that are due, whether they submit anything or not."""
    job, seen = await it.job(*URLS), list[int]()
    for _ in range(4):
        await it.plan(job)

    async def turn() -> None:
        seen.append(len(it.service.log.read(0, 1000)))

    await run_due(it.service.app.desk, turn)
    assert seen == [1, 2, 3, 3]


async def test_a_schedule_that_takes_nothing(tmp_path: Path) -> None:
    """A slice that cannot be noted is not submitted again and again: nothing is, until it is noted."""
    it = Scheduler(Service())
    it.service.schedule = SqliteSchedule.open(tmp_path / "schedule.db")
    _serve(it.service)
    await it.plan(await it.job(*URLS))
    (tmp_path / "schedule.db").rename(tmp_path / "away.db")
    for second in range(3):
        with pytest.raises(Lost):
            await it.after(second)

    assert len(it.service.log.read(0, 1000)) == 1
    (tmp_path / "away.db").rename(tmp_path / "schedule.db")
    assert await it.after(60) == URLS[:4]
    it.service.schedule.close()


@pytest.mark.parametrize(
    ("limits", "status", "trouble"),
    [
        (replace(UNTHROTTLED, daily={**Limits().daily, "preload": 3}), "failed", "QuotaExcess"),
        (replace(UNTHROTTLED, preload_queue=3), "running", ""),
    ],
)
async def test_no_room(limits: Limits, status: str, trouble: str) -> None:
    """A spent allowance ends a plan and says why; a full queue only puts the slice off."""
    it = Scheduler(Service(limits))
    job = await it.job(*URLS)
    await it.plan(job)

    assert await it.after(0) == URLS[:2]
    assert await it.after(60) == URLS[:2]
    assert await it.status(job) == [status]
    assert (await it.said("GetScheduledPreloadJob", Id=job))["ErrorInfo"] == trouble
    if status == "running":
        await it.service.settle("a", "b", cursor=2)
        assert await it.after(120) == URLS[:4]


async def test_many_hosts(it: Scheduler) -> None:
    """A slice may name more hosts than a call of strangers' lines: they are all of one site."""
    hosts = [f"h{n}.e.com" for n in range(12)]
    for host in hosts:
        it.service.books.add_domain(host, "1", "main")
    job = await it.job(*(f"http://{host}/a" for host in hosts))
    await it.plan(job, SliceLen=12)

    assert await it.after(0) == [f"http://{host}/a" for host in hosts]
    assert await it.status(job) == ["finished"]


async def test_hosts_of_a_job(it: Scheduler) -> None:
    """Each is told once, however its URLs are written."""
    for host in ("a.e.com", "b.e.com"):
        it.service.books.add_domain(host, "1", "main")
    job = await it.job("e.com/a", "http://a.e.com:80/a/b", "HTTPS://B.e.com/a?x=/y", "http://e.com/b/c", "a.e.com/x/y")

    assert (await it.said("GetScheduledPreloadJob", Id=job))["Domains"] == "e.com,a.e.com,b.e.com"


async def test_a_slice_is_a_call(it: Scheduler) -> None:
    """No plan is made whose slices no call could have."""
    it.service.app = App(
        model.load(), it.service.log, it.service.books, it.service.clock,
        limits=replace(UNTHROTTLED, urls_per_call=3), schedule=it.service.schedule,
    )  # fmt: skip
    job = await it.job(*URLS)
    slots = [{"Interval": 60, "SliceLen": 3}, {"Interval": 60, "SliceLen": 4}]
    made = await it.said("CreateScheduledPreloadExecutions", Id=job, Executions=json.dumps(slots))

    assert made["FailedMessages"] == ["SliceLen is not between 1 and 3"]
    assert await it.after(0) == URLS[:3]


async def test_a_domain_that_is_gone(it: Scheduler) -> None:
    """What is no longer the caller's when its time comes is not fetched."""
    job = await it.job(*URLS)
    await it.plan(job)
    it.service.books.remove_domain("e.com")

    assert await it.after(0) == []
    assert it.service.schedule.plans(job)[0].status == "failed"


@pytest.mark.parametrize("now", [{"enabled": False}, {"suspended": frozenset({"esa"})}, {"closed": frozenset({"esa"})}])
async def test_an_account_that_may_not_call(it: Scheduler, now: dict[str, Any]) -> None:
    """Nor may it have planned: it is disabled, or the service was taken from it."""
    job = await it.job(*URLS)
    await it.plan(job)
    it.service.books.accounts["1"] = replace(it.service.books.accounts["1"], **now)

    assert await it.after(0) == []
    assert it.service.schedule.plans(job)[0].status == "failed"


async def test_bad_plans(it: Scheduler) -> None:
    """Of several plans the right ones are made, and each of the others is told with its reason."""
    job = await it.job(*URLS)
    slots = [
        {"Interval": 60, "SliceLen": 2},
        {"Interval": 0, "SliceLen": 2},
        {"Interval": 60, "SliceLen": 101},
        {"Interval": 60, "SliceLen": 2, "StartTime": "2026-11-22T00:00:00Z", "EndTime": "2026-11-21T00:00:00Z"},
    ]
    made = await it.said("CreateScheduledPreloadExecutions", Id=job, Executions=json.dumps(slots))

    assert (made["TotalCount"], made["SuccessCount"], len(made["FailedExecutions"])) == (4, 1, 3)
    assert len(made["FailedMessages"]) == 3
    assert await it.status(job) == ["waiting"]


async def test_another_account_s(it: Scheduler) -> None:
    """Jobs and plans of others are not there."""
    job = await it.job(*URLS)
    plan = await it.plan(job)
    it.service.books.keys["testid"] = replace(it.service.books.keys["testid"], account="2")

    for action in ("GetScheduledPreloadJob", "ResetScheduledPreloadJob", "DeleteScheduledPreloadJob",
                   "ListScheduledPreloadExecutions"):  # fmt: skip
        assert await it.trouble(action, Id=job) == "InvalidId.NotFound"
    for action in ("StopScheduledPreloadExecution", "DeleteScheduledPreloadExecution"):
        assert await it.trouble(action, Id=plan) == "InvalidId.NotFound"
    assert await it.trouble("ListScheduledPreloadJobs", SiteId="123") == "InvalidSiteId"


async def test_a_restart(tmp_path: Path) -> None:
    """What was planned is on the disk, and goes on where it was."""
    it = Scheduler(Service())
    it.service.schedule = SqliteSchedule.open(tmp_path / "schedule.db")
    _serve(it.service)
    job = await it.job(*URLS)
    await it.plan(job)
    assert await it.after(0) == URLS[:2]

    it.service.schedule.close()
    it.service.schedule = SqliteSchedule.open(tmp_path / "schedule.db")
    _serve(it.service)
    assert await it.after(60) == URLS[:4]
    assert await it.after(120) == URLS
    assert await it.status(job) == ["finished"]
    it.service.schedule.close()


def _serve(service: Service) -> None:
    service.app = App(
        model.load(), service.log, service.books, service.clock, limits=UNTHROTTLED, schedule=service.schedule
    )
