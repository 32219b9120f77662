"""The service as it is run, ``freshline serve`` in a process of its own, over a log of as many rows as wanted."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import time
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench.harness import WORK
from bench.process import Process, python
from freshline.domain.edge import Edge, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Reason, Wish
from freshline.inventory.sqlite import SqliteInventory
from freshline.log.sqlite import VERSION as FORMAT
from freshline.log.sqlite import SqliteLog
from freshline.wire import signature
from tests.servers.base import free_port

DOMAINS = 500
VERSION = "2018-05-10"
STALE_SECONDS = 20 * 3600  #: a log as old as this is built anew: its oldest rows would soon be out of reach
SPAN_SECONDS = 36 * 3600  #: the rows are spread over so much
MOMENTS = 200  #: at least, that rows are made at: some in every hour
FAILED_RUNS = 100  #: of ten rows each, on the first edge
BUILT = [7, FORMAT]  #: changes when what is built changes

#: Nobody is held up by what protects a service from one caller; else as it is shipped.
LIMITS = """
[service]
log_level = "warning"
[limits]
nonces = 100000000
refresh_queue = 1000000000
preload_queue = 1000000000
daily = {url = 1000000000, dir = 1000000000, regex = 1000000000, preload = 1000000000}
per_minute = {url = 1000000000, dir = 1000000000, preload = 1000000000}
rates = {RefreshObjectCaches = 1e9, PushObjectCache = 1e9, DescribeRefreshTaskById = 1e9, DescribeRefreshTasks = 1e9}
"""


@dataclass(frozen=True, slots=True)
class Books:
    """A data directory, and who may call."""

    home: Path
    account: str
    key_id: str
    secret: str
    rows: int = 0
    first: int = 0  #: when the oldest of them was made, Unix seconds

    def read_through(self) -> None:
        """Have the log's file in the machine's memory: some machines soon give up pages of files that nobody maps."""
        with (self.home / "log.db").open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass

    def open_log(self) -> SqliteLog:
        return SqliteLog.open(self.home / "log.db")


def books(home: Path, *, domains: int = DOMAINS, edges: Iterable[Edge] = ()) -> Books:
    """A new data directory with one account; ``d0.test``, ``d1.test``, … are its domains."""
    home.mkdir(parents=True)
    inventory = SqliteInventory.open(home / "inventory.db")
    account = inventory.add_account("bench")
    key = inventory.add_access_key(account.id)
    for number in range(domains):
        inventory.add_domain(f"d{number}.test", account.id, "default")
    for edge in edges:
        inventory.roster.add(edge)
    inventory.close()
    (home / "freshline.toml").write_text(LIMITS)
    return Books(home, account.id, key.id, key.secret)


def edge(name: str, gate: str = "127.0.0.1:1", kind: str = "nginx", site: str = "127.0.0.1:1") -> Edge:
    return Edge(name, kind, "default", gate, site, secrets.token_urlsafe(16))


def filled(rows: int) -> Books:
    """One URL a task, over 500 domains, told to four edges that are done with them but for some that failed.

    Nobody listens where those edges should be: nothing here is about delivery. Kept from run to run.
    """
    home = WORK / f"rows-{rows}"
    end = time.time()
    card = home / "books.json"
    if card.exists():
        known = json.loads(card.read_text())
        if known.pop("built") == BUILT and time.time() - card.stat().st_mtime < STALE_SECONDS:
            return Books(home, **known)
    shutil.rmtree(home, ignore_errors=True)
    print(f"  building a log of {rows:,} rows", flush=True)
    made = books(home, edges=[edge(f"e{number}") for number in range(4)])
    asyncio.run(_fill(made, rows, end))
    known = {"account": made.account, "key_id": made.key_id, "secret": made.secret, "rows": rows}
    known["first"] = int(end - SPAN_SECONDS)
    os.sync()  # or the first to measure would wait for the disk
    card.write_text(json.dumps({**known, "built": BUILT}))
    return Books(home, **known)


async def _fill(made: Books, rows: int, end: float) -> None:
    log = made.open_log()

    async def some(first: int, count: int) -> None:
        wishes = [
            Wish(made.account, f"d{domain_of(at)}.test", "default", Kind.FILE, (url(domain_of(at), at),))
            for at in range(first, first + count)
        ]
        await log.append(wishes, now=end - SPAN_SECONDS * (1 - first / rows))

    step = min(4096, rows // MOMENTS)
    for at in range(0, rows, 2 * step):
        counts = [min(step, rows - first) for first in (at, at + step) if first < rows]
        await asyncio.gather(*(some(at + step * part, count) for part, count in enumerate(counts)))
    failed = Ranges((at, at + 9) for at in range(rows // 200, rows, max(rows // FAILED_RUNS, 11)))
    for number in range(4):
        progress = Progress(cursor=log.head, begun=log.head)
        await log.settle(f"e{number}", progress.with_failures(Reason.INTERNAL, failed) if number == 0 else progress)
    await log.close()


def domain_of(at: int) -> int:
    """Of the row with this number, counted from 0."""
    return int.from_bytes(blake2b(b"%d" % at, digest_size=4).digest(), "little") % DOMAINS


def url(domain: int, at: int) -> str:
    return f"http://d{domain}.test/assets/{at * 2654435761 % (1 << 40):010x}/photo-{at % 20_000}.jpg"


class Service(AbstractContextManager["Service"]):
    """``freshline serve`` over these books. As many signed calls as wanted come from :meth:`calls`."""

    def __init__(self, made: Books, settings: Mapping[str, str] | None = None, up: str = "/readyz") -> None:
        self.books, self._up = made, up
        self.address = f"127.0.0.1:{free_port()}"
        command = python("freshline", "serve", "--config", made.home / "freshline.toml")
        command += ["--data-dir", str(made.home), "--listen", self.address]
        self.process = Process(command, up=self._is_up, log=made.home / "service.log", environ=settings)

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Service:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()

    def _is_up(self) -> bool:
        try:
            return bool(self.look(self._up))
        except OSError:
            return False

    def look(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def signed(self, action: str, form: Mapping[str, str]) -> bytes:
        """One call as an SDK makes it: V3, parameters in a form, JSON wanted."""
        made = signature.sign_v3(
            "POST",
            self.address,
            action,
            VERSION,
            {},
            key_id=self.books.key_id,
            secret=self.books.secret,
            now=time.time(),
            nonce=secrets.token_hex(16),
            form=form,
        )
        headers = {**made.headers, "accept": "application/json", "content-length": str(len(made.body))}
        lines = [f"{made.method} {made.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + made.body

    def call(self, action: str, form: Mapping[str, str]) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of one answer."""
        return send(self.address, self.signed(action, form))

    def ask(self, action: str, **form: str) -> Any:
        return json.loads(self.call(action, form)[1])


def send(address: str, request: bytes) -> tuple[list[tuple[str, str]], bytes]:
    import http.client
    import socket

    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(request)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        body = answer.read()
        assert answer.status == 200, body[:500]
        return answer.getheaders(), body


class Bare(AbstractContextManager["Bare"]):
    """The same server giving one answer to everything (:mod:`bench.bare`)."""

    def __init__(self, home: Path, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        file = home / "answer"
        lines = [f"{name.lower()}: {value}" for name, value in headers if name.lower() != "date"]
        file.write_bytes("\n".join(lines).encode() + b"\n\n" + body)
        command = python("bench.bare", self.address.rpartition(":")[2], file)
        self._body = body
        self.process = Process(command, up=self._is_up, log=home / "bare.log")

    def _is_up(self) -> bool:
        try:
            return send(self.address, b"GET / HTTP/1.1\r\nHost: bare\r\n\r\n")[1] == self._body
        except OSError:
            return False

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Bare:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()
