"""What an nginx gate keeps when its workers are killed in the middle of a batch, and while they read patterns."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from freshline.domain.action import Verb
from freshline.drivers.base import Applied, Batch
from freshline.drivers.lines import batch_body
from tests.servers.base import PATIENCE_SECONDS, SECRET, send, until
from tests.servers.nginx import WORKERS, Nginx
from tests.servers.origin import Origin
from tests.servers.reading import Reading
from tests.servers.steered import Row, Steered

FILLING = 20_000  # rows of a batch that cover nothing anybody asks for
KILLS = 6
ROUNDS = 10
MOMENT_SECONDS = 0.03  # about as long as it takes to apply what is in the journal
ASKS = 12  # GETs on connections of their own, so that each worker gets some
HOSTS = ("www.test", "other.test")


@pytest.fixture
def nginx(tmp_path, origin: Origin) -> Iterator[Nginx]:
    server = Nginx(tmp_path, origin)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def log(nginx: Nginx) -> Iterator[Steered]:
    steered = Steered(nginx).bind()
    yield steered
    steered.close()


def covering(dice: random.Random, n: int, host: str) -> tuple[str, Row, str | None]:
    """A target, the only row that covers it, and a tag that it carries."""
    match dice.choice(list(Verb)):
        case Verb.FILE:
            return f"/f/{n}?x=1", (Verb.FILE, f"/f/{n}?x=1".encode(), host), None
        case Verb.PATH:
            return f"/p/{n}?x=1", (Verb.PATH, f"/p/{n}".encode(), host), None
        case Verb.DIR:
            directory = f"/d/{n}/{'deeper/' * dice.randrange(20)}"
            return f"{directory}x", (Verb.DIR, directory.encode(), host), None
        case Verb.REGEX:
            return f"/r/{n}.x", (Verb.REGEX, rf"/r/{n}\.x".encode(), host), None
        case Verb.TAG:
            return f"/t/{n}", (Verb.TAG, f"tag-{n}".encode(), host), f"tag-{n}"
    raise AssertionError


class Visitors(Reading):
    """They fill every worker's memory."""

    def __init__(self, nginx: Nginx, targets: list[tuple[str, str]]) -> None:
        super().__init__(3)
        self._nginx, self._targets = nginx, targets

    def visit(self, dice: random.Random) -> None:
        host, target = dice.choice(self._targets)
        self._nginx.get(target, host=host)


def asked_once(nginx: Nginx, batch: Batch) -> bool:
    """Whether it was answered. A driver would ask again at once."""
    headers = {"Host": nginx.gate, "freshline-key": SECRET}
    try:
        return send(nginx.gate, "POST", "/freshline/batch", headers, batch_body(batch)).status == 200
    except (OSError, HTTPException):
        return False


def until_written(nginx: Nginx, size: int) -> None:
    """What is in the journal is applied next, within milliseconds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while nginx.journal.stat().st_size == size:
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.0002)


def deliver(log: Steered, batch: Batch) -> None:
    """As delivery does: again, until it is applied."""
    until(lambda: isinstance(log.apply(batch), Applied))
    assert log.status().position == batch.upto


def filling(dice: random.Random, count: int) -> list[Row]:
    return [(Verb.FILE, f"/filling/{dice.random()}".encode(), dice.choice(HOSTS)) for _ in range(count)]


@pytest.mark.parametrize("seed", [1])
def test_a_batch_whose_worker_was_killed_is_applied_whole_when_it_comes_again(origin, nginx, log, seed):
    """Killed at any moment of a batch of 20,000: sent again it is applied, and nothing that it covers is served."""
    dice = random.Random(seed)
    hit = 0
    for round_ in range(KILLS):
        host = f"h{round_}.test"  # of which it knows no rule yet
        objects = [covering(dice, n, host) for n in range(60)]
        for target, _, tag in objects:
            origin.serves(target, "v1", tags=tag or "other")
            nginx.get(target, host=host).fetched("v1")
            origin.serves(target, "v2", tags=tag or "other")
        rows = filling(dice, FILLING) + [row for _, row, _ in objects]
        dice.shuffle(rows)
        batch = log.accept(*rows)
        with Visitors(nginx, [(host, target) for target, _, _ in objects]), ThreadPoolExecutor(1) as sender:
            size = nginx.journal.stat().st_size
            sending = sender.submit(asked_once, nginx, batch)
            until_written(nginx, size)
            time.sleep(dice.uniform(0, 1) * MOMENT_SECONDS)
            old = nginx.workers()
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            hit += not sending.result()
            until(lambda old=old: len(set(nginx.workers()) - set(old)) >= WORKERS)  # and whoever else it starts
            deliver(log, batch)
            for target, row, _ in objects:
                for _ in range(2):
                    seen = nginx.get(target, host=host)
                    assert seen.body == "v2", (seed, round_, row, seen)
    assert hit, "the kills came too late"
    nginx.restart()
    assert log.status().position == log.position  # nor did the journal suffer


def test_patterns_read_in_the_middle_of_a_batch_are_not_taken_for_all(origin, nginx, log):
    """A pattern that is refreshed again bears its new position at once; the new ones before it are yet to be seen."""
    with ThreadPoolExecutor(1) as sender:
        for n in range(ROUNDS):
            target = f"/r/{n}.x"
            origin.serves(target, "v1")
            nginx.get(target).fetched("v1")
            deliver(log, log.accept((Verb.REGEX, b"/again")))  # so that every worker has to read the patterns anew
            origin.serves(target, "v2")
            again: Row = (Verb.REGEX, b"/again")
            batch = log.accept((Verb.REGEX, rf"/r/{n}\.x".encode()), again, *filling(random.Random(n), FILLING))
            size = nginx.journal.stat().st_size
            sending = sender.submit(asked_once, nginx, batch)
            until_written(nginx, size)
            while not sending.done():
                nginx.get(target)
            assert sending.result()
            for _ in range(ASKS):
                assert nginx.get(target).body == "v2", n
