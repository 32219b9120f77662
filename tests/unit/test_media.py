"""Refresh and prefetch by media id: what becomes of a medium's play URLs, and what its job tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freshline.access.limits import Limits
from freshline.api.app import App
from freshline.domain.media import Media, Play
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason
from freshline.log.base import LogUnavailable
from freshline.media import base
from freshline.media.base import MediaJob, MediaJobs
from freshline.media.memory import MemoryMediaJobs
from freshline.media.sqlite import SqliteMediaJobs
from freshline.spec import model
from tests.service import NOON, UNTHROTTLED, Answer, Service
from tests.ways import OPERATIONS

AT = "http://img.test/film"
SLICES = [f"{AT}/{n}.ts" for n in range(20)]


class Caller:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def ask(self, action: str, **params: str) -> Answer:
        return await self.service.ask(OPERATIONS[f"2017-03-21.{action}"], **params)

    async def said(self, action: str, **params: str) -> Any:
        answer = await self.ask(action, **params)
        assert answer.status == 200, answer.content
        return answer.json

    async def submit(self, media: str = "film", type: str = "Refresh", **params: str) -> str:
        return str(
            (await self.said("RefreshMediaPlayUrls", MediaIds=media, TaskType=type, **params))["MediaRefreshJobId"]
        )

    async def jobs(self, job: str, **params: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = (await self.said("GetMediaRefreshJobs", MediaRefreshJobId=job, **params))[
            "MediaRefreshJobs"
        ]
        return found

    def urls(self) -> list[str]:
        return [path for task in self.service.log.read(0, 10_000) for path in task.wish.paths]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MediaJobs]:
    made: MediaJobs = MemoryMediaJobs() if request.param == "memory" else SqliteMediaJobs.open(tmp_path / "media.db")
    yield made
    made.close()


@pytest.fixture
def it(store: MediaJobs) -> Caller:
    return serving(store)


def serving(store: MediaJobs, limits: Limits = UNTHROTTLED) -> Caller:
    service = Service(limits)
    service.app = App(model.load(), service.log, service.books, service.clock, limits=limits, media=store)
    return Caller(service)


async def test_every_url_is_a_task(it: Caller) -> None:
    """The job says which URL became which task, and the lists of tasks know them."""
    job = await it.submit(UserData='{"Extend":{"x":"1"}}')
    (told,) = await it.jobs(job)
    ids = told["TaskIds"].split(",")
    listed = [(await it.said("DescribeVodRefreshTasks", TaskId=id_))["Tasks"]["Task"][0] for id_ in ids]

    assert (told["MediaRefreshJobId"], told["MediaId"], told["TaskType"], told["Status"]) == (
        job,
        "film",
        "Refresh",
        "success",
    )
    assert (told["ErrorCode"], told["ErrorMessage"], told["UserData"]) == ("", "", '{"Extend":{"x":"1"}}')
    assert told["GmtCreate"] == told["GmtModified"] == "2026-11-21T12:00:00Z"
    assert json.loads(told["FilterPolicy"]) == {"ResultType": "Single", "SliceFlag": False, "SliceCount": 5}
    assert told["SuccessPlayUrls"] == f"{AT}.mp4,{AT}.m3u8"
    assert [(task["ObjectPath"], task["ObjectType"]) for task in listed] == [
        (f"{AT}.mp4", "file"),
        (f"{AT}.m3u8", "file"),
    ]


@pytest.mark.parametrize(
    ("params", "urls"),
    [
        ({"Formats": "MP4"}, [f"{AT}.mp4"]),
        ({"Formats": "m3u8,flv", "Definitions": "HD"}, [f"{AT}.m3u8"]),
        ({"Formats": "mp4", "SliceFlag": "true"}, [f"{AT}.mp4"]),
        ({"Formats": "m3u8", "SliceFlag": "true"}, [f"{AT}.m3u8", *SLICES[:5]]),
        ({"Formats": "m3u8", "SliceFlag": "true", "SliceCount": "20"}, [f"{AT}.m3u8", *SLICES]),
        ({"Formats": "m3u8", "SliceCount": "20"}, [f"{AT}.m3u8"]),
        ({"StreamType": "video"}, [f"{AT}.mp4", f"{AT}.m3u8"]),
    ],
)  # fmt: skip
async def test_filters(it: Caller, params: dict[str, str], urls: list[str]) -> None:
    """Formats, definitions, stream types and slices choose among the play URLs; prefetches likewise."""
    await it.submit(**params)
    await it.submit(type="Preload", **params)

    assert it.urls() == urls + urls
    assert [task.wish.kind.value for task in it.service.log.read(0, 100)] == ["file"] * len(urls) + ["preload"] * len(
        urls
    )


async def test_the_latest_or_all(it: Caller) -> None:
    """Single: of several streams of one format and definition the one that was declared last."""
    old, new = (Play(f"{AT}-{name}.mp4", "mp4", "SD", "video") for name in ("old", "new"))
    it.service.books.library["two"] = Media("two", "1", (old, new))
    await it.submit("two")
    await it.submit("two", ResultType="Multiple")

    assert it.urls() == [new.url, old.url, new.url]


async def test_ids_that_are_none_of_the_callers(it: Caller) -> None:
    """Unknown ids and other accounts' look alike; media of a domain that is stopped or gone are forbidden."""
    for id_, host in (("stopped", "off.test"), ("lost", "foreign.test")):
        it.service.books.library[id_] = Media(id_, "1", (Play(f"http://{host}/a.mp4", "mp4", "OD", "video"),))
    said = await it.said("RefreshMediaPlayUrls", MediaIds="nobody,film,theirs,stopped,lost,film", TaskType="Refresh")
    nothing = await it.said("RefreshMediaPlayUrls", MediaIds="nobody,stopped", TaskType="Refresh")

    assert (said["NonExistMediaIds"], said["ForbiddenMediaIds"]) == ("nobody,theirs", "stopped,lost")
    assert [told["MediaId"] for told in await it.jobs(said["MediaRefreshJobId"])] == ["film"]
    assert (nothing["MediaRefreshJobId"], nothing["NonExistMediaIds"], nothing["ForbiddenMediaIds"]) == (
        "", "nobody", "stopped"
    )  # fmt: skip
    assert len(it.urls()) == 2


