"""The official SDKs of the sister products, unmodified: every refresh operation, and each class of error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import alibabacloud_dcdn20180115.client as dcdn
import alibabacloud_dcdn20180115.models as dcdn_models
import alibabacloud_scdn20171115.client as scdn
import alibabacloud_scdn20171115.models as scdn_models
import alibabacloud_vod20170321.client as vod
import alibabacloud_vod20170321.models as vod_models
import pytest
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException, ClientException, ThrottlingException
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

from tests.running import Running, running

URLS = "http://img.test/a%20b\nhttp://img.test/é?x=1\n"


@pytest.fixture
def service() -> Iterator[Running]:
    with running() as service:
        yield service


@dataclass(frozen=True)
class Product:
    client: ModuleType
    models: ModuleType
    infix: str  #: between verb and noun of its operations


PRODUCTS = [
    Product(dcdn, dcdn_models, "Dcdn"),
    Product(scdn, scdn_models, "Scdn"),
    Product(vod, vod_models, "Vod"),
]


class Caller:
    """One SDK's client, called by the operation's own name."""

    def __init__(
        self, product: Product, service: Running, key: str = "testid", secret: str = "testsecret", signing: str = "v3"
    ) -> None:
        config = Config(access_key_id=key, access_key_secret=secret, endpoint=service.address, protocol="http")
        if signing == "v1":
            config.signature_algorithm = "v2"  # sic: the SDK's own name for it
        self.product, self.service, self.signing = product, service, signing
        self._client = product.client.Client(config)

    def other(self, **changed: str) -> Caller:
        return Caller(self.product, self.service, signing=self.signing, **changed)

    def __call__(self, verb: str, noun: str, **params: Any) -> Any:
        """The body of the answer, as the SDK's own type."""
        action = verb + self.product.infix + noun
        request = getattr(self.product.models, f"{action}Request")(**params)
        method = "".join(f"_{ch.lower()}" if ch.isupper() else ch for ch in action).lstrip("_")
        return getattr(self._client, method)(request).body


@pytest.fixture(params=["v3", "v1"])
def signing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PRODUCTS, ids=lambda product: product.infix)
def call(request: pytest.FixtureRequest, service: Running, signing: str) -> Caller:
    return Caller(request.param, service, signing=signing)


def test_refresh_preload_and_ask(call: Caller) -> None:
    """The round that every product has, with its own request and response types."""
    refreshed = call("Refresh", "ObjectCaches", object_path=URLS, object_type="File")
    pushed = call("Preload", "ObjectCaches", object_path="http://img.test/p", area="domestic")
    listed = call("Describe", "RefreshTasks", page_size=2, page_number=1)
    preloads = call("Describe", "RefreshTasks", object_type="preload", task_id=pushed.preload_task_id)
    quota = call("Describe", "RefreshQuota")

    assert int(refreshed.refresh_task_id)
    assert (listed.total_count, len(listed.tasks.task)) == (3, 2)
    (task,) = preloads.tasks.task
    assert (task.object_path, task.object_type, task.status, task.process) == (
        "http://img.test/p",
        "preload",
        "Pending",
        "0%",
    )
    assert (quota.url_quota, quota.url_remain, quota.preload_remain, quota.block_remain) == (
        "10000",
        "9998",
        "999",
        "300",
    )


def test_user_quota(call: Caller) -> None:
    """Numbers here, strings above. VOD has no such operation."""
    if call.product.infix != "Vod":
        assert call("Describe", "UserQuota").refresh_url_quota == 10_000


def refused(call: Callable[[], Any]) -> AlibabaCloudException:
    with pytest.raises(AlibabaCloudException) as trouble:
        call()
    return trouble.value


