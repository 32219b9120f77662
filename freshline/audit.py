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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
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

    def note(self, at: float, **what: Any) -> None:
        """:raises OSError: it cannot be written down"""
        moment = datetime.fromtimestamp(at, UTC)
        line = json.dumps({"at": f"{moment:%Y-%m-%dT%H:%M:%SZ}", **_shortened(what)}, ensure_ascii=False) + "\n"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        path = self.directory / f"{moment:%Y-%m-%d}{SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            raw = _fresh_line(file) + line.encode("utf-8", "backslashreplace")
            if os.write(file, raw) != len(raw):  # one call: lines of several writers do not mix
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            os.close(file)

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


def _shortened(value: Any, name: str = "") -> Any:
    match value:
        case _ if HIDDEN.search(name) and value:
            return "(hidden)"
        case Mapping():
            return {str(key): _shortened(inner, str(key)) for key, inner in value.items()}
        case list() | tuple():
            return [_shortened(inner, name) for inner in value]
        case str() if len(value) > LONGEST:
            return f"{value[:LONGEST]}… ({len(value)} characters)"
        case _:
            return value


def _fresh_line(file: int) -> bytes:
    """What ends the line before ours, where a full disk or a kill cut it off."""
    size = os.fstat(file).st_size
    return b"" if not size or os.pread(file, 1, size - 1) == b"\n" else b"\n"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())
