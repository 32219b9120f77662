"""The sandbox: every outcome to order, seen through the official SDK."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_esa20240910 import models as esa_models
from alibabacloud_esa20240910.client import Client as EsaClient
from alibabacloud_sts20150401 import models as sts_models
from alibabacloud_sts20150401.client import Client as StsClient
from alibabacloud_tea_openapi.models import Config
from alibabacloud_vod20170321 import models as vod_models
from alibabacloud_vod20170321.client import Client as VodClient
from Tea.exceptions import TeaException

from freshline.access.limits import Limits
from freshline.sandbox import script
from freshline.sandbox.plugin import Endpoint
from freshline.sandbox.script import BadScript
from freshline.sandbox.server import Sandbox
from freshline.wire.signature import Signed, sign_v3
from tests.scenario.test_sdks import node_modules
from tests.servers.base import free_port

__all__ = ["node_modules"]


@pytest.fixture
def cdn(freshline_endpoint: Endpoint) -> Client:
    freshline_endpoint.clock.stop()
    return Client(
        Config(
            access_key_id=freshline_endpoint.key_id,
            access_key_secret=freshline_endpoint.secret,
            endpoint=freshline_endpoint.address,
            protocol="http",
        )
    )


def refresh(cdn: Client, *paths: str) -> str:
    lines = "\n".join(f"http://any.example.com{path}" for path in paths)
    id_: str = cdn.refresh_object_caches(models.RefreshObjectCachesRequest(object_path=lines)).body.refresh_task_id
    return id_


def rows(cdn: Client, id_: str) -> list[tuple[str, str, str]]:
    answer = cdn.describe_refresh_task_by_id(models.DescribeRefreshTaskByIdRequest(task_id=id_))
    return [(row.status, row.process, row.description) for row in answer.body.tasks]


def test_a_task_goes_its_way_as_the_clock_does(freshline_endpoint: Endpoint, cdn: Client) -> None:
    """Pending, Refreshing with a growing percentage, Complete: at the times the rule says."""
    freshline_endpoint.rules([{"match": "*", "outcome": "complete", "after_ms": 10_000}])
    task = refresh(cdn, "/a")
    assert rows(cdn, task) == [("Pending", "0%", "")]

    freshline_endpoint.clock.advance(5)
    assert rows(cdn, task) == [("Refreshing", "50%", "")]
    freshline_endpoint.clock.advance(5)
    assert rows(cdn, task) == [("Complete", "100%", "")]


def test_a_task_can_stick_at_any_percentage(freshline_endpoint: Endpoint, cdn: Client) -> None:
    """The famous 99.37%."""
    task = refresh(cdn, "/sandbox-stuck")

    freshline_endpoint.clock.advance(3600)

    assert rows(cdn, task) == [("Refreshing", "99.37%", "")]


@pytest.mark.parametrize("description", script.DESCRIPTIONS)
def test_a_task_fails_with_each_description(freshline_endpoint: Endpoint, cdn: Client, description: str) -> None:
    """Failed says why, in the contract's words."""
    freshline_endpoint.rules([{"match": "*", "outcome": "failed", "description": description, "at": "25%"}])
    task = refresh(cdn, "/a", "/b")

    freshline_endpoint.clock.advance(1)

    assert rows(cdn, task) == [("Failed", "25%", description)] * 2


def test_rows_of_one_task_end_differently(freshline_endpoint: Endpoint, cdn: Client) -> None:
    """Each URL has its own rule."""
    task = refresh(cdn, "/fine", "/sandbox-failed-5xx", "/sandbox-stuck", "/fine2")
    freshline_endpoint.clock.advance(10)

    assert [row[0] for row in rows(cdn, task)] == ["Complete", "Failed", "Refreshing", "Complete"]
    failed = cdn.describe_refresh_tasks(models.DescribeRefreshTasksRequest(object_type="file", status="Failed"))
    assert [row.object_path for row in failed.body.tasks.cdntask] == ["http://any.example.com/sandbox-failed-5xx"]


