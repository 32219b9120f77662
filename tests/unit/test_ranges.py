"""Ranges behave as the sets of numbers they stand for."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.ranges import Range, Ranges

points = st.integers(1, 40)
runs = st.lists(st.tuples(points, points), max_size=8)


def as_set(runs: list[Range] | Ranges) -> set[int]:
    return {number for first, last in runs for number in range(first, last + 1)}


def tidy(ranges: Ranges) -> bool:
    """Sorted, not empty, never touching."""
    flat = list(ranges)
    return all(first <= last for first, last in flat) and all(
        before[1] + 1 < after[0] for before, after in pairwise(flat)
    )


@given(runs, points)
def test_holds_what_it_was_made_of(made: list[Range], point: int) -> None:
    """Membership, size and iteration are those of the set."""
    ranges, numbers = Ranges(made), as_set(made)

    assert tidy(ranges)
    assert as_set(ranges) == numbers
    assert ranges.size() == len(numbers)
    assert (point in ranges) == (point in numbers)


@given(runs, runs)
def test_algebra(left: list[Range], right: list[Range]) -> None:
    """Union, cut and difference are those of sets, and the same set is the same value."""
    a, b = Ranges(left), Ranges(right)

    for got, want in (
        (a | b, as_set(left) | as_set(right)),
        (a & b, as_set(left) & as_set(right)),
        (a - b, as_set(left) - as_set(right)),
    ):
        assert tidy(got)
        assert as_set(got) == want
    assert (a == b) == (as_set(left) == as_set(right))
    assert a != b or hash(a) == hash(b)


@given(st.sets(st.integers(1, 300), min_size=60), runs)
def test_few_among_many(many: set[int], few: list[Range]) -> None:
    """A few runs spliced into many, or cut out of them, make the set that they should."""
    a, b = Ranges((number, number) for number in many), Ranges(few)

    for got, want in (
        (a | b, many | as_set(few)),
        (b | a, many | as_set(few)),
        (a & b, many & as_set(few)),
        (b & a, many & as_set(few)),
        (a - b, many - as_set(few)),
        (b - a, as_set(few) - many),
    ):
        assert tidy(got)
        assert as_set(got) == want
    assert as_set(a) == many and a.size() == len(many)


def test_a_change_among_ten_thousand_runs_is_cheap() -> None:
    """One row more or less costs a small part of making the set anew."""
    many = Ranges((3 * at, 3 * at) for at in range(10_000))
    anew = fastest(lambda: Ranges([*many, (40_000, 40_000)]))

    for change in (
        lambda: many | Ranges([(40_000, 40_000)]),
        lambda: many - Ranges([(15_000, 15_000)]),
        lambda: many - Ranges([(1, 9)]),
        lambda: many & Ranges([(15_000, 15_000)]),
        lambda: many.beyond(9),
    ):
        assert fastest(change) < anew / 4


def fastest(do: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        do()
        times.append(time.perf_counter() - begun)
    return min(times)


@given(runs, points, points)
def test_within(made: list[Range], first: int, last: int) -> None:
    """A window shows what lies in it, and an empty window nothing."""
    cut = list(Ranges(made).within(first, last))

    assert all(start <= end for start, end in cut)
    assert as_set(cut) == {number for number in as_set(made) if first <= number <= last}


@given(runs, st.integers(0, 41))
def test_beyond_and_run_after(made: list[Range], point: int) -> None:
    """What lies past a position, and how far it goes on without a gap."""
    numbers = as_set(made)
    end = point
    while end + 1 in numbers:
        end += 1

    assert as_set(Ranges(made).beyond(point)) == {number for number in numbers if number > point}
    assert Ranges(made).run_after(point) == end
