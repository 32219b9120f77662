"""Times as the contract writes them, ``yyyy-MM-ddTHH:mm:ssZ``, always UTC (CONTRACT 2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_FORM = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?Z", re.ASCII)


class Malformed(ValueError):
    """Not of the form."""


class Unreal(ValueError):
    """Of the form, and yet there is no such time, as the 30th of February."""


@lru_cache(4096)
def write(seconds: int) -> str:
    """Unix seconds as text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(4096)
def read(text: str, *, fractions: bool = False) -> int:
    """Text as Unix seconds.

    :param fractions: whether ``.257`` before the ``Z`` is let through (and cut off)
    :raises Malformed:
    :raises Unreal:
    """
    match = _FORM.fullmatch(text)
    if match is None or (match[7] and not fractions):
        raise Malformed(text)
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        raise Unreal(text) from None


def read_any(text: str) -> int:
    """ISO 8601 with any offset, as Unix seconds. ``+Z`` is how one SDK's documents write the end of it.

    :raises ValueError: it is no such time
    """
    at = datetime.fromisoformat(text.replace("+Z", "Z"))
    if at.tzinfo is None or not 0 <= at.timestamp() < 1 << 34:
        raise Malformed(text)
    return int(at.timestamp())
