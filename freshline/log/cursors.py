"""An edge's progress as a blob: runs as differences, so a hundred runs cost a few hundred bytes.

What was given up stays the same from one commit to the next while the cursor moves, and may be ten thousand runs; so
the bytes of each such set are kept while they are in use.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from operator import sub

import msgspec

from freshline.domain.edge import Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason

KEPT = 128  #: sets whose bytes are kept


class _Blob(msgspec.Struct, array_like=True):
    cursor: int
    begun: int
    ahead: list[int]
    failed: list[tuple[Reason, msgspec.Raw]]
    again: list[int]
    leased_seconds: float
    lapses: bool


def encode(progress: Progress) -> bytes:
    it = progress
    failed = [(reason, _packed(ranges)) for reason, ranges in it.failed]
    blob = _Blob(it.cursor, it.begun, _flat(it.ahead), failed, _flat(it.again), it.leased_seconds, it.lapses)
    return msgspec.msgpack.encode(blob)


def decode(blob: bytes) -> Progress:
    it = msgspec.msgpack.decode(blob, type=_Blob)
    failed = tuple((reason, _ranges(msgspec.msgpack.decode(packed, type=list[int]))) for reason, packed in it.failed)
    return Progress(it.cursor, _ranges(it.ahead), it.begun, failed, _ranges(it.again), it.leased_seconds, it.lapses)


@lru_cache(maxsize=KEPT)
def _packed(ranges: Ranges) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(_flat(ranges)))


def _flat(ranges: Ranges) -> list[int]:
    ends = ranges.ends
    return list(map(sub, ends, [0, *ends]))


def _ranges(flat: Iterable[int]) -> Ranges:
    ends = list(accumulate(flat))
    assert len(ends) % 2 == 0, "a run without an end"
    return Ranges.of(ends[::2], ends[1::2])
