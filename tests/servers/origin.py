"""A scripted origin. What it answers is fixed the moment a request arrives, however long the answer then takes.

origin.serves("/a", "v1", tags="red")
with origin.holding("/a", "headers") as held:    # requests for /a wait before their headers
    ...
    held.wait(1)                                 # one has arrived, and it will get v1 whatever comes
    origin.serves("/a", "v2")
    held.release()
origin.refuses("/b")                             # 403 if asked: a hit cannot be faked
assert origin.asked("/a") == 1
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from freshline.domain.target import canonical_path
from tests.servers.base import PATIENCE_SECONDS, free_port

Phase = Literal["headers", "body"]
RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    vary: str | None = None  #: a request header whose value becomes part of the body
    chunked: bool = False
    cut: bool = False  #: the connection breaks halfway through the body
    hang: bool = False  #: no headers, ever
    drop: bool = False  #: the connection closes before any header
    ranges: bool = False  #: parts of it can be asked for
    lie: int = 0  #: so many bytes more are announced than come


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    target: str
    host: str
    headers: Mapping[str, str]  #: names in lower case


@dataclass(slots=True)
class Held:
    """Requests that wait at the origin."""

    phase: Phase
    _arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _gate: threading.Event = field(default_factory=threading.Event)

    def wait(self, count: int = 1) -> None:
        """Return once ``count`` more requests are being held."""
        for _ in range(count):
            assert self._arrived.acquire(timeout=PATIENCE_SECONDS), "no request came to the origin"

    def release(self) -> None:
        self._gate.set()

    def hold(self) -> None:
        self._arrived.release()
        self._gate.wait(PATIENCE_SECONDS * 2)


class Origin:
    def __init__(self) -> None:
        self.port = free_port()
        self.log: list[Asked] = []
        self._pages: dict[str, Page] = {}
        self._holds: dict[str, Held] = {}
        self._closing = threading.Event()
        self._server: _Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serves(
        self,
        target: str,
        body: str = "v1",
        *,
        status: int = 200,
        age: int | None = 3600,
        tags: str | None = None,
        vary: str | None = None,
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
        cut: bool = False,
        ranges: bool = False,
        lie: int = 0,
    ) -> None:
        """From now on ``target`` is this; ``*`` is whatever has no page of its own.

        :param age: ``max-age``; ``None`` sends ``no-store``
        :param vary: a request header: the answer varies on it, and its value is appended to the body
        """
        lines = [("Cache-Control", "no-store" if age is None else f"max-age={age}")]
        lines += [("Cache-Tag", tags)] if tags else []
        lines += [("Vary", vary)] if vary else []
        lines += (headers or {}).items()
        self._pages[target] = Page(body.encode(), status, tuple(lines), vary, chunked, cut, ranges=ranges, lie=lie)

    def refuses(self, target: str) -> None:
        """403 if asked."""
        self._pages[target] = Page(b"refused", 403)

    def hangs(self, target: str) -> None:
        """Takes the request and never answers."""
        self._pages[target] = Page(b"", hang=True)

    def drops(self, target: str) -> None:
        """Takes the request and closes the connection."""
        self._pages[target] = Page(b"", drop=True)

    def lies(self, target: str, body: str, *, by: int) -> None:
        """Says that the body is so much longer than what it sends; or shorter."""
        self._pages[target] = Page(body.encode(), headers=(("Cache-Control", "max-age=3600"),), lie=by)

    @contextmanager
    def holding(self, target: str, phase: Phase) -> Iterator[Held]:
        """Requests for ``target`` (``*``: for anything) wait before their headers, or halfway through their body."""
        held = self._holds[target] = Held(phase)
        try:
            yield held
        finally:
            self._holds.pop(target, None)
            held.release()

    def lets_pass(self, target: str) -> None:
        """Requests that come from now on are held no more; those that wait go on waiting."""
        self._holds.pop(target, None)

    def asked(self, target: str) -> int:
        """How often it was asked for."""
        return sum(asked.target == target for asked in self.log)

    def start(self) -> None:
        self._closing.clear()
        self._server = _Server(("127.0.0.1", self.port), self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.close_all()
            self._server.server_close()
            self._server = None

    def page(self, target: str) -> Page:
        path, mark, query = target.partition("?")
        plain = canonical_path(path.encode("latin-1")).decode("utf-8", "replace")
        for name in (target, plain + mark + query, path, plain):
            if name in self._pages:
                return self._pages[name]
        return self._pages.get("*", Page(b"no such page", 404))

    def holds(self, target: str) -> Held | None:
        return self._holds.get(target) or self._holds.get("*")

    def wait_closed(self) -> None:
        self._closing.wait(PATIENCE_SECONDS * 4)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], origin: Origin) -> None:
        self.origin = origin
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A cache that hung up is not news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        origin = self.server.origin
        page, held = origin.page(self.path), origin.holds(self.path)
        names = {name.lower(): value for name, value in self.headers.items()}
        origin.log.append(Asked(self.command, self.path, names.get("host", ""), names))
        if held is not None and held.phase == "headers":
            held.hold()
        if page.hang:
            origin.wait_closed()
        if page.hang or page.drop:
            self.close_connection = True
            return
        body = page.body
        if page.vary is not None:
            body += b" " + names.get(page.vary.lower(), "-").encode()
        wanted = RANGE.fullmatch(names.get("range", "")) if page.ranges else None
        if wanted:
            first, whole = int(wanted[1]), len(body)
            body = body[first : int(wanted[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{whole}")
        else:
            self.send_response(page.status)
        for name, value in page.headers:
            self.send_header(name, value)
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + page.lie))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2
        self._write(body[:half], page.chunked)
        if held is not None and held.phase == "body":
            held.hold()
        if page.cut:
            self.close_connection = True
            return
        self.close_connection |= page.lie != 0
        self._write(body[half:], page.chunked)
        if page.lie:
            self.close_connection = True
        if page.chunked:
            self.wfile.write(b"0\r\n\r\n")

    do_HEAD = do_GET

    def _write(self, part: bytes, chunked: bool) -> None:
        if part and chunked:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        elif part:
            self.wfile.write(part)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""
