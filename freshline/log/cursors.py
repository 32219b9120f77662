"""An edge's progress as a blob: runs as differences, so a hundred runs cost a few hundred bytes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, chain

import msgspec

from freshline.domain.edge import Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason


class _Blob(msgspec.Struct, array_like=True):
    cursor: int
    begun: int
    ahead: list[int]
    failed: list[tuple[Reason, list[int]]]
    again: list[int]
    leased_seconds: float
    lapses: bool


def encode(progress: Progress) -> bytes:
    it = progress
    failed = [(reason, _flat(ranges)) for reason, ranges in it.failed]
    blob = _Blob(it.cursor, it.begun, _flat(it.ahead), failed, _flat(it.again), it.leased_seconds, it.lapses)
    return msgspec.msgpack.encode(blob)


def decode(blob: bytes) -> Progress:
    it = msgspec.msgpack.decode(blob, type=_Blob)
    failed = tuple((reason, _ranges(flat)) for reason, flat in it.failed)
    return Progress(it.cursor, _ranges(it.ahead), it.begun, failed, _ranges(it.again), it.leased_seconds, it.lapses)


def _flat(ranges: Ranges) -> list[int]:
    ends = list(chain.from_iterable(ranges))
    return [after - before for before, after in zip([0, *ends], ends, strict=False)]


def _ranges(flat: Iterable[int]) -> Ranges:
    ends = list(accumulate(flat))
    return Ranges(zip(ends[::2], ends[1::2], strict=True))
