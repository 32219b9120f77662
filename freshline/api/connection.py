"""One connection: bounded before anybody is known, and answered without detours where a request comes whole.

uvicorn bounds neither the head of a request nor the time it may take. Both are a stranger's to choose, so they are
bounded here: bytes, lines and seconds of one head, and bytes of all heads that are still coming in. What is refused
here, and what is no HTTP at all, is answered as the contract has errors, in the format that was asked for if so much
could be read.

Nearly every call is one small piece of data. Such a request is answered as soon as it is read (:class:`AtOnce`); the
task, the scope and the messages of ASGI would cost as much as the call itself. Where its head has the shape of one
before it (:mod:`freshline.wire.shape`) it is not even parsed. All others go uvicorn's way: what comes in pieces, other
paths than ``/``, and whatever is unusual about its connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, ClassVar, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from freshline.api.answer import Answer, Headers, Raw, lines
from freshline.api.asgi import Scope
from freshline.domain.errors import Fault
from freshline.wire.request import merge_headers
from freshline.wire.shape import Shape, learn

HEAD_BYTES = 2 << 20  #: older SDKs put a thousand URLs into the query string
HEADS_BYTES = 256 << 20  #: of all heads that have begun and not ended
HEAD_LINES = 100
HEAD_SECONDS = 30.0  #: from the connection, or from the first byte on a kept one
CONNECTIONS = 10_000
GOODBYE_SECONDS = 0.5  #: what a caller has to end a connection in that nothing happens on
SHAPES = 4  #: of heads that a connection knows
LESSONS = 8  #: heads that a connection learns while none is met again
GOOD = 200  #: which ``HTTPStatus`` looks up each time
IN_A_ROW = 16  #: requests of one connection that are answered before others have their turn

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class Application(Protocol):
    """One that has an ``at_once`` too, as :class:`freshline.api.app.App` has, is asked by it where that can be."""

    def reject(self, fault: Fault, query: bytes, lines: list[tuple[bytes, bytes]], limit: str) -> Raw: ...


class AtOnce(Protocol):
    """:meth:`freshline.api.app.App.at_once`"""

    def __call__(
        self,
        method: str,
        query: bytes,
        headers: dict[bytes, bytes],
        content: bytes,
        peer: Scope,
        shape: Shape | None = None,
    ) -> Answer | Coroutine[Any, Any, Answer]: ...


class InTurn(HttpToolsProtocol):
    """Reads no further while requests that it has read wait for their turn.

    uvicorn reads on after each answer, so whoever sends requests without reading the answers could fill the memory.
    """

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()


class _Turn(RequestResponseCycle):
    """What uvicorn knows of a call that is answered without it: whether it is over."""

    def __init__(self) -> None:
        self.message_event = asyncio.Event()
        self.disconnected = self.response_complete = False
        self.keep_alive = True


class _Heads:
    """Those that are coming in, on all connections.

    No attribute of a class: what Python knows of a class begins anew whenever one is set.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0  #: bytes


