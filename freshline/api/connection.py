"""One connection, bounded before anybody is known.

uvicorn bounds neither the head of a request nor the time it may take. Both are a stranger's to choose, so they are
bounded here: bytes, lines and seconds of one head, and bytes of all heads that are still coming in. What is refused
here, and what is no HTTP at all, is answered as the contract has errors, in the format that was asked for if so much
could be read.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freshline.api.app import Raw
from freshline.domain.errors import Fault

HEAD_BYTES = 2 << 20  #: older SDKs put a thousand URLs into the query string
HEADS_BYTES = 256 << 20  #: of all heads that have begun and not ended
HEAD_LINES = 100
HEAD_SECONDS = 30.0  #: from the connection, or from the first byte on a kept one
CONNECTIONS = 10_000
GOODBYE_SECONDS = 0.5  #: what a caller has to end a connection in that nothing happens on

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class Reject(Protocol):
    """:meth:`freshline.api.app.App.reject`"""

    def __call__(self, fault: Fault, query: bytes, lines: list[tuple[bytes, bytes]], limit: str) -> Raw: ...


class InTurn(HttpToolsProtocol):
    """Reads no further while requests that it has read wait for their turn.

    uvicorn reads on after each answer, so whoever sends requests without reading the answers could fill the memory.
    """

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()


class Connection(InTurn):
    heads: ClassVar[int] = 0  #: bytes of heads coming in, on all connections

    _counted = 0  #: what this connection has in ``heads``
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, reject: Reject, **more: Any) -> None:
        super().__init__(*args, **more)
        self._reject = reject

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._timer is None:
                self._wait_for_head()
            self._counted += len(data)
            Connection.heads += len(data)
        super().data_received(data)
        if self._in_head and (self._counted > HEAD_BYTES or Connection.heads > HEADS_BYTES):
            self._refuse(Fault.HEAD_TOO_LARGE, limit=f"{HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > HEAD_LINES:
            self._refuse(Fault.HEAD_TOO_LARGE, limit=f"{HEAD_LINES} lines")

    def on_headers_complete(self) -> None:
        self._head_ended()
        if self.transport.is_closing():
            return
        try:
            target = _origin_form(self.url)
        except ValueError:
            self._refuse(Fault.HEAD_UNREADABLE)
            return
        self.url, _, query = target.partition(b"?")  # what uvicorn takes apart may have 64 KiB, and queries have more
        super().on_headers_complete()
        self.url = target
        self.scope["query_string"] = query

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word for bytes that are no HTTP."""
        self._refuse(Fault.HEAD_UNREADABLE)

    def shutdown(self) -> None:
        """A caller who holds an idle connection and does not answer the goodbye of TLS is not waited for."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if self._in_head:
            self._refuse(Fault.HEAD_TOO_SLOW)

    def _head_ended(self) -> None:
        Connection.heads -= self._counted
        self._counted = 0
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, fault: Fault, limit: str = "") -> None:
        if not self.transport.is_closing():
            query = getattr(self, "url", b"").partition(b"?")[2]  # which uvicorn sets when a head begins
            status, headers, content = self._reject(fault, query, self.headers or [], limit)
            head = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
            lines = (b"%s: %s\r\n" % line for line in [*self.server_state.default_headers, *headers])
            self.transport.write(head + b"".join(lines) + b"connection: close\r\n\r\n" + content)
            self.transport.close()
        self._head_ended()


def _origin_form(target: bytes) -> bytes:
    """A request's target as servers are sent it (RFC 9112 section 3.2): a path, and perhaps a query.

    A proxy's form names the whole URL, of which the path may be left out.

    :raises ValueError: it is no target of a resource
    """
    if (absolute := _ABSOLUTE.match(target)) is not None:
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    if not target.startswith(b"/") and target != b"*":
        raise ValueError(target)
    return target
