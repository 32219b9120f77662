"""The hot paths, each alone and in one process, for counting the instructions they take (:mod:`bench.cases.counts`).

python -m bench.hot PATH CALLS [--count]: without ``--count`` it prints the CPU time of a call; with it, it has
callgrind count from the first call to the last.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.service import Service, books, edge, url
from freshline import wiring
from freshline.config import load
from freshline.domain.edge import Progress
from freshline.domain.task import Kind, Wish

ROWS = 5_000
Run = Callable[[int], Awaitable[None]]


async def _prepare(home: Path) -> tuple[Service, Any]:
    made = books(home / "books", domains=20, edges=[edge(f"e{number}") for number in range(4)])
    log = made.open_log()
    wishes = [Wish(made.account, f"d{at % 20}.test", "default", Kind.FILE, (url(at % 20, at),)) for at in range(ROWS)]
    await log.append(wishes, now=time.time())
    for number in range(4):
        await log.settle(f"e{number}", Progress(cursor=ROWS, begun=ROWS))
    await log.close()
    settings = load(made.home / "freshline.toml", {})
    return Service(made), replace(settings, service=replace(settings.service, data_dir=str(made.home)))


def forms(path: str, at: int) -> tuple[str, dict[str, str]]:
    """Action and parameters of the call with this number."""
    match path:
        case "poll":  # the same ten again and again
            return "DescribeRefreshTaskById", {"TaskId": ",".join(str(37 * n + 1) for n in range(10))}
        case "describe":  # others each time
            ids = ((10 * at + number) * 131 % ROWS + 1 for number in range(10))
            return "DescribeRefreshTaskById", {"TaskId": ",".join(map(str, ids))}
        case "list":
            return "DescribeRefreshTasks", {"PageNumber": str(at * 17 % (ROWS // 20) + 1)}
        case "domain":
            return "DescribeRefreshTasks", {"DomainName": f"d{at % 20}.test", "ObjectType": "file"}
        case "refresh":
            return "RefreshObjectCaches", {"ObjectPath": url(at % 20, at)}
        case "refresh-thousand":
            return "RefreshObjectCaches", {"ObjectPath": "\n".join(url(at % 20, 1000 * at + n) for n in range(1000))}
    raise SystemExit(f"no path {path!r}; there are {', '.join(PATHS)}")


PATHS = {"poll": 300, "describe": 300, "list": 200, "domain": 200, "refresh": 300, "refresh-thousand": 8}  #: and calls


def _scope(raw: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "scheme": "http"}
    headers = [(name.lower(), value) for name, value in lines]
    return {**scope, "headers": headers, "client": ("127.0.0.1", 40_000)}, body


async def main(path: str, calls: int, count: bool) -> None:
    with tempfile.TemporaryDirectory() as home:
        service, settings = await _prepare(Path(home))
        async with wiring.service(settings) as (app, _):
            made = [_scope(service.signed(*forms(path, at))) for at in range(2 * calls)]
            await _run(app, made[:calls])
            if count:
                await _callgrind("on")
            begun = time.process_time()
            await _run(app, made[calls:])
            spent = time.process_time() - begun
            if count:
                await _callgrind("off")
            else:
                print(f"{spent / calls * 1e6:.1f} us a call")


async def _run(app: Any, made: list[tuple[dict[str, Any], bytes]]) -> None:
    for scope, body in made:
        sent: list[Any] = []

        async def receive(body: bytes = body) -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        await app(scope, receive, send)
        assert sent[0]["status"] == 200, sent


async def _callgrind(what: str) -> None:
    command = ["callgrind_control", f"--instr={what}", str(os.getpid())]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), "--count" in sys.argv))
