"""What one gate says of where it stands: read as a whole only when it says something new.

A thousand idle gates say the same every few seconds, but for the milliseconds that their lease has left.
"""

from __future__ import annotations

from freshline.drivers import lines
from freshline.drivers.base import Fault, Gate, Trouble
from freshline.drivers.http import Reply

LEASE = b"\nlease "


class StatusReader:
    """Belongs to one gate."""

    def __init__(self, kind: str) -> None:
        """:param kind: what the inventory says it is"""
        self._kind = kind
        self._before = self._after = b""  #: what it said around its lease, when it was read
        self._gate: Gate | None = None

    def read(self, reply: Reply) -> Gate | Trouble:
        """:raises BadLines: it is no gate's answer"""
        status, headers, body = reply
        if status == 500:
            return Trouble(Fault.FAILED, lines.spoken(body.decode("ascii", "replace")))
        if status != 200:
            raise lines.BadLines("not a gate's answer")
        clock = headers.get(lines.CLOCK_HEADER, "")
        before, found, rest = body.partition(LEASE)
        left, _, after = rest.partition(b"\n")
        known = self._gate
        if known is not None and before == self._before and after == self._after and left.isdigit():
            detail = {**known.detail, "lease": left.decode("ascii")}
            at = lines.read_clock(clock)
            return Gate(known.log, known.position, known.mark, known.synced, at, known.lapse, detail)
        if (kind := lines.read_kind(body)) != self._kind:
            return Trouble(Fault.WRONG_KIND, f"is a gate of {kind}, and the inventory says {self._kind}")
        gate = lines.read_status(body, clock)
        plain = found and LEASE not in rest and left.isdigit()  # a line that comes twice counts the last time
        self._before, self._after, self._gate = before, after, gate if plain else None
        return gate