@pytest.mark.parametrize(
    ("refuse", "code"),
    [
        ("quota", "QuotaExceeded.Refresh"),
        ("minute", "QuotaPerMinuteExceeded.Refresh"),
        ("throttled", "TooManyRequests"),
        ("unavailable", "ServiceUnavailable"),
    ],
)
def test_calls_are_refused_to_order(freshline_endpoint: Endpoint, cdn: Client, refuse: str, code: str) -> None:
    """As the service would, and only as often as the rule says."""
    freshline_endpoint.rules([{"match": "*", "refuse": refuse, "times": 1}])

    with pytest.raises((TeaException, Exception)) as refused:
        refresh(cdn, "/a")
    assert getattr(refused.value, "code", None) == code

    assert refresh(cdn, "/a")


def test_every_answer_says_that_it_is_the_sandbox(freshline_endpoint: Endpoint) -> None:
    """Nobody takes it for the real thing."""
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(freshline_endpoint.url)

    assert error.value.headers["x-freshline-sandbox"]


def test_each_test_begins_clean(freshline_endpoint: Endpoint, cdn: Client) -> None:
    """Neither tasks nor rules of another test."""
    assert cdn.describe_refresh_tasks(models.DescribeRefreshTasksRequest()).body.total_count == 0


def test_rules_and_clock_over_http(freshline_endpoint: Endpoint, cdn: Client) -> None:
    """Tests in other languages use the admin paths."""
    assert admin(freshline_endpoint, "PUT", "rules", [{"match": "*", "after_ms": 60_000}]) == (200, "ok\n")
    task = refresh(cdn, "/a")
    assert admin(freshline_endpoint, "POST", "clock", {"advance_seconds": 30}) == (200, "ok\n")
    assert rows(cdn, task) == [("Refreshing", "50%", "")]

    status, said = admin(freshline_endpoint, "PUT", "rules", [{"match": "", "outcom": 1}, {"after_ms": -1}])
    assert (status, said.count("\n")) == (400, 3)
    assert admin(freshline_endpoint, "POST", "clock", {"advance_seconds": -1})[0] == 400
    assert admin(freshline_endpoint, "GET", "clock", None)[0] == 405
    assert rows(cdn, task) == [("Refreshing", "50%", "")]


