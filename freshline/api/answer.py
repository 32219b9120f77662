"""An answer on its way out: status, headers and content, and what every trouble looks like to a caller."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import msgspec

from freshline.api.exchange import Exchange
from freshline.domain.errors import Fault, Refused, Unavailable
from freshline.spec.model import Spec
from freshline.wire import render
from freshline.wire.render import CONTENT_TYPES, Format

Headers = list[tuple[bytes, bytes]]
Raw = tuple[int, Headers, bytes]  #: status, headers and content of an answer

LOGGER = logging.getLogger(__name__)
HOST_LIMIT = 255  #: characters of a Host header that an error answer repeats

CORS = [  # as the vendor's gateway sends them (CONTRACT 3.3)
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-expose-headers", b"*"),
    (b"access-control-max-age", b"172800"),
]


def lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Headers as they stand on the wire."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


_CORS_LINES = lines(CORS)


class Answer(msgspec.Struct):
    status: int
    content: bytes
    format: Format
    request_id: str
    extra: Sequence[tuple[bytes, bytes]] = ()

    @property
    def raw(self) -> Raw:
        headers = [
            (b"content-type", CONTENT_TYPES[self.format]),
            (b"content-length", b"%d" % len(self.content)),
            (b"x-acs-request-id", self.request_id.encode()),
            *CORS,
            *self.extra,
        ]
        return self.status, headers, self.content

    @property
    def head(self) -> bytes:
        """The same headers as lines."""
        return b"content-type: %b\r\ncontent-length: %d\r\nx-acs-request-id: %b\r\n%b%b" % (
            CONTENT_TYPES[self.format],
            len(self.content),
            self.request_id.encode(),
            _CORS_LINES,
            lines(self.extra) if self.extra else b"",
        )


class Refusals:
    """Errors as the tables have them."""

    def __init__(self, spec: Spec, *, recommend: str, say_retry_after: bool, forbidden_status: int) -> None:
        self._spec = spec
        self._recommend = recommend
        self._say_retry_after = say_retry_after
        self._forbidden_status = forbidden_status

    def answer(self, exchange: Exchange, trouble: BaseException) -> Answer:
        refused = _refused(trouble, exchange)
        operation = exchange.bound.operation if exchange.bound else None
        row = (operation.faults if operation else self._spec.gateway)[refused.fault]
        if refused.fault is Fault.FORBIDDEN:
            row = row._replace(status=self._forbidden_status)
        content = render.error(
            row,
            refused.words,
            request_id=exchange.request_id,
            host=exchange.request.header(b"host")[:HOST_LIMIT],
            recommend=self._recommend,
            product=self._product_name(exchange),
            format_=exchange.format,
            denial=refused.denial,
        )
        extra: Headers = []
        if refused.retry_after_seconds is not None and self._say_retry_after:
            extra.append((b"x-acs-retry-after", b"%d" % max(1, math.ceil(refused.retry_after_seconds * 1000))))
        return Answer(row.status, content, exchange.format, exchange.request_id, extra)

    def _product_name(self, exchange: Exchange) -> str:
        if exchange.bound is not None:
            return exchange.bound.operation.product.name
        version = exchange.request.header(b"x-acs-version") or exchange.request.param(b"Version")
        product = self._spec.products.get(version)
        return product.name if product else ""


def _refused(trouble: BaseException, exchange: Exchange) -> Refused:
    """Every trouble as the caller sees it. What went wrong with us is for the operator's log alone."""
    if isinstance(trouble, Refused):
        return trouble
    if isinstance(trouble, Unavailable):
        LOGGER.warning("request %s put off: %s", exchange.request_id, trouble)
        return Refused(Fault.UNAVAILABLE)
    LOGGER.error("request %s failed", exchange.request_id, exc_info=trouble)
    return Refused(Fault.INTERNAL)
