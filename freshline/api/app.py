"""One endpoint for all operations: a request goes through the steps in order, and the first that refuses it ends it.

The order is CONTRACT 3.2's: who calls is settled before what they want, and that before how they want it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from freshline.access.limits import Limits
from freshline.access.nonces import Nonces
from freshline.access.throttle import Draw, Throttle
from freshline.ambient import Ambient
from freshline.api import body
from freshline.api.asgi import ASGIApp as ASGIApp
from freshline.api.asgi import Receive as Receive
from freshline.api.asgi import Scope as Scope
from freshline.api.asgi import Send as Send
from freshline.api.authentication import Authentication, Caller
from freshline.api.authorization import Authorization
from freshline.api.body import Gone
from freshline.api.peer import Network, Peers
from freshline.api.trail import Trail, changes
from freshline.domain.errors import Fault, Refused, Unavailable
from freshline.inventory.base import Inventory
from freshline.log.base import Log
from freshline.media.base import MediaJobs
from freshline.media.memory import MemoryMediaJobs
from freshline.operations.desk import Call, Desk
from freshline.operations.registry import Bound, bind
from freshline.schedule.base import Schedule
from freshline.schedule.memory import MemorySchedule
from freshline.spec.model import Spec
from freshline.wire import render, signature
from freshline.wire.render import CONTENT_TYPES, Format
from freshline.wire.request import Request, merge_headers
from freshline.wire.signature import Claim

Headers = list[tuple[bytes, bytes]]
Raw = tuple[int, Headers, bytes]  #: status, headers and content of an answer
Observe = Callable[[str, int, float], None]  #: action (``"-"`` where there is none), status, seconds

LOGGER = logging.getLogger(__name__)
TROUBLESHOOT = "https://api.aliyun.com/troubleshoot?q={code}&product={product}&requestId={request_id}"
HOST_LIMIT = 255  #: characters of a Host header that an error answer repeats

CORS = [  # as the vendor's gateway sends them (CONTRACT 3.3)
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-expose-headers", b"*"),
    (b"access-control-max-age", b"172800"),
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the contract leaves open."""

    default_format: Format = Format.XML  #: of a V1 call that names none; V3 calls get JSON
    recommend: str = TROUBLESHOOT  #: ``{code}``, ``{product}`` and ``{request_id}`` are filled in
    enforce_protocols: bool = False  #: refuse operations that the tables allow over https only
    say_retry_after: bool = True  #: throttled answers carry ``x-acs-retry-after``
    forbidden_status: int = 403  #: of what policies do not allow; some of the vendor's services say 400
    trusted_proxies: tuple[Network, ...] = ()  #: whose ``X-Forwarded-For`` and ``-Proto`` are believed


