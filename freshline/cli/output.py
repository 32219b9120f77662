"""What the commands print: a table for people, JSON for programs, errors on standard error."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

GAP = "  "
NARROWEST = 24  #: a column is not folded to less; then every row is shown as lines of its own


def as_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns side by side, the widest folded to what the terminal has; through a pipe nothing is folded."""
    cells = [list(columns), *([_printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    if sys.stdout.isatty():
        over = sum(widths) + len(GAP) * (len(widths) - 1) - shutil.get_terminal_size().columns
        if over > 0:
            widest = widths.index(max(widths))
            widths[widest] -= over
            if widths[widest] < NARROWEST:
                _one_by_one(cells)
                return
    for row in cells:
        folded = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
        for at in range(max(map(len, folded))):
            line = [lines[at] if at < len(lines) else "" for lines in folded]
            print(GAP.join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _one_by_one(cells: Sequence[Sequence[str]]) -> None:
    columns, *rows = cells
    width = max(map(len, columns))
    for at, row in enumerate(rows):
        if at:
            print()
        for column, cell in zip(columns, row, strict=True):
            print(f"{column:{width}}{GAP}{cell}".rstrip())


def _folded(cell: str, width: int) -> list[str]:
    if _width(cell) <= width:
        return [cell]
    lines, line, room = [], "", width
    for char in cell:
        if (room := room - _width(char)) < 0:
            lines.append(line)
            line, room = "", width - _width(char)
        line += char
    return [*lines, line]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def fail(text: str, code: int = 1) -> NoReturn:
    """Say what is wrong and leave. 1: it did not work; 2: it was asked for wrongly."""
    print(f"freshline: {text}", file=sys.stderr)
    sys.exit(code)
