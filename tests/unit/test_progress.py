"""What the API says of rows, asked one by one and all at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.edge import Edge, Progress
from freshline.domain.progress import Fleet, percent, row_state, rows_with, worst
from freshline.domain.ranges import Ranges
from freshline.domain.task import Reason, Status

HEAD = 24

points = st.integers(0, HEAD + 4)
runs = st.lists(st.tuples(points.filter(bool), st.integers(0, 6)).map(lambda it: (it[0], sum(it))), max_size=4).map(
    Ranges
)
failures = st.lists(st.tuples(st.sampled_from(Reason), runs), max_size=2, unique_by=lambda it: it[0]).map(tuple)
edges = st.builds(
    Edge, st.just("e"), st.just("nginx"), st.just("g"), st.just("h:1"), st.just("h:2"), st.just("s"), joined=points
)
fleets = st.lists(st.tuples(edges, st.builds(Progress, points, runs, points, failures)), max_size=4)


def edge(joined: int = 0) -> Edge:
    return Edge("e", "nginx", "g", "h:1", "h:2", "s", joined)


@given(fleets, st.integers(1, HEAD))
def test_row_and_list_agree(fleet: Fleet, position: int) -> None:
    """A row is in the list of exactly the status it reads."""
    listed = [status for status in Status if position in rows_with(status, fleet, HEAD)]

    assert listed == [row_state(position, fleet).status]


@given(fleets, st.integers(0, HEAD))
def test_lists_share_out_all_rows(fleet: Fleet, head: int) -> None:
    """Every row up to the head is in one list, and none beyond it."""
    lists = [rows_with(status, fleet, head) for status in Status]

    assert sum(rows.size() for rows in lists) == head
    assert lists[0] | lists[1] | lists[2] | lists[3] == Ranges([(1, head)])


@given(fleets, st.integers(1, HEAD))
def test_hundred_percent_is_complete(fleet: Fleet, position: int) -> None:
    """100% is said of complete rows and of no others."""
    state = row_state(position, fleet)

    assert (state.process == "100%") == (state.status is Status.COMPLETE)
    assert bool(state.description) == (state.status is Status.FAILED)


def test_a_row_on_its_way() -> None:
    """Pending, then Refreshing once something was sent, then a share, then Complete."""

    def state(*progress: Progress) -> tuple[str, str]:
        it = row_state(7, [(edge(), one) for one in progress])
        return it.status.value, it.process

    assert state(Progress(6), Progress(0)) == ("Pending", "0%")
    assert state(Progress(6, begun=7), Progress(0)) == ("Refreshing", "0%")
    assert state(Progress(6, Ranges([(7, 7)])), Progress(0), Progress(0)) == ("Refreshing", "33.33%")
    assert state(Progress(7), Progress(9)) == ("Complete", "100%")


def test_an_edge_that_joined_later_is_not_asked() -> None:
    """Rows from before an edge joined do not wait for it."""
    fleet = [(edge(joined=7), Progress(0)), (edge(), Progress(7))]

    assert row_state(7, fleet).status is Status.COMPLETE
    assert row_state(8, fleet).status is Status.PENDING


def test_the_origin_is_blamed_first() -> None:
    """With several reasons, the one that tells most is printed."""
    failed = ((Reason.INTERNAL, Ranges([(1, 9)])), (Reason.ORIGIN_TIMEOUT, Ranges([(5, 5)])))
    fleet = [(edge(), Progress(9, failed=failed[:1])), (edge(), Progress(9, failed=failed))]

    assert row_state(5, fleet).description == "Origin Timeout"
    assert row_state(4, fleet).description == "Internal Error"
    assert worst([Reason.INTERNAL, Reason.ORIGIN_STATUS]) is Reason.ORIGIN_STATUS


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "100%"), (0, 3, "0%"), (1, 3, "33.33%"), (1, 2, "50%"), (99_999, 100_000, "99.99%"), (1, 8, "12.5%")],
)
def test_percent(part: int, whole: int, text: str) -> None:
    """Two places at most, and never rounded up to done."""
    assert percent(part, whole) == text
