"""How old rows are, by a clock that nobody sets."""

from __future__ import annotations

import pytest

from freshline.ambient import Ambient
from freshline.delivery import ages
from freshline.delivery.ages import Ages
from freshline.domain.task import Kind, Wish
from freshline.log.memory import MemoryLog

NOON = 1_795_262_400.0


class Clocks(Ambient):
    def __init__(self) -> None:
        self.wall, self.steady = NOON, 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


async def accept(log: MemoryLog, clocks: Clocks, rows: int = 1) -> None:
    paths = tuple(f"http://a.test/{at}" for at in range(rows))
    await log.append([Wish("1", "a.test", "g", Kind.FILE, paths)], now=clocks.now())


@pytest.mark.parametrize("step", [0.0, -7 * 86_400.0, 7 * 86_400.0])
async def test_rows_age_with_the_monotonic_clock(clocks: Clocks, step: float) -> None:
    """Set the wall clock by a week between two rows, and each is as old as it is."""
    log = MemoryLog()
    known = Ages(log, clocks)
    clocks.pass_(10)
    await accept(log, clocks, 3)
    clocks.pass_(30)
    clocks.wall += step
    await accept(log, clocks)
    clocks.pass_(20)

    assert (known.of(1), known.of(3), known.of(4)) == (50, 50, 20)
    assert (known.older_than(49), known.older_than(51), known.older_than(19), known.older_than(21)) == (3, 0, 4, 3)


async def test_rows_from_before_are_as_old_as_the_wall_clock_said(clocks: Clocks) -> None:
    """And age from there; one from the future has no age when the service starts."""
    log = MemoryLog()
    await accept(log, clocks)
    clocks.pass_(100)
    await accept(log, clocks)
    clocks.pass_(-50)
    known = Ages(log, clocks)
    clocks.pass_(5)
    clocks.wall -= 86_400

    assert (known.of(1), known.of(2)) == (55, 5)
    assert (known.older_than(54), known.older_than(56), known.older_than(4)) == (1, 0, 2)


async def test_memory_is_bounded(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old rows are known less exactly, and never as older than they are."""
    monkeypatch.setattr(ages, "MOMENTS", 16)
    log = MemoryLog()
    known = Ages(log, clocks)
    for _ in range(500):
        clocks.pass_(1)
        await accept(log, clocks)

    assert len(known._times) <= 16
    assert [known.of(row) for row in range(498, 501)] == [2, 1, 0]
    assert all(known.of(row) <= 500 - row for row in range(1, 501))
    assert known.of(1) > 100