class Connection(InTurn):
    application: ClassVar[Application]
    at_once: ClassVar[AtOnce | None] = None

    heads: ClassVar[_Heads] = _Heads()
    _dated: ClassVar[tuple[Headers, bytes]] = ([], b"")  #: what uvicorn adds to every answer, and as lines

    _counted = 0  #: bytes of this connection in ``heads``
    _beside = 0  #: bytes in which neither a head nor a body was
    _gets_on = False  #: what is being read has some of either
    _in_head = True
    _timer: asyncio.TimerHandle | None = None
    _body: list[bytes] | None = None  #: of a request that may be answered at once
    _in_a_row = 0
    _idle: asyncio.TimerHandle | None = None
    _answered = 0.0  #: when the last call was answered at once, by the loop's clock
    _rests = False  #: nothing came since such a call
    _believed = False  #: one of them was good
    _shapes: tuple[Shape, ...] = ()  #: that heads had, the newest first
    _lessons = LESSONS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # which uvloop's is no subclass of
        super().connection_made(transport)
        self._peer = {"client": self.client, "scheme": self.scheme}
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ended()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        rested = self._rests
        if rested and self._is_known(data):
            return
        self._in_a_row = 0
        self._gets_on = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if rested and self._rests and self._believed and self._in_a_row == 1 and self._lessons:
            self._learn(data)
        if self._body is not None:  # the rest is still to come
            self._go_the_long_way()
        if self._in_head:
            self._head_goes_on(len(data))
        else:
            self._goes_on_beside(len(data))

    def _goes_on_beside(self, more: int) -> None:
        """Bytes after a head: of a body, which is bounded elsewhere, or of lines around it, which are not."""
        self._beside = 0 if self._gets_on else self._beside + more
        if self._beside > HEAD_BYTES:
            self._refuse(Fault.HEAD_TOO_LARGE, limit=f"{HEAD_BYTES} bytes")
        elif self._answers_nobody() and self._idle is None:  # a stray line end, or the rest of what was answered early
            self._answered = self.loop.time()
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._is_idle)

    def _answers_nobody(self) -> bool:
        return self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head = self._gets_on = True
        self._rests = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # and not after the body, where lines may come without end (RFC 9110 section 6.5.1)
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_ended()
        if len(self.headers) > HEAD_LINES:
            self._refuse(Fault.HEAD_TOO_LARGE, limit=f"{HEAD_LINES} lines")
        if not self.transport.is_closing():
            self._body = []
            self._fields = fields = dict(self.headers)
            if len(fields) != len(self.headers):
                self._fields = fields = merge_headers(self.headers)
            self.expect_100_continue = fields.get(b"expect", b"").lower() == b"100-continue"
            if not self._may_be_whole():
                self._go_the_long_way()

    def on_body(self, body: bytes) -> None:
        self._gets_on = True
        if self._body is not None:
            self._body.append(body)
        elif not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._gets_on = True
        if self.transport.is_closing():
            self._body = None
        elif self._body is None:
            super().on_message_complete()
        elif self.flow.write_paused or self._in_a_row >= IN_A_ROW:
            self._go_the_long_way()
            super().on_message_complete()
        else:
            self._in_a_row += 1
            content, self._body = b"".join(self._body), None
            self._answer_at_once(self.parser.get_method().decode(), self.url[2:], self._fields, content)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word for bytes that are no HTTP."""
        self._refuse(Fault.HEAD_UNREADABLE)

    def shutdown(self) -> None:
        """A caller who holds an idle connection and does not answer the goodbye of TLS is not waited for."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    # -- what comes whole -----------------------------------------------------
    def _may_be_whole(self) -> bool:
        parser = self.parser
        return (
            self.at_once is not None
            and (self.url == b"/" or self.url.startswith(b"/?"))
            and parser.get_method() in (b"POST", b"GET")
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)  # or an answer would overtake another
        )

    def _is_known(self, data: bytes) -> bool:
        """Answer a request whose head has a known shape. The parser, which waits for the next, need not see it."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        for shape in self._shapes:
            if (headers := shape.read(data)) is not None:
                if self.timeout_keep_alive_task is not None:
                    self._unset_keepalive_if_required()
                self._beside, self._lessons = 0, LESSONS
                self._answer_at_once(shape.method, shape.query, headers, shape.body(data), shape)
                return True
        return False

    def _learn(self, data: bytes) -> None:
        """From somebody who was believed before; strangers could have us learn for nothing."""
        if len(self._fields) == len(self.headers):
            self._lessons -= 1
            shape = learn(self.parser.get_method().decode(), self.url[2:], self._fields, data)
            if shape is not None:
                self._shapes = shape, *self._shapes[: SHAPES - 1]

    def _answer_at_once(
        self, method: str, query: bytes, headers: dict[bytes, bytes], content: bytes, shape: Shape | None = None
    ) -> None:
        assert self.at_once is not None
        self._rests = True
        answer = self.at_once(method, query, headers, content, self._peer, shape)
        if isinstance(answer, Answer):
            self._write(answer)
            self.server_state.total_requests += 1
            self._answered = self.loop.time()
            if self._idle is None:
                self._idle = self.loop.call_later(self.timeout_keep_alive, self._is_idle)
        else:
            self.cycle = turn = _Turn()
            task = self.loop.create_task(self._answer_later(turn, answer))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)

    async def _answer_later(self, turn: _Turn, coming: Coroutine[Any, Any, Answer]) -> None:
        answer = await coming
        turn.response_complete = True
        if not self.transport.is_closing():
            self._write(answer, keep=turn.keep_alive)
        self.on_response_complete()

    def _write(self, answer: Answer, *, keep: bool = True) -> None:
        default = self.server_state.default_headers  # a new list each second
        if default is not Connection._dated[0]:
            Connection._dated = default, lines(default)
        if answer.status == GOOD:
            self._believed = True
        close = b"" if keep else b"connection: close\r\n"
        self.transport.write(
            b"".join((STATUS_LINE[answer.status], Connection._dated[1], answer.head, close, b"\r\n", answer.content))
        )
        if not keep:
            self.transport.close()

    def _is_idle(self) -> None:
        """One timer for many calls: it looks when the last was, and goes on for the rest."""
        self._idle = None
        if self._timer is not None or self.timeout_keep_alive_task is not None:
            return  # another timer runs
        if self.cycle is None or self.cycle.response_complete:
            left = self._answered + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self._idle = self.loop.call_later(left, self._is_idle)
            else:
                self.timeout_keep_alive_handler()

    def _go_the_long_way(self) -> None:
        """Hand over to uvicorn what was kept back of a request."""
        parts, self._body = self._body or (), None
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.headers += headers  # the list that the scope has
        self.expect_100_continue = expect
        try:
            target = _origin_form(url)
        except ValueError:
            self._refuse(Fault.HEAD_UNREADABLE)
            return
        self.url, _, query = target.partition(b"?")  # what uvicorn takes apart may have 64 KiB, and queries have more
        super().on_headers_complete()
        self.url = target
        self.scope["query_string"] = query
        for part in parts:
            super().on_body(part)

    # -- what is refused ------------------------------------------------------
    def _head_goes_on(self, more: int) -> None:
        if self._timer is None:
            self._wait_for_head()
        self._counted += more
        self.heads.size += more
        if self._counted > HEAD_BYTES or self.heads.size > HEADS_BYTES:
            self._refuse(Fault.HEAD_TOO_LARGE, limit=f"{HEAD_BYTES} bytes")
        elif self.headers and len(self.headers) > HEAD_LINES:
            self._refuse(Fault.HEAD_TOO_LARGE, limit=f"{HEAD_LINES} lines")

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if self._in_head:
            self._refuse(Fault.HEAD_TOO_SLOW)

    def _head_ended(self) -> None:
        self.heads.size -= self._counted
        self._counted = 0
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, fault: Fault, limit: str = "") -> None:
        if not self.transport.is_closing():
            query = getattr(self, "url", b"").partition(b"?")[2]  # which is set when a head begins
            status, headers, content = self.application.reject(fault, query, self.headers or [], limit)
            head = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
            self.transport.write(
                head + lines([*self.server_state.default_headers, *headers]) + b"connection: close\r\n\r\n" + content
            )
            self.transport.close()
        self._head_ended()


def connections(to: Application) -> type[Connection]:
    """The class of an application's connections."""

    class Ours(Connection):
        application = to
        at_once = getattr(to, "at_once", None)

    return Ours


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
