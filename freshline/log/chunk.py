"""Some dozen rows of the log as one blob, with all that is said of them.

A chunk is a few frames (:mod:`freshline.log.press`): what a page shows is unpacked, and no more. It says of its rows
which tasks they are of, when those were made, and what they have in common with others: their shape, by its number,
because ten thousand tasks in a row are of a few hundred shapes. A task may begin before its chunk or frame, and end
after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from freshline.domain.ranges import Range
from freshline.domain.task import Kind, Wish
from freshline.log.press import CHUNK_ROWS, FRAME_ROWS, Press

PART_BYTES = 512  #: what Python takes for rows that were unpacked together
ROW_BYTES = 128  #: what Python takes for a row beside the letters of its path


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What many tasks have in common."""

    account: str
    domain: str
    group: str
    kind: Kind
    force: bool
    headers: tuple[tuple[str, str], ...]
    area: str = ""
    parents_only: bool = False

    @classmethod
    def of(cls, wish: Wish) -> Shape:
        return cls(
            wish.account, wish.domain, wish.group, wish.kind, wish.force, wish.headers, wish.area, wish.parents_only
        )

    def wish(self, paths: tuple[str, ...]) -> Wish:
        return Wish(
            self.account, self.domain, self.group, self.kind, paths, self.force, self.headers, self.area,
            self.parents_only,
        )  # fmt: skip

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, blob: bytes) -> Shape:
        return _decode_shape(blob)


@dataclass(slots=True)
class Laid:
    """Neighbouring tasks on their way into chunks, or out of them to be laid anew."""

    paths: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  #: of each task: how many rows there are up to its last
    shapes: list[int] = field(default_factory=list)
    created: list[int] = field(default_factory=list)

    def add(self, paths: Iterable[str], shape: int, created: int) -> None:
        self.paths += paths
        self.ends.append(len(self.paths))
        self.shapes.append(shape)
        self.created.append(created)

    def take(self, chunk: Chunk) -> None:
        """The rows of the next chunk."""
        begun = len(self.paths)
        self.paths += chunk.paths
        if chunk.before:
            self.ends[-1] = begun + chunk.ends[0]
        skip = bool(chunk.before)
        self.ends += [begun + end for end in chunk.ends[skip:]]
        self.shapes += chunk.shapes[skip:]
        self.created += chunk.created[skip:]

    def chunks(self, first: int, press: Press) -> Iterator[tuple[int, int, int, bytes]]:
        """As they are stored: last position, number of rows, when the first row's task was made, the rest."""
        for begin in range(0, len(self.paths), CHUNK_ROWS):
            end = min(begin + CHUNK_ROWS, len(self.paths))
            at, last = self._tasks(begin, end)
            created, rows = self.created[at], end - begin
            if press.knows and 2 * (last - at + 1) >= rows:
                rows = FRAME_ROWS
            yield first + end - 1, end - begin, created, press.fold(self._frames(begin, end, rows, created), rows)

    def frames(self) -> list[bytes]:
        """What a dictionary is to be learned from."""
        return self._frames(0, len(self.paths), FRAME_ROWS, self.created[0])

    def _frames(self, begin: int, end: int, rows: int, created: int) -> list[bytes]:
        return [self._packed(row, min(row + rows, end), created) for row in range(begin, end, rows)]

    def _packed(self, begin: int, end: int, created: int) -> bytes:
        at, last = self._tasks(begin, end)
        shapes = self.shapes[at : last + 1]
        ends = [min(each, end) - begin for each in self.ends[at : last + 1]]
        ages = [each - created for each in self.created[at : last + 1]]
        packed = Frame(
            self.paths[begin:end],
            begin - (self.ends[at - 1] if at else 0),
            self.ends[last] - end,
            [] if len(ends) == end - begin else ends,
            shapes[:1] if shapes.count(shapes[0]) == len(shapes) else shapes,
            ages if ages[-1] else [],  # time never goes back along the log
        )
        return _encode(packed)

    def _tasks(self, begin: int, end: int) -> tuple[int, int]:
        """The first and the last that have any of some rows."""
        return bisect_left(self.ends, begin + 1), bisect_left(self.ends, end)


class Frame(msgspec.Struct, array_like=True, gc=False):
    """Neighbouring rows as they are packed together."""

    paths: list[str]
    before: int  #: rows that the first task has before this frame
    after: int  #: and the last one after it
    ends: list[int]  #: of each task, in rows of the frame; none where each is of one row
    shapes: list[int]  #: of each task; one where all are alike
    ages: list[int]  #: seconds from the chunk's first task to each; none where all were made in the same

    def single(self, at: int, begun: int) -> tuple[str, int, int] | None:
        """Path, shape and time of the task that has one of these rows and no other row, if there is one.

        :param begun: when the task of the first row of the stored chunk was made
        """
        paths, shapes, ages = self.paths, self.shapes, self.ages
        if self.ends or (self.before and not at) or (self.after and at == len(paths) - 1):
            return None
        return paths[at], shapes[at] if len(shapes) > 1 else shapes[0], begun + ages[at] if ages else begun


