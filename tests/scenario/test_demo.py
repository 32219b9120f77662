"""``make run``'s main job: what a script, or a person, meets first."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_tea_openapi.models import Config

from tests.servers.base import free_port, get, listens, until
from tests.servers.nginx import module


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    """What the demo would build first, and keep."""
    module()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    port = free_port(6)
    command = [sys.executable, "-m", "freshline", "demo", "--port", str(port), "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    described = tmp_path / "run" / "demo.json"
    until(lambda: process.poll() is not None or described.exists())
    assert process.poll() is None, process.communicate()[0]
    yield process, json.loads(described.read_text())
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_a_script_can_drive_it(demo: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    """demo.json is all that an unmodified SDK needs to refresh an object on both edges."""
    _, run = demo
    cdn = Client(
        Config(
            access_key_id=run["access_key_id"],
            access_key_secret=run["access_key_secret"],
            endpoint=run["endpoint"].removeprefix("http://"),
            protocol="http",
        )
    )
    domain = run["domains"][0]
    page = Path(run["origin"]["root"]) / domain / "a.txt"
    before = [get(edge["address"], "/a.txt", domain).body for edge in run["edges"]]
    page.write_text("changed\n")

    taken = cdn.refresh_object_caches(models.RefreshObjectCachesRequest(object_path=f"http://{domain}/a.txt"))
    asked = models.DescribeRefreshTaskByIdRequest(task_id=taken.body.refresh_task_id)
    until(lambda: cdn.describe_refresh_task_by_id(asked).body.tasks[0].status == "Complete")

    assert {edge["kind"] for edge in run["edges"]} == {"nginx", "varnish"}
    assert [get(edge["address"], "/a.txt", domain).body for edge in run["edges"]] == ["changed\n"] * 2 != before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_behind(how: signal.Signals, demo: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    """Ctrl-C ends every process it started; so does killing it."""
    process, run = demo
    addresses = [edge["address"] for edge in run["edges"]] + [run["origin"]["address"]]
    assert all(listens(address) for address in addresses)

    process.send_signal(how)
    process.communicate(timeout=30)

    assert process.returncode == (0 if how != signal.SIGKILL else -signal.SIGKILL)
    until(lambda: not any(listens(address) for address in addresses))


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """One line that names the address, and no traceback."""
    port = free_port(6)
    holder = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)])
    try:
        until(lambda: listens(f"127.0.0.1:{port}"))
        command = [sys.executable, "-m", "freshline", "demo", "--port", str(port), "--run-dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        holder.terminate()
        holder.wait()

    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_demo_leaves_the_first_alone(
    demo: tuple[subprocess.Popen[str], dict[str, Any]], tmp_path: Path
) -> None:
    """It is refused before it writes anything."""
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.conf")}
    command = [
        sys.executable,
        "-m",
        "freshline",
        "demo",
        "--port",
        str(free_port(6)),
        "--run-dir",
        str(tmp_path / "run"),
    ]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "in use by process" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def _changed(path: Path, since: int) -> bool:
    return path.exists() and path.stat().st_mtime_ns != since


def test_a_second_start_finds_the_same_account(tmp_path: Path) -> None:
    """Keys that were handed out go on working."""
    found = []
    for _ in range(2):
        command = [
            sys.executable,
            "-m",
            "freshline",
            "demo",
            "--port",
            str(free_port(6)),
            "--run-dir",
            str(tmp_path),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ)
        described = tmp_path / "demo.json"
        old = described.stat().st_mtime_ns if described.exists() else 0
        until(functools.partial(_changed, described, old))
        found.append(json.loads(described.read_text()))
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    assert found[0]["access_key_secret"] == found[1]["access_key_secret"]
