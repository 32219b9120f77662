"""A small HTTP/1.1 client for gates: connections kept alive, everything bounded, trouble as a value.

General clients reach a fifth of what a gate can take (docs/design.md, gate client), so this one is asyncio.Protocol
and httptools and nothing else; an exchange on a connection that is open is two callbacks, without a task or a timer of
its own. It never follows, never retries a request that may have been carried out, and never
reads more than it was told to.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import httptools

from freshline.alarms import Alarm, Alarms
from freshline.drivers.base import Fault, Trouble

CONNECT_SECONDS = 3.0
IDLE_CONNECTIONS = 64  #: kept alive to one gate
ANSWER_LIMIT = 1 << 20  #: bytes of body; a gate's answers are lines
JOINED_BYTES = 4096  #: so little of a tail is copied all the same: one write is cheaper
CLOSED = "connection closed by the edge"
HEAD_LIMIT = 1 << 16  #: bytes before the body, whatever they are


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  #: names in lower case; the last one wins
    body: bytes


Done = Callable[["Reply | Trouble"], None]
Piece = Callable[[bytes], None]


class Exchange:
    """One request on its way, and who is told of its answer."""

    __slots__ = ("connection", "dialling", "done", "each", "head", "head_only", "seconds", "tail", "until")

    def __init__(
        self, head: bytes, tail: bytes, head_only: bool, seconds: float, done: Done, each: Piece | None
    ) -> None:
        self.head, self.tail, self.head_only, self.seconds, self.each = head, tail, head_only, seconds, each
        self.until = asyncio.get_running_loop().time() + seconds
        self.done: Done | None = done
        self.connection: _Connection | None = None
        self.dialling: asyncio.Task[None] | None = None

    def end(self, answer: Reply | Trouble) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(answer)

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self.done = None
        if self.dialling is not None:
            self.dialling.cancel()
        if self.connection is not None:
            self.connection.abort()


class Client:
    """Requests to one address. Safe for any number of tasks at once."""

    def __init__(self, host: str, port: int, *, discard: bool = False) -> None:
        """:param discard: bodies are read to their end, however long, and nothing of them is kept"""
        self._host, self._port = host, port
        self.discard = discard
        self.closed = False
        self.idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._dialling: set[asyncio.Task[None]] = set()

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        tail: bytes = b"",
        *,
        seconds: float,
        each: Piece | None = None,
    ) -> Reply | Trouble:
        """Send one request and read its answer.

        :param target: path and query, already fit for a request line
        :param tail: more of the body; it may be on its way to a thousand gates, and is not copied
        :param headers: must hold ``host``; ``content-length`` is set here
        :param seconds: for the whole, connecting included
        :param each: takes the body of a 200 piece by piece, as it comes, and none is left for the answer; what it
            finds wrong (``ValueError``) ends the request
        """
        head = opening(method, target, headers)
        length = len(body) + len(tail)
        head += b"content-length: %d\r\n\r\n" % length if length or method not in ("GET", "HEAD") else b"\r\n"
        waiter: asyncio.Future[Reply | Trouble] = asyncio.get_running_loop().create_future()

        def done(answer: Reply | Trouble) -> None:
            if not waiter.done():
                waiter.set_result(answer)

        exchange = self.send(head + body, tail, done, head_only=method == "HEAD", seconds=seconds, each=each)
        try:
            return await waiter
        finally:
            exchange.abandon()

    def send(
        self,
        head: bytes,
        tail: bytes,
        done: Done,
        *,
        seconds: float,
        head_only: bool = False,
        each: Piece | None = None,
    ) -> Exchange:
        """Send a request that is whole, without a task of its own.

        :param head: from :func:`opening`, with all that follows
        :param done: called once, with the answer, and never from within this call
        :param seconds: for the whole, connecting included
        """
        exchange = Exchange(head, tail, head_only, seconds, done, each)
        while self.idle:
            connection = self.idle.pop()
            if connection.open:
                connection.begin(exchange)
                return exchange
        self.dial(exchange)
        return exchange

    async def close(self) -> None:
        """What is under way ends in trouble."""
        self.closed = True
        self.idle = []
        for task in list(self._dialling):
            task.cancel()
        for connection in list(self._open):
            connection.abort()

    def dial(self, exchange: Exchange) -> None:
        """Send it on a connection that is yet to be made."""
        exchange.dialling = task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _connect(self, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        left = exchange.until - loop.time()
        try:
            async with asyncio.timeout(min(left, CONNECT_SECONDS)):
                _, made = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except TimeoutError:
            if left < CONNECT_SECONDS:
                exchange.end(Trouble(Fault.TIMEOUT, f"no answer within {exchange.seconds:g} s"))
            else:
                exchange.end(Trouble(Fault.UNREACHABLE, f"no connection within {CONNECT_SECONDS:g} s"))
        except OSError as error:
            exchange.end(Trouble(Fault.UNREACHABLE, _why(error)))
        except asyncio.CancelledError:
            exchange.end(Trouble(Fault.UNREACHABLE, "given up"))
            raise
        else:
            exchange.dialling = None
            if made.open:
                made.begin(exchange)
            else:
                exchange.end(Trouble(Fault.UNREACHABLE, CLOSED))

    def opened(self, connection: _Connection) -> None:
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)


def opening(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The first lines of a request, checked: more headers may follow, then an empty line."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    text = "\n".join(lines)
    assert not _CONTROL.search(text) and text.count("\n") == len(lines) - 1, f"a control character in {text!r}"
    return (text.replace("\n", "\r\n") + "\r\n").encode("utf-8")


def _why(error: OSError) -> str:
    """In the system's words; the event loop's differ from one to the next, and repeat the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


