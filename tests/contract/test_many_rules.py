"""More rules than a gate has room for, and restarts in the middle of them (long: ``tests/soak/test_rules.py``)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshline.domain.action import Verb
from freshline.drivers.base import Applied, Gate
from tests.conftest import KINDS
from tests.contract.streaming import Streamed, Versions, Visitors, roomy, stream
from tests.servers.base import CacheServer, until
from tests.servers.origin import Origin
from tests.servers.steered import Steered

MANY, ROOM_FOR = 50_000, 20_000
BATCH_SECONDS = 3.0  # a busy machine; the soak asks for one
RESTARTS = 4


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, tmp_path: Path, origin: Origin) -> Iterator[CacheServer]:
    """A cache whose gate has room for few rules."""
    with roomy(request.param, tmp_path, origin, ROOM_FOR) as server:
        yield server


def test_more_rules_than_there_is_room_for_cost_fetches_and_nothing_else(small: CacheServer, origin: Origin) -> None:
    """Rules stream in beyond all bounds: what is kept stays bounded, batches stay quick, no read is stale."""
    versions, said = Versions(origin), Streamed()
    for n in range(60):
        versions.change(f"/seen/{n}")
    log = Steered(small).bind()
    try:
        with Visitors(small, versions) as visitors:
            stream(small, log, versions, MANY, said)
    finally:
        log.close()

    assert visitors.stale == []
    assert visitors.reads > 10
    assert said.most_rules <= 1.3 * ROOM_FOR + 10_000, said
    assert said.slowest_seconds < BATCH_SECONDS, said


def test_restarts_while_batches_arrive(cache: CacheServer, origin: Origin) -> None:
    """Killed and stopped in the middle of batches, several times: what was answered holds, and it comes back."""
    versions, log, dice = Versions(origin), Steered(cache), random.Random(7)
    for n in range(60):
        versions.change(f"/seen/{n}")
    log.bind()
    try:
        with Visitors(cache, versions) as visitors:
            for n in range(RESTARTS):
                harm = threading.Thread(target=restarted, args=(cache, dice.uniform(0, 0.3), n % 2 == 0))
                harm.start()
                while harm.is_alive():
                    step(log, versions, dice)
                harm.join()
                until(lambda: step(log, versions, dice))
    finally:
        log.close()

    assert visitors.stale == []
    for target, version in versions.at.items():
        assert cache.get(target).body == str(version)


def restarted(cache: CacheServer, after_seconds: float, killed: bool) -> None:
    time.sleep(after_seconds)
    (cache.kill if killed else cache.stop)()
    cache.start()


def step(log: Steered, versions: Versions, dice: random.Random) -> bool:
    """Change an object, and bring the gate where the log is, or try to; as delivery would."""
    target = f"/seen/{dice.randrange(60)}"
    version = versions.change(target)
    log.accept(
        *((Verb.FILE, f"/filling/{dice.random()}".encode()) for _ in range(200)),
        (Verb.FILE, target.encode()),
    )
    open_ = versions.at.copy()
    gate = log.run(log.driver.status())
    if not isinstance(gate, Gate):
        time.sleep(0.02)
        return False
    if gate.log != log.log or gate.mark != log.mark(gate.position):
        answer = log.run(log.driver.flush(log.log, log.position, log.mark()))
    else:
        answer = log.apply(log.batch(gate.position))
    if not isinstance(answer, Applied):
        return False
    assert answer.position == log.position and version == open_[target]
    versions.least.update(open_)
    return True
