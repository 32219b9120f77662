"""A million live rules and more, with visitors: bounded, quick, and never stale. Long: ``make soak``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KINDS
from tests.contract.streaming import Streamed, Versions, Visitors, resident, roomy, stream, until_it_stands
from tests.servers.base import CacheServer
from tests.servers.origin import Origin
from tests.servers.steered import Steered

ROOM_FOR = 1_000_000
BEYOND = 300_000
BATCH_SECONDS = {"nginx": 1.0, "varnish": 1.0}
WRITES_ANEW_SECONDS = 2.0  # of the others, who write their journal anew within a batch
START_SECONDS = 5.0  # until visitors are served
MARGIN_BYTES = 64 << 20


@pytest.fixture(params=KINDS)
def large(request: pytest.FixtureRequest, tmp_path: Path, origin: Origin) -> Iterator[CacheServer]:
    with roomy(request.param, tmp_path, origin, ROOM_FOR) as server:
        yield server


def test_a_million_rules_and_more(large: CacheServer, origin: Origin) -> None:
    """Memory is bounded once it is full, no batch takes long, no read is stale, and it starts quickly."""
    versions, filling, beyond = Versions(origin), Streamed(), Streamed()
    for n in range(60):
        versions.change(f"/seen/{n}")
    log, empty = Steered(large).bind(), resident(large.pid)
    try:
        with Visitors(large, versions) as visitors:
            stream(large, log, versions, ROOM_FOR - ROOM_FOR // 100, filling)
            full = resident(large.pid)
            begun = time.monotonic()
            large.restart()
            listens = time.monotonic() - begun
            until_it_stands(log)
            stands = time.monotonic() - begun
            log.catch_up()
            stream(large, log, versions, BEYOND, beyond)
    finally:
        log.close()

    mb = 1 << 20
    print(
        f"\n{large.kind}: {empty / mb:.0f} MB empty, {full / mb:.0f} MB with {filling.most_rules:,} rules, "
        f"at most {beyond.most_bytes / mb:.0f} MB beyond; slowest batch {filling.slowest_seconds:.2f} s and "
        f"{beyond.slowest_seconds:.2f} s beyond; serves {listens:.1f} s and stands {stands:.1f} s after a restart; "
        f"{visitors.reads:,} reads, the slowest {visitors.slowest:.2f} s, {len(visitors.stale)} stale"
    )
    assert visitors.stale == []
    assert beyond.most_bytes < max(full, filling.most_bytes) * 1.2 + MARGIN_BYTES
    assert max(filling.slowest_seconds, beyond.slowest_seconds) < BATCH_SECONDS.get(large.kind, WRITES_ANEW_SECONDS)
    assert listens < START_SECONDS
