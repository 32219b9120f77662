"""Wall clocks that are set while all runs, by the service and by caches; and outages longer than the log reaches."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest

from freshline.ambient import Ambient
from freshline.cli.client import ApiError, Client
from freshline.cli.credentials import Credentials
from tests.scenario.wired import Wired, wired
from tests.servers.base import CacheServer, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.squid import Squid
from tests.servers.trafficserver import Trafficserver
from tests.servers.varnish import Varnish
from tests.servers.wallclock import WallClock

HOUR, DAY = 3600, 86_400


class Skewed(Ambient):
    """A caller whose clock is off by as much as the service's."""

    seconds = 0

    def now(self) -> float:
        return time.time() + self.seconds


@dataclass
class Timed:
    fleet: Wired
    clock: WallClock
    caller: Skewed

    def step(self, seconds: int, *, caller: bool = True) -> None:
        self.clock.set(seconds)
        if caller:
            self.caller.seconds = seconds


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    made = WallClock(tmp_path / "clock")
    made.set(0)
    return made


@pytest.fixture
def timed(tmp_path: Path, origin: Origin, clock: WallClock) -> Iterator[Timed]:
    """The service under a clock of the test's; a refresh fails after four seconds."""
    caches: list[CacheServer] = [Nginx(tmp_path, origin), Varnish(tmp_path, origin)]
    settings = {"FRESHLINE_DEADLINES_REFRESH_SECONDS": "4", **clock.environment}
    with wired(tmp_path, origin, caches, settings) as fleet:
        caller, stack = Skewed(), fleet.stack
        stack.client = Client(f"http://{stack.address}", Credentials(stack.key.id, stack.key.secret), caller)
        yield Timed(fleet, clock, caller)


def quota_left(fleet: Wired) -> int:
    return int(fleet.stack.client.call("DescribeRefreshQuota", {})["UrlRemain"])


def test_the_services_clock_is_set_back_and_ahead(timed: Timed) -> None:
    """By a day, while tasks are open: deadlines come in time, leases hold, no nonce is free again, nothing is lost."""
    fleet, stack = timed.fleet, timed.fleet.stack
    hurt = fleet.caches[0]
    until(lambda: all(fleet.gate_is_fresh(cache) for cache in fleet.caches))
    first = stack.refresh("/a").until_complete()
    left = quota_left(fleet)
    used = stack.client.signed_url("DescribeRefreshQuota", {})
    assert urllib.request.urlopen(used).status == 200

    # ahead: open rows are not overdue at once, and the day's allowance is that of another day
    fleet.wire(hurt).refuses()
    waiting = stack.refresh("/b").until_process("50%")
    timed.step(+DAY)
    assert quota_left(fleet) == left + 1
    time.sleep(1.1)  # deadlines are looked at every second
    assert {row["Status"] for row in waiting.rows()} == {"Refreshing"}
    fleet.wire(hurt).passes()
    waiting.until_complete()
    stack.refresh("/c").until_complete()
    assert {row["Status"] for row in first.rows()} == {"Complete"}

    # back: the newest task's time stays the least, deadlines come all the same, and what was used stays used
    timed.step(0)
    assert quota_left(fleet) == left - 1
    with pytest.raises(HTTPError) as replayed:
        urllib.request.urlopen(used)
    assert replayed.value.code == 400 and b"SignatureNonceUsed" in replayed.value.read()
    timed.step(-DAY, caller=False)
    with pytest.raises(ApiError, match=r"InvalidTimeStamp\.Expired"):
        stack.refresh("/d")
    timed.step(-DAY)
    fleet.wire(hurt).refuses()
    late = stack.refresh("/e")
    assert (
        late.rows()[0]["CreationTime"]
        == stack.client.call("DescribeRefreshTasks", {})["Tasks"]["CDNTask"][0]["CreationTime"]
    )
    asked = time.monotonic()
    late.until_failed("Internal Error")
    assert time.monotonic() - asked < 15
    fleet.wire(hurt).passes()
    stack.until_fresh()
    until(lambda: all(fleet.gate_is_fresh(cache) and fleet.balancer(cache) == 200 for cache in fleet.caches))
    assert stack.log().count("flushing it whole") == len(fleet.caches)  # when they were new


