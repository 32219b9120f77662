"""A segment says of its rows what the tasks said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.task import Kind, Task, Wish
from freshline.log import share
from freshline.log.segment import ANY_DOMAIN, Segment, decode_chunk, encode_chunk

wishes = st.builds(
    Wish,
    st.sampled_from("12"),
    st.sampled_from(["a.test", "b.test"]),
    st.just("eu"),
    st.sampled_from(Kind),
    st.lists(st.just("/x"), min_size=1, max_size=5).map(tuple),
    st.booleans(),
    st.lists(st.tuples(st.text(), st.text()), max_size=1).map(tuple),
)
stretches = st.lists(st.lists(st.tuples(wishes, st.integers(0, 9)), min_size=1, max_size=5), min_size=1, max_size=4)
keysets = st.frozensets(
    st.tuples(st.sampled_from([None, "a.test", "b.test"]), st.sampled_from(Kind)), min_size=1, max_size=6
)


def lay(stretches: list[list[tuple[Wish, int]]], first: int) -> list[list[Task]]:
    """Tasks one after the other, as the log makes them."""
    out, created = [], 1_700_000_000
    for stretch in stretches:
        tasks = []
        for wish, pause in stretch:
            created += pause
            tasks.append(Task(first, created, wish))
            first += len(wish.paths)
        out.append(tasks)
    return out


@given(stretches, st.integers(1, 1 << 40), st.booleans(), keysets)
def test_segments_joined_or_not(
    drawn: list[list[tuple[Wish, int]]], first: int, stored: bool, keys: frozenset[tuple[str | None, Kind]]
) -> None:
    """Joined or not, stored or not, a segment finds every row, task, time and mark where it was."""
    laid = lay(drawn, first)
    parts = [Segment.of(tasks, f"{number:08x}") for number, tasks in enumerate(laid)]
    segment = Segment.joined(parts)
    if stored:
        segment = Segment.decode(first, segment.encode())
    tasks = [task for part in laid for task in part]

    assert (segment.first, segment.last, len(segment)) == (first, tasks[-1].last, len(tasks))
    for number, part in enumerate(laid):
        for task in part:
            place = segment.at(task.last)
            shape = segment.shapes[segment.which[place]]
            assert segment.span(place) == (task.id, task.last)
            assert segment.created + segment.ages[place] == task.created
            assert (shape.account, shape.domain, shape.group, shape.kind, shape.force, shape.headers) == (
                task.wish.account,
                task.wish.domain,
                task.wish.group,
                task.wish.kind,
                task.wish.force,
                task.wish.headers,
            )
            assert segment.mark(task.id) == segment.mark(task.last) == f"{number:08x}"

    rows: dict[tuple[str, str, Kind], list[int]] = {}
    for task in tasks:
        for domain in (task.wish.domain, ANY_DOMAIN):
            mine = rows.setdefault((task.wish.account, domain, task.wish.kind), [])
            mine += range(task.id - first, task.last - first + 1)
    shares = segment.shares()
    assert shares.keys() == rows.keys()
    for key, (count, held) in shares.items():
        assert count == len(rows[key])
        assert [at for at in range(segment.rows) if share.count(held, at, at)] == rows[key]

    window = (first + 2, tasks[-1].last - 1)
    found = [at for run in segment.runs("1", keys, *window) for at in range(run[0], run[1] + 1)]
    assert found == [
        at
        for task in tasks
        for at in range(task.id, task.last + 1)
        if window[0] <= at <= window[1]
        and task.wish.account == "1"
        and ({(None, task.wish.kind), (task.wish.domain, task.wish.kind)} & keys)
    ]
    assert segment.count("1", keys, *window) == len(found)

    for seconds in range(tasks[0].created - 1, tasks[-1].created + 2):
        assert segment.since(seconds) == next((task.id for task in tasks if task.created >= seconds), None)


@given(st.integers(1, 300), st.sets(st.integers(0, 299)), st.integers(0, 299), st.integers(0, 299), st.booleans())
def test_shares(rows: int, chosen: set[int], first: int, last: int, long: bool) -> None:
    """Bitmap, offsets or nothing: a share counts the rows it was made of, in any window."""
    rows += 3000 if long else 0  # few among many become offsets
    chosen = {row for row in chosen if row < rows}
    first, last = min(first, rows - 1), min(last, rows - 1)
    number, held = share.encode([bound for row in sorted(chosen) for bound in (row, row + 1)], rows)

    assert number == len(chosen)
    if first <= last:
        assert share.count(held, first, last) == sum(first <= row <= last for row in chosen)


@given(st.lists(st.text()))
def test_paths_come_back(paths: list[str]) -> None:
    """Whatever is in a path, a chunk gives it back."""
    assert decode_chunk(encode_chunk(paths)) == paths
