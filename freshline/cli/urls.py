"""What to refresh or prefetch: from arguments, a file or standard input, and parted into calls."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from freshline.cli.output import fail

DOMAINS_PER_CALL = 10  # CONTRACT 2

T = TypeVar("T")

_HOST = re.compile(r"(?:[A-Za-z]+://)?([^/?#]*)")


def read(urls: Sequence[str], file: Path | None) -> list[str]:
    """URLs from the arguments and the file; where neither is named, from standard input."""
    lines = list(urls)
    if str(file) == "-" or not (urls or file or sys.stdin.isatty()):
        lines += _lines(sys.stdin.buffer.read(), "standard input")
    elif file is not None:
        try:
            lines += _lines(file.read_bytes(), str(file))
        except OSError as error:
            fail(f"{file}: {error.strerror or error}", 2)
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        fail("no URLs: name some, or --file, or pipe them in", 2)
    for line in lines:
        if not _is_utf8(line):
            fail(f"{line!r} is not UTF-8", 2)
    return lines


def _lines(content: bytes, where: str) -> list[str]:
    try:
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        fail(f"{where}, line {line}: not UTF-8", 2)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # an argument in another encoding
        return False
    return True


def calls(lines: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The lines of each call: no more lines and no more domains than a call may have."""
    by_host: dict[str, list[str]] = {}
    for line in lines:
        found = _HOST.match(line)
        by_host.setdefault(found[1].lower() if found else "", []).append(line)
    for hosts in parts(list(by_host), DOMAINS_PER_CALL):
        yield from parts([line for host in hosts for line in by_host[host]], size)


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
