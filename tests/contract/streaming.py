"""Rules without an end into a gate, and visitors who read all the while.

What is refreshed with each batch is changed at the origin before; from the moment the batch is answered no read that
begins may bring an older version. ``stream`` says what it saw.
"""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from freshline.domain.action import Verb
from freshline.drivers.base import Applied, Gate
from tests.servers.base import CacheServer, leave, until
from tests.servers.origin import Origin
from tests.servers.reading import Reading
from tests.servers.steered import Row, Steered

BATCH = 2_000
OBJECTS = 60
VISITORS = 2
#: Settings of a test's server with room for few rules, and for the number it is made for.
Room = Callable[[int], dict[str, object]]
ROOM: dict[str, Room] = {
    "nginx": lambda rules: {"settings": {"rules_size": f"{rules * 36 // 1024 + 48}k"}},
    "varnish": lambda rules: {"rules": rules},
    "trafficserver": lambda rules: {"rules": rules},
    "squid": lambda rules: {"settings": {"rules": rules}},
}


@dataclass
class Versions:
    """Of each object: what the origin has, and what must be served at least."""

    origin: Origin
    at: dict[str, int] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)

    def change(self, target: str) -> int:
        self.at[target] = self.at.get(target, 0) + 1
        self.origin.serves(target, str(self.at[target]))
        return self.at[target]


class Visitors(Reading):
    """``stale`` holds what should not have been served."""

    def __init__(self, cache: CacheServer, versions: Versions) -> None:
        super().__init__(VISITORS)
        self.reads, self.stale, self.slowest = 0, list[tuple[str, int, str]](), 0.0
        self._cache, self._versions = cache, versions

    def visit(self, dice: random.Random) -> None:
        target = f"/seen/{dice.randrange(OBJECTS)}"
        least, begun = self._versions.least.get(target, 0), time.monotonic()
        seen = self._cache.get(target)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if seen.status == 200:
            self.reads += 1
            if int(seen.body) < least:
                self.stale.append((target, least, seen.body))


@contextmanager
def roomy(kind: str, home: Path, origin: Origin, rules: int) -> Iterator[CacheServer]:
    """A cache whose gate has room for so many rules."""
    module = importlib.import_module(f"tests.servers.{kind}")
    server: CacheServer = getattr(module, kind.title())(home, origin, **ROOM[kind](rules))
    server.start()
    try:
        yield server
    finally:
        leave(server)


@dataclass
class Streamed:
    slowest_seconds: float = 0.0
    batches: int = 0
    most_rules: int = 0
    most_bytes: int = 0


def resident(pid: int) -> int:
    """Bytes of memory that a server and what descends from it take; what they share is counted once."""
    total, left = 0, [pid]
    while left:
        one = left.pop()
        try:
            left += [
                int(child)
                for task in Path(f"/proc/{one}/task").iterdir()
                for child in (task / "children").read_text().split()
            ]
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def stream(cache: CacheServer, log: Steered, versions: Versions, count: int, said: Streamed) -> None:
    """``count`` rules that nobody has seen before, and in each batch one object that visitors read."""
    dice = random.Random(count)
    for at in range(0, count, BATCH):
        target = f"/seen/{dice.randrange(OBJECTS)}"
        version = versions.change(target)
        rows: list[Row] = [
            (Verb.FILE, f"/one/of/many/objects/{log.position}-{n}.html".encode()) for n in range(min(BATCH, count - at))
        ]
        rows[dice.randrange(len(rows))] = (Verb.FILE, target.encode())
        batch = log.accept(*rows)
        log.commands.clear()  # a million of them would be most of what this takes
        begun = time.monotonic()
        answer = log.apply(batch)
        said.slowest_seconds = max(said.slowest_seconds, time.monotonic() - begun)
        assert isinstance(answer, Applied) and answer.position == log.position, answer
        versions.least[target] = version
        said.batches += 1
        if said.batches % 20 == 0:
            said.most_rules = max(said.most_rules, int(log.status().detail.get("rules", "0")))
            said.most_bytes = max(said.most_bytes, resident(cache.pid))


def until_it_stands(log: Steered) -> Gate:
    """Until it says where it stands: it has read its journal."""

    def asked() -> Gate | None:
        answer = log.run(log.driver.status())
        return answer if isinstance(answer, Gate) else None

    gate = until(asked, 120)
    assert gate is not None
    return gate