def test_a_clock_that_is_wrong_when_the_service_starts_drops_nothing(timed: Timed) -> None:
    """A month ahead, it is started twice; right again, the day's tasks are still there."""
    task = timed.fleet.stack.refresh("/a").until_complete()

    timed.step(30 * DAY)
    timed.fleet.crash()
    timed.fleet.stack.until_fresh()
    timed.step(0)
    timed.fleet.crash()

    assert {row["Status"] for row in task.rows()} == {"Complete"}
    timed.fleet.stack.refresh("/b").until_complete()


def test_an_edge_that_is_away_for_hours_and_then_for_days(timed: Timed) -> None:
    """As far back as the log reaches it is told what it missed and keeps the rest; beyond, it is flushed whole."""
    fleet, stack = timed.fleet, timed.fleet.stack
    away, origin = fleet.caches[0], fleet.origin
    until(lambda: fleet.gate_is_fresh(away))
    for page in ("/kept", "/a"):
        origin.serves(page, "v1")
        away.get(page).fetched("v1")
    fleet.wire(away).refuses()
    origin.serves("/a", "v2")
    task = stack.refresh("/a")
    for batch in range(3):
        stack.refresh(*(f"/{batch}/{at}" for at in range(1000)))
    timed.step(5 * HOUR)
    fleet.crash()
    task.until_failed("Internal Error")
    assert {row["Process"] for row in task.rows()} == {"50%"}
    assert fleet.edge(away)["lag_seconds"] < 5 * HOUR + 600

    fleet.mark()
    fleet.wire(away).passes()
    stack.until_fresh()
    until(lambda: fleet.gate_is_fresh(away))
    assert not fleet.says("flushing it whole")
    away.get("/kept").hit("v1")
    away.get("/a").fetched("v2")
    task.until_failed("Internal Error")

    fleet.wire(away).refuses()
    gone = stack.refresh("/kept")
    origin.serves("/kept", "v2")
    timed.step(4 * DAY)
    fleet.crash()
    stack.refresh("/today")
    fleet.crash()  # days that are past go when it starts, and every ten minutes
    until(lambda: _oldest(fleet) > int(gone.id))
    fleet.mark()
    fleet.wire(away).passes()
    stack.until_fresh()

    assert fleet.says(f"{away.name} stands at {int(gone.id) - 1} of log ") and fleet.says(": flushing it whole")
    until(lambda: away.get("/kept").status == 200)
    assert away.get("/kept").body == "v2"


def _oldest(fleet: Wired) -> int:
    """The first position that is still kept."""
    from freshline.log.sqlite import SqliteLog

    return SqliteLog.reader(fleet.stack.home / "log.db").oldest


@pytest.mark.parametrize(("kind", "seconds"), [(Nginx, -DAY), (Nginx, DAY), (Squid, -DAY), (Trafficserver, DAY)])
def test_a_caches_clock_is_set(
    kind: type[Nginx | Squid | Trafficserver], seconds: int, tmp_path: Path, origin: Origin, clock: WallClock
) -> None:
    """Its lease is counted on another clock: it neither ends at once nor goes on, and refreshes work as ever."""
    cache = kind(tmp_path, origin, lapse="refuse")
    cache.environment = clock.environment
    origin.serves("/a", "v1")
    quick = {"FRESHLINE_DELIVERY_LEASE_HEARTBEATS": "12"}  # a lease outlasts a busy machine
    with wired(tmp_path, origin, [cache], quick) as fleet:
        until(lambda: fleet.gate_is_fresh(cache))
        cache.get("/a").fetched("v1")
        clock.set(seconds)
        assert fleet.gate_is_fresh(cache)

        origin.serves("/a", "v2")
        fleet.stack.refresh("/a").until_complete()
        assert cache.get("/a").body == "v2"
        fleet.wire(cache).drops()
        until(lambda: not fleet.gate_is_fresh(cache))
        assert cache.get("/a").status == 503
        fleet.wire(cache).passes()
        until(lambda: fleet.gate_is_fresh(cache))
        until(lambda: cache.get("/a").status != 503)  # the first lease after that may be a short one
        seen = cache.get("/a")
        assert seen.body == "v2", seen
