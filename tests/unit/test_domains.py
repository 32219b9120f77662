"""Domains over the API: what is added is there, for every product, until it is removed."""

from __future__ import annotations

from typing import Any

import pytest

from freshline.spec import model
from freshline.wire import times
from tests.service import MADE, UNTHROTTLED, Service
from tests.ways import NEW, OPERATIONS

SOURCES = '[{"content":"192.0.2.1","type":"ipaddr","priority":"20","port":80,"weight":"15"}]'
FAMILIES = {  # version: add, change, start, stop, remove, list, detail
    "2018-05-10": ("AddCdnDomain", "ModifyCdnDomain", "StartCdnDomain", "StopCdnDomain", "DeleteCdnDomain",
                   "DescribeUserDomains", "DescribeCdnDomainDetail"),
    "2018-01-15": ("AddDcdnDomain", "UpdateDcdnDomain", "StartDcdnDomain", "StopDcdnDomain", "DeleteDcdnDomain",
                   "DescribeDcdnUserDomains", "DescribeDcdnDomainDetail"),
    "2017-11-15": ("AddScdnDomain", "UpdateScdnDomain", "StartScdnDomain", "StopScdnDomain", "DeleteScdnDomain",
                   "DescribeScdnUserDomains", "DescribeScdnDomainDetail"),
    "2017-03-21": ("AddVodDomain", "UpdateVodDomain", "BatchStartVodDomain", "BatchStopVodDomain", "DeleteVodDomain",
                   "DescribeVodUserDomains", "DescribeVodDomainDetail"),
}  # fmt: skip


class Family:
    def __init__(self, version: str) -> None:
        self.service = Service()
        self.version = version
        self.add, self.change, self.start, self.stop, self.remove, self.list, self.detail = FAMILIES[version]

    async def said(self, action: str, **params: str) -> Any:
        answer = await self.service.ask(OPERATIONS[f"{self.version}.{action}"], **params)
        assert answer.status == 200, answer.content
        return answer.json

    async def trouble(self, action: str, **params: str) -> str:
        answer = await self.service.ask(OPERATIONS[f"{self.version}.{action}"], **params)
        return str(answer.error[1])


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


async def test_a_domain_s_life(family: Family) -> None:
    """Added, refreshed, stopped, refused, started, changed, removed: each seen at once."""
    name = "DomainNames" if "Batch" in family.stop else "DomainName"
    typed = {"CdnType": "web"} if family.version == "2018-05-10" else {}
    await family.said(family.add, DomainName="New.test", Sources=SOURCES, Scope="overseas", **typed)
    (listed,) = (await family.said(family.list, DomainName="new."))["Domains"]["PageData"]
    detail = next(
        value for value in (await family.said(family.detail, DomainName=NEW)).values() if "DomainName" in value
    )
    await family.service.refresh("http://new.test/a")

    assert (listed["DomainName"], listed["DomainStatus"]) == (NEW, "online")
    assert listed["GmtCreated"] == times.write(MADE)
    assert listed["Sources"]["Source"][0]["Content"] == "192.0.2.1"
    assert listed["Sources"]["Source"][0]["Port"] == 80
    assert (detail["DomainName"], detail["Scope"]) == (NEW, "overseas")

    await family.said(family.stop, **{name: NEW})
    refused = await family.service.call("RefreshObjectCaches", ObjectPath="http://new.test/a")
    assert refused.error[1] == "InvalidDomain.Offline"
    assert (await family.said(family.list, DomainStatus="offline"))["TotalCount"] == 2  # and off.test

    await family.said(family.start, **{name: NEW})
    await family.service.refresh("http://new.test/a")

    await family.said(family.change, DomainName=NEW, Sources='[{"content":"o.test","type":"domain","port":443}]')
    (listed,) = (await family.said(family.list, DomainName=NEW))["Domains"]["PageData"]
    assert listed["Sources"]["Source"][0]["Content"] == "o.test"
    assert listed["GmtModified"] > listed["GmtCreated"]

    await family.said(family.remove, DomainName=NEW)
    assert (await family.said(family.list, DomainName=NEW))["TotalCount"] == 0
    assert await family.trouble(family.detail, DomainName=NEW) == "InvalidDomain.NotFound"


