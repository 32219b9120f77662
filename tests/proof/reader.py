"""Visitors: one process, many connections, a read at a time on each, all the time, and each of them written down.

    python -m tests.proof.reader UNIVERSE OUT SEED RATE

RATE is the most reads in a second, 0 for as many as there can be.

On standard input come lines ``in NUMBER HOST:PORT [CAFILE]`` (this edge is in rotation, over TLS where an authority is
named), ``out NUMBER`` (no read of it begins any more) and ``end``; each is answered on standard output by the same
words once it is so. Once a second there is a line ``read COUNT FAILED``. A line of OUT is one read that came to its
end:

    edge page variant begin end status cache version fetched

``begin`` is taken before the request goes out and ``end`` after its last byte has come, both in nanoseconds of
CLOCK_MONOTONIC; ``status`` is 0 where no whole answer came; ``cache`` is ``H`` for a hit, else ``M``; ``version`` and
``fetched`` are what the body says, -1 where it is not a whole body of that very page and variant.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EACH = 6  #: connections to one edge
PATIENCE_NS = 8_000_000_000
BACKOFF_NS = 100_000_000
LOOK_NS = 100_000_000
VARIANTS = ("-", "de", "fr")
ASKS = "X-Debug: X-Cache\r\n"  #: or Traffic Server does not say whether it was a hit
LINE = re.compile(rb"page=(\d+) version=(\d+) fetched=(\d+) variant=(\S+);\n")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CACHE = re.compile(rb"\r\nx-cache: *(?:[^\r]*, *)?([a-z-]+)", re.IGNORECASE)
HITS = (b"hit", b"hit-fresh")
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)

Request = tuple[int, int, bytes]  #: page, variant, bytes


@dataclass(slots=True, eq=False)
class Connection:
    edge: int
    sock: socket.socket | None = None
    request: Request | None = None  #: under way
    begun: int = 0
    again: int = 0  #: not before
    shaken: bool = True  #: hands, where it is over TLS
    host: str = ""  #: the one that it may ask for; empty: any
    idle: bool = False  #: it waits for its next read to be allowed
    got: bytearray = field(default_factory=bytearray)


class Reader:
    def __init__(self, universe: Path, out: Path, seed: str, rate: int) -> None:
        self.dice = random.Random(seed)
        self.share = rate * LOOK_NS // 1_000_000_000  #: reads between two looks
        self.left = self.share
        self.waiting: list[Connection] = []  #: for the next look
        self.requests = requests(json.loads(universe.read_text()))  #: by host; of any host under the empty name
        self.contexts: dict[int, ssl.SSLContext] = {}
        self.out = out.open("ab", buffering=0)
        self.lines: list[str] = []
        self.edges: dict[int, tuple[str, int]] = {}
        self.connections: list[Connection] = []
        self.by_fd: dict[int, Connection] = {}
        self.poll = select.epoll()
        self.read = self.failed = 0
        self.unread = b""

    def run(self) -> None:
        os.set_blocking(0, False)
        self.poll.register(0, select.EPOLLIN)
        looked = told = 0
        while True:
            for fd, event in self.poll.poll(0.05):
                if fd == 0:
                    if not self.obey():
                        return
                elif (connection := self.by_fd.get(fd)) is not None:
                    if connection.idle:
                        self.close(connection)  # the server hung up
                    elif connection.request is None:
                        self.connected(connection, fd)  # or it failed to
                    elif event:
                        self.receive(connection)
            now = time.monotonic_ns()
            if now - looked > LOOK_NS:
                looked = now
                self.look(now)
            if now - told > 1_000_000_000:
                told = now
                say(f"read {self.read} {self.failed}")

    def obey(self) -> bool:
        words = os.read(0, 1 << 16)
        *lines, self.unread = (self.unread + words).split(b"\n")
        for line in lines:
            match line.decode().split():
                case ["in", number, address, *trusted]:
                    if trusted and int(number) not in self.contexts:
                        self.contexts[int(number)] = ssl.create_default_context(cafile=trusted[0])
                    host, _, port = address.rpartition(":")
                    self.edges[int(number)] = host, int(port)
                    self.connections += [Connection(int(number)) for _ in range(EACH)]
                case ["out", number]:
                    self.edges.pop(int(number), None)  # what is under way goes on to its end
                case ["end"]:
                    self.write()
                    say("end")
                    return False
            say(line.decode())
        return bool(words)

    def look(self, now: int) -> None:
        for connection in list(self.connections):
            if connection.sock is not None and now - connection.begun > PATIENCE_NS:
                self.fail(connection)
            elif connection.sock is None and connection.edge not in self.edges:
                self.connections.remove(connection)
            elif connection.sock is None and now >= connection.again:
                self.connect(connection, now)
        self.left, waiting, self.waiting = self.share, self.waiting, []
        for connection in waiting:
            if connection.idle:
                connection.idle = False
                self.begin(connection)
        self.write()

    def write(self) -> None:
        if self.lines:
            self.out.write("".join(self.lines).encode())
            self.lines.clear()

    def connect(self, connection: Connection, now: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self.edges[connection.edge])
        connection.sock, connection.begun, connection.request = sock, now, None
        connection.shaken, connection.host = connection.edge not in self.contexts, ""
        self.by_fd[sock.fileno()] = connection
        self.poll.register(sock, select.EPOLLOUT)

    def connected(self, connection: Connection, fd: int) -> None:
        try:
            if not connection.shaken:
                self.shake(connection)
        except ssl.SSLWantReadError:
            self.poll.modify(fd, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self.poll.modify(fd, select.EPOLLOUT)
        except (OSError, ValueError):
            self.fail(connection)
        else:
            self.poll.modify(fd, select.EPOLLIN)
            self.begin(connection)

    def shake(self, connection: Connection) -> None:
        """TLS, with the name of the one host that this connection asks for."""
        sock = connection.sock
        assert sock is not None
        if not isinstance(sock, ssl.SSLSocket):
            sock.getpeername()  # or it is not connected
            connection.host = self.dice.choice([host for host in self.requests if host])
            fd = sock.fileno()
            sock = self.contexts[connection.edge].wrap_socket(
                sock, server_hostname=connection.host, do_handshake_on_connect=False
            )
            connection.sock = sock
            assert sock.fileno() == fd
        sock.do_handshake()
        connection.shaken = True

    def begin(self, connection: Connection) -> None:
        """The next read, unless the edge is out of rotation."""
        assert connection.sock is not None
        if connection.edge not in self.edges:
            self.close(connection)
            return
        if self.share and not self.left:
            connection.idle = True
            self.waiting.append(connection)
            return
        self.left -= 1
        connection.request = request = self.dice.choice(self.requests[connection.host])
        connection.got.clear()
        connection.begun = time.monotonic_ns()
        try:
            connection.sock.send(request[2])
        except OSError:
            self.fail(connection)

    def receive(self, connection: Connection) -> None:
        assert connection.sock is not None
        try:
            piece = connection.sock.recv(1 << 18)
        except ssl.SSLWantReadError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.fail(connection)
            return
        got = connection.got
        got += piece
        at = got.find(b"\r\n\r\n")
        if at < 0:
            return
        head = bytes(got[:at])
        length = LENGTH.search(head)
        if length is not None:
            if len(got) < at + 4 + int(length[1]):
                return
            body = bytes(got[at + 4 : at + 4 + int(length[1])])
        elif CHUNKED.search(head):
            if not got.endswith(b"\r\n0\r\n\r\n") and got[at + 4 :] != b"0\r\n\r\n":
                return
            body = unchunked(bytes(got[at + 4 :]))
        else:
            self.fail(connection)
            return
        status = int(head[9:12])
        said = CACHE.findall(head)[-1:]  # the last is the edge's own, one before it came from its parent
        self.ended(connection, status, bool(said) and said[0].lower() in HITS, body)
        if status != 200:
            self.close(connection)
            connection.again = connection.begun + BACKOFF_NS  # who is refused goes elsewhere for a while
        elif CLOSE.search(head):
            self.close(connection)
        else:
            self.begin(connection)

    def ended(self, connection: Connection, status: int, hit: bool, body: bytes) -> None:
        now = time.monotonic_ns()
        assert connection.request is not None
        page, variant, _ = connection.request
        version = fetched = -1
        if status == 200 and (line := LINE.match(body)) is not None:
            whole = len(line[0]) == len(body) or body == line[0] * (len(body) // len(line[0]))
            right = int(line[1]) == page and line[4] == VARIANTS[variant].encode()
            if whole and right:
                version, fetched = int(line[2]), int(line[3])
        self.read += 1
        self.failed += status != 200
        self.lines.append(
            f"{connection.edge} {page} {variant} {connection.begun} {now} {status} {'H' if hit else 'M'}"
            f" {version} {fetched}\n"
        )

    def fail(self, connection: Connection) -> None:
        if connection.request is not None:
            self.ended(connection, 0, False, b"")
        self.close(connection)
        connection.again = time.monotonic_ns() + BACKOFF_NS

    def close(self, connection: Connection) -> None:
        assert connection.sock is not None
        del self.by_fd[connection.sock.fileno()]
        connection.sock.close()
        connection.sock, connection.request, connection.idle = None, None, False
        connection.again = 0


def requests(universe: list[dict[str, Any]]) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = {"": []}
    for page in universe:
        for target in page["spellings"]:
            for variant, name in enumerate(VARIANTS if page["vary"] else VARIANTS[:1]):
                language = f"Accept-Language: {name}\r\n" if name != "-" else ""
                text = f"GET {target} HTTP/1.1\r\nHost: {page['host']}\r\n{language}{ASKS}\r\n"
                for host in ("", page["host"]):
                    found.setdefault(host, []).append((page["id"], variant, text.encode()))
    return found


def unchunked(text: bytes) -> bytes:
    body = b""
    while text:
        size, _, text = text.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        body += text[:length]
        text = text[length + 2 :] if length else b""
    return body


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.nice(10)  # the service and the caches go first
    Reader(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])).run()
