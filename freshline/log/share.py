"""Which rows of a segment belong to a key, so that they are counted without its head.

Nothing is stored where all do. Else it is a bitmap, or offsets where those are shorter.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence

_BITMAP, _OFFSETS = b"b", b"o"
OFFSET_ROWS = 1 << 16  #: offsets are 16-bit numbers


def encode(bounds: Sequence[int], rows: int) -> tuple[int, bytes | None]:
    """How many rows, and which.

    :param bounds: start and end of each run, one after the other; offsets from the segment's first row, ends excluded
    """
    runs = list(zip(bounds[::2], bounds[1::2], strict=True))
    count = sum(end - start for start, end in runs)
    if count == rows:
        return count, None
    if 2 * count < rows // 8 and rows <= OFFSET_ROWS:
        offsets = array("H", [row for start, end in runs for row in range(start, end)])
        return count, _OFFSETS + _swapped(offsets).tobytes()
    bits = 0
    for start, end in runs:
        bits |= ((1 << (end - start)) - 1) << start
    return count, _BITMAP + bits.to_bytes((rows + 7) // 8, "little")


def count(share: bytes | None, first: int, last: int) -> int:
    """How many of the rows from offset ``first`` to ``last`` belong."""
    if share is None:
        return last - first + 1
    if share[:1] == _BITMAP:
        bits = int.from_bytes(share[1 + first // 8 : 2 + last // 8], "little") >> first % 8
        return (bits & ((1 << (last - first + 1)) - 1)).bit_count()
    offsets = array("H", share[1:])
    offsets = _swapped(offsets)
    return bisect_left(offsets, last + 1) - bisect_left(offsets, first)


def _swapped(column: array[int]) -> array[int]:
    """Little-endian whatever the machine, so a file can move."""
    if sys.byteorder == "big":
        column.byteswap()
    return column
