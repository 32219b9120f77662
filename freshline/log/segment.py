"""A stretch of the log as two kinds of blob: one head that says which tasks it holds, and chunks of their paths.

The head costs a few bytes per task and nothing per row, so counting never touches a path. It is read by every look-up
that meets a segment for the first time, so its columns lie there as they are used, as narrow as they can be, and what
tasks have in common is unpacked when a task is. Chunks are small enough that one row can be looked up without
unpacking a thousand.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import overload

import msgspec

from freshline.domain.ranges import Range
from freshline.domain.task import Kind, Task
from freshline.log import share

CHUNK_ROWS = 64
MATCHES_KEPT = 8  #: per segment: which of its tasks answer one query
FEW_ROWS = 16  #: as many are counted one by one
WIDTHS = "BHI"  #: of a column's numbers: 8, 16 or 32 bits
ANY_DOMAIN = "*"  #: what rows of any domain are counted under; no host is spelt so

Key = tuple[str | None, Kind]  #: a domain (``None``: any) and a kind, within one account


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What many tasks have in common; a head holds each once."""

    account: str
    domain: str
    group: str
    kind: Kind
    force: bool
    headers: tuple[tuple[str, str], ...]
    area: str = ""
    parents_only: bool = False


class _Head(msgspec.Struct, array_like=True):
    shapes: bytes  #: a list of them, packed
    created: int  #: of the first task
    columns: list[tuple[str, bytes]]  #: of numbers, each with its width; see Segment
    marks: bytes  #: four bytes each


