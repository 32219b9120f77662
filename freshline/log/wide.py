"""Many rows in a few statements.

A statement lets the interpreter go when it starts and waits to get it back when it ends; beside an event loop that is
busy each wait may take milliseconds. So a thousand edges are settled by a dozen statements and not by a thousand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

WIDTHS = (256, 64, 16, 4, 1)  #: rows of a statement: few forms, so that each is prepared once


def execute_wide(db: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """:param statement: ``{rows}`` in it becomes ``(?, ?), (?, ?), …``, a row for each of ``rows``"""
    for some in _split(rows):
        db.execute(_wide(statement, len(some), len(some[0])), tuple(chain.from_iterable(some)))


def _split(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    at = 0
    for width in WIDTHS:
        while len(rows) - at >= width:
            yield rows[at : at + width]
            at += width


@lru_cache(maxsize=64)
def _wide(statement: str, rows: int, fields: int) -> str:
    row = "(" + ", ".join("?" * fields) + ")"
    return statement.replace("{rows}", ", ".join([row] * rows))
