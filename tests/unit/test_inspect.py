"""Asking how far tasks have come: exact totals, any filter, no word about other people's tasks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.edge import Edge, Evidence, Progress
from freshline.domain.progress import row_state
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason, Status
from freshline.operations.census import rows_by_status
from freshline.operations.states import Standing, States
from freshline.wire import times
from tests.service import Service

FIELDS = ["Status", "CreationTime", "ObjectType", "Process", "Description", "ObjectPath", "TaskId"]
XML_FIELDS = ["CreationTime", "Description", "ObjectPath", "ObjectType", "Process", "Status", "TaskId"]
DAY = 86_400


async def tasks(service: Service, **params: str) -> tuple[int, list[str]]:
    """Total and ObjectPaths of DescribeRefreshTasks."""
    answer = await service.call("DescribeRefreshTasks", **params)
    assert answer.status == 200, answer.content
    return answer.json["TotalCount"], [task["ObjectPath"] for task in answer.json["Tasks"]["CDNTask"]]


async def by_id(service: Service, **params: str) -> list[dict[str, Any]]:
    answer = await service.call("DescribeRefreshTaskById", **params)
    assert answer.status == 200, answer.content
    assert answer.json["TotalCount"] == len(answer.json["Tasks"])
    found: list[dict[str, Any]] = answer.json["Tasks"]
    return found


async def test_shapes() -> None:
    """JSON and XML as the contract's samples have them: order, wrapper, strings."""
    service = Service()
    id_ = await service.refresh("http://img.test/a", "http://img.test/b?x=1&y=2")
    listed = (await service.call("DescribeRefreshTasks")).json
    one = (await service.call("DescribeRefreshTaskById", TaskId=str(id_))).json
    as_xml = await service.send(service.signed_v1(Action="DescribeRefreshTasks", Format="XML"))
    one_xml = await service.send(service.signed_v1(Action="DescribeRefreshTaskById", Format="XML", TaskId=str(id_)))

    assert list(listed) == ["RequestId", "PageNumber", "PageSize", "TotalCount", "Tasks"]
    assert (listed["PageNumber"], listed["PageSize"], listed["TotalCount"]) == (1, 20, 2)
    assert list(listed["Tasks"]) == ["CDNTask"]
    assert list(one) == ["TotalCount", "RequestId", "Tasks"]
    assert one["Tasks"][0] == {
        "Status": "Pending",
        "CreationTime": "2026-11-21T12:00:00Z",
        "ObjectType": "file",
        "Process": "0%",
        "Description": "",
        "ObjectPath": "http://img.test/a",
        "TaskId": "1",
    }
    assert list(one["Tasks"][0]) == FIELDS
    assert [child.tag for child in as_xml.xml] == ["Tasks", "PageNumber", "PageSize", "TotalCount", "RequestId"]
    assert [child.tag for child in as_xml.xml[0]] == ["CDNTask", "CDNTask"]
    assert as_xml.xml[0][0].findtext("ObjectPath") == "http://img.test/b?x=1&y=2"
    assert [child.tag for child in one_xml.xml] == ["RequestId", "Tasks", "Tasks", "TotalCount"]
    assert [child.tag for child in one_xml.xml[1]] == XML_FIELDS
    assert b"<Description/>" in one_xml.content


async def test_nothing_yet() -> None:
    """An empty list is a list."""
    service = Service()

    assert (await service.call("DescribeRefreshTasks")).json["Tasks"] == {"CDNTask": []}
    assert (await service.call("DescribeRefreshTaskById", TaskId="5")).json["Tasks"] == []


async def test_status_follows_the_edges() -> None:
    """Pending, Refreshing with a true fraction, Complete; and Failed with the contract's words."""
    service = Service()
    await service.refresh("img.test/1")
    await service.refresh("img.test/2")
    await service.settle("a", cursor=1)
    half = await by_id(service, TaskId="1,2")
    await service.settle("b", cursor=2, failed=((Reason.ORIGIN_TIMEOUT, Ranges([(2, 2)])),))
    done = await by_id(service, TaskId="1,2")

    assert [(row["Status"], row["Process"]) for row in half] == [("Refreshing", "50%"), ("Pending", "0%")]
    assert [(row["Status"], row["Process"], row["Description"]) for row in done] == [
        ("Complete", "100%", ""),
        ("Failed", "0%", "Origin Timeout"),
    ]


