"""Set what a process takes for the time of day, while it runs.

libfaketime moves it, and leaves the monotonic clocks alone, as a step does. nginx gives its workers only those
variables of the environment that its configuration names (tests/servers/nginx.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass
class WallClock:
    """What a process under it takes for the time of day."""

    file: Path

    @property
    def environment(self) -> Mapping[str, str]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds: int) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)
