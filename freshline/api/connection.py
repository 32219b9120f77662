"""One connection, bounded before anybody is known.

uvicorn bounds neither the head of a request nor the time it may take. Both are a stranger's to choose, so they are
bounded here: bytes, lines and seconds of one head, and bytes of all heads that are still coming in.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 2 << 20  #: older SDKs put a thousand URLs into the query string
HEADS_BYTES = 256 << 20  #: of all heads that have begun and not ended
HEAD_LINES = 100
HEAD_SECONDS = 30.0  #: from the connection, or from the first byte on a kept one
CONNECTIONS = 10_000
GOODBYE_SECONDS = 0.5  #: what a caller has to end a connection in that nothing happens on


class Connection(HttpToolsProtocol):
    heads: ClassVar[int] = 0  #: bytes of heads coming in, on all connections

    _counted = 0  #: what this connection has in ``heads``
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

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
            self._refuse("431 Request Header Fields Too Large", f"more than {HEAD_BYTES} bytes before the body")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > HEAD_LINES:
            self._refuse("431 Request Header Fields Too Large", f"more than {HEAD_LINES} header lines")

    def on_headers_complete(self) -> None:
        self._head_ended()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def shutdown(self) -> None:
        """A caller who holds an idle connection and does not answer the goodbye of TLS is not waited for."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if self._in_head:
            self._refuse("408 Request Timeout", f"no whole head within {HEAD_SECONDS:g} s")

    def _head_ended(self) -> None:
        Connection.heads -= self._counted
        self._counted = 0
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: str, why: str) -> None:
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(why)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n{why}".encode())
            self.transport.close()
        self._head_ended()