@pytest.mark.parametrize(
    ("limits", "type", "code"),
    [
        (replace(UNTHROTTLED, daily={**Limits().daily, "url": 3}), "Refresh", "QuotaExceeded.Refresh"),
        (replace(UNTHROTTLED, daily={**Limits().daily, "preload": 3}), "Preload", "QuotaExceeded.Preload"),
        (replace(UNTHROTTLED, refresh_queue=3), "Refresh", "TooMany.Refresh"),
        (replace(UNTHROTTLED, preload_queue=3), "Preload", "PreloadQueueFull"),
        (replace(UNTHROTTLED, per_minute={"url": 3}), "Refresh", "QuotaPerMinuteExceeded.Refresh"),
        (replace(UNTHROTTLED, per_minute={"preload": 3}), "Preload", "QuotaPerMinuteExceeded.Refresh"),
    ],
)
async def test_no_room(store: MediaJobs, limits: Limits, type: str, code: str) -> None:
    """A medium there is no room for is not taken at all, and its job says why; the one before it is."""
    it = serving(store, limits)
    it.service.books.library["more"] = replace(it.service.books.library["film"], id="more")
    film, more = await it.jobs(await it.submit("film,more", type))

    assert (film["Status"], len(film["TaskIds"].split(","))) == ("success", 2)
    assert (more["Status"], more["ErrorCode"], more["TaskIds"], more["SuccessPlayUrls"]) == ("fail", code, "", "")
    assert more["ErrorMessage"].endswith((".", "!"))
    assert len(it.urls()) == 2


async def test_nothing_of_a_medium_is_asked_for(it: Caller) -> None:
    """A filter that leaves nothing is told by the job, not taken for everything."""
    (told,) = await it.jobs(await it.submit(Formats="flv"))

    assert (told["Status"], told["ErrorCode"]) == ("fail", "InvalidVideo.NoneStream")
    assert it.urls() == []


