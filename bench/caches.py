"""Every kind of cache there is, with the gate and without, and what fills it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.harness import Bench, Unmeasured
from bench.process import Process, listening
from bench.wrk import get, wrk
from freshline.domain.edge import Edge
from freshline.drivers.base import Driver
from tests.servers import nginx, squid, trafficserver, varnish
from tests.servers.base import SITE, free_port

OBJECT_BYTES = 1_000

ORIGIN = """
daemon off;
pid {home}/origin.pid;
error_log {home}/origin.log error;
worker_processes 1;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 10000000;
    client_body_temp_path {home}/tmp; proxy_temp_path {home}/tmp; fastcgi_temp_path {home}/tmp;
    uwsgi_temp_path {home}/tmp; scgi_temp_path {home}/tmp;
    server {{
        listen {listen} backlog=1024;
        location / {{
            add_header Cache-Control "public, max-age=86400";
            return 200 "{body}";
        }}
    }}
}}
"""


class Origin:
    """Answers everything at once, with an object of a thousand bytes that keeps for a day."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        file = home / "origin.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(ORIGIN.format(home=home, listen=self.address, body="x" * OBJECT_BYTES, user=user))
        command = ["nginx", "-e", str(home / "origin.log"), "-p", str(home), "-c", str(file)]
        self._process = Process(command, up=listening(self.address), log=home / "origin.out")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Origin:
        self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()


class Server(Protocol):
    """What :mod:`tests.servers` has for each kind."""

    edge: Edge

    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def driver(self) -> Driver: ...


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    make: Callable[[Path, Any, bool], Server]  #: in a directory, before an origin, with the gate or without
    reach: float  #: times what it does when it is sent native PURGEs


PURGE_LOCATION = "location @purge {{ proxy_cache_purge pages {key}; }}\n        location / {{"


class PurgingNginx(nginx.Nginx):
    """The tests' nginx, with the module that gives it PURGE.

    In a location of its own: Debian's build of the module crashes in the location that caches.
    """

    def __init__(self, home: Path, origin: Any, gated: bool) -> None:
        self._key = "$freshline_key" if gated else "$scheme://$host$request_uri"
        purge = "if ($request_method = PURGE) { return 418; } error_page 418 = @purge;"
        super().__init__(home, origin, gated=gated, location=purge)

    def configure(self) -> None:
        super().configure()
        file = self.root / "nginx.conf"
        text = file.read_text()
        for before, after in (
            ("events {", f"load_module {nginx.MODULES}/ngx_http_cache_purge_module.so;\nevents {{"),
            ("worker_connections 512", "worker_connections 2048"),
            ("access_log off;", "access_log off; keepalive_requests 10000000;"),
            ("location / {", PURGE_LOCATION.format(key=self._key)),
        ):
            assert before in text, before
            text = text.replace(before, after, 1)
        file.write_text(text)


def _varnish(home: Path, origin: Any, gated: bool) -> Server:
    purge = 'sub vcl_recv { if (req.method == "PURGE") { return (purge); } }\n'
    return varnish.Varnish(home, origin, guarded=gated, operator=purge)


class PlainSquid(squid.Squid):
    """The tests' Squid without the gate."""

    def configure(self) -> None:
        super().configure()
        file = self.home / "site.conf"
        file.write_text(re.sub(r"(?m)^include .*$", "", file.read_text(), count=1))


def _squid(home: Path, origin: Any, gated: bool) -> Server:
    purge = "acl purging method PURGE"  # Squid knows the method once an acl names it
    if gated:
        return squid.Squid(home, origin, operator=purge)
    made = PlainSquid(home, origin, operator=purge)
    made.waits_for_gate = False
    return made


def _trafficserver(home: Path, origin: Any, gated: bool) -> Server:
    return trafficserver.Trafficserver(home, origin, guarded=gated)


def kinds() -> Iterator[Kind]:
    yield Kind("nginx", PurgingNginx, 5)
    yield Kind("varnish", _varnish, 5)
    yield Kind("trafficserver", _trafficserver, 2)
    yield Kind("squid", _squid, 2)


@contextmanager
def running(kind: Kind, *, gated: bool = True) -> Iterator[tuple[Server, int]]:
    """A cache and its process id, with an origin of its own behind it."""
    home = Path(tempfile.mkdtemp(prefix="fb-"))
    home.chmod(0o755)
    try:
        with Origin(home) as origin:
            server = kind.make(home, origin, gated)
            server.start()
            try:
                yield server, server.pid
            finally:
                server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def target(number: int) -> str:
    return f"/assets/{number % 100}/{number * 2654435761 % (1 << 32):08x}/photo-{number}.jpg"


def fill(server: Server, pid: int, first: int, count: int) -> None:
    """Have these objects in the cache."""
    requests = [get(SITE, target(number)) for number in range(first, first + count)]
    for _ in range(40):
        # Beside purges of the same objects a few may be refused; what is not there is asked for again.
        try:
            got = wrk(server.edge.site, requests, seconds=1, connections=16, pid=pid, may_refuse=True)
        except Unmeasured:  # no answer in a whole second: of a slow disk that may be so, while many are written
            continue
        if got.refused > got.requests // 100:
            raise Unmeasured(f"{server.edge.kind} refused {got.refused} of {got.requests}")
        if got.requests >= count:  # each was asked for once at least
            return
        requests = requests[max(got.requests - 100, 0) :]
        count = len(requests)
    raise RuntimeError(f"{server.edge.kind} could not be filled")


def objects(bench: Bench) -> int:
    return bench.pick(8_000, 24_000)