async def test_ids() -> None:
    """All rows of each task asked for, once, in the order asked for; what is not the caller's is not there."""
    service = Service()
    first = await service.refresh("img.test/1", "img.test/2")
    answer = await service.call("RefreshObjectCaches", "otherid", "othersecret", ObjectPath="foreign.test/1")
    foreign = answer.json["RefreshTaskId"]
    last = await service.refresh("img.test/3")
    rows = await by_id(service, TaskId=f"{last},{foreign},{first},{last},999,{first + 1}")
    theirs = await service.call("DescribeRefreshTaskById", "otherid", "othersecret", TaskId=f"{first},{foreign}")

    assert [row["ObjectPath"] for row in rows] == ["img.test/3", "img.test/1", "img.test/2"]
    assert [row["ObjectPath"] for row in theirs.json["Tasks"]] == ["foreign.test/1"]
    assert (await tasks(service, TaskId=f"{first},{foreign}"))[1] == ["img.test/2", "img.test/1"]


async def test_polls_see_what_has_changed() -> None:
    """The same question again: answered from what was told before, and never with what is so no more."""
    service = Service()
    await service.refresh("http://img.test/a", "http://img.test/b")
    ids = {"TaskId": "1,3"}

    async def told(key: str = "testid") -> list[tuple[str, str]]:
        rows = (await service.call("DescribeRefreshTaskById", key, key.replace("id", "secret"), **ids)).json["Tasks"]
        return [(row["TaskId"], row["Status"]) for row in rows]

    assert await told() == await told() == [("1", "Pending")] * 2
    await service.refresh("http://img.test/c")
    assert await told() == await told() == [("1", "Pending")] * 2 + [("3", "Pending")]
    await service.log.settle("a", Progress(cursor=2, begun=2))
    assert await told() == await told() == [("1", "Refreshing")] * 2 + [("3", "Pending")]
    await service.log.settle("b", Progress(cursor=3, begun=3))
    assert await told() == [("1", "Complete")] * 2 + [("3", "Refreshing")]
    service.books.machines.pop(0)
    assert await told() == await told() == [("1", "Complete")] * 2 + [("3", "Complete")]
    assert await told("otherid") == []
    service.clock.seconds += 3 * 86_400 + 1
    assert await told() == []


async def test_three_days() -> None:
    """What is older cannot be asked for, by id or otherwise."""
    service = Service()
    old = await service.refresh("img.test/old")
    service.clock.seconds += 3 * DAY
    still = await tasks(service)
    service.clock.seconds += 1
    await service.refresh("img.test/new")

    assert still == (1, ["img.test/old"])
    assert await by_id(service, TaskId=str(old)) == []
    assert await tasks(service) == (1, ["img.test/new"])
    assert await tasks(service, TaskId=str(old)) == (0, [])