async def test_another_account_s(family: Family) -> None:
    """Other accounts' domains cannot be seen, changed, switched or removed, nor taken over."""
    name = "DomainNames" if "Batch" in family.stop else "DomainName"
    typed = {"CdnType": "web"} if family.version == "2018-05-10" else {}
    before = family.service.books.names["foreign.test"]

    assert (await family.said(family.list, DomainName="foreign"))["TotalCount"] == 0
    for action in (family.change, family.remove, family.detail):
        assert await family.trouble(action, DomainName="foreign.test") == "InvalidDomain.NotFound"
    for action in (family.start, family.stop):
        assert await family.trouble(action, **{name: "foreign.test"}) == "InvalidDomain.NotFound"
    assert await family.trouble(family.add, DomainName="foreign.test", Sources=SOURCES, **typed) == "DomainAlreadyExist"
    assert family.service.books.names["foreign.test"] == before


async def test_all_or_none() -> None:
    """Of several domains none is switched where one is not the caller's."""
    family = Family("2017-03-21")

    assert await family.trouble(family.stop, DomainNames="img.test,foreign.test") == "InvalidDomain.NotFound"
    assert family.service.books.names["img.test"].online
    await family.said(family.stop, DomainNames="img.test,e.com")
    assert not family.service.books.names["img.test"].online


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"DomainName": "mg.t"}, ["img.test"]),
        ({"DomainName": "img", "DomainSearchType": "pre_match"}, ["img.test"]),
        ({"DomainName": "mple.com", "DomainSearchType": "suf_match"}, ["example.com"]),
        ({"DomainName": "IMG.test,e.com", "DomainSearchType": "full_match"}, ["e.com", "img.test"]),
        ({"DomainName": "img", "DomainSearchType": "full_match"}, []),
        ({"ResourceGroupId": "far"}, ["far.test"]),
        ({"DomainStatus": "offline"}, ["off.test"]),
        ({"DomainStatus": "configuring"}, []),
        ({"CdnType": "video"}, []),
        ({"Coverage": "domestic"}, []),
        ({"Source": "192.0.2.9"}, []),
        ({"Tag.1.Key": "env"}, []),
        ({"ChangeEndTime": times.write(MADE - 1)}, []),
        ({"ChangeStartTime": times.write(MADE + 1)}, []),
        ({"PageSize": "3", "PageNumber": "2", "DomainName": "d"}, ["d11.test", "d2.test", "d3.test"]),
    ],
)
async def test_filters(filters: dict[str, str], names: list[str]) -> None:
    """Filters narrow the list together; a tag finds nothing, as no domain has one."""
    family = Family("2018-05-10")
    found = (await family.said(family.list, **filters))["Domains"]["PageData"]

    assert [domain["DomainName"] for domain in found] == names


async def test_groups_of_edges() -> None:
    """A resource group is a group of edges: a domain is served by the one it was added to or moved to."""
    family = Family("2018-05-10")
    add = {"DomainName": NEW, "CdnType": "web", "Sources": SOURCES}

    assert await family.trouble(family.add, **add, ResourceGroupId="rg-1") == "EntityNotExists.ResourceGroup"
    await family.said(family.add, **add, ResourceGroupId="far")
    assert family.service.books.names[NEW].group == "far"
    await family.said(family.change, DomainName=NEW, ResourceGroupId="main")
    assert family.service.books.names[NEW].group == "main"


async def test_how_many() -> None:
    """An account has as many domains as DescribeCdnUserQuota says."""
    service = Service(UNTHROTTLED)
    quota = (await service.call("DescribeCdnUserQuota")).json["DomainQuota"]
    mine = len(service.books.domains("1"))
    for n in range(quota - mine):
        added = await service.call("AddCdnDomain", DomainName=f"n{n}.test", CdnType="web", Sources=SOURCES)
        assert added.status == 200
    over = await service.call("AddCdnDomain", DomainName=NEW, CdnType="web", Sources=SOURCES)

    assert over.error == (403, "DomainOverLimit", "The Number of Domain is over the limit")


def test_every_product_has_them() -> None:
    """All that an SDK of today offers for domains, but for the version that has none."""
    assert {version for version in model.load().products if version in FAMILIES} == FAMILIES.keys()
