"""The service as a process, and the operator who gives it orders on the command line."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from freshline.inventory.sqlite import SqliteInventory
from tests.proof.fleet import GROUP, Member
from tests.proof.universe import HOSTS
from tests.scenario.stack import SETTINGS, Stack
from tests.servers.base import SECRET
from tests.servers.wallclock import WallClock

REFRESH_SECONDS = 12  #: after which what was not done reads Failed
PREFETCH_SECONDS = 20

MINE = {
    "FRESHLINE_DEADLINES_REFRESH_SECONDS": str(REFRESH_SECONDS),
    "FRESHLINE_DEADLINES_PREFETCH_SECONDS": str(PREFETCH_SECONDS),
    "FRESHLINE_LIMITS_RATES": "{DescribeRefreshTaskById = 1e6, RefreshObjectCaches = 1e6, PushObjectCache = 1e6,"
    " RefreshObjectCacheByCacheTag = 1e6}",
}


class Service(Stack):
    def __init__(self, home: Path, members: Iterable[Member], lease_heartbeats: int) -> None:
        home.mkdir()
        lease = {"FRESHLINE_DELIVERY_LEASE_HEARTBEATS": str(lease_heartbeats)}
        self.clock = WallClock(home / "clock")
        self.clock.set(0)
        super().__init__(home, [], {**SETTINGS, **MINE, **lease, **self.clock.environment})
        inventory = SqliteInventory.open(home / "inventory.db")
        (account,) = inventory.accounts()
        for host in HOSTS:
            inventory.add_domain(host, account.id, GROUP)
        for member in members:
            if not member.place.guest:
                inventory.roster.add(member.edge())
                member.declared = True
        inventory.close()
        self._secret = home / "gate-secret"
        self._secret.write_text(SECRET)
        self._secret.chmod(0o600)

    async def edge(self, *words: str) -> None:
        """``freshline edge …``"""
        command = [sys.executable, "-m", "freshline", "edge", *words, "--data-dir", str(self.home)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(os.environ)
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, f"{words}: {said.decode()}"

    async def add(self, member: Member) -> None:
        edge = member.edge()
        parents = [word for parent in edge.parents for word in ("--parent", parent)]
        places = ["--kind", edge.kind, "--gate", edge.gate, "--site", edge.site, "--group", edge.group]
        await self.edge("add", edge.name, *places, *parents, "--secret-file", str(self._secret))
        member.declared = True

    def back_up(self) -> None:
        """As docs/operations.md has it."""
        (self.home / "copy").mkdir(exist_ok=True)
        for file in self.home.glob("*.db"):
            with (
                closing(sqlite3.connect(file)) as from_,
                closing(sqlite3.connect(self.home / "copy" / file.name)) as to,
            ):
                from_.backup(to)

    def restore(self) -> None:
        for file in self.home.glob("*.db*"):
            file.unlink()
        for file in (self.home / "copy").glob("*.db"):
            shutil.move(file, self.home / file.name)

    def metrics(self) -> dict[str, float]:
        """Seconds that each edge is behind."""
        found: dict[str, float] = {}
        for line in self.look("/metrics").splitlines():
            if line.startswith("freshline_edge_lag_seconds{"):
                name = line.split('edge="')[1].split('"')[0]
                found[name] = float(line.rsplit(" ", 1)[1])
        return found


def rows(answer: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Path, status and description of every row, by task."""
    found: dict[str, list[list[str]]] = {}
    for row in answer["Tasks"]:
        found.setdefault(row["TaskId"], []).append([row["ObjectPath"], row["Status"], row["Description"]])
    return found
