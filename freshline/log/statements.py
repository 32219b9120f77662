"""The SQL of one day: the same statements on tables that bear the day's number.

A day is dropped whole, with its tables. So nothing is ever deleted row by row, and what is left keeps its speed.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

DAY_SECONDS = 86_400
TABLES = ("segment", "head", "chunk", "moment", "dictionary", "shape", "part", "run", "digest", "proof")


def script(name: str) -> str:
    return (files("freshline.log") / "sql" / f"{name}.sql").read_text()


class Statements(dict[str, str]):
    """``statements["head"]`` is that statement on this day's tables."""

    def __init__(self, day: int) -> None:
        super().__init__((name, text.replace("$day", str(day))) for name, text in _templates().items())
        self.create = script("day").replace("$day", str(day))
        self.drop = [f"DROP TABLE {table}_{day}" for table in TABLES]


@lru_cache(maxsize=32)
def statements(day: int) -> Statements:
    return Statements(day)


@cache
def _templates() -> dict[str, str]:
    out = {}
    for block in script("daily").split("-- name: ")[1:]:
        name, _, text = block.partition("\n")
        out[name.strip()] = text.strip()
    return out