class Chunk:
    """Unpacked, or one frame of it. Its tasks are known by their place in it, counted from 0."""

    __slots__ = ("_begun", "_columns", "_packed", "after", "before", "bytes", "first", "last", "paths")

    def __init__(self, first: int, created: int, *frames: bytes) -> None:
        """
        :param first: position of the first row
        :param created: when the task of the first row of the stored chunk was made
        :param frames: neighbours
        """
        packed = unpack(frames[0]) if len(frames) == 1 else _joined([unpack(frame) for frame in frames])
        self.paths = paths = packed.paths
        self.first, self.last = first, first + len(paths) - 1
        self.before, self.after = packed.before, packed.after
        self._packed, self._begun = packed, created
        self._columns: tuple[list[int], list[int], list[int]] | None = None
        self.bytes = PART_BYTES + sum(map(len, frames)) + ROW_BYTES * len(paths)  #: that it takes, more or less

    def __len__(self) -> int:
        """How many tasks it has any rows of."""
        return len(self._packed.ends or self.paths)

    @property
    def ends(self) -> list[int]:
        return self._laid_out()[0]

    @property
    def shapes(self) -> list[int]:
        return self._laid_out()[1]

    @property
    def created(self) -> list[int]:
        return self._laid_out()[2]

    def _laid_out(self) -> tuple[list[int], list[int], list[int]]:
        """Of each task: how many rows there are up to its last, its shape, and when it was made.

        A look-up by id wants a single task's, so these are made when they are asked for.
        """
        if self._columns is None:
            packed, tasks = self._packed, len(self)
            self._columns = (
                packed.ends or list(range(1, tasks + 1)),
                packed.shapes if len(packed.shapes) == tasks else packed.shapes * tasks,
                [self._begun + age for age in packed.ages] or [self._begun] * tasks,
            )
        return self._columns

    def of(self, place: int) -> tuple[int, int]:
        """Shape and time of one task."""
        packed = self._packed
        shape = packed.shapes[place if len(packed.shapes) > 1 else 0]
        return shape, self._begun + (packed.ages[place] if packed.ages else 0)

    def place(self, position: int) -> int:
        """Which task holds a position."""
        ends = self._packed.ends
        return bisect_left(ends, position - self.first + 1) if ends else position - self.first

    def span(self, place: int) -> Range:
        """First and last position of a task, wherever they lie."""
        ends = self._packed.ends
        if ends:
            first = self.first + ends[place - 1] if place else self.first - self.before
            last = self.first + ends[place] - 1
        else:  # each is of one row
            first, last = self.first + place - (0 if place else self.before), self.first + place
        return first, last + self.after if place == len(self) - 1 else last

    def whose(self, first: int, last: int) -> list[int]:
        """The ids of the tasks of some rows, which it holds."""
        if not self._packed.ends:
            tasks = list(range(first, last + 1))
            if first == self.first:
                tasks[0] -= self.before
            return tasks
        tasks = []
        while first <= last:
            begin, end = self.span(self.place(first))
            end = min(end, last)
            tasks += [begin] * (end - first + 1)
            first = end + 1
        return tasks

    def single(self, position: int) -> tuple[str, int, int] | None:
        """Path, shape and time of the task that has this row and no other, if there is one."""
        return self._packed.single(position - self.first, self._begun)

    def path(self, position: int) -> str:
        return self.paths[position - self.first]


def _joined(frames: Sequence[Frame]) -> Frame:
    paths: list[str] = []
    ends: list[int] = []
    shapes: list[int] = []
    ages: list[int] = []
    for frame in frames:
        begun, rows = len(paths), len(frame.paths)
        tasks = len(frame.ends) or rows
        more = frame.ends or range(1, rows + 1)
        same = bool(begun and frame.before)  # the first one is the last of the frame before
        if same:
            ends[-1] = begun + more[0]
        ends += [begun + end for end in more[same:]]
        shapes += (frame.shapes if len(frame.shapes) == tasks else frame.shapes * tasks)[same:]
        ages += (frame.ages or [0] * tasks)[same:]
        paths += frame.paths
    one_each = len(ends) == len(paths)
    return Frame(paths, frames[0].before, frames[-1].after, [] if one_each else ends, shapes, ages if ages[-1] else [])


_encode = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Frame).decode
_decode_shape = msgspec.msgpack.Decoder(Shape).decode