async def filled() -> Service:
    """Rows 1-3 img.test files, 4 far.test file, 5 a directory, 6 a prefetch, 7 a pattern, 8 a tag; a second apart."""
    service = Service()
    for path, type_ in (
        ("img.test/1\nimg.test/2\nimg.test/3", "File"),
        ("far.test/4", "File"),
        ("img.test/5/", "Directory"),
        ("img.test/6", None),
        ("img.test/7.*#", "Regex"),
    ):
        if type_ is None:
            await service.push(path)
        else:
            await service.refresh(*path.split("\n"), ObjectType=type_)
        service.clock.seconds += 1
    await service.call("RefreshObjectCacheByCacheTag", DomainName="img.test", CacheTag="t8")
    await service.settle("a", cursor=5)
    await service.settle("b", cursor=2)
    await service.settle("c", cursor=8)
    return service


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "8 7 6 5 4 3 2 1"),
        ({"ObjectType": "file"}, "4 3 2 1"),
        ({"ObjectType": "File"}, "4 3 2 1"),
        ({"ObjectType": "directory"}, "5"),
        ({"ObjectType": "preload"}, "6"),
        ({"ObjectType": "regex"}, "7"),
        ({"ObjectType": "IgnoreParams"}, ""),
        ({"ObjectType": "cachetag"}, "8"),
        ({"ObjectType": "block"}, ""),
        ({"ObjectType": "file", "DomainName": "far.test"}, "4"),
        ({"ObjectType": "file", "DomainName": "FAR.test,img.test"}, "4 3 2 1"),
        ({"ObjectType": "file", "DomainName": "foreign.test"}, ""),
        ({"ObjectType": "file", "Status": "Complete"}, "4 2 1"),
        ({"ObjectType": "file", "Status": "Refreshing"}, "3"),
        ({"ObjectType": "file", "Status": "Failed"}, ""),
        ({"ObjectType": "directory", "Status": "Refreshing"}, "5"),
        ({"ObjectType": "preload", "Status": "Refreshing"}, ""),
        ({"ObjectType": "file", "Status": "Complete", "DomainName": "img.test"}, "2 1"),
        ({"TaskId": "1,5"}, "5 3 2 1"),
        ({"TaskId": "1", "ObjectPath": "img.test/2"}, "2"),
        ({"ObjectPath": "img.test/2"}, "2"),
        ({"ObjectPath": "http://img.test/2"}, ""),
        ({"ObjectPath": "img.test/2", "DomainName": "far.test", "ObjectType": "file"}, ""),
        ({"ObjectPath": "img.test/7.*#"}, "7"),
        ({"ObjectPath": "foreign.test/1"}, ""),
        ({"StartTime": "2026-11-21T12:00:01Z", "EndTime": "2026-11-21T12:00:02Z"}, "5 4"),
        ({"StartTime": "2026-11-18T12:00:05Z", "EndTime": "2026-11-21T12:00:00Z"}, "3 2 1"),
        ({"StartTime": "2026-11-21T12:00:05Z", "EndTime": "2026-12-21T12:00:00Z"}, "8"),
        ({"StartTime": "2026-11-19T12:00:00Z", "EndTime": "2026-11-19T12:00:01Z"}, ""),
        ({"ResourceGroupId": "rg", "PageNumber": "", "Status": ""}, "8 7 6 5 4 3 2 1"),
    ],
)
async def test_filters(params: dict[str, str], expected: str) -> None:
    """Filters combine with AND; the newest row comes first; the total is exact. By id they hold as well."""
    service = await filled()
    total, paths = await tasks(service, **params)
    rows = [row for row in expected.split(" ") if row]
    expected_paths = [path for row in rows for path in paths if row in path]

    assert (total, len(paths)) == (len(rows), len(rows))
    assert paths == expected_paths
    params = {name: value for name, value in params.items() if not name.startswith("Page")}
    wanted = {int(id_) for id_ in params.pop("TaskId", "1,4,5,6,7,8").split(",")}
    held = await by_id(service, TaskId=",".join(map(str, sorted(wanted))), **params)
    assert sorted(row["ObjectPath"] for row in held) == sorted(paths)


async def test_pages() -> None:
    """Any page of any size; past the end there is nothing, and the total stays."""
    service = await filled()
    pages = [await tasks(service, PageNumber=str(page), PageSize="3") for page in (1, 2, 3, 4, 100000)]

    assert {total for total, _ in pages} == {8}
    assert [len(paths) for _, paths in pages] == [3, 3, 2, 0, 0]
    assert [path for _, paths in pages for path in paths] == (await tasks(service, PageSize="100"))[1]


