"""A segment and its chunks say of their rows what the tasks said."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.task import Kind, Task, Wish
from freshline.log import share
from freshline.log.chunk import Chunk, Laid, Shape
from freshline.log.press import CHUNK_ROWS, FRAME_ROWS, Press, learn, rows_together
from freshline.log.segment import Segment

wishes = st.builds(
    Wish,
    st.sampled_from("12"),
    st.sampled_from(["a.test", "b.test"]),
    st.just("eu"),
    st.sampled_from(Kind),
    st.one_of(
        st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 3 * CHUNK_ROWS).map(lambda rows: ["/x"] * rows)
    ).map(tuple),
    st.booleans(),
    st.lists(st.tuples(st.text(), st.text()), max_size=1).map(tuple),
    st.sampled_from(["", "domestic"]),
    st.booleans(),
)
stretches = st.lists(st.lists(st.tuples(wishes, st.integers(0, 9)), min_size=1, max_size=5), min_size=1, max_size=4)
ANY = 1_000  #: added to a key of a domain, that of any


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


def key_of(wish: Wish) -> int:
    return 1 + "ab".index(wish.domain[0]) + 2 * list(Kind).index(wish.kind)


def any_of(key: int) -> int:
    return ANY + (key - 1) // 2


@given(stretches, st.integers(1, 1 << 40), st.booleans(), st.sets(st.integers(1, 12)))
def test_segments_joined_or_not(drawn: list[list[tuple[Wish, int]]], first: int, stored: bool, keys: set[int]) -> None:
    """Joined or not, stored or not, a segment finds every row and every mark where it was."""
    laid = lay(drawn, first)
    parts = [
        Segment.of(tasks[0].id, [(key_of(task.wish), len(task.wish.paths)) for task in tasks], f"{number:08x}")
        for number, tasks in enumerate(laid)
    ]
    segment = Segment.joined(parts)
    if stored:
        segment = Segment.decode(first, segment.encode())
    tasks = [task for part in laid for task in part]

    assert (segment.first, segment.last) == (first, tasks[-1].last)
    for number, part in enumerate(laid):
        for task in part:
            assert segment.mark(task.id) == segment.mark(task.last) == f"{number:08x}"
    rows: dict[int, list[int]] = {}
    for task in tasks:
        for key in (key_of(task.wish), any_of(key_of(task.wish))):
            rows.setdefault(key, []).extend(range(task.id - first, task.last - first + 1))
    shares = segment.shares(any_of)
    assert shares.keys() == rows.keys()
    for key, (count, held) in shares.items():
        assert count == len(rows[key])
        assert bits(rows[key]) == share.decode(held, segment.rows)
    assert segment.bits(keys) == bits([row for key in keys for row in rows.get(key, [])])


@given(stretches, st.integers(1, 1 << 40), st.booleans(), st.booleans(), st.booleans())
def test_chunks(drawn: list[list[tuple[Wish, int]]], first: int, again: bool, learned: bool, in_frames: bool) -> None:
    """Every row is in one chunk and frame, with its path and its task, also after the chunks were laid anew."""
    tasks = [task for part in lay(drawn, first) for task in part]
    shapes = [Shape.of(task.wish) for task in tasks]
    laid = Laid()
    for task, shape in zip(tasks, shapes, strict=True):
        laid.add(task.wish.paths, shapes.index(shape), task.created)
    press = Press(learn(laid.frames())) if learned else Press()
    stored = list(laid.chunks(first, press))
    if again:
        laid = Laid()
        for last, rows, created, blob in stored:
            laid.take(Chunk(last - rows + 1, created, *press.frames(blob, rows)))
        assert list(laid.chunks(first, press)) == stored

    seen = []
    for last, rows, created, blob in stored:
        assert rows <= CHUNK_ROWS
        parts = [Chunk(last - rows + 1, created, *press.frames(blob, rows))]
        if in_frames:
            together = rows_together(blob, rows)
            starts = range(last - rows + 1, last + 1, together)
            parts = [Chunk(start, created, press.frame(blob, rows, at)) for at, start in enumerate(starts)]
        for part in parts:
            for position in range(part.first, part.last + 1):
                place = part.place(position)
                shape, when = part.of(place)
                assert (shape, when) == (part.shapes[place], part.created[place])
                seen.append((position, part.path(position), part.span(place), when, shape))
    assert seen == [
        (task.id + at, path, (task.id, task.last), task.created, shapes.index(Shape.of(task.wish)))
        for task in tasks
        for at, path in enumerate(task.wish.paths)
    ]


@given(st.integers(1, CHUNK_ROWS), st.sampled_from([3, 30_000]), st.integers(1, 4))
def test_a_row_is_unpacked_with_few_others(rows: int, letters: int, long: int) -> None:
    """Of tasks with a row or two, however long those are; a long task's are one frame."""
    laid, dice = Laid(), random.Random(rows)
    for _ in range(rows):
        laid.add([dice.randbytes(letters).hex()] * long, 1, 0)
    press = Press(learn(laid.frames()))
    _, count, _, blob = next(laid.chunks(1, press))

    assert rows_together(blob, count) == (FRAME_ROWS if long < 3 else count)
    assert [len(Chunk(1, 0, frame).paths) for frame in press.frames(blob, count)] == [
        min(rows_together(blob, count), count - at) for at in range(0, count, rows_together(blob, count))
    ]
    assert Chunk(1, 0, *press.frames(blob, count)).paths == laid.paths[:count]


@given(wishes)
def test_shapes(wish: Wish) -> None:
    """A shape and the paths are the wish."""
    assert Shape.decode(Shape.of(wish).encode()).wish(wish.paths) == wish


@given(st.integers(1, 300), st.sets(st.integers(0, 299)), st.integers(0, 300), st.integers(1, 300), st.booleans())
def test_shares(rows: int, chosen: set[int], skip: int, limit: int, long: bool) -> None:
    """Bitmap, offsets or nothing: a share knows the rows it was made of, and lists them from the end."""
    rows += 3000 if long else 0  # few among many become offsets
    chosen = {row for row in chosen if row < rows}
    number, held = share.encode([bound for row in sorted(chosen) for bound in (row, row + 1)], rows)

    assert number == len(chosen)
    assert share.decode(held, rows) == bits(chosen)
    assert share.newest(bits(chosen), skip, limit) == sorted(chosen, reverse=True)[skip:][:limit]


def bits(rows: set[int] | list[int]) -> int:
    return sum(1 << row for row in rows)
