"""The service as a process: told to stop, told to reload, its data taken away, its settings in force."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshline.cli.client import ApiError
from freshline.config import load
from freshline.serving import listen, serve
from tests.scenario.stack import Stack
from tests.servers.base import SITE, free_port, until


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Stack]:
    """The service alone, over no caches."""
    home = tmp_path / "service"
    home.mkdir()
    stack = Stack(home, []).start()
    yield stack
    stack.kill()


def test_the_log_is_the_services_own(bare: Stack) -> None:
    """It says once where it listens; the server inside says nothing of its own start."""
    bare.stop()
    lines = bare.log().splitlines()

    assert len([line for line in lines if "listening on" in line]) == 1
    assert not [line for line in lines if "uvicorn" in line]


async def test_stopping_in_the_middle_of_a_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller who does not come to an end is told so when the others are done, and nothing is logged as a fault."""
    monkeypatch.setattr("freshline.serving.STOP_SECONDS", 0.2)
    settings = load(None, {"FRESHLINE_SERVICE_DATA_DIR": str(tmp_path), "FRESHLINE_SERVICE_LISTEN": "127.0.0.1:0"})
    listening = listen(settings)
    address = listening.getsockname()
    serving = asyncio.create_task(serve(settings, listening))
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /?Format=JSON HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\nObj")
    await reader.readuntil(b"100 Continue\r\n\r\n")  # so the body is being waited for

    os.kill(os.getpid(), signal.SIGTERM)
    answer = await reader.read()
    writer.close()
    await serving

    assert answer.startswith(b"HTTP/1.1 503") and b'"Code":"ServiceUnavailable"' in answer
    assert not [record for record in caplog.records if record.exc_info]