async def test_pages_of_tasks_by_id() -> None:
    """Named twice or in any order: each row once, newest first, cut into pages wherever a task ends."""
    service = await filled()
    pages = [await tasks(service, TaskId="5,1,4,1", PageNumber=str(page), PageSize="2") for page in (1, 2, 3, 4)]
    early = await tasks(service, TaskId="4,5", StartTime="2026-11-21T12:00:00Z", EndTime="2026-11-21T12:00:01Z")

    assert [(total, [path[-2:].strip("/") for path in paths]) for total, paths in pages] == [
        (5, ["5", "4"]),
        (5, ["3", "2"]),
        (5, ["1"]),
        (5, []),
    ]
    assert early == (1, ["far.test/4"])


async def test_a_status_never_lies_about_a_row() -> None:
    """With a status asked for, every row printed is in it, for any state of the edges."""
    service = await filled()
    await service.log.settle("a", Progress(2, Ranges([(5, 6)]), 8, ((Reason.INTERNAL, Ranges([(1, 1), (6, 6)])),)))
    counted = 0
    for kind in ("file", "directory", "preload", "regex", "cachetag"):
        for status in ("Complete", "Refreshing", "Failed"):
            answer = await service.call("DescribeRefreshTasks", ObjectType=kind, Status=status)
            counted += answer.json["TotalCount"]
            assert {task["Status"] for task in answer.json["Tasks"]["CDNTask"]} <= {status}
    pending = [task for task in await by_id(service, TaskId="1,4,5,6,7,8") if task["Status"] == "Pending"]

    assert counted + len(pending) == 8


async def test_a_start_yet_to_come() -> None:
    """Nothing can have begun tomorrow."""
    service = Service()
    answer = await service.call(
        "DescribeRefreshTasks", StartTime="2026-11-22T12:00:00Z", EndTime="2026-11-23T12:00:00Z"
    )

    assert answer.error[1] == "InvalidStartTime.ValueNotSupported"


async def test_three_days_ago_said_a_little_late() -> None:
    """A caller who computed three days ago before the call travelled is not refused."""
    service = Service()
    start = times.write(int(service.clock.now()) - 3 * DAY - 5)
    end = times.write(int(service.clock.now()))

    assert (await service.call("DescribeRefreshTasks", StartTime=start, EndTime=end)).status == 200


async def test_preload_detail() -> None:
    """One prefetch URL by URL, with when it ended once it has."""
    service = Service()
    id_ = str(await service.push("http://img.test/a", "http://img.test/b"))
    refresh = str(await service.refresh("img.test/x"))
    before = (await service.call("DescribePreloadDetailById", TaskId=id_)).json
    said = [Evidence("a", 1, 2, 1.0, service.clock.now() + 9, "ok")]
    await service.log.settle("a", Progress(cursor=2, begun=2), said)
    half = (await service.call("DescribePreloadDetailById", TaskId=id_)).json
    await service.settle("b", cursor=2, failed=((Reason.ORIGIN_STATUS, Ranges([(2, 2)])),))
    after = (await service.call("DescribePreloadDetailById", TaskId=id_)).json
    none = [
        await service.call("DescribePreloadDetailById", TaskId=refresh),
        await service.call("DescribePreloadDetailById", TaskId="99"),
        await service.call("DescribePreloadDetailById", "otherid", "othersecret", TaskId=id_),
        await service.call("DescribePreloadDetailById", TaskId=id_, DomainName="far.test"),
    ]

    (waiting,), (begun,), (ended,) = before["UrlDetails"], half["UrlDetails"], after["UrlDetails"]
    assert (waiting["Status"], waiting["EndTime"], waiting["Process"]) == ("Pending", "", "0%")
    assert (begun["Status"], begun["Process"], begun["Domain"], begun["RetCode"]) == (
        "Refreshing",
        "50%",
        "img.test",
        "0",
    )
    assert (ended["Status"], ended["Process"], ended["RetCode"]) == ("Failed", "75%", "1")
    assert ended["EndTime"] == "2026-11-21T12:00:09Z"
    assert ended["Urls"] == [
        {"Url": "http://img.test/a", "Success": "100%", "Description": "Successfully preloaded"},
        {"Url": "http://img.test/b", "Success": "50%", "Description": "Origin Return StatusCode 5XX"},
    ]
    assert [(answer.json["TotalCount"], answer.json["UrlDetails"]) for answer in none] == [(0, [])] * 4


