"""The whole of it: the service as a process, real caches with gates, a scripted origin, and a caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freshline.cli.client import Client
from freshline.cli.credentials import Credentials
from freshline.domain.edge import Duty
from freshline.inventory.sqlite import SqliteInventory
from tests.servers.base import SITE, CacheServer, free_port, until

GROUP = "default"
ENDS = ("Complete", "Failed")

#: As it is run, but quicker to notice things; and nobody is throttled unless a test wants it.
SETTINGS = {
    "FRESHLINE_DELIVERY_HEARTBEAT_SECONDS": "0.3",
    "FRESHLINE_DELIVERY_RETRY_FIRST_SECONDS": "0.05",
    "FRESHLINE_DELIVERY_RETRY_MOST_SECONDS": "0.5",
    "FRESHLINE_LIMITS_RATES": "{DescribeRefreshTaskById = 1e6, DescribeRefreshTasks = 1e6, RefreshObjectCaches = 1e6,"
    " PushObjectCache = 1e6}",
    "FRESHLINE_LIMITS_DAILY": "{url = 10000000, dir = 1000000, regex = 1000000, ignore_params = 1000000,"
    " preload = 1000000}",
    "FRESHLINE_LIMITS_PER_MINUTE": "{url = 10000000, dir = 1000000, preload = 1000000}",
}


@dataclass(frozen=True)
class Asked:
    """A task that was taken, and how its caller follows it."""

    stack: Stack
    id: str

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.stack.client.call("DescribeRefreshTaskById", {"TaskId": self.id})["Tasks"]
        return rows

    def until_complete(self) -> Asked:
        until(lambda: all(row["Status"] in ENDS for row in self.rows()))
        assert {row["Status"] for row in self.rows()} == {"Complete"}, self.rows()
        return self

    def until_failed(self, description: str) -> Asked:
        until(lambda: all(row["Status"] in ENDS for row in self.rows()))
        assert {(row["Status"], row["Description"]) for row in self.rows()} == {("Failed", description)}, self.rows()
        return self

    def until_process(self, process: str) -> Asked:
        until(lambda: {row["Process"] for row in self.rows()} == {process})
        return self


class Stack:
    def __init__(self, home: Path, caches: Sequence[CacheServer], settings: Mapping[str, str] | None = None) -> None:
        self.home, self.caches = home, list(caches)
        self.address = f"127.0.0.1:{free_port()}"
        self.settings = {**SETTINGS, **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None
        inventory = SqliteInventory.open(home / "inventory.db")
        account = inventory.add_account("tests")
        self.key = inventory.add_access_key(account.id)
        inventory.add_domain(SITE, account.id, GROUP)
        for cache in caches:
            inventory.roster.add(replace(cache.edge, group=GROUP))
        inventory.close()
        self.client = Client(f"http://{self.address}", Credentials(self.key.id, self.key.secret))

    # -- the service ----------------------------------------------------------
    def start(self) -> Stack:
        command = [sys.executable, "-m", "freshline", "serve", "--data-dir", str(self.home), "--listen", self.address]
        with (self.home / "service.log").open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **self.settings})
        until(self._up)
        return self

    def _up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        try:
            return self.look("/readyz") == "ok\n"
        except OSError:
            return False

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        assert "Traceback" not in self.log(), self.log()

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def log(self) -> str:
        return (self.home / "service.log").read_text()

    def look(self, path: str) -> str:
        """One of the probes."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def until_fresh(self) -> Stack:
        """Every edge stands where the log does."""
        until(lambda: self.look("/metrics").count("} 1.0\n") and "edge_fresh" in self.look("/metrics"))
        until(lambda: all(line.endswith(" 1.0") for line in self.look("/metrics").splitlines() if "_fresh{" in line))
        return self

    def order(self, cache: CacheServer, duty: Duty) -> None:
        """What `freshline edge pause`, `drain` and `resume` do."""
        inventory = SqliteInventory.open(self.home / "inventory.db")
        inventory.roster.change(cache.name, duty=duty)
        inventory.close()

    # -- the caller -----------------------------------------------------------
    def refresh(self, *paths: str, type: str = "File", force: bool = False, host: str = SITE) -> Asked:
        lines = "\n".join(f"http://{host}{path}" for path in paths)
        asked = {"ObjectPath": lines, "ObjectType": type, "Force": str(force).lower()}
        return Asked(self, self.client.call("RefreshObjectCaches", asked)["RefreshTaskId"])

    def refresh_tag(self, tag: str, force: bool = False) -> Asked:
        asked = {"DomainName": SITE, "CacheTag": tag, "Force": str(force).lower()}
        return Asked(self, self.client.call("RefreshObjectCacheByCacheTag", asked)["RefreshTaskId"])

    def prefetch(self, *paths: str, **params: str) -> Asked:
        lines = "\n".join(f"http://{SITE}{path}" for path in paths)
        return Asked(self, self.client.call("PushObjectCache", {"ObjectPath": lines, **params})["PushTaskId"])
