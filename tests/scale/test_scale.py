"""The short form of ``make scale``."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.scale.fleet import simulate


def test_a_fleet_is_told_everything_in_order_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hundred edges in three tiers, ten thousand tasks, over a network that loses answers; checked as it goes."""
    caplog.set_level(logging.CRITICAL, "freshline")

    report = simulate(tmp_path, edges=100, tasks=10_000, seed=2)

    assert report.figures["rows looked at, Complete / not yet"] != "0 / 0"
