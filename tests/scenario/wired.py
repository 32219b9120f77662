"""A service that reaches each gate over a wire of its own, which a test can harm (tests/servers/wire.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from freshline.drivers.lines import FRESH
from tests.scenario.stack import Stack
from tests.servers.base import CacheServer, get, leave, until
from tests.servers.origin import Origin
from tests.servers.wire import Wire


@dataclass
class Wired:
    stack: Stack
    origin: Origin
    caches: Sequence[CacheServer]
    wires: Mapping[str, Wire]
    said: int = field(default=0)  #: of the service's log that was read

    def wire(self, cache: CacheServer) -> Wire:
        return self.wires[cache.name]

    # -- what an operator sees ------------------------------------------------
    def mark(self) -> None:
        """What the log has said up to here is of no interest."""
        self.said = len(self.stack.log())

    def says(self, words: str) -> bool:
        return words in self.stack.log()[self.said :]

    def until_says(self, words: str) -> None:
        until(lambda: self.says(words))

    def edge(self, cache: CacheServer) -> dict[str, Any]:
        """The edge's line of ``freshline edges``."""
        return next(row for row in self._run("edges") if row["name"] == cache.name)

    def evidence(self, task: str) -> list[dict[str, Any]]:
        """By edge, what ``freshline evidence`` shows."""
        found: list[dict[str, Any]] = self._run("evidence", task)["edges"]
        return found

    def _run(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "freshline", *arguments, "--json", "--data-dir", str(self.stack.home)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    def metric(self, name: str, cache: CacheServer) -> float:
        line = f'freshline_edge_{name}{{edge="{cache.name}"}} '
        return next(
            float(it.removeprefix(line)) for it in self.stack.look("/metrics").splitlines() if it.startswith(line)
        )

    def balancer(self, cache: CacheServer) -> int:
        """What the service tells a load balancer of an edge."""
        try:
            self.stack.look(f"/edges/{cache.name}/fresh")
        except HTTPError as error:
            return error.code
        return 200

    def gate_is_fresh(self, cache: CacheServer) -> bool:
        """What the gate itself tells one."""
        return get(self.wire(cache).target, FRESH).status == 200

    # -- what happens ---------------------------------------------------------
    def crash(self) -> None:
        """kill -9 the service, and start it again."""
        self.stack.kill()
        self.stack.start()

    def heal(self) -> None:
        for wire in self.wires.values():
            wire.passes()
        self.stack.until_fresh()


@contextmanager
def wired(
    home: Path, origin: Origin, caches: Sequence[CacheServer], settings: Mapping[str, str] | None = None
) -> Iterator[Wired]:
    wires = {cache.name: Wire(cache.edge.gate).start() for cache in caches}
    for cache in caches:
        cache.edge = replace(cache.edge, gate=wires[cache.name].address)
        cache.start()
    stack = Stack(home, caches, settings)
    try:
        yield Wired(stack.start().until_fresh(), origin, caches, wires)
    finally:
        stack.stop()
        for cache in caches:
            leave(cache)
        for wire in wires.values():
            wire.stop()
