"""What the products have in common, and where one of them goes its own way."""

from __future__ import annotations

from typing import Any

from tests.service import Service
from tests.ways import OPERATIONS

CDN, CDN2014, DCDN, SCDN, VOD = "2018-05-10", "2014-11-11", "2018-01-15", "2017-11-15", "2017-03-21"
LISTS = {
    f"{CDN}.DescribeRefreshTasks": "CDNTask",
    f"{CDN2014}.DescribeRefreshTasks": "CDNTask",
    f"{DCDN}.DescribeDcdnRefreshTasks": "Task",
    f"{SCDN}.DescribeScdnRefreshTasks": "Task",
    f"{VOD}.DescribeVodRefreshTasks": "Task",
    f"{VOD}.DescribeRefreshTasks": "Task",
}


async def said(service: Service, operation: str, **params: str) -> Any:
    answer = await service.ask(OPERATIONS[operation], **params)
    assert answer.status == 200, answer.content
    return answer.json


async def test_a_task_is_the_account_s() -> None:
    """What is made over one product is listed by every other, in that product's words."""
    service = Service()
    made = (await said(service, f"{SCDN}.RefreshScdnObjectCaches", ObjectPath="img.test/a/", ObjectType="Directory"))[
        "RefreshTaskId"
    ]

    for name, node in LISTS.items():
        (task,) = (await said(service, name))["Tasks"][node]
        word = "path" if name in (f"{CDN2014}.DescribeRefreshTasks", f"{VOD}.DescribeRefreshTasks") else "directory"
        assert (task["TaskId"], task["ObjectType"]) == (made, word)
    (task,) = (await said(service, f"{DCDN}.DescribeDcdnRefreshTaskById", TaskId=made))["Tasks"]
    assert task["ObjectPath"] == "img.test/a/"


async def test_the_allowance_is_the_account_s() -> None:
    """A unit spent over one product is gone from all."""
    service = Service()
    await said(service, f"{DCDN}.PreloadDcdnObjectCaches", ObjectPath="img.test/a")
    left = [
        (await said(service, name))["PreloadRemain"]
        for name in (
            f"{CDN}.DescribeRefreshQuota",
            f"{CDN2014}.DescribeRefreshQuota",
            f"{DCDN}.DescribeDcdnRefreshQuota",
            f"{SCDN}.DescribeScdnRefreshQuota",
            f"{VOD}.DescribeVodRefreshQuota",
        )
    ]

    assert left == ["999"] * 5


async def test_directories_are_paths() -> None:
    """The older lists take and print ``path`` where the newer say ``directory``, and know no other kinds."""
    service = Service()
    await service.refresh("http://img.test/a/", ObjectType="Directory")
    for name in (f"{CDN2014}.DescribeRefreshTasks", f"{VOD}.DescribeRefreshTasks"):
        assert (await said(service, name, ObjectType="path"))["TotalCount"] == 1
        answer = await service.ask(OPERATIONS[name], ObjectType="directory")
        assert answer.error[1] == "InvalidObjectType.ValueNotSupported"


async def test_aliases() -> None:
    """The two undocumented names take whole URLs, or paths of the domain beside them, and no other domain's."""
    service = Service()
    purge, preload = f"{CDN2014}.PurgeObjectCaches", f"{CDN2014}.PreloadObjectCaches"
    purged = await said(service, purge, DomainName="img.test", ObjectPath="/a\nhttp://img.test/b\nIMG.test/c")
    pushed = await said(service, preload, DomainName="img.test", ObjectPath="/p")
    foreign = await service.ask(OPERATIONS[purge], DomainName="img.test", ObjectPath="/a\nhttp://img.test.e.com/b")
    tasks = (await said(service, f"{CDN2014}.DescribeRefreshTasks"))["Tasks"]["CDNTask"]

    assert purged.keys() == {"RefreshTaskId", "RequestId"} and pushed.keys() == {"PushTaskId", "RequestId"}
    assert foreign.error[1] == "InvalidObjectPath.Malformed"
    assert [task["ObjectPath"] for task in tasks] == ["img.test/p", "IMG.test/c", "http://img.test/b", "img.test/a"]


async def test_routines() -> None:
    """What a routine keeps lies under its domain, and goes like all else; which routine makes no difference."""
    service = Service()
    er = f"{DCDN}.RefreshErObjectCaches"
    made = await said(service, er, ObjectPath="img.test/a/", ObjectType="Directory", RoutineId="x",
                      MergeDomainName="a.test,b.test")  # fmt: skip
    tagged = await said(service, f"{DCDN}.RefreshErObjectCachesByCacheTag", Domain="img.test", CacheTag="red,blue")

    kept, of_tags = (service.log.task(int(answer["RefreshTaskId"])) for answer in (made, tagged))
    assert kept is not None and kept.wish.kind == "directory"
    assert of_tags is not None and of_tags.wish.paths == ("red", "blue")


async def test_block_remain() -> None:
    """Two products spell one field with a small letter (CONTRACT 1.4, 1.5)."""
    service = Service()
    for name in (f"{VOD}.DescribeVodRefreshQuota", f"{SCDN}.DescribeScdnRefreshQuota"):
        quota = await said(service, name)
        assert quota["blockRemain"] == "300" and "BlockRemain" not in quota