class _Shapes(Sequence[Shape]):
    """Unpacked one by one: a look-up wants one of hundreds."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._raw: list[msgspec.Raw] | None = None
        self._known: dict[int, Shape] = {}

    def __len__(self) -> int:
        return len(self._unpacked())

    @overload
    def __getitem__(self, place: int) -> Shape: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Shape]: ...

    def __getitem__(self, place: int | slice) -> Shape | Sequence[Shape]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        shape = self._known.get(place)
        if shape is None:
            shape = self._known[place] = _decode_shape(self._unpacked()[place])
        return shape

    def _unpacked(self) -> list[msgspec.Raw]:
        if self._raw is None:
            self._raw = _decode_raw(zlib.decompress(self._blob))
        return self._raw


class Segment:
    """The decoded head. Tasks and marks are addressed by their place in it, rows by position."""

    __slots__ = (
        "_matches",
        "ages",
        "base",
        "created",
        "ends",
        "first",
        "last",
        "mark_ends",
        "marks",
        "shapes",
        "which",
    )

    def __init__(
        self, first: int, shapes: Sequence[Shape], created: int, columns: Sequence[array[int]], marks: str
    ) -> None:
        self.first = first
        self.base = first - 1
        self.shapes = shapes
        self.created = created
        #: per task: its shape, its last row (1 is the segment's first row), seconds since the first task
        self.which, self.ends, self.ages, self.mark_ends = columns
        self.marks = marks  #: eight letters each, for the rows up to each of ``mark_ends``
        self.last = self.base + self.ends[-1]
        self._matches: dict[tuple[str, frozenset[Key]], _Matches | None] = {}

    @classmethod
    def of(cls, tasks: Sequence[Task], mark: str) -> Segment:
        """Neighbouring tasks, in their order, under one mark."""
        index: dict[Shape, int] = {}
        which, ends, ages = array("I"), array("I"), array("I")
        base, created = tasks[0].id - 1, tasks[0].created
        for task in tasks:
            wish = task.wish
            shape = Shape(
                wish.account,
                wish.domain,
                wish.group,
                wish.kind,
                wish.force,
                wish.headers,
                wish.area,
                wish.parents_only,
            )
            which.append(index.setdefault(shape, len(index)))
            ends.append(task.last - base)
            ages.append(task.created - created)
        return cls(tasks[0].id, list(index), created, (which, ends, ages, array("I", [ends[-1]])), mark)

    @classmethod
    def joined(cls, parts: Sequence[Segment]) -> Segment:
        """Neighbouring segments as one. Positions, tasks and marks stay what they were."""
        index: dict[Shape, int] = {}
        which, ends, ages, mark_ends = array("I"), array("I"), array("I"), array("I")
        base, created = parts[0].base, parts[0].created
        for part in parts:
            places = [index.setdefault(shape, len(index)) for shape in part.shapes]
            shift, aged = part.base - base, part.created - created
            which.extend([places[place] for place in part.which])
            ends.extend([end + shift for end in part.ends])
            ages.extend([age + aged for age in part.ages])
            mark_ends.extend([end + shift for end in part.mark_ends])
        marks = "".join(part.marks for part in parts)
        return cls(parts[0].first, list(index), created, (which, ends, ages, mark_ends), marks)

    def encode(self) -> bytes:
        shapes = zlib.compress(msgspec.msgpack.encode(list(self.shapes)), 1)
        columns = [_pack(column) for column in (self.which, self.ends, self.ages, self.mark_ends)]
        return msgspec.msgpack.encode(_Head(shapes, self.created, columns, bytes.fromhex(self.marks)))

    @classmethod
    def decode(cls, first: int, blob: bytes) -> Segment:
        head = _decode_head(blob)
        columns = [_unpack(width, raw) for width, raw in head.columns]
        return cls(first, _Shapes(head.shapes), head.created, columns, head.marks.hex())

    def __len__(self) -> int:
        """How many tasks."""
        return len(self.ends)

    @property
    def rows(self) -> int:
        return self.ends[-1]

    def at(self, position: int) -> int:
        """Which task holds a position."""
        return bisect_left(self.ends, position - self.base)

    def span(self, task: int) -> Range:
        """First and last position of a task."""
        return self.base + (self.ends[task - 1] if task else 0) + 1, self.base + self.ends[task]

    def mark(self, position: int) -> str:
        at = 8 * bisect_left(self.mark_ends, position - self.base)
        return self.marks[at : at + 8]

    def since(self, seconds: int) -> int | None:
        """The first position created at or after a time."""
        task = bisect_left(self.ages, seconds - self.created) if seconds > self.created else 0
        return self.span(task)[0] if task < len(self) else None

    def shares(self) -> dict[tuple[str, str, Kind], tuple[int, bytes | None]]:
        """How many rows there are of each account, domain (or any) and kind, and which (:mod:`freshline.log.share`)."""
        bounds: dict[tuple[str, str, Kind], list[int]] = {}
        of_shape = [
            [bounds.setdefault((shape.account, domain, shape.kind), []) for domain in (shape.domain, ANY_DOMAIN)]
            for shape in self.shapes
        ]
        start = 0
        for place, end in zip(self.which, self.ends, strict=True):
            for runs in of_shape[place]:
                if runs and runs[-1] == start:
                    runs[-1] = end
                else:
                    runs += (start, end)
            start = end
        return {key: share.encode(runs, self.rows) for key, runs in bounds.items()}

    def runs(self, account: str, keys: frozenset[Key], first: int, last: int) -> Iterator[Range]:
        """The rows in [first, last] that match any of the keys, as runs, in order."""
        first, last = max(first, self.first), min(last, self.last)
        if first > last:
            return
        matches = self._matching(account, keys)
        if matches is None:
            yield first, last
            return
        for task in matches.tasks[matches.before(self.at(first)) : matches.before(self.at(last) + 1)]:
            start, end = self.span(task)
            yield max(start, first), min(end, last)

    def count(self, account: str, keys: frozenset[Key], first: int, last: int) -> int:
        """How many rows in [first, last] match."""
        first, last = max(first, self.first), min(last, self.last)
        if first > last:
            return 0
        if last - first < FEW_ROWS:
            return sum(_matches(self.shapes[self.which[self.at(row)]], account, keys) for row in range(first, last + 1))
        matches = self._matching(account, keys)
        if matches is None:
            return last - first + 1
        start, end = matches.before(self.at(first)), matches.before(self.at(last) + 1)
        if start == end:
            return 0
        cut_off = max(first - self.span(matches.tasks[start])[0], 0) + max(
            self.span(matches.tasks[end - 1])[1] - last, 0
        )
        return matches.rows[end] - matches.rows[start] - cut_off

    def _matching(self, account: str, keys: frozenset[Key]) -> _Matches | None:
        """The tasks that match; ``None`` for all."""
        if (account, keys) not in self._matches:
            wanted = {place for place, shape in enumerate(self.shapes) if _matches(shape, account, keys)}
            if len(self._matches) >= MATCHES_KEPT:
                self._matches.clear()
            self._matches[account, keys] = None if len(wanted) == len(self.shapes) else _Matches(self, wanted)
        return self._matches[account, keys]


def _matches(shape: Shape, account: str, keys: frozenset[Key]) -> bool:
    return shape.account == account and ((None, shape.kind) in keys or (shape.domain, shape.kind) in keys)


class _Matches:
    """The tasks of some shapes, and how many rows they have before each."""

    __slots__ = ("rows", "tasks")

    def __init__(self, segment: Segment, wanted: set[int]) -> None:
        self.tasks = [task for task, place in enumerate(segment.which) if place in wanted]
        ends = segment.ends
        self.rows = [0, *accumulate(ends[task] - (ends[task - 1] if task else 0) for task in self.tasks)]

    def before(self, task: int) -> int:
        """How many of them come before a task."""
        return bisect_left(self.tasks, task)


def encode_chunk(paths: Sequence[str]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(paths), 1)


def decode_chunk(blob: bytes) -> list[str]:
    return _decode_paths(zlib.decompress(blob))


_decode_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_shape = msgspec.msgpack.Decoder(Shape).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_paths = msgspec.msgpack.Decoder(list[str]).decode


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