async def test_stopping_while_somebody_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends orders without end, and takes no answer, does not hold the service up."""
    monkeypatch.setattr("freshline.serving.ORDER_SECONDS", 0.2)
    settings = load(None, {"FRESHLINE_SERVICE_DATA_DIR": str(tmp_path), "FRESHLINE_SERVICE_LISTEN": "127.0.0.1:0"})
    serving = asyncio.create_task(serve(settings, listen(settings)))
    async with asyncio.timeout(10):
        while not (tmp_path / "control.sock").exists():
            await asyncio.sleep(0.02)
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"), limit=1)
    writer.write(b"POST /retry/1 HTTP/1.1\r\nHost: a\r\n\r\n" * 200_000)
    with pytest.raises(TimeoutError):  # neither side takes any more
        await asyncio.wait_for(writer.drain(), 1.0)

    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        await serving
    writer.transport.abort()

    assert not (tmp_path / "control.sock").exists()
    assert not [record for record in caplog.records if record.exc_info]


async def test_stopping_while_nobody_reads_a_large_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers of ours that wait for their reader, of each way in which a call is answered, end with the service."""
    monkeypatch.setattr("freshline.serving.STOP_SECONDS", 0.2)
    settings = load(None, {"FRESHLINE_SERVICE_DATA_DIR": str(tmp_path), "FRESHLINE_SERVICE_LISTEN": "127.0.0.1:0"})
    listening = listen(settings)
    serving = asyncio.create_task(serve(settings, listening))
    writers = []
    for request in (
        b"GET /?Format=JSON HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n=",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n=\r\n0\r\n\r\n",
    ):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that few answers fill it
        sock.connect(listening.getsockname())
        _, writer = await asyncio.open_connection(sock=sock, limit=1)
        writers.append(writer)
        writer.write(request * (20_000_000 // len(request)))  # more than the kernel keeps for a connection
        with pytest.raises(TimeoutError):  # neither side takes any more
            await asyncio.wait_for(writer.drain(), 1.0)

    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        await serving
    for writer in writers:
        writer.transport.abort()

    assert not [record for record in caplog.records if record.exc_info]


def test_sighup_without_tls(bare: Stack) -> None:
    """There is nothing to reload, which is said; the service goes on."""
    assert bare.process is not None
    bare.process.send_signal(signal.SIGHUP)

    until(lambda: "SIGHUP: without TLS there is nothing to reload" in bare.log())
    assert bare.look("/readyz") == "ok\n"


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_the_data_is_taken_away(bare: Stack, how: str) -> None:
    """Readiness says so, the log has one line, writes are refused, and questions are answered still. When it is back
    all goes on."""
    task = bare.refresh("/a")
    away = bare.home.with_name("away")
    bare.home.rename(away)
    if how == "replaced":
        shutil.copytree(away, bare.home, ignore=shutil.ignore_patterns("*.sock"))

    with pytest.raises(urllib.error.HTTPError) as unready:
        bare.look("/readyz")
    said = unready.value.read().decode()
    assert unready.value.code == 503 and str(bare.home / "log.db") in said
    for action, params in (
        ("RefreshObjectCaches", {"ObjectPath": f"http://{SITE}/a"}),
        ("AddCdnDomain", {"DomainName": "new.test", "CdnType": "web", "Sources": '[{"content":"o.test"}]'}),
    ):
        with pytest.raises(ApiError) as refused:
            bare.client.call(action, params)
        assert (refused.value.status, refused.value.code) == (503, "ServiceUnavailable")
    assert task.rows()[0]["ObjectPath"] == f"http://{SITE}/a"
    log = away / "service.log"
    until(lambda: "tasks are refused: the log" in log.read_text())

    if how == "replaced":
        shutil.rmtree(bare.home)
    away.rename(bare.home)
    until(lambda: "tasks are taken again" in bare.log())
    bare.refresh("/b")
    assert bare.log().count("tasks are refused") == 1


def test_a_used_nonce_after_a_restart(bare: Stack) -> None:
    """A captured call is worth nothing to whoever waits for the service to be killed."""
    captured = bare.client.signed_url("DescribeRefreshQuota", {}).partition(bare.address)[2]
    assert b'"UrlQuota"' in get(bare, captured)
    bare.kill()
    bare.start()

    assert b"SignatureNonceUsed" in get(bare, captured)
    assert bare.client.call("DescribeRefreshQuota", {})["UrlQuota"]


def get(stack: Stack, target: str) -> bytes:
    host, _, port = stack.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {stack.address}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_settings_reach_the_api(tmp_path: Path) -> None:
    """What is configured about answers is what callers get."""
    stack = Stack(
        tmp_path,
        [],
        {
            "FRESHLINE_SERVICE_RECOMMEND": "https://help.test/{code}",
            "FRESHLINE_SERVICE_ENFORCE_PROTOCOLS": "true",
            "FRESHLINE_SERVICE_SAY_RETRY_AFTER": "false",
            "FRESHLINE_LIMITS_RATES": "{DescribeRefreshQuota = 0.001}",
        },
    ).start()
    try:
        told = get(stack, "/?Format=JSON")
        with pytest.raises(ApiError) as refused:
            stack.client.call("RefreshObjectCacheByCacheTag", {"DomainName": SITE, "CacheTag": "a"})
        answers = [get(stack, quota(stack)) for _ in range(2)]
    finally:
        stack.stop()

    assert b'"Recommend":"https://help.test/MissingAction"' in told
    assert refused.value.code == "InvalidProtocol.NeedSsl"
    assert answers[1].startswith(b"HTTP/1.1 400") and b"x-acs-retry-after" not in answers[1]


def quota(stack: Stack) -> str:
    return stack.client.signed_url("DescribeRefreshQuota", {}).partition(stack.address)[2]


@pytest.mark.parametrize(("version", "advice"), [(1, "written by an older freshline"), (99, "a copy from before")])
def test_a_file_of_another_version(tmp_path: Path, version: int, advice: str) -> None:
    """Which version it is, which is needed, and what to do."""
    bare = Stack(tmp_path, [])
    with sqlite3.connect(tmp_path / "inventory.db") as db:
        db.execute("UPDATE file SET version = ?", (version,))
    with pytest.raises(AssertionError):
        bare.start()

    assert f"inventory.db is a freshline inventory of version {version}; this program needs version " in bare.log()
    assert advice in bare.log()


def test_a_demo_of_another_version(tmp_path: Path) -> None:
    """It keeps nothing of value, so the way out is said."""
    data = tmp_path / "data"
    data.mkdir()
    Stack(data, [])
    with sqlite3.connect(data / "inventory.db") as db:
        db.execute("UPDATE file SET version = 1")
    command = [sys.executable, "-m", "freshline", "demo", "--port", str(free_port()), "--run-dir", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert f"rm -r {tmp_path}" in done.stderr and "of version 1; this program needs version" in done.stderr
