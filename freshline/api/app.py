"""One endpoint for all operations: a request goes through the steps in order, and the first that refuses it ends it.

The order is CONTRACT 3.2's: who calls is settled before what they want, and that before how they want it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from freshline.access.limits import Limits
from freshline.access.nonces import Nonces
from freshline.access.throttle import BUCKETS, Draw, Throttle
from freshline.ambient import Ambient
from freshline.api import body
from freshline.api.answer import Answer, Raw, Refusals
from freshline.api.asgi import ASGIApp as ASGIApp
from freshline.api.asgi import Receive as Receive
from freshline.api.asgi import Scope as Scope
from freshline.api.asgi import Send as Send
from freshline.api.asgi import say
from freshline.api.authentication import Authentication
from freshline.api.authorization import Authorization
from freshline.api.body import Gone
from freshline.api.exchange import Exchange
from freshline.api.peer import Network, Peers
from freshline.api.trail import Trail, changes
from freshline.domain.errors import Fault, Refused
from freshline.inventory.base import Inventory
from freshline.log.base import Log
from freshline.media.base import MediaJobs
from freshline.media.memory import MemoryMediaJobs
from freshline.operations.desk import Call, Desk
from freshline.operations.registry import bind
from freshline.schedule.base import Schedule
from freshline.schedule.memory import MemorySchedule
from freshline.spec.model import Operation, Spec
from freshline.wire import render, signature
from freshline.wire.render import Format
from freshline.wire.request import Request, merge_headers
from freshline.wire.shape import Shape

Observe = Callable[[str, int, float], None]  #: action (``"-"`` where there is none), status, seconds

TROUBLESHOOT = "https://api.aliyun.com/troubleshoot?q={code}&product={product}&requestId={request_id}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the contract leaves open."""

    default_format: Format = Format.XML  #: of a V1 call that names none; V3 calls get JSON
    recommend: str = TROUBLESHOOT  #: ``{code}``, ``{product}`` and ``{request_id}`` are filled in
    enforce_protocols: bool = False  #: refuse operations that the tables allow over https only
    say_retry_after: bool = True  #: throttled answers carry ``x-acs-retry-after``
    forbidden_status: int = 403  #: of what policies do not allow; some of the vendor's services say 400
    trusted_proxies: tuple[Network, ...] = ()  #: whose ``X-Forwarded-For`` and ``-Proto`` are believed


class Routes(Protocol):
    def get(self, path: str, /) -> ASGIApp | None:
        """What answers there; ``None``: the API does."""
        ...


NO_ROUTES: dict[str, ASGIApp] = {}


