"""A stretch of the log as it is counted: which of its rows are of which key, and the marks of its commits.

What a single row says is in its chunk (:mod:`freshline.log.chunk`). A segment costs a few bytes per run of rows with
one key, and is read by who asks for more keys than are worth looking up one by one, or for a mark.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence, Set

import msgspec

from freshline.log import share

WIDTHS = "BHI"  #: of a column's numbers: 8, 16 or 32 bits
ANY_DOMAIN = "*"  #: what rows of any domain are counted under; no host is spelt so


class _Head(msgspec.Struct, array_like=True):
    columns: list[tuple[str, bytes]]  #: of numbers, each with its width; see Segment
    marks: bytes  #: four bytes each


class Segment:
    """Rows are addressed by position."""

    __slots__ = ("base", "ends", "first", "keys", "last", "mark_ends", "marks")

    def __init__(self, first: int, columns: Sequence[array[int]], marks: str) -> None:
        self.first = first
        self.base = first - 1
        #: runs of rows with one key: the key, and the last row (1 is the segment's first); the last row of each mark
        self.keys, self.ends, self.mark_ends = columns
        self.marks = marks  #: eight letters each, for the rows up to each of ``mark_ends``
        self.last = self.base + self.ends[-1]

    @classmethod
    def of(cls, first: int, sizes: Iterable[tuple[int, int]], mark: str) -> Segment:
        """Neighbouring tasks, in their order, under one mark.

        :param sizes: the key of each, which is that of its own domain, and how many rows it has
        """
        keys, ends = array("I"), array("I")
        end = 0
        for key, rows in sizes:
            end += rows
            _append(keys, ends, key, end)
        return cls(first, (keys, ends, array("I", [end])), mark)

    @classmethod
    def joined(cls, parts: Sequence[Segment]) -> Segment:
        """Neighbouring segments as one. Positions, keys and marks stay what they were."""
        keys, ends, mark_ends = array("I"), array("I"), array("I")
        base = parts[0].base
        for part in parts:
            shift = part.base - base
            for key, end in zip(part.keys, part.ends, strict=True):
                _append(keys, ends, key, end + shift)
            mark_ends.extend([end + shift for end in part.mark_ends])
        return cls(parts[0].first, (keys, ends, mark_ends), "".join(part.marks for part in parts))

    def encode(self) -> bytes:
        columns = [_pack(column) for column in (self.keys, self.ends, self.mark_ends)]
        return msgspec.msgpack.encode(_Head(columns, bytes.fromhex(self.marks)))

    @classmethod
    def decode(cls, first: int, blob: bytes) -> Segment:
        head = _decode_head(blob)
        return cls(first, [_unpack(width, raw) for width, raw in head.columns], head.marks.hex())

    @property
    def rows(self) -> int:
        return self.ends[-1]

    def mark(self, position: int) -> str:
        at = 8 * bisect_left(self.mark_ends, position - self.base)
        return self.marks[at : at + 8]

    def shares(self, any_of: Callable[[int], int]) -> dict[int, tuple[int, bytes | None]]:
        """How many rows there are of each key, and which (:mod:`freshline.log.share`).

        :param any_of: of a key, the one that its rows are counted under whatever their domain
        """
        bounds: dict[int, list[int]] = {}
        of_key = {key: (bounds.setdefault(key, []), bounds.setdefault(any_of(key), [])) for key in set(self.keys)}
        start = 0
        for key, end in zip(self.keys, self.ends, strict=True):
            for runs in of_key[key]:
                if runs and runs[-1] == start:
                    runs[-1] = end
                else:
                    runs += (start, end)
            start = end
        return {key: share.encode(runs, self.rows) for key, runs in bounds.items()}

    def bits(self, keys: Set[int]) -> int:
        """The rows of any of some keys, none of which stands for any domain: bit 0 is the segment's first row."""
        bits = start = 0
        for key, end in zip(self.keys, self.ends, strict=True):
            if key in keys:
                bits |= share.run(start, end)
            start = end
        return bits


def _append(keys: array[int], ends: array[int], key: int, end: int) -> None:
    if keys and keys[-1] == key:
        ends[-1] = end
    else:
        keys.append(key)
        ends.append(end)


_decode_head = msgspec.msgpack.Decoder(_Head).decode


def _pack(column: array[int]) -> tuple[str, bytes]:
    """As narrow as its largest number allows; little-endian whatever the machine, so a file can move."""
    largest = max(column)
    width = next(width for width in WIDTHS if largest < 1 << 8 * array(width).itemsize)
    narrow = array(width, column)
    if sys.byteorder == "big":
        narrow.byteswap()
    return width, narrow.tobytes()


def _unpack(width: str, raw: bytes) -> array[int]:
    column: array[int] = array(width)
    column.frombytes(raw)
    if sys.byteorder == "big":
        column.byteswap()
    return column
