"""Delivery in a world that does its worst. A failing seed is a bug report: paste it here as a test, then mend it."""

from __future__ import annotations

import pytest

from tests.simulation.world import World


@pytest.mark.parametrize("block", range(8))
def test_complete_means_complete_whatever_happens(block: int) -> None:
    """Once a row reads Complete no edge serves what was fetched before it, and every row reaches an end."""
    reads = 0
    for seed in range(block * 25, block * 25 + 25):
        reads += World(seed).run().reads_after_complete

    assert reads > 100, "a world in which nobody looks proves nothing"


def test_the_checker_catches_a_cache_without_stamps() -> None:
    """With the stamp check left out of the caches, the same worlds do serve stale objects."""
    caught = 0
    for seed in range(40):
        try:
            World(seed, stamps=False).run()
        except AssertionError as error:
            assert "is Complete" in str(error)
            caught += 1

    assert caught > 20


def test_the_same_seed_is_the_same_world() -> None:
    """Nothing but the seed decides: a failure can be run again."""
    assert World(7, steps=80).run().trace == World(7, steps=80).run().trace
