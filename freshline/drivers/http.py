"""A small HTTP/1.1 client for gates: connections kept alive, everything bounded, trouble as a value.

General clients reach a fifth of what a gate can take (docs/design.md, gate client), so this one is asyncio.Protocol
and httptools and nothing else. It never follows, never retries a request that may have been carried out, and never
reads more than it was told to.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools

from freshline.drivers.base import Fault, Trouble

CONNECT_SECONDS = 3.0
IDLE_CONNECTIONS = 64  #: kept alive to one gate
ANSWER_LIMIT = 1 << 20  #: bytes of body; a gate's answers are lines
JOINED_BYTES = 4096  #: so little of a tail is copied all the same: one write is cheaper
HEAD_LIMIT = 1 << 16  #: bytes before the body, whatever they are


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]  #: names in lower case; the last one wins
    body: bytes


class Client:
    """Requests to one address. Safe for any number of tasks at once."""

    def __init__(self, host: str, port: int, *, discard: bool = False) -> None:
        """:param discard: bodies are read to their end, however long, and nothing of them is kept"""
        self._host, self._port = host, port
        self._discard = discard
        self._idle: list[_Connection] = []
        self._closed = False

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        tail: bytes = b"",
        *,
        seconds: float,
        each: Callable[[bytes], None] | None = None,
    ) -> Reply | Trouble:
        """Send one request and read its answer.

        :param target: path and query, already fit for a request line
        :param tail: more of the body; it may be on its way to a thousand gates, and is not copied
        :param headers: must hold ``host``; ``content-length`` is set here
        :param seconds: for the whole, connecting included
        :param each: takes the body of a 200 piece by piece, as it comes, and none is left for the answer; what it
            finds wrong (``ValueError``) ends the request
        """
        head = _head(method, target, headers, len(body) + len(tail)) + body
        head_only = method == "HEAD"
        try:
            reply = None
            connection = self._kept()
            if connection is not None:
                try:
                    reply = await connection.exchange(head, tail, head_only, seconds, each)
                except ConnectionError:
                    # The other side had closed it before it read anything: ours to try once more.
                    if connection.answered:
                        raise
            if connection is None or reply is None:
                async with asyncio.timeout(seconds):
                    connection = await self._connect()
                    reply = await connection.exchange(head, tail, head_only, seconds, each)
        except TimeoutError:
            return Trouble(Fault.TIMEOUT, f"no answer within {seconds:g} s")
        except (ConnectionError, OSError) as error:
            return Trouble(Fault.UNREACHABLE, _why(error))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _TooLong) as error:
            return Trouble(Fault.GARBAGE, f"not an HTTP answer: {error}")
        if connection.reusable and not self._closed and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.abort()
        return reply

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, made = await loop.create_connection(lambda: _Connection(self._discard), self._host, self._port)
        except TimeoutError:
            raise ConnectionError(f"no connection within {CONNECT_SECONDS:g} s") from None
        return made


def _why(error: OSError) -> str:
    """In the system's words; the event loop's differ from one to the next, and repeat the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


class _TooLong(Exception):
    pass


def _head(method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length or method not in ("GET", "HEAD"):
        lines.append(f"content-length: {length}")
    text = "\n".join(lines)
    assert not _CONTROL.search(text) and text.count("\n") == len(lines) - 1, f"a control character in {text!r}"
    return (text.replace("\n", "\r\n") + "\r\n\r\n").encode("utf-8")


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time. Also the callback object httptools speaks to."""

    def __init__(self, discard: bool) -> None:
        self._discard = discard
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Reply] | None = None
        self._head_only = False
        self._each: Callable[[bytes], None] | None = None
        self._reset()

    def _reset(self) -> None:
        self.answered = False
        self.reusable = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = self._received = 0

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, head: bytes, tail: bytes, head_only: bool, seconds: float, each: Callable[[bytes], None] | None
    ) -> Reply:
        """One request and its answer; whatever goes wrong ends the connection.

        :raises TimeoutError: there is no answer after so long
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("connection closed")
        self._reset()
        self._head_only, self._each = head_only, each
        self._parser = httptools.HttpResponseParser(self)
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self._fail, TimeoutError())
        try:
            if len(tail) > JOINED_BYTES:
                self._transport.writelines((head, tail))
            else:
                self._transport.write(head + tail)
            return await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():  # bytes nobody asked for: this connection is out of step
            self.abort()
            return
        self.answered = True
        self._received += len(data)
        try:
            self._parser.feed_data(data)
            # What is not body is heads, and where a long one comes in chunks their sizes.
            if self._received - self._size > HEAD_LIMIT + (self._size if self._discard else 0):
                raise _TooLong(f"more than {HEAD_LIMIT} bytes before the body")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _TooLong) as error:
            self._fail(error)

    def eof_received(self) -> None:
        length_known = "content-length" in self._headers or "chunked" in self._headers.get("transfer-encoding", "")
        if self._status and not length_known and not self._head_only:
            self._finish(reusable=False)  # RFC 9112 section 6.3: the body ends with the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, ConnectionError) else ConnectionResetError("connection closed by the edge"))

    # httptools
    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._head_only and self._status >= 200:
            self._finish(reusable=self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._discard:
            return
        if self._size > ANSWER_LIMIT:
            raise _TooLong(f"more than {ANSWER_LIMIT} bytes")
        if self._each is not None and self._status == 200:
            self._each(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._finish(reusable=self._parser.should_keep_alive())
        else:
            self._headers = {}  # 1xx: the answer is still to come

    def _finish(self, *, reusable: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self.reusable = reusable
            self._waiter.set_result(Reply(self._status, self._headers, b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.abort()
