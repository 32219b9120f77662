"""A server as a process of its own: started, measured, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers.base import listens

TICK = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class Process:
    """Use as a context. ``pid`` and its children are what :func:`cpu` and :func:`memory` look at."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        up: Callable[[], bool],
        log: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._command, self._up, self._log = [str(word) for word in command], up, log
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Process:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, env=self._environ)
        deadline = time.monotonic() + START_SECONDS
        while not self._up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"{self._command[:4]} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def python(module: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def listening(address: str) -> Callable[[], bool]:
    return lambda: listens(address)


def family(pid: int) -> list[int]:
    """A process and all it has started."""
    out = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            for child in (task / "children").read_text().split():
                out += family(int(child))
    return out


def cpu(pid: int) -> float:
    """CPU seconds so far, of the process and its children."""
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pid: int) -> float:
    """Megabytes (10^6) that are resident and its own: files that are mapped belong to the page cache."""
    total = 0
    for each in family(pid):
        rows = dict(line.split(":", 1) for line in Path(f"/proc/{each}/status").read_text().splitlines())
        total += int(rows["RssAnon"].split()[0]) + int(rows["RssShmem"].split()[0])
    return total * 1024 / 1e6


def resident(pid: int) -> float:
    """Megabytes (10^6) resident, libraries and all: what ``ps`` shows."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(rows["VmRSS"].split()[0]) * 1024 / 1e6
