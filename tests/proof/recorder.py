"""What the harness did and saw, as it happened: one JSON object a line, appended, never changed.

Times are nanoseconds of CLOCK_MONOTONIC, which is one clock for every process of the machine. What visitors read goes
into files of their own (reader.py), in the same directory.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Recorder:
    def __init__(self, home: Path) -> None:
        self.home = home
        self._file = (home / "events.jsonl").open("a", buffering=1)

    def note(self, what: str, **more: Any) -> int:
        """Write it down; the moment that it is written under, now unless ``t`` says otherwise."""
        at: int = more.pop("t", None) or time.monotonic_ns()
        self._file.write(json.dumps({"what": what, "t": at, **more}, separators=(",", ":")) + "\n")
        return at

    def close(self) -> None:
        self._file.close()
