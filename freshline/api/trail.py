"""What the audit says of a call: who asked, from where, for what, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from freshline.access.principal import Principal
from freshline.audit import Audit
from freshline.spec.model import Operation
from freshline.wire.request import Request

logger = logging.getLogger("freshline.audit")

READS = ("Describe", "Get", "List")  #: how the vendor names what changes nothing
PROTOCOL = frozenset(
    [b"Action", b"Format", b"SecurityToken", b"Signature", b"SignatureMethod", b"SignatureNonce", b"SignatureType",
     b"SignatureVersion", b"Timestamp", b"Version"]
)  # fmt: skip

Noted = Callable[..., None]


def changes(operation: Operation) -> bool:
    return not operation.action.startswith(READS)


class Trail:
    """A trail that cannot be written is an error for the operator, and none for the caller."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def note(
        self,
        operation: Operation,
        principal: Principal,
        request: Request,
        *,
        key: str,
        source: str,
        request_id: str,
        now: float,
        status: int,
        content: bytes,
    ) -> None:
        asked = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, value in request.params.items()
            if name not in PROTOCOL and name != b"AccessKeyId"
        }
        try:
            self._audit.note(
                now,
                who=principal.arn,
                key=key,
                **{"from": source},
                what=operation.action,
                version=operation.product.version,
                status=status,
                request=request_id,
                asked=asked,
                answer=_read(content),
            )
        except OSError as error:
            logger.error("cannot write the audit trail: %s; %s %s is not in it", error, operation.action, request_id)


def _read(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content.decode("utf-8", "replace")  # XML
