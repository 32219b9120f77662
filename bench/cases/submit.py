"""``RefreshObjectCaches``: one URL a call beside moto, a thousand a call beside bare inserts of the same rows.

Every call of ours is on the disk before it is answered. No edge is declared: what delivery costs is other cases'.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from bench.harness import Bench, Line, Sample, compare, interleave
from bench.moto import Moto
from bench.service import DOMAINS, Service, books, url
from bench.wrk import wrk

ACTION = "RefreshObjectCaches"
URLS = 1_000
CONNECTIONS = {1: 64, URLS: 16}  #: who waits for the disk shares a commit with others: more of them, more a commit
MOTO_CONNECTIONS = 8  #: with more of them it does less
CALLS_A_SECOND = {1: 8_000, URLS: 400}  #: more than are ever answered

SCHEMA = """
CREATE TABLE task (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, created INTEGER NOT NULL,
    path TEXT NOT NULL
)"""


def run(bench: Bench) -> list[Line]:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with Service(books(home / "books")) as service, Moto(home) as moto:
            one = interleave(
                bench.rounds, {"ours": partial(_calls, bench, service, 1), "moto": partial(_moto, bench, moto)}
            )
        with Service(books(home / "again")) as service:
            bare = Bare(home / "bare.db")
            many = interleave(
                bench.rounds,
                {"ours": partial(_calls, bench, service, URLS), "bare": partial(bare.insert, bench.seconds)},
            )
    return [
        compare(
            "submit.one",
            f"`{ACTION}`, one URL a call, durable",
            "moto `CreateInvalidation`, not durable",
            one["ours"],
            one["moto"],
            reach=10,
        ),
        compare(
            "submit.thousand",
            f"`{ACTION}`, {URLS:,} URLs a call, durable",
            "the same rows inserted into SQLite, a transaction for each call's",
            many["ours"],
            many["bare"],
            reach=0.5,
            unit="URLs/s",
        ),
    ]


def _calls(bench: Bench, service: Service, urls: int) -> Sample:
    numbers = count(random.randrange(1 << 30))
    calls = (
        service.signed(ACTION, {"ObjectPath": "\n".join(_some(domain % DOMAINS, urls, numbers)), "ObjectType": "File"})
        for domain in range(CALLS_A_SECOND[urls] * bench.seconds)
    )
    result = wrk(service.address, calls, seconds=bench.seconds, connections=CONNECTIONS[urls], pid=service.pid)
    return result.sample(urls)


def _moto(bench: Bench, moto: Moto) -> Sample:
    return wrk(moto.address, [moto.create], seconds=bench.seconds, connections=MOTO_CONNECTIONS, pid=moto.pid).sample()


def _some(domain: int, urls: int, numbers: Iterator[int]) -> list[str]:
    return [url(domain, next(numbers)) for _ in range(urls)]


class Bare:
    """The same rows, the same durability, and nothing else: no call, no signature, no look at what they are."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_autocheckpoint=4000")
        self._db.execute(SCHEMA)
        self._numbers = count()

    def insert(self, seconds: int) -> Sample:
        batches = [
            [("1", f"d{domain}.test", "file", 1_795_262_400, path) for path in _some(domain, URLS, self._numbers)]
            for domain in range(DOMAINS)
        ]
        begun, spent, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begun < seconds:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO task (account, domain, kind, created, path) VALUES (?, ?, ?, ?, ?)",
                batches[done % len(batches)],
            )
            self._db.execute("COMMIT")
            done += 1
        took, spent = time.perf_counter() - begun, time.process_time() - spent
        return Sample(done * URLS / took, spent / (done * URLS))
