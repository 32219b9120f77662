"""One call on its way through the steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from freshline.api.authentication import Caller
from freshline.operations.registry import Bound
from freshline.wire.render import Format
from freshline.wire.request import Request
from freshline.wire.signature import Claim


@dataclass(slots=True)
class Exchange:
    """Each step fills in what the next ones need."""

    request: Request
    source: str  #: the address it comes from
    request_id: str
    now: float
    monotonic: float
    claim: Claim = field(init=False)
    caller: Caller = field(init=False)
    bound: Bound | None = None
    arguments: msgspec.Struct = field(init=False)
    format: Format = field(init=False)  #: of the answer
