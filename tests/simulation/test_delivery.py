"""Delivery in a world that does its worst. A failing seed is a bug report: paste it here as a test, then mend it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.world import World


@pytest.mark.parametrize("block", range(8))
def test_complete_means_complete_whatever_happens(block: int) -> None:
    """Once a row reads Complete no edge serves what was fetched before it, and every row reaches an end."""
    reads = excused = 0
    for seed in range(block * 25, block * 25 + 25):
        world = World(seed).run()
        reads += world.reads_after_complete
        excused += world.excused

    assert reads > 1000, "a world in which nobody looks proves nothing"
    assert excused > 10, "nor one in which no lease runs out"


@pytest.mark.parametrize(
    ("without", "seeds", "least"),
    [
        ({"stamps": False}, 30, 20),
        ({"order": False, "tree": {1: (0,), 2: (1,)}}, 110, 3),
        ({"leases": False}, 40, 4),
    ],
)
def test_the_checker_catches_what_is_left_out(without: dict[str, Any], seeds: int, least: int) -> None:
    """Without stamps, without parents before children, or without leases the same worlds do serve stale objects."""
    caught = 0
    for seed in range(seeds):
        try:
            World(seed, **without).run()
        except AssertionError as error:
            assert "is Complete" in str(error)
            caught += 1

    assert caught >= least


def test_the_same_seed_is_the_same_world() -> None:
    """Nothing but the seed decides: a failure can be run again."""
    assert World(7, steps=80).run().trace == World(7, steps=80).run().trace
