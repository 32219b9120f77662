"""What the audit says of a call: who asked, from where, for what, and what came of it.

Whoever has a key can have calls refused as fast as they like. So of one account only so many refusals a second are
written down; the next line of that account says how many were left out.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import msgspec

from freshline.access.principal import Principal
from freshline.access.throttle import Draw, Throttle
from freshline.audit import Audit
from freshline.spec.model import Operation
from freshline.wire.request import Request

logger = logging.getLogger("freshline.audit")

READS = ("Describe", "Get", "List")  #: how the vendor names what changes nothing
REFUSALS_PER_SECOND, REFUSALS_AT_ONCE = 2.0, 200.0  #: of one account that are written down
HIDDEN = "(hidden)"

Noted = Callable[..., None]


def changes(operation: Operation) -> bool:
    return not operation.action.startswith(READS)


class Trail:
    """A trail that cannot be written is an error for the operator, and none for the caller."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._refusals = Throttle()
        self._left_out = Counter[str]()  #: refusals by account, since its last line

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
        monotonic: float,
        status: int,
        content: bytes,
    ) -> None:
        account = principal.account
        draw = Draw(account, 1, REFUSALS_PER_SECOND, REFUSALS_AT_ONCE)
        if status >= 400 and self._refusals.take([draw], monotonic) > 0:
            self._left_out[account] += 1
            return
        more = {"left_out": left_out} if (left_out := self._left_out.pop(account, 0)) else {}
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
                **more,
                asked=_asked(operation, request),
                answer=_read(content),
            )
        except OSError as error:
            logger.error("cannot write the audit trail: %s; %s %s is not in it", error, operation.action, request_id)


def _asked(operation: Operation, request: Request) -> dict[str, str]:
    """The operation's own parameters. All others change nothing, and there may be any number of them."""
    asked: dict[str, str] = {}
    for name, param in operation.params.items():
        if raw := request.params.get(name.encode()):
            text = raw.decode("utf-8", "replace")
            asked[name] = _names(text) if param.type == "headers" else text
    return asked


def _names(headers: str) -> str:
    """Which headers an object is fetched with. Their values may be a login."""
    try:
        given = json.loads(headers)
    except (ValueError, RecursionError):
        return HIDDEN
    return json.dumps(dict.fromkeys(given, HIDDEN)) if isinstance(given, dict) else HIDDEN


def _read(content: bytes) -> Any:
    """An answer of ours as values, whatever it was written in: what is secret in it is told by its name."""
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return _values(ElementTree.fromstring(content))  # we wrote it ourselves


def _values(element: ElementTree.Element) -> Any:
    """Elements of one name are a list."""
    if not len(element):
        return element.text or ""
    values: dict[str, Any] = {}
    for child in element:
        values.setdefault(child.tag, []).append(_values(child))
    return {name: each[0] if len(each) == 1 else each for name, each in values.items()}
