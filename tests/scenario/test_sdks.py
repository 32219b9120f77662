"""The official SDKs, unmodified, against the running service: results and errors arrive as their own types."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException, ClientException, ThrottlingException
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcdn.request.v20180510.DescribeRefreshQuotaRequest import DescribeRefreshQuotaRequest
from aliyunsdkcdn.request.v20180510.DescribeRefreshTaskByIdRequest import DescribeRefreshTaskByIdRequest
from aliyunsdkcdn.request.v20180510.DescribeRefreshTasksRequest import DescribeRefreshTasksRequest
from aliyunsdkcdn.request.v20180510.PushObjectCacheRequest import PushObjectCacheRequest
from aliyunsdkcdn.request.v20180510.RefreshObjectCachesRequest import RefreshObjectCachesRequest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

from tests.running import Running, running

URLS = "http://img.test/a%20b+c*~!'().txt\nhttp://img.test/é?x=1&y=2\n"


@pytest.fixture
def service() -> Iterator[Running]:
    with running() as service:
        yield service


@pytest.fixture(params=["v3", "v1"])
def client(request: pytest.FixtureRequest, service: Running) -> Client:
    return new_client(service, signing=request.param)


def new_client(service: Running, key: str = "testid", secret: str = "testsecret", signing: str = "v3") -> Client:
    config = Config(access_key_id=key, access_key_secret=secret, endpoint=service.address, protocol="http")
    if signing == "v1":
        config.signature_algorithm = "v2"  # sic: the SDK's own name for it
    return Client(config)


# -- alibabacloud_cdn20180510 ---------------------------------------------------
def test_every_operation(client: Client) -> None:
    """All eight, with their own request and response types."""
    refreshed = client.refresh_object_caches(
        models.RefreshObjectCachesRequest(object_path=URLS, object_type="File", force=True)
    ).body
    pushed = client.push_object_cache(
        models.PushObjectCacheRequest(
            object_path="http://img.test/p",
            area="domestic",
            l_2preload=False,
            with_header='{"Accept-Encoding":["gzip"]}',
        )
    ).body
    tagged = client.refresh_object_cache_by_cache_tag(
        models.RefreshObjectCacheByCacheTagRequest(domain_name="img.test", cache_tag="red,blue", force=True)
    ).body
    ids = f"{refreshed.refresh_task_id},{pushed.push_task_id}"
    by_id = client.describe_refresh_task_by_id(models.DescribeRefreshTaskByIdRequest(task_id=ids)).body
    listed = client.describe_refresh_tasks(models.DescribeRefreshTasksRequest(page_size=1, object_type="file")).body
    detail = client.describe_preload_detail_by_id(
        models.DescribePreloadDetailByIdRequest(task_id=pushed.push_task_id)
    ).body
    quota = client.describe_refresh_quota(models.DescribeRefreshQuotaRequest()).body
    user_quota = client.describe_cdn_user_quota(models.DescribeCdnUserQuotaRequest()).body

    assert int(refreshed.refresh_task_id) and int(tagged.refresh_task_id)
    assert by_id.total_count == 3
    assert [task.object_path for task in by_id.tasks] == [*URLS.splitlines(), "http://img.test/p"]
    assert {task.status for task in by_id.tasks} == {"Pending"}
    assert (listed.total_count, len(listed.tasks.cdntask), listed.page_size) == (2, 1, 1)
    assert detail.url_details[0].urls[0].url == "http://img.test/p"
    assert (quota.url_quota, quota.url_remain) == ("10000", "9998")
    assert (user_quota.refresh_dir_quota, user_quota.refresh_dir_remain) == (100, 98)


async def test_async(client: Client) -> None:
    """The asynchronous methods, which send a content type with empty bodies."""
    refreshed = await client.refresh_object_caches_async(models.RefreshObjectCachesRequest(object_path=URLS))
    request = models.DescribeRefreshTaskByIdRequest(task_id=refreshed.body.refresh_task_id)
    by_id = await client.describe_refresh_task_by_id_async(request)

    assert by_id.body.total_count == 2
    with pytest.raises(ClientException) as trouble:
        await client.describe_refresh_task_by_id_async(models.DescribeRefreshTaskByIdRequest(task_id="1.0"))
    assert trouble.value.code == "InvalidTaskId.Malformed"


def refused(call: Callable[[], Any]) -> AlibabaCloudException:
    with pytest.raises(AlibabaCloudException) as trouble:
        call()
    return trouble.value


def test_errors(service: Running, client: Client) -> None:
    """Every class of error is the SDK's own exception with code, status, message and request id."""
    signing = "v1" if client._signature_algorithm == "v2" else "v3"
    ask = models.DescribeRefreshTaskByIdRequest
    wrong = refused(lambda: client.describe_refresh_task_by_id(ask(task_id="x")))
    missing = refused(lambda: client.refresh_object_caches(models.RefreshObjectCachesRequest(object_path="")))
    foreign = refused(
        lambda: client.refresh_object_caches(models.RefreshObjectCachesRequest(object_path="http://foreign.test/a"))
    )
    secret = refused(
        lambda: new_client(service, secret="wrong", signing=signing).describe_refresh_quota(
            models.DescribeRefreshQuotaRequest()
        )
    )
    key = refused(
        lambda: new_client(service, key="nobody", signing=signing).describe_refresh_quota(
            models.DescribeRefreshQuotaRequest()
        )
    )

    assert isinstance(wrong, ClientException)
    assert (wrong.code, wrong.status_code) == ("InvalidTaskId.Malformed", 400)
    assert "The specified TaskId is invalid." in wrong.message and wrong.request_id in wrong.message
    assert missing.code == "MissingObjectPath"
    assert (foreign.code, foreign.status_code) == ("InvalidDomain.NotFound", 404)
    assert (secret.code, secret.status_code) == ("SignatureDoesNotMatch", 400)
    assert (key.code, key.status_code) == ("InvalidAccessKeyId.NotFound", 404)


