"""The short form of ``make prove``: one round of everything, and one gate that lies and is caught."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.proof.faults import FAULTS, LONG
from tests.proof.fleet import tiers
from tests.proof.round import Plan
from tests.proof.trial import prove, sabotage

SECONDS = 9.0
RATE = 2_000  #: reads in a second, so that other tests run beside it
READS = 1_000  #: so many at least; a quiet machine makes ten times as many

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def seed() -> int:
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    return seed


def test_no_visitor_gets_what_was_refreshed(seed: int, tmp_path: Path) -> None:
    """Two tiers of caches under every fault: no read begun after Complete is old, nothing is lost, everything ends."""
    wrong = [name for name in FAULTS if name not in LONG]
    outcome = prove(Plan(seed, SECONDS, tiers(), wrong=wrong, rate=RATE), tmp_path)

    assert outcome.verdict.after > READS


def test_a_cache_without_its_stamp_check_is_caught(seed: int, tmp_path: Path) -> None:
    """nginx with a gate that answers all it is told, and a cache key that holds nothing of it."""
    outcome = sabotage("nginx", seed, tmp_path, seconds=3)

    assert outcome.verdict.stale_count > 0
