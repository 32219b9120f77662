"""A list far longer than one call may be, handed over by the command line, with the service killed on the way."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.scenario.stack import Stack
from tests.servers.base import SITE, CacheServer, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin

BODY = "x" * 1_000
BAR = re.compile(r"(\d+)/(\d+) ([\d.,]+) (bytes|kB|MB|GB)")
UNITS = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
UNDER_WAY = 64  #: at a kill, and so perhaps fetched a second time
PATIENCE_SECONDS = 900.0


class RoomyNginx(Nginx):
    """With room for as many objects as there are."""

    def configure(self) -> None:
        super().configure()
        file = self.root / "nginx.conf"
        text = file.read_text()
        assert "keys_zone=pages:8m" in text and "max_size=200m" in text
        file.write_text(
            text.replace("keys_zone=pages:8m", "keys_zone=pages:64m").replace("max_size=200m", "max_size=4g")
        )


@dataclass
class Warmed:
    """What was seen of it."""

    shown: list[tuple[int, int, float]] = field(default_factory=list)  #: objects done, of how many, and bytes
    evidence: dict[str, Any] = field(default_factory=dict)
    most_bytes: int = 0  #: resident memory of the service


def warm(stack: Stack, cache: CacheServer, origin: Origin, count: int, kills: int) -> Warmed:
    """Prefetch so many objects through one cache, and kill -9 the service so many times meanwhile."""
    origin.serves("*", BODY)
    urls = [f"http://{SITE}/list/{n % 97}/{n}.jpg" for n in range(count)]
    listed = stack.home / "list.txt"
    listed.write_text("\n".join(urls) + "\n")
    seen = Warmed()
    with Terminal(stack, "prefetch", "-f", listed, "--pace", "--wait", "--json") as waiting:
        for kill in range(kills):
            asked = count * (kill + 1) // (kills + 1)
            until(partial(_has_asked, origin, asked, stack, seen), PATIENCE_SECONDS)
            stack.kill()
            stack.start()
        until(lambda: _watch(stack, seen) and waiting.code is not None, PATIENCE_SECONDS)
    assert waiting.code == 0, waiting.seen[-2000:]
    rows = json.loads(waiting.out)
    assert len(rows) == count and {row["Status"] for row in rows} == {"Complete"}
    assert [row["ObjectPath"] for row in rows] == urls
    for done, of, number, unit in BAR.findall(waiting.seen):
        seen.shown.append((int(done), int(of), float(number.replace(",", "")) * UNITS[unit]))
    ids = sorted({int(row["TaskId"]) for row in rows})
    seen.evidence = json.loads(_freshline(stack, "evidence", f"{ids[0]}-{ids[-1]}", "--json"))
    return seen


def check(seen: Warmed, cache: CacheServer, origin: Origin, count: int, kills: int) -> None:
    """All is there, little was fetched twice, and what was shown on the way was so."""
    (edge,) = seen.evidence["edges"]
    assert seen.evidence["rows"] == count
    assert (edge["settled"], edge["failed"], edge["open"]) == (count, 0, 0)
    assert edge["bytes"] == count * len(BODY)

    targets = {asked.target for asked in origin.log}
    assert len(targets) == count
    assert len(origin.log) <= count + kills * UNDER_WAY

    done = [done for done, _, _ in seen.shown]
    stored = [stored for _, _, stored in seen.shown]
    assert done == sorted(done) and stored == sorted(stored), "progress never goes back, whoever was killed"
    assert any(0 < each < count for each in done) and any(0 < each < count * len(BODY) for each in stored)
    assert seen.shown[-1][:2] == (count, count)
    assert abs(seen.shown[-1][2] / (count * len(BODY)) - 1) < 0.1, "as it is shown, in three figures"

    origin.serves("*", "refused", status=403)
    for n in range(0, count, max(1, count // 200)):
        cache.get(f"/list/{n % 97}/{n}.jpg").hit(BODY)


def _has_asked(origin: Origin, times: int, stack: Stack, seen: Warmed) -> bool:
    return _watch(stack, seen) and len(origin.log) >= times


def _watch(stack: Stack, seen: Warmed) -> bool:
    assert stack.process is not None and stack.process.poll() is None, stack.log()
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{stack.process.pid}/status").read_text().splitlines())
    seen.most_bytes = max(seen.most_bytes, int(rows["VmRSS"].split()[0]) * 1024)
    return True


def _environ(stack: Stack) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA", "FRESHLINE_"))}
    return {
        **kept,
        "FRESHLINE_ENDPOINT": f"http://{stack.address}",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": stack.key.id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": stack.key.secret,
        "FRESHLINE_SERVICE_DATA_DIR": str(stack.home),
        "TERM": "xterm",
    }


def _freshline(stack: Stack, *arguments: object) -> str:
    command = [sys.executable, "-m", "freshline", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=_environ(stack), check=True)
    return done.stdout


class Terminal:
    """A command whose standard error is a terminal; use as a context."""

    def __init__(self, stack: Stack, *arguments: object) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
        command = [sys.executable, "-m", "freshline", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=_environ(stack), text=True
        )
        os.close(theirs)
        self.seen, self.out = "", ""
        self._reading = [threading.Thread(target=self._see), threading.Thread(target=self._read)]

    @property
    def code(self) -> int | None:
        return None if any(thread.is_alive() for thread in self._reading) else self._process.poll()

    def __enter__(self) -> Terminal:
        for thread in self._reading:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for thread in self._reading:
            thread.join()
        os.close(self._ours)

    def _see(self) -> None:
        while True:
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # the last who had it open is gone
                break
            if not part:
                break
            self.seen += part.decode("utf-8", "replace")

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.out = self._process.stdout.read()
        self._process.wait()
