"""The hot paths, each alone and in one process, from the bytes of a request to those of its answer.

They are for counting the instructions they take (:mod:`bench.cases.counts`).

python -m bench.hot PATH CALLS [--count]: without ``--count`` it prints the CPU time of a call at its best; with it, it
has callgrind count from the first call to the last.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bench import bare
from bench.service import Service, books, edge, url
from freshline import wiring
from freshline.api.connection import connections
from freshline.config import load
from freshline.domain.edge import Progress
from freshline.domain.task import Kind, Wish

ROWS = 5_000
PARTS = 20  #: of the calls, of which the quickest counts: nothing else ran meanwhile


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


PATHS = {  #: and how many calls
    "bare": 300,
    "poll": 300,
    "describe": 300,
    "list": 200,
    "domain": 200,
    "refresh": 300,
    "refresh-thousand": 8,
}


class Wire(asyncio.Transport):
    """A connection without a network: answers are kept until they are whole."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 8080)})
        self.answer = b""
        self._whole = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answer += data
        head, mark, body = self.answer.partition(b"\r\n\r\n")
        if mark and len(body) == int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self._whole.set()

    async def ask(self, protocol: HttpToolsProtocol, request: bytes) -> bytes:
        self.answer = b""
        self._whole.clear()
        protocol.data_received(request)
        await self._whole.wait()
        assert self.answer.startswith(b"HTTP/1.1 200 "), self.answer
        return self.answer

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


def connect(config: Config) -> tuple[Wire, HttpToolsProtocol]:
    config.load()
    kind: Any = config.http_protocol_class
    wire, protocol = Wire(), kind(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)
    return wire, protocol


async def main(path: str, calls: int, count: bool) -> None:
    with tempfile.TemporaryDirectory() as home:
        service, settings = await _prepare(Path(home))
        async with wiring.service(settings) as (app, _):
            wire, protocol = connect(Config(app, http=connections(app), log_config=None, access_log=False))
            if path == "bare":
                head, _, body = (await wire.ask(protocol, service.signed(*forms("poll", 0)))).partition(b"\r\n\r\n")
                answer = head.partition(b"\r\n")[2].replace(b"\r\n", b"\n") + b"\n\n" + body
                wire, protocol = connect(bare.settings(bare.application(answer)))
            made = [service.signed(*forms("poll" if path == "bare" else path, at)) for at in range(2 * calls)]
            for request in made[:calls]:
                await wire.ask(protocol, request)
            if count:
                await _callgrind("on")
            spent = []
            part = max(calls // PARTS, 1)
            for first in range(calls, 2 * calls, part):
                begun, some = time.process_time(), made[first : first + part]
                for request in some:
                    await wire.ask(protocol, request)
                spent.append((time.process_time() - begun) / len(some))
            if count:
                await _callgrind("off")
            else:
                print(f"{min(spent) * 1e6:.1f} us a call")


async def _callgrind(what: str) -> None:
    command = ["callgrind_control", f"--instr={what}", str(os.getpid())]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), "--count" in sys.argv))
