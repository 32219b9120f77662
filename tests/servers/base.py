"""What a test may ask of any cache server, and how it waits."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from freshline.domain.edge import Edge
from freshline.drivers.base import Driver

SITE = "www.test"  #: the host that tests ask for where they do not say another
SECRET = "a-secret-of-the-tests-0123456789"
PATIENCE_SECONDS = 30.0

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = 22_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
LOWEST_PORT = 10_000 + _worker * PORTS
_ports = itertools.count(random.randrange(PORTS))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a visitor got."""

    status: int
    body: str
    cache: str | None  #: ``HIT``, ``MISS`` or what else the server says of it (header x-cache)
    headers: Mapping[str, str]

    def hit(self, body: str) -> None:
        assert (self.status, self.body, self.cache) == (200, body, "HIT"), self

    def fetched(self, body: str) -> None:
        assert (self.status, self.body) == (200, body) and self.cache != "HIT", self


class CacheServer(Protocol):
    """A cache with our gate in it. ``restart`` is ``stop`` and ``start`` on the same disk cache and ports."""

    read_timeout_seconds: int  #: how long it waits for the origin's headers; takes effect with the next start
    environment: Mapping[str, str]  #: more of it; takes effect with the next start
    lapse: str  #: what visitors get while its gate holds no lease; takes effect with the next start or reload

    name: str
    kind: str
    edge: Edge

    @property
    def pid(self) -> int:
        """The first of its processes; the others descend from it."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        ...

    def restart(self) -> None: ...

    def reload(self) -> None: ...

    def get(self, path: str, host: str = SITE, headers: Mapping[str, str] | None = None) -> Seen: ...

    def driver(self) -> Driver: ...


def leave(server: CacheServer) -> None:
    """It ends, and leaves nothing behind where it can."""
    end = next(getattr(server, name) for name in ("discard", "close", "stop") if hasattr(server, name))
    end()


def get(address: str, path: str, host: str = SITE, headers: Mapping[str, str] | None = None) -> Seen:
    """One GET on a connection of its own; the target goes out byte for byte."""
    return send(address, "GET", path, {"Host": host, **(headers or {})})


def send(address: str, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Seen:
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    at, _, port = address.rpartition(":")
    with socket.create_connection((at, int(port)), timeout=PATIENCE_SECONDS) as sock:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        answer = http.client.HTTPResponse(sock, method=method)
        answer.begin()
        text = answer.read().decode("utf-8", "replace")
        found = {name.lower(): value for name, value in answer.getheaders()}
        with suppress(OSError):
            sock.recv(1)  # until it hangs up: then the object is in its place, and the next to ask finds it
    return Seen(answer.status, text, found.get("x-cache"), found)


def free_port(count: int = 1) -> int:
    """The first of ``count`` neighbouring ports that nobody uses.

    Below the range that the kernel takes for outgoing connections: a port of that could be gone before it is used. Each
    of several test processes has a part of its own, and gives no port twice before it has given all: one may be taken
    and not listened on, for as long as its server is down.
    """
    while True:
        first = LOWEST_PORT + next(_ports) % PORTS
        if first + count <= LOWEST_PORT + PORTS and all(_free(first + at) for at in range(count)):
            for _ in range(count - 1):
                next(_ports)
            return first


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(address: str) -> bool:
    at, _, port = address.rpartition(":")
    try:
        socket.create_connection((at, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Wait until it is true; give up loudly."""
    deadline = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {condition}"
        time.sleep(0.01)
    return met
