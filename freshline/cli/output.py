"""What the commands print: a table for people, JSON for programs, errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


def as_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns side by side; through a pipe, plain and unwrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    console.print(shown)


def fail(text: str, code: int = 1) -> NoReturn:
    """Say what is wrong and leave. 1: it did not work; 2: it was asked for wrongly."""
    print(f"freshline: {text}", file=sys.stderr)
    sys.exit(code)