async def test_quotas() -> None:
    """Strings in one operation and numbers in the other, of the same allowances."""
    service = await filled()
    strings = (await service.call("DescribeRefreshQuota")).json
    numbers = (await service.call("DescribeCdnUserQuota")).json

    assert {name: strings[name] for name in ("UrlQuota", "UrlRemain", "DirRemain", "RegexRemain", "PreloadRemain")} == {
        "UrlQuota": "10000",
        "UrlRemain": "9996",
        "DirRemain": "98",
        "RegexRemain": "19",
        "PreloadRemain": "999",
    }
    assert len(strings) == 15 and all(isinstance(value, str) for value in strings.values())
    assert (numbers["RefreshUrlRemain"], numbers["DomainQuota"], len(numbers)) == (9996, 50, 12)


runs = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda run: (min(run), max(run))), max_size=3)
progresses = st.builds(
    lambda cursor, ahead, begun, failed: Progress(
        cursor, Ranges(ahead), begun, ((Reason.INTERNAL, Ranges(failed)),) if failed else ()
    ),
    st.integers(0, 30),
    runs,
    st.integers(0, 30),
    runs,
)


@given(st.lists(st.tuples(st.integers(0, 30), progresses), max_size=4), st.integers(1, 30), st.integers(0, 10))
def test_states_of_many_rows(edges: list[tuple[int, Progress]], first: int, more: int) -> None:
    """Computed once per stretch, they are what each row's own state is."""
    fleet = [(Edge("e", "k", "g", "", "", "", joined), progress) for joined, progress in edges]
    states = States(Standing.of(fleet), first, first + more)

    for position in range(first, first + more + 1):
        assert states.at(position) == row_state(position, fleet)


@pytest.mark.parametrize("letter", ["\u00a0", "\u2028", "\u200b", "\ufeff", "\u3000"])
async def test_what_was_taken_can_be_found(letter: str) -> None:
    """A path with a letter that nobody can see is a path: it is found by itself, in every list."""
    service = Service()
    path = f"http://img.test/a{letter}b"
    id_ = await service.refresh(path)

    assert await tasks(service, ObjectPath=path) == (1, [path])
    assert [row["ObjectPath"] for row in await by_id(service, TaskId=str(id_), ObjectPath=path)] == [path]


@pytest.mark.parametrize("became", ["moved", "removed", "added again"])
async def test_rows_of_domains_that_are_elsewhere_now(became: str) -> None:
    """A row keeps the group it was submitted for: every status finds it, and the monitors and the queue count it."""
    service = Service()
    await service.refresh("http://img.test/1")  # 1: main, whose edges are through with it
    await service.refresh("http://far.test/2")  # 2: far, whose edge is not
    await service.settle("a", "b", cursor=2)
    if became == "moved":
        service.books.change_domain("img.test", group="far")
    else:
        service.books.remove_domain("img.test")
    if became == "added again":
        service.books.add_domain("img.test", "1", "far")
    later = [] if became == "removed" else ["http://img.test/3"]  # 3: of the other group
    for path in later:
        await service.refresh(path)
    await service.log.settle("c", Progress(begun=service.log.head))

    assert await tasks(service, Status="Complete", ObjectType="file") == (1, ["http://img.test/1"])
    assert await tasks(service, Status="Refreshing", ObjectType="file") == (
        1 + len(later),
        [*later, "http://far.test/2"],
    )
    assert (await tasks(service, Status="Complete", ObjectType="file", DomainName="img.test"))[0] == 1
    counted = rows_by_status(service.app.desk, ["1"])
    assert (counted[Status.COMPLETE], counted[Status.REFRESHING]) == (1, 1 + len(later))
    assert sum(counted.values()) == service.log.head
