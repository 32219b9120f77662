"""Token buckets."""

from __future__ import annotations

import pytest

from freshline.access.throttle import Draw, Throttle


def draw(key: str, amount: float = 1) -> Draw:
    return Draw(key, amount, rate=10, burst=10)


def test_a_burst_then_the_rate() -> None:
    """Ten at once, and then one more every tenth of a second."""
    throttle = Throttle()

    assert [throttle.take([draw("a")], 0.0) for _ in range(10)] == [0.0] * 10
    assert throttle.take([draw("a")], 0.0) == pytest.approx(0.1)
    assert throttle.take([draw("a")], 0.1) == 0
    assert throttle.take([draw("a")], 0.1) > 0
    assert throttle.take([draw("b")], 0.1) == 0


def test_all_or_none() -> None:
    """When one bucket lacks, nothing is taken from the others."""
    throttle = Throttle()
    throttle.take([draw("b", 5)], 0.0)

    assert throttle.take([draw("a", 10), draw("b", 6)], 0.0) == pytest.approx(0.1)
    assert throttle.take([draw("a", 10)], 0.0) == 0


def test_given_back() -> None:
    """What came to nothing costs nothing."""
    throttle = Throttle()
    throttle.take([draw("a", 10)], 0.0)
    throttle.give_back([draw("a", 10)])

    assert throttle.take([draw("a", 10)], 0.0) == 0


def test_bounded() -> None:
    """The bucket unused longest makes room."""
    throttle = Throttle(capacity=2)
    for key in ("a", "b", "a", "c"):
        throttle.take([draw(key, 10)], 0.0)

    assert len(throttle) == 2
    assert throttle.take([draw("c", 10)], 0.0) > 0


def test_a_call_that_came_late() -> None:
    """Time that a bucket was filled for is not counted again for a call that began earlier and took long to arrive."""
    throttle = Throttle()
    throttle.take([draw("a", 10)], 30.0)
    throttle.take([draw("a", 10)], 0.0)

    assert throttle.take([draw("a")], 30.0) == pytest.approx(0.1)