def admin(endpoint: Endpoint, method: str, path: str, value: Any) -> tuple[int, str]:
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(f"{endpoint.url}/sandbox/{path}", body, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_every_mistake_in_a_script_is_named() -> None:
    """At once, each with key, value and what is allowed."""
    with pytest.raises(BadScript) as bad:
        script.read([{"outcome": "done"}, "x", {"at": "200%", "description": "Oops", "refuse": 1, "times": 0}])

    text = str(bad.value)
    assert text.count("\n") == 5
    assert "rule 1: outcome = 'done': must be one of complete, stuck, failed" in text


def test_it_starts_without_what_the_service_needs() -> None:
    """No store, no encryption, no drivers are loaded: that is what keeps the start short."""
    code = "import sys, freshline.sandbox.server; print([m for m in ('sqlite3', 'cryptography') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


# -- who calls ------------------------------------------------------------------------
PEOPLE: list[dict[str, Any]] = [
    {
        "name": "shop",
        "keys": [{"id": "shopkey", "secret": "shopsecret"}],
        "domains": ["shop.test", "*.shop.test"],
        "sites": {"site.test": 4711},
        "policies": {
            "refreshers": {
                "Version": "1",
                "Statement": [
                    {"Effect": "Allow", "Action": "cdn:Refresh*", "Resource": "acs:cdn:*:*:domain/shop.test"}
                ],
            }
        },
        "users": [
            {
                "name": "anna",
                "policies": ["refreshers", "AliyunSTSAssumeRoleAccess"],
                "keys": [{"id": "anna1", "secret": "s1"}, {"id": "anna2", "secret": "s2", "active": False}],
            }
        ],
        "roles": [{"name": "deploy", "policies": ["AliyunCDNFullAccess"]}],
    },
    {"name": "closed", "keys": [{"id": "closedkey", "secret": "s"}], "services": {"cdn": "suspended"}},
]


def by(endpoint: Endpoint, key: str, secret: str, token: str | None = None) -> Client:
    return Client(
        Config(
            access_key_id=key, access_key_secret=secret, security_token=token, endpoint=endpoint.address,
            protocol="http",
        )
    )  # fmt: skip


def code(client: Client, path: str) -> str:
    """Of the error, or nothing."""
    try:
        client.refresh_object_caches(models.RefreshObjectCachesRequest(object_path=path))
    except Exception as refused:
        return str(getattr(refused, "code", refused))
    return ""


def test_accounts_users_and_keys(freshline_endpoint: Endpoint, cdn: Client) -> None:
    """Each may do what they may with the service itself; domains are whose pattern they fit, else the sandbox's own."""
    freshline_endpoint.accounts(PEOPLE)
    shop, anna = by(freshline_endpoint, "shopkey", "shopsecret"), by(freshline_endpoint, "anna1", "s1")

    assert code(shop, "http://img.shop.test/a") == code(anna, "http://shop.test/a") == code(cdn, "http://o.test/") == ""
    assert code(anna, "http://img.shop.test/a") == "Forbidden.RAM"
    assert code(shop, "http://other.test/a") == code(cdn, "http://shop.test/a") == "InvalidDomain.NotFound"
    assert code(by(freshline_endpoint, "anna2", "s2"), "http://shop.test/a") == "InvalidAccessKeyId.Inactive"
    assert code(by(freshline_endpoint, "closedkey", "s"), "http://shop.test/a") == "OperationDenied.Suspended"
    freshline_endpoint.reset()
    assert code(shop, "http://shop.test/a") == "InvalidAccessKeyId.NotFound"


def test_users_of_accounts_with_like_ids(freshline_endpoint: Endpoint) -> None:
    """A user may do what their own policies allow, and not what those of another account's user do."""
    held = {"1": [], "2": ["AliyunCDNFullAccess"]}
    freshline_endpoint.accounts(
        [
            {"name": f"shop{first}", "id": f"{first}000000000000001", "domains": [f"{first}.test"],
             "users": [{"name": "anna", "policies": policies, "keys": [{"id": first, "secret": "s"}]}]}
            for first, policies in held.items()
        ]
    )  # fmt: skip

    assert code(by(freshline_endpoint, "1", "s"), "http://1.test/a") == "Forbidden.RAM"
    assert code(by(freshline_endpoint, "2", "s"), "http://2.test/a") == ""


async def test_as_many_calls_as_a_test_likes() -> None:
    """It forgets a nonce before it takes no more calls, since a clock that is moved by years lets none grow old."""
    sandbox = Sandbox(limits=replace(Limits(), nonces=3))
    sent = []
    for number in range(10):
        signed = sign_v3("GET", "x", "DescribeRefreshQuota", "2018-05-10", {}, key_id="testid", secret="testsecret",
                         now=sandbox.clock.now(), nonce=f"nonce-{number}")  # fmt: skip
        sent.append((await asked(sandbox, signed))["status"])
        assert (await asked(sandbox, signed))["status"] == 400

    assert sent == [200] * 10


async def asked(sandbox: Sandbox, signed: Signed) -> dict[str, Any]:
    """The beginning of the answer."""
    said: list[dict[str, Any]] = []
    scope = {
        "type": "http", "method": signed.method, "path": "/", "query_string": signed.target[2:].encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in signed.headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said.append(message)

    await sandbox(scope, receive, send)
    return said[0]


def test_a_role_for_an_hour(freshline_endpoint: Endpoint) -> None:
    """AssumeRole gives keys that work until the clock says that they have ended."""
    freshline_endpoint.accounts(PEOPLE)
    freshline_endpoint.clock.stop()
    sts = StsClient(
        Config(access_key_id="anna1", access_key_secret="s1", endpoint=freshline_endpoint.address, protocol="http")
    )
    role = "acs:ram::1000000000000002:role/deploy"
    taken = sts.assume_role(sts_models.AssumeRoleRequest(role_arn=role, role_session_name="ci")).body.credentials
    session = by(freshline_endpoint, taken.access_key_id, taken.access_key_secret, taken.security_token)

    assert code(session, "http://img.shop.test/a") == ""
    freshline_endpoint.clock.advance(3601)
    assert code(session, "http://img.shop.test/a") == "InvalidSecurityToken.Expired"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([{"name": "a", "kees": []}], "unknown field `kees`"),
        ([{"name": "a", "keys": [{"id": "testid", "secret": "x"}]}], "key 'testid'"),
        ([{"name": "a"}, {"name": "a"}], "account 'a'"),
        ([{"name": "a", "id": "5"}], "id = '5'"),
        ([{"name": "a", "users": [{"name": "u", "policies": ["Nope"]}]}], "policies = 'Nope'"),
        ([{"name": "a", "policies": {"p": {}}}], "policies.p"),
        ([{"name": "a", "roles": [{"name": "r", "trusted": ["me"]}]}], "trusted: 'me'"),
        ([{"name": "a", "roles": [{"name": "r", "longest_seconds": 1}]}], "longest_seconds = 1"),
        ([{"name": "a", "sites": {"x.test": 0}}], "sites.x.test = 0"),
    ],
)
def test_mistakes_in_accounts(freshline_endpoint: Endpoint, cdn: Client, wrong: Any, said: str) -> None:
    """Are named, and nobody's key changes."""
    status, text = admin(freshline_endpoint, "PUT", "accounts", wrong)

    assert status == 400 and said in text, text
    assert code(cdn, "http://a.test/") == ""


