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


def test_scheduled(client: Client) -> None:
    """The whole family: a job, its plans, stopped, started, changed and removed."""
    (site,) = client.list_sites(models.ListSitesRequest(site_name="img.test")).body.sites
    job = client.create_scheduled_preload_job(
        models.CreateScheduledPreloadJobRequest(
            site_id=site.site_id, name="nightly", insert_way="textBox", url_list="http://img.test/a\nhttp://img.test/b"
        )
    ).body
    slot = models.CreateScheduledPreloadExecutionsRequestExecutions(
        start_time="2037-01-01T00:00:00Z", end_time="2037-01-02T00:00:00Z", interval=60, slice_len=10
    )
    made = client.create_scheduled_preload_executions(
        models.CreateScheduledPreloadExecutionsRequest(id=job.id, executions=[slot])
    ).body
    plan = made.success_executions[0].id
    stopped = client.stop_scheduled_preload_execution(models.StopScheduledPreloadExecutionRequest(id=plan)).body
    changed = client.update_scheduled_preload_execution(
        models.UpdateScheduledPreloadExecutionRequest(id=plan, slice_len=20)
    ).body
    started = client.start_scheduled_preload_execution(models.StartScheduledPreloadExecutionRequest(id=plan)).body
    listed = client.list_scheduled_preload_executions(models.ListScheduledPreloadExecutionsRequest(id=job.id)).body
    jobs = client.list_scheduled_preload_jobs(models.ListScheduledPreloadJobsRequest(site_id=site.site_id)).body
    told = client.get_scheduled_preload_job(models.GetScheduledPreloadJobRequest(id=job.id)).body
    reset = client.reset_scheduled_preload_job(models.ResetScheduledPreloadJobRequest(id=job.id)).body
    client.delete_scheduled_preload_execution(models.DeleteScheduledPreloadExecutionRequest(id=plan))
    client.delete_scheduled_preload_job(models.DeleteScheduledPreloadJobRequest(id=job.id))
    gone = refused(lambda: client.get_scheduled_preload_job(models.GetScheduledPreloadJobRequest(id=job.id)))
    oss = refused(
        lambda: client.create_scheduled_preload_job(
            models.CreateScheduledPreloadJobRequest(
                site_id=site.site_id, name="n", insert_way="oss", oss_url="https://o.test/list"
            )
        )
    )

    assert (made.success_count, made.total_count, made.failed_executions) == (1, 1, [])
    assert (stopped.status, changed.slice_len, started.status) == ("stopped", 20, "waiting")
    assert [it.id for it in listed.executions] == [plan]
    assert (jobs.total_count, jobs.jobs[0].id, told.url_count, reset.url_submitted) == ("1", job.id, 2, 0)
    assert (gone.code, gone.status_code) == ("InvalidId.NotFound", 404)
    assert oss.code == "InvalidInsertWay"
