"""Disks that are full: the service's, and the one that a gate keeps its journal on."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest

from freshline.cli.client import ApiError, Client, NoService
from freshline.cli.credentials import Credentials
from tests.scenario.stack import Asked
from tests.scenario.wired import Wired, wired
from tests.servers.base import SITE, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.varnish import Varnish


class Bounded(Nginx):
    """Files of its workers may be kept from growing, which looks to them like a full disk and not like a signal."""

    def _command(self) -> list[str]:
        return ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "nginx", *super()._command()]

    def limit(self, bytes_: int) -> None:
        for worker in self.workers():
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))


@pytest.fixture
def fleet(tmp_path: Path, origin: Origin) -> Iterator[Wired]:
    with wired(tmp_path, origin, [Bounded(tmp_path, origin), Varnish(tmp_path, origin)]) as made:
        yield made


def limit(fleet: Wired, bytes_: int) -> None:
    """No file of the service may grow past this, as on a disk that is full; -1: all may."""
    assert fleet.stack.process is not None
    resource.prlimit(fleet.stack.process.pid, resource.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))


def readiness(fleet: Wired) -> tuple[int, str]:
    try:
        return 200, fleet.stack.look("/readyz")
    except HTTPError as error:
        return error.code, error.read().decode()


def test_the_services_disk_is_full(fleet: Wired) -> None:
    """Nobody is given an id that is not on the disk; it says so, still answers questions, and recovers by itself."""
    stack = fleet.stack
    answered: list[str] = []
    refused: list[ApiError] = []
    enough = threading.Event()

    def keep_asking(caller: int) -> None:
        client = Client(f"http://{stack.address}", Credentials(stack.key.id, stack.key.secret))
        number = 0
        while not enough.is_set():
            number += 1
            paths = "\n".join(f"http://{SITE}/{caller}/{number}/{at}" for at in range(20))
            try:
                answered.append(client.call("RefreshObjectCaches", {"ObjectPath": paths})["RefreshTaskId"])
            except ApiError as error:
                refused.append(error)
                enough.wait(0.05)
            except NoService:  # it was killed
                enough.wait(0.05)

    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(keep_asking, caller) for caller in range(3)]
        try:
            until(lambda: len(answered) > 20)
            limit(fleet, (stack.home / "log.db-wal").stat().st_size)
            until(lambda: len(refused) > 10)
            status, why = readiness(fleet)
            assert (status, why) == (503, "disk I/O error\n")
            fleet.until_says("tasks are refused: disk I/O error")
            before = len(answered)
            assert Asked(stack, answered[before - 1]).rows()[0]["TaskId"] == answered[before - 1]

            limit(fleet, resource.RLIM_INFINITY)
            until(lambda: len(answered) > before + 20)
            fleet.until_says("tasks are taken again")
            assert readiness(fleet) == (200, "ok\n")

            limit(fleet, (stack.home / "log.db-wal").stat().st_size)
            until(lambda: len(refused) > 30)
            fleet.crash()
            before = len(answered)
            until(lambda: len(answered) > before + 5)
        finally:
            enough.set()
        for caller in callers:
            caller.result()

    assert {(error.status, error.code) for error in refused} == {(503, "ServiceUnavailable")}
    for at in range(0, len(answered), 10):
        ids = answered[at : at + 10]
        asked = Asked(stack, ",".join(ids))
        assert {row["TaskId"] for row in asked.rows()} == set(ids)
        asked.until_complete()
    ids = [int(id_) for id_ in answered]
    assert len(set(ids)) == len(ids)


def test_a_gates_disk_is_full(fleet: Wired) -> None:
    """What it cannot keep it does not say it has done: the task waits, nobody gets it stale after Complete."""
    full, other = fleet.caches
    assert isinstance(full, Bounded)
    fleet.origin.serves("/a", "v1")
    full.get("/a").fetched("v1")
    full.limit(16)
    fleet.origin.serves("/a", "v2")

    task = fleet.stack.refresh("/a").until_process("50%")
    fleet.until_says(f"{full.name} could not do what it was told: 500 failed journal: ")
    fleet.mark()
    fleet.crash()
    fleet.until_says(f"{full.name} could not do what it was told: 500 failed journal: ")
    assert {row["Status"] for row in task.rows()} == {"Refreshing"}
    assert (fleet.metric("fresh", full), fleet.edge(full)["state"]) == (0.0, "catching up")
    assert other.get("/a").body == "v2"

    full.limit(resource.RLIM_INFINITY)
    task.until_complete()
    fleet.until_says(f"{full.name} is back")
    assert full.get("/a").body == "v2"
    full.restart()
    fleet.stack.until_fresh()
    assert full.get("/a").body == "v2"
