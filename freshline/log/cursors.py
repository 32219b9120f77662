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


def encode(progress: Progress) -> bytes:
    failed = [(reason, _flat(ranges)) for reason, ranges in progress.failed]
    return msgspec.msgpack.encode(_Blob(progress.cursor, progress.begun, _flat(progress.ahead), failed))


def decode(blob: bytes) -> Progress:
    it = msgspec.msgpack.decode(blob, type=_Blob)
    failed = tuple((reason, _ranges(flat)) for reason, flat in it.failed)
    return Progress(cursor=it.cursor, ahead=_ranges(it.ahead), begun=it.begun, failed=failed)


def _flat(ranges: Ranges) -> list[int]:
    ends = list(chain.from_iterable(ranges))
    return [after - before for before, after in zip([0, *ends], ends, strict=False)]


def _ranges(flat: Iterable[int]) -> Ranges:
    ends = list(accumulate(flat))
    return Ranges(zip(ends[::2], ends[1::2], strict=True))