async def test_what_no_prefetch_may_name(it: Caller) -> None:
    """A play URL that ends with / is told by the job; a refresh takes it."""
    play = Play(f"{AT}.mp4?of=/", "mp4", "HD", "video")
    it.service.books.library["film"] = replace(it.service.books.library["film"], plays=(play,))
    (refreshed,) = await it.jobs(await it.submit())
    (told,) = await it.jobs(await it.submit(type="Preload"))

    assert refreshed["Status"] == "success"
    assert (told["Status"], told["ErrorCode"]) == ("fail", "InvalidObjectPath.Malformed")
    assert told["ErrorMessage"] == "The specified ObjectPath is invalid."


async def test_a_task_that_failed(it: Caller) -> None:
    """The job follows its tasks: one that failed is no success, and its description is told."""
    job = await it.submit()
    await it.service.settle("a", "b", cursor=2)
    assert (await it.jobs(job))[0]["Status"] == "success"

    job = await it.submit(type="Preload")
    failed = ((Reason.ORIGIN_TIMEOUT, Ranges([(4, 4)])),)
    await it.service.settle("a", cursor=4, failed=failed)
    await it.service.settle("b", cursor=4)
    (told,) = await it.jobs(job)

    assert (told["Status"], told["ErrorCode"], told["ErrorMessage"]) == ("fail", "InternalError", "Origin Timeout")
    assert (told["SuccessPlayUrls"], told["TaskIds"]) == (f"{AT}.mp4", "3,4")


async def test_whose_job(it: Caller) -> None:
    """By medium; another account's, an unknown and one that is too old are all the same: nothing."""
    job = await it.submit()

    assert len(await it.jobs(job, MediaId="film")) == 1
    assert await it.jobs(job, MediaId="other") == []
    assert await it.jobs("x") == []
    it.service.books.keys["testid"] = replace(it.service.books.keys["testid"], account="2")
    assert await it.jobs(job) == []
    it.service.books.keys["testid"] = replace(it.service.books.keys["testid"], account="1")
    it.service.clock.seconds = NOON + 3 * 86_400 + 1
    assert await it.jobs(job) == []


async def test_a_log_that_was_put_back(it: Caller, store: MediaJobs) -> None:
    """What became of other people's tasks, which stand where the job's were in another history, is not told."""
    job = await it.submit(type="Preload")
    other = serving(store)
    foreign = other.service.signed(
        "PushObjectCache", "otherid", "othersecret", ObjectPath="http://foreign.test/a\nhttp://foreign.test/b"
    )
    assert (await other.service.send(foreign)).status == 200
    await other.service.settle("a", "b", cursor=2, failed=((Reason.ORIGIN_TIMEOUT, Ranges([(1, 2)])),))
    (told,) = await other.jobs(job)

    assert (told["Status"], told["ErrorMessage"]) == ("success", "")


async def test_a_log_that_takes_nothing(it: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no medium could be written the call is refused, and there is no job."""

    async def full(*_: Any, **__: Any) -> None:
        raise LogUnavailable("full")

    monkeypatch.setattr(it.service.log, "append", full)
    answer = await it.ask("RefreshMediaPlayUrls", MediaIds="film", TaskType="Refresh")

    assert answer.error[:2] == (503, "ServiceUnavailable")


def test_what_is_kept(store: MediaJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old jobs go, and of one account's the newest stay."""
    monkeypatch.setattr(f"{type(store).__module__}.JOBS", 2)
    assert base.JOBS == 10_000

    for number, account in enumerate(["1", "2", "1", "1"]):
        store.add(MediaJob(f"j{number}", account, 100 + number, "Refresh", "{}", "", ()), oldest=0)
    kept = [number for number in range(4) if store.job(f"j{number}")]
    store.add(MediaJob("j4", "2", 200, "Refresh", "{}", "", ()), oldest=103)

    assert kept == [1, 2, 3]
    assert [number for number in range(5) if store.job(f"j{number}")] == [3, 4]


async def test_after_a_restart(tmp_path: Path) -> None:
    """A job is on the disk when it is answered."""
    store = SqliteMediaJobs.open(tmp_path / "media.db")
    it = serving(store)
    job = await it.submit()
    before = await it.jobs(job)
    store.close()
    store = SqliteMediaJobs.open(tmp_path / "media.db")
    it.service.app = App(
        model.load(), it.service.log, it.service.books, it.service.clock, limits=UNTHROTTLED, media=store
    )
    after = await it.jobs(job)
    store.close()

    assert after == before != []
