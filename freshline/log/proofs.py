"""Evidence in few bytes: what one commit heard goes into blobs, and small blobs of one place become large ones.

A single refresh on a hundred edges is a hundred pieces that say nearly the same: the same row, the same answer, a few
milliseconds apart. A blob keeps them by columns, as differences, and compressed.

A piece lies in a **cell**: the smallest block of 8, 16, 32, … rows, aligned to its size, that holds all rows it is
about. So what is about a row is in one cell of each size. When a cell has :data:`FAN` blobs of one rank they are joined
into one of the next, so a piece is written some three times and not once for each commit.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import add, attrgetter, sub
from struct import pack, unpack
from typing import Any, NamedTuple

import msgspec

from freshline.domain.edge import Evidence
from freshline.log.statements import Statements

LEAST = 3  #: class of the smallest cells: 2^3 rows
FAN = 16  #: blobs of one cell and rank that are joined
OPEN_CELLS = 16  #: that grow; when one gives way to another, all its blobs become one
DECODED = 32  #: blobs that are kept as they were read: who asks of one edge asks of the others too
PACKED = 96  #: bytes; what is shorter is not compressed
_MASK = (1 << 64) - 1
_HALF = 1 << 63

Cell = tuple[int, int]


class Piece(NamedTuple):
    """:class:`Evidence` with the order in which it came, and the edge as a number."""

    number: int
    edge: int
    first: int
    last: int
    sent: float
    answered: float
    said: str

    @property
    def cell(self) -> Cell:
        class_ = max(LEAST, (self.first ^ self.last).bit_length())
        return class_, self.first >> class_


class _Columns(msgspec.Struct, array_like=True):
    numbers: list[int]  #: each less the one before
    edges: list[int]
    firsts: list[int]
    lengths: list[int]
    sent: list[int]  #: bits of a double, as a number less the one before
    took: list[int]  #: bits of the answer's time less those of the request's
    said: list[int]
    words: list[str]


def encode(pieces: Sequence[Piece]) -> bytes:
    numbers, edges, firsts, lasts, sent, answered, said = map(list, zip(*pieces, strict=True))
    words = list(dict.fromkeys(said))
    at = {word: number for number, word in enumerate(words)}
    began, ended = _bits(sent), _bits(answered)
    blob = msgspec.msgpack.encode(
        _Columns(
            _steps(numbers),
            _steps(edges),
            _steps(firsts),
            list(map(sub, lasts, firsts)),
            [_near(step) for step in _steps(began)],
            [_near(step) for step in map(sub, ended, began)],
            [at[word] for word in said],
            words,
        )
    )
    return zlib.compress(blob) if len(blob) > PACKED else blob


def decode(blob: bytes) -> list[Piece]:
    return [Piece(*piece) for piece in zip(*_columns(blob), strict=True)]


def _columns(blob: bytes) -> tuple[Sequence[Any], ...]:
    """A blob's pieces, field by field."""
    it = msgspec.msgpack.decode(zlib.decompress(blob) if blob[:1] == b"x" else blob, type=_Columns)
    firsts = list(accumulate(it.firsts))
    lasts = list(map(add, firsts, it.lengths))
    began = [bits & _MASK for bits in accumulate(it.sent)]
    ended = [bits & _MASK for bits in map(add, began, it.took)]
    said = [it.words[word] for word in it.said]
    return (
        list(accumulate(it.numbers)),
        list(accumulate(it.edges)),
        firsts,
        lasts,
        _doubles(began),
        _doubles(ended),
        said,
    )


def _steps(numbers: list[int]) -> list[int]:
    return list(map(sub, numbers, [0, *numbers[:-1]]))


def _near(step: int) -> int:
    """The same modulo 2^64, with a sign, so that it fits however far apart two clocks were."""
    return (step + _HALF & _MASK) - _HALF


def _bits(doubles: list[float]) -> list[int]:
    return list(unpack(f"<{len(doubles)}Q", pack(f"<{len(doubles)}d", *doubles)))


def _doubles(bits: list[int]) -> tuple[float, ...]:
    return unpack(f"<{len(bits)}d", pack(f"<{len(bits)}Q", *bits))


class Proofs:
    """Writes the evidence of one day. Only the writer's thread calls it, inside a transaction."""

    def __init__(self, db: sqlite3.Connection, sql: Statements) -> None:
        self._db, self._sql = db, sql
        self._newest: int = db.execute(sql["newest_proof"]).fetchone()[0] or 0
        self._open: OrderedDict[Cell, list[list[int]]] = OrderedDict()  #: numbers of its blobs, by rank

    def add(self, pieces: Iterable[tuple[int, Evidence]]) -> None:
        """:param pieces: with the number of the edge each is about, oldest first"""
        cells: dict[Cell, list[Piece]] = {}
        for edge, it in pieces:
            self._newest += 1
            piece = Piece(self._newest, edge, it.first, it.last, it.sent, it.answered, it.said)
            cells.setdefault(piece.cell, []).append(piece)
        for cell, held in cells.items():
            self._insert(cell, held, 0)
            while len(self._open) > OPEN_CELLS:
                oldest, ranks = self._open.popitem(last=False)
                self._join(oldest, [number for numbers in ranks for number in numbers])

    def _insert(self, cell: Cell, pieces: Sequence[Piece], rank: int) -> None:
        number = pieces[-1].number
        self._db.execute(self._sql["insert_proof"], (number, *cell, encode(pieces)))
        ranks = self._open.setdefault(cell, [])
        self._open.move_to_end(cell)
        if rank == len(ranks):
            ranks.append([])
        ranks[rank].append(number)
        if len(ranks[rank]) == FAN:
            numbers, ranks[rank] = ranks[rank], []
            self._insert(cell, self._taken(numbers), rank + 1)

    def _join(self, cell: Cell, numbers: list[int]) -> None:
        if len(numbers) > 1:
            pieces = self._taken(numbers)
            self._db.execute(self._sql["insert_proof"], (pieces[-1].number, *cell, encode(pieces)))

    def _taken(self, numbers: list[int]) -> list[Piece]:
        """What these blobs hold, in order; the blobs are gone."""
        pieces: list[Piece] = []
        for number in numbers:
            (blob,) = self._db.execute(self._sql["proof"], (number,)).fetchone()
            self._db.execute(self._sql["drop_proof"], (number,))
            pieces += decode(blob)
        return sorted(pieces, key=attrgetter("number"))


def find(db: sqlite3.Connection, sql: Statements, edge: int, first: int, last: int) -> list[Piece]:
    """What a day's blobs hold about any of some rows on one edge, oldest first."""
    found: list[Piece] = []
    for (blob,) in db.execute(sql["proofs"], (first, last)):
        columns = _kept_columns(blob)
        places = [at for at, one in enumerate(columns[1]) if one == edge]
        found += (Piece(*(column[at] for column in columns)) for at in places)
    return sorted(it for it in found if it.first <= last and it.last >= first)


def latest(db: sqlite3.Connection, sql: Statements, edges: Collection[int], first: int, last: int) -> float:
    """When the last of some edges answered for any of some rows, by a day's blobs; 0: none has."""
    moment = 0.0
    for (blob,) in db.execute(sql["proofs"], (first, last)):
        _, whose, firsts, lasts, _, answered, _ = _kept_columns(blob)
        for edge, begin, end, at in zip(whose, firsts, lasts, answered, strict=True):
            if at > moment and edge in edges and begin <= last and end >= first:
                moment = at
    return moment


_kept_columns = lru_cache(maxsize=DECODED)(_columns)
