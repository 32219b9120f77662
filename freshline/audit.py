"""Who asked for what: one line of JSON for each call that would change something, and for each order of an operator.

A line is handed to the kernel before the caller has its answer, so it outlives the process, though not a power failure;
what was accepted stands in the log besides, durably. A file a day (UTC), kept for as many days as the operator says.

    {"at": "2026-11-22T09:14:07Z", "who": "acs:ram::1:user/anna", "key": "LTAI…", "from": "10.0.0.9",
     "what": "RefreshObjectCaches", "status": 200, "request": "7F5C…", "asked": {…}, "answer": {…}}
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

LONGEST = 2_000  #: characters of one value that are kept; the log has the rest
SUFFIX = ".jsonl"
HIDDEN = re.compile(r"Signature|Secret|SecurityToken|AccessKey", re.IGNORECASE)

_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")


class Audit:
    """The trail in one directory. Several processes may write to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file: _File | None = None  #: the one written to last

    def note(self, at: float, **what: Any) -> None:
        """:raises OSError: it cannot be written down"""
        moment = _written(int(at // 1))
        line = _encode({"at": moment, **_shortened(what)}) + "\n"
        if self._file is None or not self._file.holds(moment[:10]):
            self._file = None  # closed before another is opened
            self._file = _File(self.directory, moment[:10])
        self._file.add(line.encode("utf-8", "backslashreplace"))

    def ordered(self, at: float, what: str, **more: Any) -> None:
        """What somebody on this machine did, by the name that the machine knows them by."""
        self.note(at, who=_user(), **{"from": "command line"}, what=what, **more)

    def lines(self, since: float = 0.0) -> Iterator[dict[str, Any]]:
        """Oldest first. A line that was cut off, or is none of ours, is passed over."""
        first = f"{datetime.fromtimestamp(max(since, 0.0), UTC):%Y-%m-%dT%H:%M:%SZ}"
        for day in self._days():
            if day < first[:10]:
                continue
            with suppress(FileNotFoundError), (self.directory / f"{day}{SUFFIX}").open("rb") as file:
                for line in file:
                    try:
                        entry = json.loads(line)
                    except (ValueError, RecursionError):
                        continue
                    if isinstance(entry, dict) and isinstance(at := entry.get("at"), str) and at >= first:
                        yield entry

    def drop(self, now: float, days: int) -> None:
        """Remove the files of days that are past by more than so many."""
        last = f"{datetime.fromtimestamp(now, UTC) - timedelta(days=days):%Y-%m-%d}"
        for day in self._days():
            if day < last:
                (self.directory / f"{day}{SUFFIX}").unlink(missing_ok=True)

    def _days(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        return sorted(path.stem for path in self.directory.glob(f"*{SUFFIX}") if _DAY.match(path.stem))


class _File:
    """A day's file, kept open for as long as it is the one by its name."""

    def __init__(self, directory: Path, day: str) -> None:
        """:raises OSError: it cannot be opened"""
        directory.mkdir(mode=0o700, exist_ok=True)
        self._day, self._path = day, str(directory / f"{day}{SUFFIX}")
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        found = os.fstat(self._file)
        self._is, self._size = (found.st_dev, found.st_ino), found.st_size
        self._ended = -1  #: how long it was when a line of ours had ended it

    def __del__(self) -> None:
        if (file := getattr(self, "_file", None)) is not None:
            os.close(file)

    def holds(self, day: str) -> bool:
        """Whether it is the file of a day still: nobody has removed it or put another in its place."""
        if day != self._day:
            return False
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return False
        self._size = found.st_size
        return (found.st_dev, found.st_ino) == self._is

    def add(self, line: bytes) -> None:
        """:raises OSError: not all of it can be written"""
        raw = self._fresh_line() + line
        written = os.write(self._file, raw)  # one call: lines of several writers do not mix
        if written != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        self._ended = self._size + written

    def _fresh_line(self) -> bytes:
        """What ends the line before ours, where a full disk or a kill cut it off."""
        if not self._size or self._size == self._ended or os.pread(self._file, 1, self._size - 1) == b"\n":
            return b""
        return b"\n"


_encode = json.JSONEncoder(ensure_ascii=False).encode


@lru_cache(16)
def _written(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


@lru_cache(1024)
def _is_hidden(name: str) -> bool:
    return HIDDEN.search(name) is not None


def _shortened(value: Any, name: str = "") -> Any:
    if name and value and _is_hidden(name):
        return "(hidden)"
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {str(key): _shortened(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(inner, name) for inner in value]
    return value


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())