class _TooLong(Exception):
    pass


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time. Also the callback object httptools speaks to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._exchange: Exchange | None = None
        self._alarm = Alarm(Alarms.here(), self._too_late)
        self._exchanges = 0  #: that were begun
        self._clear()

    def _clear(self) -> None:
        self._reply: Reply | None = None
        self._reusable = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = self._received = 0

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, exchange: Exchange) -> None:
        """One request and its answer; whatever goes wrong ends the connection."""
        assert self._transport is not None and self._exchange is None, "a connection is for one exchange at a time"
        self._clear()
        self._exchange, exchange.connection = exchange, self
        self._exchanges += 1
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._alarm.set(exchange.until)
        if len(exchange.tail) > JOINED_BYTES:
            self._transport.writelines((exchange.head, exchange.tail))
        else:
            self._transport.write(exchange.head + exchange.tail)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _too_late(self) -> None:
        if self._exchange is not None:
            self._fail(Trouble(Fault.TIMEOUT, f"no answer within {self._exchange.seconds:g} s"))

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None or self._parser is None:  # bytes nobody asked for: this connection is out of step
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
            # What is not body is heads, and where a long one comes in chunks their sizes.
            if self._received - self._size > HEAD_LIMIT + (self._size if self._client.discard else 0):
                raise _TooLong(f"more than {HEAD_LIMIT} bytes before the body")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _TooLong) as error:
            self._reusable = False
            if self._reply is None:
                self._fail(Trouble(Fault.GARBAGE, f"not an HTTP answer: {error}"))
        if self._reply is not None:
            self._end(self._reply)

    def eof_received(self) -> None:
        if self._exchange is None:
            return
        length_known = "content-length" in self._headers or "chunked" in self._headers.get("transfer-encoding", "")
        if self._status and not length_known and not self._exchange.head_only:
            self._finish(reusable=False)  # RFC 9112 section 6.3: the body ends with the connection
        if self._reply is not None:
            self._end(self._reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.lost(self)
        exchange = self._exchange
        if exchange is None:
            return
        if self._exchanges > 1 and not self._received and not self._client.closed and exchange.done is not None:
            # The other side had closed it before it read anything: ours to try once more.
            self._exchange = exchange.connection = None
            self._alarm.cancel()
            self._client.dial(exchange)
            return
        error = exc if isinstance(exc, ConnectionError) else ConnectionResetError(CLOSED)
        self._fail(Trouble(Fault.UNREACHABLE, _why(error)))

    # httptools
    def on_message_begin(self) -> None:
        if self._reply is not None:  # more than was asked for
            self._reusable, self._headers = False, {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._reply is None:
            self._status = self._parser.get_status_code()
            if self._status >= 200 and self._exchange is not None and self._exchange.head_only:
                self._finish(reusable=self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._client.discard:
            return
        if self._size > ANSWER_LIMIT:
            raise _TooLong(f"more than {ANSWER_LIMIT} bytes")
        each = self._exchange.each if self._exchange is not None else None
        if each is not None and self._status == 200:
            each(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._status >= 200:
            self._finish(reusable=self._parser.should_keep_alive())
        else:
            self._headers = {}  # 1xx: the answer is still to come

    def _finish(self, *, reusable: bool) -> None:
        """The answer is whole. Nobody is told from within the parser."""
        if self._reply is None:
            self._reusable = reusable
            self._reply = Reply(self._status, self._headers, b"".join(self._body))

    def _end(self, reply: Reply) -> None:
        exchange, self._exchange = self._exchange, None
        self._alarm.cancel()
        if exchange is None:
            return
        if exchange.head_only:
            self._parser = None  # it waits for the body
        exchange.connection = None
        if self._reusable and not self._client.closed and len(self._client.idle) < IDLE_CONNECTIONS:
            self._client.idle.append(self)
        else:
            self.abort()
        exchange.end(reply)

    def _fail(self, trouble: Trouble) -> None:
        exchange, self._exchange = self._exchange, None
        self._alarm.cancel()
        self.abort()
        if exchange is not None:
            exchange.connection = None
            exchange.end(trouble)