# -- scheduled prefetches -------------------------------------------------------------
def test_scheduled_prefetches_go_with_the_clock(freshline_endpoint: Endpoint) -> None:
    """Each slice becomes a task at its moment, however far the clock is moved at once."""
    freshline_endpoint.accounts([{"name": "sandbox", "sites": {"site.test": 4711}}])
    freshline_endpoint.clock.stop()
    esa = EsaClient(
        Config(
            access_key_id="testid", access_key_secret="testsecret", endpoint=freshline_endpoint.address, protocol="http"
        )
    )
    urls = [f"http://site.test/{number}" for number in range(5)]
    job = esa.create_scheduled_preload_job(
        esa_models.CreateScheduledPreloadJobRequest(
            site_id=4711, name="nightly", insert_way="textBox", url_list="\n".join(urls)
        )
    ).body
    slot = esa_models.CreateScheduledPreloadExecutionsRequestExecutions(interval=3600, slice_len=2)
    made = esa_models.CreateScheduledPreloadExecutionsRequest(id=job.id, executions=[slot])
    plan = esa.create_scheduled_preload_executions(made).body.success_executions[0]

    def submitted() -> tuple[int, str]:
        told = esa.get_scheduled_preload_job(esa_models.GetScheduledPreloadJobRequest(id=job.id)).body
        plans = esa.list_scheduled_preload_executions(esa_models.ListScheduledPreloadExecutionsRequest(id=job.id)).body
        return told.url_submitted, plans.executions[0].status

    assert submitted() == (2, "running")
    freshline_endpoint.clock.advance(3600)
    assert submitted() == (4, "running")
    freshline_endpoint.clock.advance(10 * 3600)
    assert submitted() == (5, "finished")

    tasks = esa.describe_preload_tasks(esa_models.DescribePreloadTasksRequest(site_id=4711)).body.tasks
    times = [datetime.fromisoformat(task.create_time) for task in tasks[::-1]]
    assert [(time - datetime.fromisoformat(plan.start_time)).seconds for time in times] == [0, 0, 3600, 3600, 7200]
    assert {task.status for task in tasks} == {"Complete"}


