"""Which rows of a segment belong to a key, so that they are counted and found without its head.

Nothing is stored where all do. Else it is a bitmap, or offsets where those are shorter. In memory it is a number, whose
bit 0 is the segment's first row: a segment is some thousand rows, so what is asked of it is a few operations on a few
hundred bytes.
"""

from __future__ import annotations

import sys
from array import array
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
        bits |= run(start, end)
    return count, _BITMAP + bits.to_bytes((rows + 7) // 8, "little")


def decode(share: bytes | None, rows: int) -> int:
    """The rows as bits."""
    if share is None:
        return run(0, rows)
    if share[:1] == _BITMAP:
        return int.from_bytes(share[1:], "little")
    flags = bytearray((rows + 7) // 8)
    for row in _swapped(array("H", share[1:])):
        flags[row >> 3] |= 1 << (row & 7)
    return int.from_bytes(flags, "little")


def run(start: int, end: int) -> int:
    """The rows from ``start`` up to but not including ``end``."""
    return ((1 << (end - start)) - 1) << start


def newest(bits: int, skip: int, limit: int) -> list[int]:
    """The rows after the last ``skip`` ones, counted from the end, and no more than ``limit``."""
    if skip:
        low, high = 0, bits.bit_length()
        while low < high:  # where to cut, so that as many lie past it
            middle = (low + high) // 2
            if (bits >> middle).bit_count() > skip:
                low = middle + 1
            else:
                high = middle
        bits &= run(0, low)
    out: list[int] = []
    while bits and len(out) < limit:
        row = bits.bit_length() - 1
        out.append(row)
        bits ^= 1 << row
    return out


def _swapped(column: array[int]) -> array[int]:
    """Little-endian whatever the machine, so a file can move."""
    if sys.byteorder == "big":
        column.byteswap()
    return column