def test_errors(call: Caller) -> None:
    """Every class of error is the SDK's own exception."""
    wrong = refused(lambda: call("Describe", "RefreshTasks", task_id="x"))
    missing = refused(lambda: call("Refresh", "ObjectCaches", object_path=""))
    foreign = refused(lambda: call("Preload", "ObjectCaches", object_path="http://foreign.test/a"))
    secret = refused(lambda: call.other(secret="wrong")("Describe", "RefreshQuota"))
    key = refused(lambda: call.other(key="nobody")("Describe", "RefreshQuota"))

    assert isinstance(wrong, ClientException)
    assert (wrong.code, wrong.status_code) == ("InvalidTaskId.Malformed", 400)
    assert "The specified TaskId is invalid." in wrong.message
    assert missing.code == "MissingObjectPath"
    assert (foreign.code, foreign.status_code) == ("InvalidDomain.NotFound", 404)
    assert (secret.code, secret.status_code) == ("SignatureDoesNotMatch", 400)
    assert (key.code, key.status_code) == ("InvalidAccessKeyId.NotFound", 404)


def test_throttled_and_broken(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many calls, a spent allowance and a fault of ours arrive as what they are."""
    app = call.service.app
    monkeypatch.setattr(
        app, "_limits", replace(app._limits, rates={f"Describe{call.product.infix}RefreshQuota": 0.001})
    )
    call("Describe", "RefreshQuota")
    often = refused(lambda: call("Describe", "RefreshQuota"))

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(call.service.log, "append", broken)
    trouble = refused(lambda: call("Refresh", "ObjectCaches", object_path="http://img.test/a"))

    assert isinstance(often, ThrottlingException) and often.code == "Throttling.User"
    assert (trouble.code, trouble.status_code) == ("InternalError", 500)


def test_dcdn_alone(service: Running, signing: str) -> None:
    """What only DCDN has: tasks by id, tags, and what edge routines keep."""
    call = Caller(PRODUCTS[0], service, signing=signing)
    refreshed = call("Refresh", "ObjectCaches", object_path="img.test/[0-9].png", object_type="Regex", force=True)
    tagged = call("Refresh", "ObjectCacheByCacheTag", domain_name="img.test", cache_tag="red,blue", force=True)
    er = replace(PRODUCTS[0], infix="")
    routine = Caller(er, service, signing=signing)
    by_routine = routine("Refresh", "ErObjectCaches", object_path="img.test/r", object_type="File", routine_id="1")
    by_tag = routine("Refresh", "ErObjectCachesByCacheTag", domain="img.test", cache_tag="red")
    ids = [body.refresh_task_id for body in (refreshed, tagged, by_routine, by_tag)]
    tasks = call("Describe", "RefreshTaskById", task_id=",".join(ids)).tasks
    many = refused(lambda: call("Describe", "RefreshTaskById", task_id=",".join("12345678901")))

    assert [task.object_type for task in tasks] == ["regex", "cachetag", "cachetag", "file", "cachetag"]
    assert (many.code, many.status_code) == ("InvalidTaskId", 400)


def test_versions_of_old(service: Running) -> None:
    """The versions and names that no SDK of today has, through the legacy SDK's request for anything."""

    def ask(version: str, action: str, **params: str) -> Any:
        request = CommonRequest(domain=service.address, version=version, action_name=action)
        request.set_method("GET")
        request.set_protocol_type("http")
        for name, value in params.items():
            request.add_query_param(name, value)
        client = AcsClient("testid", "testsecret", "cn-hangzhou", auto_retry=False)
        return json.loads(client.do_action_with_exception(request))

    purged = ask("2014-11-11", "PurgeObjectCaches", DomainName="img.test", ObjectPath="/a/", ObjectType="Directory")
    pushed = ask("2014-11-11", "PushObjectCache", ObjectPath="http://img.test/p", Area="overseas")
    first = ask("2014-11-11", "DescribeRefreshTasks", ObjectType="path")
    later = ask("2017-03-21", "DescribeRefreshTasks", TaskId=purged["RefreshTaskId"])

    assert int(pushed["PushTaskId"])
    assert first["Tasks"]["CDNTask"][0]["TaskId"] == purged["RefreshTaskId"]
    assert later["Tasks"]["Task"][0]["ObjectType"] == "path"