def test_throttled(service: Running, client: Client) -> None:
    """Too many calls arrive as the SDK's ThrottlingException, with how long to wait."""
    service.app._limits = replace(service.app._limits, rates={"DescribeRefreshTaskById": 0.001})
    request = models.DescribeRefreshTaskByIdRequest(task_id="1")
    client.describe_refresh_task_by_id(request)
    trouble = refused(lambda: client.describe_refresh_task_by_id(request))

    assert isinstance(trouble, ThrottlingException)
    assert (trouble.code, trouble.status_code) == ("TooManyRequests", 429)
    assert 0 < trouble.retry_after <= 1_000_000


def test_broken_service(service: Running, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is a server's exception, status 500."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.log, "append", broken)
    trouble = refused(lambda: client.refresh_object_caches(models.RefreshObjectCachesRequest(object_path="img.test/a")))

    assert (trouble.code, trouble.status_code) == ("InternalError", 500)


# -- aliyun-python-sdk-cdn --------------------------------------------------------
def legacy(service: Running, secret: str = "testsecret") -> AcsClient:
    return AcsClient("testid", secret, "cn-hangzhou", auto_retry=False)


def ask(service: Running, request: Any, secret: str = "testsecret") -> Any:
    request.set_endpoint(service.address)
    return json.loads(legacy(service, secret).do_action_with_exception(request))


def test_legacy(service: Running) -> None:
    """The older SDK: V1, everything in the query."""
    refresh = RefreshObjectCachesRequest()
    refresh.set_ObjectPath(URLS)
    refresh.set_ObjectType("File")
    push = PushObjectCacheRequest()
    push.set_ObjectPath("http://img.test/p")
    push.set_Area("overseas")
    by_id, tasks = DescribeRefreshTaskByIdRequest(), DescribeRefreshTasksRequest()
    id_ = ask(service, refresh)["RefreshTaskId"]
    by_id.set_TaskId(id_)
    tasks.set_TaskId(ask(service, push)["PushTaskId"])

    assert [task["ObjectPath"] for task in ask(service, by_id)["Tasks"]] == URLS.splitlines()
    assert ask(service, tasks)["Tasks"]["CDNTask"][0]["ObjectType"] == "preload"
    assert ask(service, DescribeRefreshQuotaRequest())["UrlRemain"] == "9998"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_legacy_common_request(service: Running, method: str) -> None:
    """Any action by name, parameters in the query or in the form."""
    request = CommonRequest(domain=service.address, version="2018-05-10", action_name="RefreshObjectCaches")
    request.set_method(method)
    request.set_protocol_type("http")
    if method == "GET":
        request.add_query_param("ObjectPath", URLS)
    else:
        request.add_body_params("ObjectPath", URLS)

    assert int(json.loads(legacy(service).do_action_with_exception(request))["RefreshTaskId"])


def test_legacy_errors(service: Running) -> None:
    """The SDK's own exception; and a wrong secret is recognised as that, by the string to sign in the answer."""
    by_id = DescribeRefreshTaskByIdRequest()
    by_id.set_TaskId("x")
    with pytest.raises(ServerException) as malformed:
        ask(service, by_id)
    with pytest.raises(ServerException) as secret:
        ask(service, DescribeRefreshQuotaRequest(), secret="wrong")

    assert malformed.value.get_error_code() == "InvalidTaskId.Malformed"
    assert malformed.value.get_error_msg() == "The specified TaskId is invalid."
    assert malformed.value.get_http_status() == 400
    assert secret.value.get_error_code() == "InvalidAccessKeySecret"


def test_legacy_do_action(service: Running) -> None:
    """``do_action`` sends Format=None; that is no error."""
    request = DescribeRefreshQuotaRequest()
    request.set_endpoint(service.address)

    with pytest.warns(DeprecationWarning):
        answer = legacy(service).do_action(request)

    assert b"<UrlQuota>10000</UrlQuota>" in answer


# -- @alicloud/cdn20180510 --------------------------------------------------------
NODE = Path(__file__).parent.parent / "node"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The Node SDK, installed once by its lock file."""
    installed, lock = NODE / "node_modules" / ".package-lock.json", NODE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=NODE, check=True, capture_output=True)
    return NODE


@pytest.fixture(params=["", "v2"])
def node(request: pytest.FixtureRequest, service: Running, node_modules: Path) -> Iterator[Callable[..., Any]]:
    """Calls through the Node SDK, V3 and V1."""
    command = ["node", str(node_modules / "sdk.js"), service.address, "testid", "testsecret", request.param]
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def call(name: str, **arguments: Any) -> Any:
            stdin.write(json.dumps({"call": name, "request": arguments}) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())

        yield call
        stdin.close()


def test_node(node: Callable[..., Any]) -> None:
    """Chunked bodies, its own way of escaping, and its own errors."""
    refreshed = node("refreshObjectCaches", objectPath=URLS, objectType="File", force=True)["body"]
    pushed = node("pushObjectCache", objectPath="http://img.test/p*~!'()", area="domestic")["body"]
    by_id = node("describeRefreshTaskById", taskId=f"{refreshed['RefreshTaskId']},{pushed['PushTaskId']}")["body"]
    listed = node("describeRefreshTasks", objectType="preload")["body"]
    quota = node("describeRefreshQuota")["body"]
    malformed = node("describeRefreshTaskById", taskId="x")["error"]

    assert [task["ObjectPath"] for task in by_id["Tasks"]] == [*URLS.splitlines(), "http://img.test/p*~!'()"]
    assert listed["TotalCount"] == 1 and listed["Tasks"]["CDNTask"][0]["Status"] == "Pending"
    assert quota["UrlRemain"] == "9998"
    assert (malformed["code"], malformed["statusCode"]) == ("InvalidTaskId.Malformed", 400)
    assert "The specified TaskId is invalid." in malformed["message"]
