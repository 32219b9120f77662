"""The sandbox: every outcome to order, seen through the official SDK."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest
from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_tea_openapi.models import Config
from Tea.exceptions import TeaException

from freshline.sandbox import script
from freshline.sandbox.plugin import Endpoint
from freshline.sandbox.script import BadScript


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