@dataclass(slots=True)
class Exchange:
    """One call on its way through the steps. Each fills in what the next ones need."""

    request: Request
    source: str  #: the address it comes from
    request_id: str
    now: float
    monotonic: float
    claim: Claim = field(init=False)
    caller: Caller = field(init=False)
    bound: Bound | None = None
    arguments: dict[str, Any] = field(init=False)
    format: Format = field(init=False)  #: of the answer


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
        self._authentication = Authentication(inventory, self._limits, nonces)
        self._authorization = Authorization(spec, inventory)
        self._rates = Throttle()
        self.desk = Desk(
            log, inventory, self._limits, ambient, schedule or MemorySchedule(), media or MemoryMediaJobs()
        )
        self._calls, self._under_way = calls, 0
        self._trail = trail
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
        status, content, extra = self._refusal(exchange, Refused(fault, limit=limit))
        if self._observe is not None:
            self._observe("-", status, 0.0)
        return status, _head(content, exchange.format, exchange.request_id, extra), content

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._ambient.monotonic()
        request = self._request(scope)
        source = self._peers.source(scope, request.headers)
        exchange = Exchange(request, source, self._ambient.request_id(), self._ambient.now(), started)
        status, extra = 200, list[tuple[bytes, bytes]]()
        exchange.format = self._format(request)  # as far as it is known: the body may have a word in it
        if _is_preflight(request):
            await _send(send, 200, b"", Format.JSON, exchange.request_id, extra)
            return
        try:
            content = await self._carry_out(scope, receive, exchange)
        except Gone:
            return
        except asyncio.CancelledError:  # the service stops, and this took too long
            status, content, extra = self._refusal(exchange, Refused(Fault.UNAVAILABLE))
        except Exception as trouble:
            status, content, extra = self._refusal(exchange, _refused(trouble, exchange))
        if self._trail is not None:
            self._note(exchange, status, content)
        await _send(send, status, content, exchange.format, exchange.request_id, extra)
        if self._observe is not None:
            action = exchange.bound.operation.action if exchange.bound else "-"
            self._observe(action, status, self._ambient.monotonic() - started)

    async def _carry_out(self, scope: Scope, receive: Receive, exchange: Exchange) -> bytes:
        if scope["path"] != "/":
            raise Refused(Fault.ACTION_UNKNOWN)
        if exchange.request.method not in ("GET", "POST"):
            raise Refused(Fault.HTTP_METHOD)
        if self._calls is not None and self._under_way > self._calls:
            raise Refused(Fault.UNAVAILABLE)
        if content := await body.read(receive, self._limits.body_bytes, self._limits.body_seconds):
            exchange.request.take(content)
        exchange.format = self._format(exchange.request)
        for step in self._steps:
            step(exchange)
        assert exchange.bound is not None, "the steps found an operation"
        operation, handler = exchange.bound.operation, exchange.bound.handler
        caller = exchange.caller
        call = Call(caller.account.id, exchange.request_id, exchange.now, exchange.monotonic, caller.principal)
        values = await handler.run(self.desk, call, handler.args(**exchange.arguments))
        values["request_id"] = exchange.request_id
        return render.answer(operation.action, operation.result, values, exchange.format)

    def _note(self, exchange: Exchange, status: int, content: bytes) -> None:
        """Calls of somebody we know, for something that would change anything."""
        bound = exchange.bound
        if self._trail is not None and bound is not None and changes(bound.operation):
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
        draw = Draw((exchange.caller.account.id, operation.product.version, operation.action), 1, rate, max(1.0, rate))
        if (wait := self._rates.take([draw], exchange.monotonic)) > 0:
            raise Refused(Fault.RATE, retry_after_seconds=wait)

    def _read_arguments(self, exchange: Exchange) -> None:
        assert exchange.bound is not None
        exchange.arguments = exchange.bound.reader.read(exchange.request)

    def _request(self, scope: Scope) -> Request:
        lines = scope["headers"]
        headers = dict(lines)
        if len(headers) != len(lines):
            headers = merge_headers(lines)
        secure = self._peers.secure(scope, headers)
        return Request(scope["method"], scope["query_string"], headers, secure=secure)

    # -- the answer -----------------------------------------------------------
    def _refusal(self, exchange: Exchange, refused: Refused) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        """Status, content and further headers of an error."""
        operation = exchange.bound.operation if exchange.bound else None
        row = (operation.faults if operation else self._spec.gateway)[refused.fault]
        if refused.fault is Fault.FORBIDDEN:
            row = row._replace(status=self._settings.forbidden_status)
        content = render.error(
            row,
            refused.words,
            request_id=exchange.request_id,
            host=exchange.request.header(b"host")[:HOST_LIMIT],
            recommend=self._settings.recommend,
            product=self._product_name(exchange),
            format_=exchange.format,
            denial=refused.denial,
        )
        extra: list[tuple[bytes, bytes]] = []
        if refused.retry_after_seconds is not None and self._settings.say_retry_after:
            extra.append((b"x-acs-retry-after", b"%d" % max(1, math.ceil(refused.retry_after_seconds * 1000))))
        return row.status, content, extra

    def _product_name(self, exchange: Exchange) -> str:
        if exchange.bound is not None:
            return exchange.bound.operation.product.name
        version = exchange.request.header(b"x-acs-version") or exchange.request.param(b"Version")
        product = self._spec.products.get(version)
        return product.name if product else ""

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


def _refused(trouble: Exception, exchange: Exchange) -> Refused:
    """Every trouble as the caller sees it. What went wrong with us is for the operator's log alone."""
    if isinstance(trouble, Refused):
        return trouble
    if isinstance(trouble, Unavailable):
        LOGGER.warning("request %s put off: %s", exchange.request_id, trouble)
        return Refused(Fault.UNAVAILABLE)
    LOGGER.error("request %s failed", exchange.request_id, exc_info=trouble)
    return Refused(Fault.INTERNAL)


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and b"access-control-request-method" in request.headers


async def _send(
    send: Send, status: int, content: bytes, format_: Format, request_id: str, extra: list[tuple[bytes, bytes]]
) -> None:
    headers = _head(content, format_, request_id, extra)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _head(content: bytes, format_: Format, request_id: str, extra: list[tuple[bytes, bytes]]) -> Headers:
    return [
        (b"content-type", CONTENT_TYPES[format_]),
        (b"content-length", b"%d" % len(content)),
        (b"x-acs-request-id", request_id.encode()),
        *CORS,
        *extra,
    ]


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
