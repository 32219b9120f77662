"""Sites: purging and prefetching by a number, for a domain and all below it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freshline.domain.task import Task
from tests.service import Service
from tests.ways import GENEROUS, OPERATIONS

SITE = "123"  # e.com


@pytest.fixture
def service() -> Service:
    service = Service()
    service.books.add_domain("www.e.com", "1", "far")
    service.books.add_domain("note.com", "1", "main")  # ends alike, and is not below e.com
    service.books.add_domain("theirs.e.com", "2", "main")
    return service


async def said(service: Service, action: str, **params: str) -> Any:
    answer = await service.ask(OPERATIONS[f"2024-09-10.{action}"], **params)
    assert answer.status == 200, answer.content
    return answer.json


async def trouble(service: Service, action: str, **params: str) -> str:
    return str((await service.ask(OPERATIONS[f"2024-09-10.{action}"], **params)).error[1])


def made(service: Service, ids: str) -> list[Task]:
    found = [service.log.task(int(id_)) for id_ in ids.split(",")]
    return [task for task in found if task is not None]


@pytest.mark.parametrize(
    ("type_", "content", "kind", "paths"),
    [
        ("file", {"Files": ["http://e.com/a", {"Url": "www.e.com/b"}]}, "file", [["http://e.com/a"], ["www.e.com/b"]]),
        ("cachekey", {"CacheKeys": [{"Url": "http://e.com/a", "Headers": {}}]}, "file", [["http://e.com/a"]]),
        ("cachetag", {"CacheTags": ["red", "blue"]}, "cachetag", [["red", "blue"], ["red", "blue"]]),
        ("directory", {"Directories": ["http://e.com/a/"]}, "directory", [["http://e.com/a/"]]),
        ("ignoreParams", {"IgnoreParams": ["http://e.com/a"]}, "IgnoreParams", [["http://e.com/a"]]),
        ("hostname", {"Hostnames": ["www.e.com"]}, "directory", [["www.e.com/"]]),
        ("purgeall", {"PurgeAll": True}, "directory", [["e.com/"], ["www.e.com/"]]),
        ("purgeall", {}, "directory", [["e.com/"], ["www.e.com/"]]),
    ],
)
async def test_purge(service: Service, type_: str, content: Any, kind: str, paths: list[list[str]]) -> None:
    """Each type takes its own list, on the site's hosts alone, and is listed again."""
    ids = (await said(service, "PurgeCaches", SiteId=SITE, Type=type_, Content=json.dumps(content), Force="true"))[
        "TaskId"
    ]
    tasks = made(service, ids)
    listed = (await said(service, "DescribePurgeTasks", SiteId=SITE, Type=type_))["Tasks"]

    assert [(task.wish.kind.value, list(task.wish.paths), task.wish.force) for task in tasks] == [
        (kind, each, True) for each in paths
    ]
    assert sorted(task["Content"] for task in listed) == sorted(path for each in paths for path in each)
    assert {task["Status"] for task in listed} == {"Pending"}


@pytest.mark.parametrize("host", ["note.com", "theirs.e.com", "img.test"])
async def test_hosts_of_others(service: Service, host: str) -> None:
    """No purge or prefetch by a site reaches beyond it."""
    content = json.dumps({"Files": [f"http://{host}/a"], "Hostnames": [host]})
    codes = {"InvalidObjectPath.Malformed", "InvalidDomain.NotFound"}

    assert await trouble(service, "PurgeCaches", SiteId=SITE, Type="file", Content=content) in codes
    assert await trouble(service, "PurgeCaches", SiteId=SITE, Type="hostname", Content=content) in codes
    assert await trouble(service, "PreloadCaches", SiteId=SITE, Content=json.dumps([f"http://{host}/a"])) in codes
    assert service.log.head == 0


async def test_sites_of_others(service: Service) -> None:
    """Another account's site is answered like one that is not there."""
    theirs = str(service.books.names["theirs.e.com"].id)
    for action, more in (
        ("PurgeCaches", {"Type": "purgeall"}),
        ("PreloadCaches", {"Content": '["http://theirs.e.com/a"]'}),
        ("DescribePurgeTasks", {}),
        ("DescribePreloadTasks", {}),
        ("GetPurgeQuota", {}),
    ):
        assert await trouble(service, action, SiteId=theirs, **more) == "InvalidSiteId"


async def test_lists(service: Service) -> None:
    """Purges and prefetches are listed apart, of one site or of all, by status, content and time."""
    await said(service, "PurgeCaches", SiteId=SITE, Type="file", Content='{"Files":["http://e.com/a"]}')
    await said(service, "PurgeCaches", SiteId=SITE, Type="cachetag", Content='{"CacheTags":["red"]}')
    await said(service, "PreloadCaches", SiteId=SITE, Content='["http://e.com/p"]')
    await service.refresh("http://img.test/elsewhere")
    await service.settle("a", "b", cursor=1)

    async def contents(action: str, **params: str) -> list[str]:
        return [task["Content"] for task in (await said(service, action, **params))["Tasks"]]

    assert await contents("DescribePurgeTasks", SiteId=SITE) == ["red", "red", "http://e.com/a"]
    assert await contents("DescribePurgeTasks") == ["http://img.test/elsewhere", "red", "red", "http://e.com/a"]
    assert await contents("DescribePurgeTasks", SiteId=SITE, Status="Complete") == ["http://e.com/a"]
    assert await contents("DescribePurgeTasks", SiteId=SITE, Content="http://e.com/a") == ["http://e.com/a"]
    assert await contents("DescribePurgeTasks", SiteId=SITE, Type="cachetag", Content="red") == ["red", "red"]
    assert await contents("DescribePreloadTasks", SiteId=SITE) == ["http://e.com/p"]
    assert await contents("DescribePreloadTasks", SiteId=SITE, Content="http://e.com/a") == []


async def test_quota(service: Service) -> None:
    """One allowance of the day, shared with every product."""
    await service.refresh("http://img.test/a")
    await said(service, "PurgeCaches", SiteId=SITE, Type="purgeall")
    url = await said(service, "GetPurgeQuota", SiteId=SITE, Type="file")
    dir_ = await said(service, "GetPurgeQuota", Type="directory")

    assert (url["Quota"], url["Usage"], url["Quota30Day"], url["Usage30Day"]) == ("10000", "1", "0", "0")
    assert (dir_["Quota"], dir_["Usage"]) == ("100", "2")


async def test_list_sites(service: Service) -> None:
    """The caller's domains, with the numbers to call them by."""
    (site,) = (await said(service, "ListSites", SiteName="e.com"))["Sites"]
    below = (await said(service, "ListSites", SiteName="e.com", SiteSearchType="suffix"))["Sites"]

    assert (site["SiteId"], site["SiteName"], site["Status"]) == (123, "e.com", "active")
    assert {site["SiteName"] for site in below} == {"e.com", "www.e.com", "example.com", "note.com"}
    for nothing in ({"AccessType": "NS"}, {"OnlyEnterprise": "true"}, {"TagFilter": "[]"}, {"Status": "pending"}):
        assert (await said(service, "ListSites", **nothing))["TotalCount"] == 0
    assert (await said(service, "ListSites", AccessType="CNAME", OnlyEnterprise="false"))["TotalCount"] > 10


async def test_stopped_host() -> None:
    """A site with a stopped host is not purged in part."""
    service = Service(GENEROUS)
    service.books.add_domain("www.e.com", "1", "main")
    service.books.change_domain("www.e.com", online=False)

    assert await trouble(service, "PurgeCaches", SiteId=SITE, Type="purgeall") == "InvalidDomain.Offline"
    assert service.log.head == 0