# -- as a command -------------------------------------------------------------------------
def test_a_script_of_rules_and_accounts(tmp_path: Path) -> None:
    """The command takes it from a file, is there within a second, and goes back to it on a reset."""
    script_file = tmp_path / "script.json"
    script_file.write_text(json.dumps({"accounts": PEOPLE, "rules": [{"match": "*", "outcome": "failed"}]}))
    command = [sys.executable, "-m", "freshline", "sandbox", "--port", "0", "--rules", str(script_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = re.search(r"http://(\S+),", process.stdout.readline())
        assert said is not None
        shop = Client(
            Config(access_key_id="shopkey", access_key_secret="shopsecret", endpoint=said[1], protocol="http")
        )
        for _ in range(2):
            assert rows(shop, refresh_one(shop, "http://shop.test/a"))[0][0] == "Failed"
            urllib.request.urlopen(urllib.request.Request(f"http://{said[1]}/sandbox/reset", method="POST")).close()
        process.terminate()


def refresh_one(client: Client, path: str) -> str:
    id_: str = client.refresh_object_caches(models.RefreshObjectCachesRequest(object_path=path)).body.refresh_task_id
    return id_


def test_the_recipe_for_node(node_modules: Path) -> None:
    """The two lines of docs/sandbox.md are all that is needed."""
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    recipe = page.partition("## From Node")[2].partition("\n## ")[0]
    lines = [line.strip() for line in recipe.splitlines() if line.startswith("    ")]
    assert len(lines) == 2
    code = f"""
        const {{ Config }} = require('@alicloud/openapi-core').$OpenApiUtil
        const {{ default: Cdn, RefreshObjectCachesRequest }} = require('@alicloud/cdn20180510')
        {chr(10).join(lines).replace("9000", str(free_port()))}
        const again = async () => {{
          try {{
            const request = new RefreshObjectCachesRequest({{ objectPath: 'http://any.test/a' }})
            console.log((await cdn.refreshObjectCaches(request)).body.refreshTaskId)
            sandbox.kill()
          }} catch (error) {{ setTimeout(again, 100) }}
        }}
        again()"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | {"PATH": path}

    done = subprocess.run(["node", "-e", code], cwd=node_modules, env=env, capture_output=True, text=True, timeout=60)

    assert done.stdout == "1\n", done.stderr


def test_media(freshline_endpoint: Endpoint) -> None:
    """Any media id has streams, and its tasks go the way of their URLs."""
    freshline_endpoint.rules([{"match": "*/lost/*.m3u8", "outcome": "failed", "description": "Origin Timeout"}])
    vod = VodClient(
        Config(
            access_key_id=freshline_endpoint.key_id,
            access_key_secret=freshline_endpoint.secret,
            endpoint=freshline_endpoint.address,
            protocol="http",
        )
    )
    ids = f"film,lost,sandbox-unknown,{'x' * 65}"
    asked = vod_models.RefreshMediaPlayUrlsRequest(media_ids=ids, task_type="Preload", formats="mp4,m3u8")
    taken = vod.refresh_media_play_urls(asked).body
    ask = vod_models.GetMediaRefreshJobsRequest(media_refresh_job_id=taken.media_refresh_job_id)
    film, lost = vod.get_media_refresh_jobs(ask).body.media_refresh_jobs

    assert taken.non_exist_media_ids == f"sandbox-unknown,{'x' * 65}"
    assert (film.status, film.task_ids, film.error_code) == ("success", "1,2", "")
    assert (lost.status, lost.task_ids, lost.error_message) == ("fail", "3,4", "Origin Timeout")
    assert lost.success_play_urls == "http://play.sandbox.test/lost/hd.mp4"


@pytest.mark.parametrize("path", ["rules", "accounts", "clock"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'[{"name": "a", "policies": {"p": ' + b'{"a": ' * 3000 + b"1" + b"}" * 3000 + b"}}]",
        b'[{"name": "\\ud800", "match": "\\ud800", "\\ud800": 1}]',
        b'[{"refuse": {}}]',
        b'{"advance_seconds": Infinity}',
        b'{"advance_seconds": 1' + b"0" * 400 + b"}",
        b'{"advance_seconds": 4e9}',
        b'{"advance_seconds": true}',
        b"\xff",
    ],
)
def test_what_is_no_script_changes_nothing(freshline_endpoint: Endpoint, path: str, body: bytes) -> None:
    """It is refused in words, and calls go on."""
    before = freshline_endpoint.clock.now()
    url = f"http://{freshline_endpoint.address}/sandbox/{path}"
    method = "POST" if path == "clock" else "PUT"

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, data=body, method=method), timeout=20)

    assert refused.value.code == 400 and refused.value.read().strip()
    assert freshline_endpoint.clock.now() - before < 60
