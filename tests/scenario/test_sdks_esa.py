"""The official SDK of ESA, unmodified: GET and POST, JSON in parameters, V3 and V1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from alibabacloud_esa20240910 import models
from alibabacloud_esa20240910.client import Client
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException, ClientException, ThrottlingException
from alibabacloud_tea_openapi.models import Config

from tests.running import Running, running


@pytest.fixture
def service() -> Iterator[Running]:
    with running() as service:
        yield service


@pytest.fixture(params=["v3", "v1"])
def client(request: pytest.FixtureRequest, service: Running) -> Client:
    return new_client(service, signing=request.param)


def new_client(service: Running, secret: str = "testsecret", signing: str = "v3") -> Client:
    config = Config(access_key_id="testid", access_key_secret=secret, endpoint=service.address, protocol="http")
    if signing == "v1":
        config.signature_algorithm = "v2"  # sic: the SDK's own name for it
    return Client(config)


def purge(site: int, type_: str, **content: Any) -> models.PurgeCachesRequest:
    return models.PurgeCachesRequest(site_id=site, type=type_, content=models.PurgeCachesRequestContent(**content))


def test_every_operation(client: Client) -> None:
    """Find the site, purge it in every way, prefetch, and see how far it came."""
    (site,) = client.list_sites(models.ListSitesRequest(site_name="img.test")).body.sites
    id_ = site.site_id
    purges = [
        purge(id_, "file", files=["http://img.test/a%20b"]),
        purge(id_, "directory", directories=["http://img.test/a/"]),
        purge(id_, "cachetag", cache_tags=["red"]),
        purge(id_, "ignoreParams", ignore_params=["http://img.test/a"]),
        purge(id_, "hostname", hostnames=["img.test"]),
        purge(id_, "purgeall", purge_all=True),
        purge(id_, "cachekey", cache_keys=[models.PurgeCachesRequestContentCacheKeys(url="http://img.test/k")]),
    ]
    ids = [client.purge_caches(request).body.task_id for request in purges]
    preload = models.PreloadCachesRequest(site_id=id_, content=["http://img.test/p"], headers={"Accept-Encoding": "br"})
    ids.append(client.preload_caches(preload).body.task_id)
    purged = client.describe_purge_tasks(models.DescribePurgeTasksRequest(site_id=id_, page_size=50)).body
    preloaded = client.describe_preload_tasks(models.DescribePreloadTasksRequest(site_id=id_)).body
    quota = client.get_purge_quota(models.GetPurgeQuotaRequest(site_id=id_, type="file")).body

    assert [task.task_id for task in purged.tasks] == ids[6::-1]
    assert {task.type for task in purged.tasks} == {"file", "directory", "cachetag", "ignoreparams"}
    (task,) = preloaded.tasks
    assert (task.content, task.status, task.process) == ("http://img.test/p", "Pending", "0%")
    assert (quota.quota, quota.usage) == ("10000", "2")


def refused(call: Callable[[], Any]) -> AlibabaCloudException:
    with pytest.raises(AlibabaCloudException) as trouble:
        call()
    return trouble.value


def test_errors(service: Running, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class of error is the SDK's own exception."""
    site = refused(lambda: client.purge_caches(purge(999, "purgeall", purge_all=True)))
    type_ = refused(lambda: client.purge_caches(purge(123, "colour")))
    nothing = refused(lambda: client.purge_caches(purge(123, "file", files=[])))
    foreign = refused(lambda: client.preload_caches(models.PreloadCachesRequest(content=["http://foreign.test/a"])))
    signing = "v1" if client._signature_algorithm == "v2" else "v3"
    secret = refused(lambda: new_client(service, "wrong", signing).list_sites(models.ListSitesRequest()))
    monkeypatch.setattr(service.app, "_limits", replace(service.app._limits, rates={"ListSites": 0.001}))
    client.list_sites(models.ListSitesRequest())
    often = refused(lambda: client.list_sites(models.ListSitesRequest()))

    assert isinstance(site, ClientException) and site.code == "InvalidSiteId"
    assert type_.code == "InvalidObjectType.Malformed"
    assert nothing.code == "MissingContent"
    assert (foreign.code, foreign.status_code) == ("InvalidDomain.NotFound", 404)
    assert (secret.code, secret.status_code) == ("SignatureDoesNotMatch", 400)
    assert isinstance(often, ThrottlingException) and often.code == "Throttling.User"