class App:
    def __init__(
        self,
        spec: Spec,
        log: Log,
        inventory: Inventory,
        ambient: Ambient,
        *,
        limits: Limits | None = None,
        settings: Settings | None = None,
        routes: Routes | None = None,
        observe: Observe | None = None,
        schedule: Schedule | None = None,
        media: MediaJobs | None = None,
        nonces: Nonces | None = None,
        calls: int | None = None,
        trail: Trail | None = None,
    ) -> None:
        """
        :param routes: other applications by path, such as the probes
        :param observe: told of every answer
        :param schedule: of prefetches that begin later; else they are forgotten with the process
        :param media: jobs of refreshes and prefetches by media id; likewise
        :param nonces: those that are used up already; else none are
        :param calls: that may be under way at once; more are put off. Other routes are always answered
        :param trail: where calls that would change something are written down
        :raises SpecError: the tables do not fit the handlers
        """
        self._spec = spec
        self._ambient = ambient
        self._limits = limits or Limits()
        self._settings = settings or Settings()
        self._routes: Routes = NO_ROUTES if routes is None else routes
        self._observe = observe
        self._operations = bind(spec)
        self._peers = Peers(self._settings.trusted_proxies)
        self._refusals = Refusals(
            spec,
            recommend=self._settings.recommend,
            say_retry_after=self._settings.say_retry_after,
            forbidden_status=self._settings.forbidden_status,
        )
        self._authentication = Authentication(inventory, self._limits, nonces)
        self._authorization = Authorization(spec, inventory)
        self._rates = Throttle()
        self._draws: dict[tuple[str, str, str, float], list[Draw]] = {}
        self.desk = Desk(
            log, inventory, self._limits, ambient, schedule or MemorySchedule(), media or MemoryMediaJobs()
        )
        self._calls, self._under_way = calls, 0
        self._trail = trail
        self._noted = frozenset(op for op in spec if changes(op)) if trail is not None else frozenset[Operation]()
        self._steps: list[Callable[[Exchange], None]] = [
            self._read_claim,
            self._authenticate,
            self._find_operation,
            self._authorize,
            self._throttle,
            self._read_arguments,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            route = self._routes.get(scope["path"])
            if route is not None:
                await route(scope, receive, send)
                return
            self._under_way += 1
            try:
                await self._answer(scope, receive, send)
            finally:
                self._under_way -= 1
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:  # a websocket
            await receive()
            await send({"type": "websocket.close"})

    def reject(self, fault: Fault, query: bytes, lines: Iterable[tuple[bytes, bytes]], limit: str = "") -> Raw:
        """The answer to what never became a call: the server could not read its head, or would not.

        :param query: what is known of it
        :param lines: the headers that are
        :param limit: what was passed, in words
        """
        exchange = Exchange(
            Request("", query, merge_headers(lines)),
            "",
            self._ambient.request_id(),
            self._ambient.now(),
            self._ambient.monotonic(),
        )
        exchange.format = self._format(exchange.request)
        answer = self._refusals.answer(exchange, Refused(fault, limit=limit))
        if self._observe is not None:
            self._observe("-", answer.status, 0.0)
        return answer.raw

    def at_once(
        self,
        method: str,
        query: bytes,
        headers: dict[bytes, bytes],
        content: bytes,
        peer: Scope,
        shape: Shape | None = None,
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer a call that has come whole, without a task and the messages of ASGI, which cost as much as the call.

        :param method: GET or POST
        :param headers: their names in lower case, each once
        :param peer: a scope's ``client`` and ``scheme``
        :param shape: of the head, where it is known
        :return: the answer, or what has to be awaited for it
        """
        too_long = len(content) > self._limits.body_bytes
        exchange = self._exchange(method, query, headers, peer, b"" if too_long else content, shape)
        try:
            if self._calls is not None and self._under_way >= self._calls:
                raise Refused(Fault.UNAVAILABLE)
            if too_long:
                raise Refused(Fault.BODY_TOO_LARGE, limit=str(self._limits.body_bytes))
            begun = self._carry_out(exchange)
        except Exception as trouble:
            return self._ended(exchange, self._refusals.answer(exchange, trouble))
        if isinstance(begun, bytes):
            return self._ended(exchange, Answer(200, begun, exchange.format, exchange.request_id))
        self._under_way += 1
        return self._later(exchange, begun)

    async def _later(self, exchange: Exchange, begun: Coroutine[Any, Any, bytes]) -> Answer:
        try:
            answer = Answer(200, await begun, exchange.format, exchange.request_id)
        except asyncio.CancelledError:  # the service stops, and this took too long
            answer = self._refusals.answer(exchange, Refused(Fault.UNAVAILABLE))
        except Exception as trouble:
            answer = self._refusals.answer(exchange, trouble)
        finally:
            self._under_way -= 1
        return self._ended(exchange, answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]):
            headers = merge_headers(scope["headers"])
        exchange = self._exchange(scope["method"], scope["query_string"], headers, scope)
        if _is_preflight(exchange.request):
            await _send(send, Answer(200, b"", Format.JSON, exchange.request_id))
            return
        try:
            if scope["path"] != "/":
                raise Refused(Fault.ACTION_UNKNOWN)
            if exchange.request.method not in ("GET", "POST"):
                raise Refused(Fault.HTTP_METHOD)
            if self._calls is not None and self._under_way > self._calls:
                raise Refused(Fault.UNAVAILABLE)
            if content := await body.read(receive, self._limits.body_bytes, self._limits.body_seconds):
                exchange.request.take(content)
                exchange.format = self._format(exchange.request)  # the body may have a word in it
            begun = self._carry_out(exchange)
            done = begun if isinstance(begun, bytes) else await begun
            answer = Answer(200, done, exchange.format, exchange.request_id)
        except Gone:
            return
        except asyncio.CancelledError:  # as above
            answer = self._refusals.answer(exchange, Refused(Fault.UNAVAILABLE))
        except Exception as trouble:
            answer = self._refusals.answer(exchange, trouble)
        await _send(send, self._ended(exchange, answer))

    def _exchange(
        self,
        method: str,
        query: bytes,
        headers: dict[bytes, bytes],
        peer: Scope,
        content: bytes = b"",
        shape: Shape | None = None,
    ) -> Exchange:
        started = self._ambient.monotonic()
        request = Request(method, query, headers, content, self._peers.secure(peer, headers), shape)
        source = self._peers.source(peer, headers)
        exchange = Exchange(request, source, self._ambient.request_id(), self._ambient.now(), started)
        exchange.format = self._format(request)
        return exchange

    def _carry_out(self, exchange: Exchange) -> bytes | Coroutine[Any, Any, bytes]:
        """The answer's content, or what has to be awaited for it."""
        for step in self._steps:
            step(exchange)
        assert exchange.bound is not None, "the steps found an operation"
        handler, caller = exchange.bound.handler, exchange.caller
        call = Call(caller.account.id, exchange.request_id, exchange.now, exchange.monotonic, caller.principal)
        values = handler.run(self.desk, call, exchange.arguments)
        return _rendered(exchange, values) if isinstance(values, dict) else _awaited(exchange, values)

    def _ended(self, exchange: Exchange, answer: Answer) -> Answer:
        """Written down and counted, before the caller hears of it."""
        operation = exchange.bound.operation if exchange.bound is not None else None
        if operation in self._noted:
            self._note(exchange, answer.status, answer.content)
        if self._observe is not None:
            action = operation.action if operation is not None else "-"
            self._observe(action, answer.status, self._ambient.monotonic() - exchange.monotonic)
        return answer

    def _note(self, exchange: Exchange, status: int, content: bytes) -> None:
        """Calls of somebody we know, for something that would change anything (``_noted``)."""
        bound = exchange.bound
        if self._trail is not None and bound is not None:
            self._trail.note(
                bound.operation,
                exchange.caller.principal,
                exchange.request,
                key=exchange.claim.key_id,
                source=exchange.source,
                request_id=exchange.request_id,
                now=exchange.now,
                monotonic=exchange.monotonic,
                status=status,
                content=content,
            )

    # -- the steps ------------------------------------------------------------
    def _read_claim(self, exchange: Exchange) -> None:
        exchange.claim = signature.read(exchange.request)

    def _authenticate(self, exchange: Exchange) -> None:
        exchange.caller = self._authentication.check(exchange.request, exchange.claim, exchange.now, exchange.monotonic)

    def _find_operation(self, exchange: Exchange) -> None:
        claim = exchange.claim
        exchange.bound = bound = self._operations.get((claim.version, claim.action))
        if bound is None:
            known = claim.version in self._spec.products
            raise Refused(Fault.ACTION_UNKNOWN if known else Fault.VERSION_UNKNOWN)
        if exchange.request.method not in bound.operation.methods:
            raise Refused(Fault.HTTP_METHOD)
        if self._settings.enforce_protocols and not exchange.request.secure and "http" not in bound.operation.protocols:
            raise Refused(Fault.NEEDS_TLS)

    def _authorize(self, exchange: Exchange) -> None:
        assert exchange.bound is not None
        self._authorization.check(
            exchange.bound.operation,
            exchange.caller.account,
            exchange.caller.principal,
            exchange.request,
            source=exchange.source,
            now=exchange.now,
            request_id=exchange.request_id,
        )

    def _throttle(self, exchange: Exchange) -> None:
        assert exchange.bound is not None
        operation = exchange.bound.operation
        rate = self._limits.rates.get(operation.action, operation.rate)
        if rate is None:
            return
        key = exchange.caller.account.id, operation.product.version, operation.action, rate
        draws = self._draws.get(key)
        if draws is None:
            if len(self._draws) >= BUCKETS:
                self._draws.clear()
            draws = self._draws[key] = [Draw(key[:3], 1, rate, max(1.0, rate))]
        if (wait := self._rates.take(draws, exchange.monotonic)) > 0:
            raise Refused(Fault.RATE, retry_after_seconds=wait)

    def _read_arguments(self, exchange: Exchange) -> None:
        assert exchange.bound is not None
        exchange.arguments = exchange.bound.arguments(exchange.request)

    def _format(self, request: Request) -> Format:
        """``Format`` in any case; anything else there, such as the legacy SDK's ``None``, is as if it were not."""
        match request.params.get(b"Format", b"").lower():
            case b"json":
                return Format.JSON
            case b"xml":
                return Format.XML
        if b"x-acs-version" in request.headers and b"Version" not in request.params:  # a V3 call
            return Format.XML if b"xml" in request.headers.get(b"accept", b"") else Format.JSON
        return self._settings.default_format


async def _awaited(exchange: Exchange, values: Awaitable[dict[str, Any]]) -> bytes:
    return _rendered(exchange, await values)


def _rendered(exchange: Exchange, values: dict[str, Any]) -> bytes:
    assert exchange.bound is not None, "the steps found an operation"
    operation = exchange.bound.operation
    values["request_id"] = exchange.request_id
    return render.answer(operation.action, operation.result, values, exchange.format)


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and b"access-control-request-method" in request.headers


async def _send(send: Send, answer: Answer) -> None:
    status, headers, content = answer.raw
    await say(send, status, headers, content)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
