"""What freshline/log/base.py promises, asked of every log there is."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freshline.domain.edge import Evidence, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Reason, Task, Wish
from freshline.log import merging, store
from freshline.log.base import Log, LogUnavailable, Overspent, Query, Selection, Spend
from freshline.log.memory import MemoryLog
from freshline.log.sqlite import SqliteLog

DAY = 86_400
NOON = 20_000 * DAY + DAY // 2
ALL = Ranges([(1, 1 << 40)])
KINDS = tuple(Kind)


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    made: Log = MemoryLog() if request.param == "memory" else SqliteLog.open(tmp_path / "log.db")
    yield made
    await made.close()


def wish(*paths: str, account: str = "1", domain: str = "a.test", kind: Kind = Kind.FILE) -> Wish:
    return Wish(account, domain, "default", kind, paths or (f"http://{domain}/x",))


def every(account: str = "1", *, domain: str | None = None, kinds: tuple[Kind, ...] = KINDS, **more: object) -> Query:
    return replace(Query(account, (Selection(domain, kinds, ALL),)), **more)


# -- appending --------------------------------------------------------------------------------------------------------


async def test_positions_are_dense(log: Log) -> None:
    """Tasks lie one after the other, and an id is the position of the first row."""
    first, second = await log.append([wish("/a", "/b"), wish("/c")], now=NOON)
    (third,) = await log.append([wish("/d")], now=NOON)

    assert [(task.id, task.last) for task in (first, second, third)] == [(1, 2), (3, 3), (4, 4)]
    assert (log.oldest, log.head) == (1, 4)


async def test_task_comes_back_whole(log: Log) -> None:
    """What a task was made of is what it is found with."""
    asked = Wish("1", "a.test", "eu", Kind.PRELOAD, ("/ü", "/b\nc"), force=True, headers=(("X-A", "1"), ("X-B", "")))
    (task,) = await log.append([asked], now=NOON + 0.7)

    (other,) = await log.append([wish("/c")], now=NOON)

    assert log.task(task.id) == task == Task(1, NOON, asked)
    assert log.task(2) is None
    assert log.tasks([other.id, 2, task.id, 99]) == [other, None, task, None]


async def test_empty_log(log: Log) -> None:
    """A new log has nothing before, in or after it."""
    assert (log.head, log.oldest, log.position_at(0)) == (0, 1, 1)
    assert log.read(0, 10) == []
    assert log.find(every()).total == 0
    assert log.mark(0) == log.id
    assert log.mark(1) is None
    assert log.evidence("e", 1) == []


async def test_clock_that_goes_back(log: Log) -> None:
    """Created never goes back along the log."""
    await log.append([wish()], now=NOON)
    (task,) = await log.append([wish()], now=NOON - 3 * DAY)

    assert task.created == NOON


async def test_read_starts_with_the_task_that_holds_the_next_row(log: Log) -> None:
    """A reader that stopped inside a task gets the whole of it again."""
    tasks = await log.append([wish("/a", "/b"), wish("/c", "/d"), wish("/e")], now=NOON)

    assert log.read(0, 1) == tasks[:1]
    assert log.read(0, 3) == tasks[:2]
    assert log.read(2, 100) == tasks[1:]
    assert log.read(3, 100) == tasks[1:]
    assert log.read(5, 100) == []


async def test_rows_are_those_of_the_tasks(log: Log) -> None:
    """From any position to any other, whatever tasks and commits they came in."""
    dice = random.Random(5)
    rows: list[tuple[int, Wish]] = []
    whose: list[int] = []
    for _ in range(12):
        wishes = [
            wish(
                *(f"/{dice.random()}" for _ in range(dice.choice([1, 1, 1, 57, 70, 200]))),
                domain=dice.choice("aab") + ".test",
            )
            for _ in range(dice.randint(1, 5))
        ]
        for task in await log.append(wishes, now=NOON):
            rows += (
                (task.id + at, msgspec.structs.replace(task.wish, paths=(path,)))
                for at, path in enumerate(task.wish.paths)
            )
            whose += [task.id] * len(task.wish.paths)

    for _ in range(60):
        after, upto = sorted(dice.choices(range(log.head + 100), k=2))
        found = log.rows(after, upto)

        assert [
            (alike.first + at, msgspec.structs.replace(alike.wish, paths=(path,)))
            for alike in found
            for at, path in enumerate(alike.wish.paths)
        ] == rows[after:upto]
        assert all(alike.last == alike.first + len(alike.wish.paths) - 1 for alike in found)
        assert [task for alike in log.rows(after, upto, whose=True) for task in alike.tasks] == whose[after:upto]


async def test_wakes_after_each_commit(log: Log) -> None:
    """Who follows the log is told when there is more, and then it is there."""
    seen: list[int] = []
    log.on_append(lambda: seen.append(log.head))
    await log.append([wish("/a", "/b")], now=NOON)
    await log.append([wish("/c")], now=NOON)

    assert seen == [2, 3]


async def test_marks(log: Log) -> None:
    """Rows of one call share a mark, another log has other marks, and they stay."""
    await log.append([wish("/a", "/b"), wish("/c")], now=NOON)
    marks = [log.mark(position) for position in (1, 2, 3)]
    await log.append([wish("/d")], now=NOON)

    assert len(set(marks)) == 1
    assert [log.mark(position) for position in (1, 2, 3)] == marks
    assert log.mark(4) not in marks
    assert log.mark(5) is None


async def test_a_closed_log_refuses(log: Log) -> None:
    """After close nothing is taken in."""
    await log.close()
    with pytest.raises(LogUnavailable):
        await log.append([wish()], now=NOON)


# -- quota ------------------------------------------------------------------------------------------------------------


def spend(amount: int, limit: int = 10, bucket: str = "url", day: int = 7) -> Spend:
    return Spend("1", day, bucket, amount, limit)


async def test_spends_add_up(log: Log) -> None:
    """Each day and bucket is counted for itself."""
    await log.append([wish()], [spend(3), spend(1, bucket="dir")], now=NOON)
    await log.append([wish()], [spend(4), spend(2, day=8)], now=NOON)

    assert log.used("1", 7) == {"url": 7, "dir": 1}
    assert log.used("1", 8) == {"url": 2}
    assert log.used("2", 7) == {}


async def test_overspent_stores_nothing(log: Log) -> None:
    """A call that passes one limit leaves no task, and no spend of its other buckets."""
    await log.append([wish()], [spend(8)], now=NOON)
    with pytest.raises(Overspent) as refused:
        await log.append([wish()], [spend(1, bucket="dir"), spend(3)], now=NOON)

    assert refused.value.args == ("url",)
    assert log.used("1", 7) == {"url": 8}
    assert log.head == 1


async def test_two_spends_of_one_call_count_together(log: Log) -> None:
    """Half the limit twice is all of it."""
    with pytest.raises(Overspent):
        await log.append([wish()], [spend(6), spend(6)], now=NOON)
    assert log.used("1", 7) == {}


async def test_never_overspent_by_many_at_once(log: Log) -> None:
    """However many call at once, what gets through fits the limit, and the rest spoils nothing."""

    async def call() -> bool:
        try:
            await log.append([wish()], [spend(3, limit=100)], now=NOON)
        except Overspent:
            return False
        return True

    passed = sum(await asyncio.gather(*(call() for _ in range(60))))

    assert passed == 33
    assert log.used("1", 7) == {"url": 99}
    assert log.head == 33


# -- finding ----------------------------------------------------------------------------------------------------------


async def test_newest_row_first(log: Log) -> None:
    """A page counts all and shows its part, the newest row first."""
    tasks = await log.append([wish("/a", "/b"), wish("/c")], now=NOON)
    page = log.find(every(limit=2))

    assert page.total == 3
    assert [(row.position, row.path, row.task) for row in page.rows] == [(3, "/c", tasks[1].id), (2, "/b", 1)]
    assert [row.path for row in log.find(every(offset=2)).rows] == ["/a"]
    assert log.find(every(offset=3)).rows == ()


async def test_found_by_what_was_asked(log: Log) -> None:
    """Account, domain, kind and positions all narrow."""
    await log.append([wish("/a"), wish("/b", domain="b.test"), wish("/c", account="2")], now=NOON)
    await log.append([wish("/d", kind=Kind.DIRECTORY), wish("/e", "/f", "/g")], now=NOON)

    def paths(query: Query) -> str:
        page = log.find(query)
        assert page.total == len(page.rows)
        return "".join(row.path for row in page.rows)

    assert paths(every()) == "/g/f/e/d/b/a"
    assert paths(every("2")) == "/c"
    assert paths(every("3")) == ""
    assert paths(every(domain="b.test")) == "/b"
    assert paths(every(kinds=(Kind.DIRECTORY, Kind.TAG))) == "/d"
    assert paths(Query("1", (Selection(None, KINDS, Ranges([(2, 2), (6, 6)])),))) == "/f/b"
    two = (Selection("a.test", KINDS, Ranges([(5, 9)])), Selection("b.test", (Kind.FILE,), ALL))
    assert paths(Query("1", two)) == "/g/f/e/b"


async def test_found_by_path(log: Log) -> None:
    """Every row with exactly this path, of the domain and the kinds asked for."""
    await log.append([wish("/a", "/b"), wish("/a", domain="b.test"), wish("/a", kind=Kind.TAG)], now=NOON)
    await log.append([wish("/aa", "/a")], now=NOON + DAY)

    def positions(query: Query) -> list[int]:
        return [row.position for row in log.find(query).rows]

    assert positions(every(domain="a.test", path="/a")) == [6, 4, 1]
    assert positions(every(domain="a.test", path="/a", kinds=(Kind.FILE,))) == [6, 1]
    assert positions(every(domain="b.test", path="/a")) == [3]
    assert positions(every(path="/a", limit=2, offset=1)) == [4, 3]
    assert log.find(every(path="/a", limit=2, offset=1)).total == 4
    assert positions(Query("1", (Selection("a.test", KINDS, Ranges([(2, 5)])),), path="/a")) == [4]


async def test_position_at(log: Log) -> None:
    """A time becomes the first position created then or later."""
    await log.append([wish("/a", "/b")], now=NOON)
    await log.append([wish("/c")], now=NOON + 10)
    assert log.position_at(NOON + 2 * DAY + 1) == 4
    await log.append([wish("/d")], now=NOON + 2 * DAY)
    at = [0, NOON, NOON + 1, NOON + 10, NOON + 11, NOON + DAY, NOON + 2 * DAY, NOON + 2 * DAY + 1]

    assert [log.position_at(seconds) for seconds in at] == [1, 1, 3, 3, 4, 4, 4, 5]


# -- edges ------------------------------------------------------------------------------------------------------------


async def test_the_newest_progress_counts(log: Log) -> None:
    """Settling replaces what was known of the edge, and of no other."""
    done = Progress(9, Ranges([(12, 15), (20, 20)]), 30, ((Reason.INTERNAL, Ranges([(3, 4)])),))
    assert log.progress("e") is None
    await asyncio.gather(log.settle("e", Progress(cursor=1)), log.settle("f", Progress(2)), log.settle("e", done))

    assert log.progress("e") == done
    assert log.progress("f") == Progress(2)


async def test_evidence(log: Log) -> None:
    """What was said about a position, oldest first, however long the batch was."""
    await log.append([wish(*"abcdefgh")], now=NOON)
    said = [
        Evidence("e", 1, 8, 1.0, 1.5, "whole"),
        Evidence("e", 2, 3, 2.0, 2.5, "two"),
        Evidence("e", 3, 3, 3.0, 3.5, ""),
    ]
    await asyncio.gather(
        log.settle("e", Progress(3), said[:2]),
        log.settle("e", Progress(4), said[2:]),
        log.settle("f", Progress(8), [Evidence("f", 1, 8, 0.0, 0.0, "other")]),
    )

    assert log.evidence("e", 1) == said[:1]
    assert log.evidence("e", 2) == said[:2]
    assert log.evidence("e", 3) == said
    assert log.evidence("e", 4) == said[:1]
    assert log.evidence("e", 9) == []
    assert log.evidence("g", 1) == []


async def test_when_the_last_was_heard(log: Log) -> None:
    """Of some edges and rows, whoever else said something later and about whatever else."""
    await log.append([wish(*"abcdefgh")], now=NOON)
    await log.settle("e", Progress(4), [Evidence("e", 1, 4, 1.0, 9.5, "late"), Evidence("e", 5, 8, 1.0, 2.5, "early")])
    await log.settle("f", Progress(8), [Evidence("f", 1, 8, 1.0, 3.5, "whole")])

    assert log.heard({"e", "f"}, 1, 8) == log.heard({"e"}, 4, 5) == 9.5
    assert log.heard({"e"}, 5, 8) == 2.5
    assert log.heard({"e", "f"}, 5, 5) == log.heard({"f"}, 1, 1) == 3.5
    assert log.heard({"g"}, 1, 8) == log.heard(set(), 1, 8) == log.heard({"e"}, 9, 12) == 0.0


async def test_forget(log: Log) -> None:
    """A forgotten edge is none any more, and begins anew under the same name; what it did is told as of one gone."""
    await log.append([wish()], now=NOON)
    await log.settle("e", Progress(1), [Evidence("e", 1, 1, 0.0, 0.0, "old")])
    await log.forget("never was")
    await log.forget("e", ["eu", "asia"], joined=0)
    assert (log.progress("e"), log.evidence("e", 1)) == (None, [])
    (gone,) = log.gone()
    assert (gone.name, gone.groups, gone.joined, gone.went, gone.progress) == ("e", ("asia", "eu"), 0, 1, Progress(1))
    assert [it.said for it in log.evidence_of(gone, 1, 1)] == ["old"]

    await log.settle("e", Progress(0), [Evidence("e", 1, 1, 0.0, 0.0, "new")])
    assert [it.said for it in log.evidence("e", 1)] == ["new"]
    await log.append([wish()], now=NOON + DAY)
    await log.forget("e")
    assert [(it.went, log.evidence_of(it, 1, 1)[0].said) for it in log.gone()] == [(1, "old"), (2, "new")]
    await log.drop_before(NOON + DAY)
    assert [(it.went, log.evidence_of(it, 1, 2)) for it in log.gone()] == [(2, [])]


# -- days -------------------------------------------------------------------------------------------------------------


async def test_whole_days_are_dropped(log: Log) -> None:
    """A day goes when all of it is older, with its rows, evidence and quota; positions go on."""
    await log.append([wish("/a")], [spend(1, day=20_000)], now=NOON)
    await log.append([wish("/b")], [spend(1, day=20_001)], now=NOON + DAY)
    await log.settle("e", Progress(2), [Evidence("e", 1, 2, 0.0, 0.0, "both")])
    await log.drop_before(NOON + DAY // 2 - 1)
    assert (log.oldest, log.position_at(0)) == (1, 1)

    await log.drop_before(NOON + DAY)
    assert (log.oldest, log.head) == (2, 2)
    assert (log.task(1), log.evidence("e", 1)) == (None, [])
    assert [row.position for row in log.find(every()).rows] == [2]
    assert log.find(every(domain="a.test", path="/a")).total == 0
    assert [it.said for it in log.evidence("e", 2)] == ["both"]
    assert log.progress("e") == Progress(2)
    assert log.position_at(0) == 2

    await log.drop_before(NOON + 10 * DAY)
    assert (log.oldest, log.head, log.position_at(0)) == (3, 2, 3)
    assert (log.used("1", 20_000), log.used("1", 20_001)) == ({}, {})
    (task,) = await log.append([wish("/c")], now=NOON)
    assert (task.id, task.created) == (3, NOON + DAY)


async def test_a_day_that_was_dropped_begins_anew(log: Log) -> None:
    """A clock that was ahead when days were dropped, and is set back: nothing of the old day is seen in the new one."""
    await log.append([wish("/a")], now=NOON)
    assert log.task(1) is not None
    await log.drop_before(NOON + DAY)
    other = Wish("2", "b.test", "h", Kind.DIRECTORY, ("http://b.test/",))

    (task,) = await log.append([other], now=NOON + 10)

    assert log.task(task.id).wish == other
    assert [rows.wish for rows in log.rows(task.id - 1, task.id)] == [other]


# -- any history ------------------------------------------------------------------------------------------------------

accounts = st.sampled_from(["1", "2"])
domains = st.sampled_from(["a.test", "b.test", "c.test"])
paths = st.sampled_from(["/a", "/b", "/a/", "/ü", ""])
kinds = st.sampled_from(KINDS)
wishes = st.builds(
    Wish,
    accounts,
    domains,
    st.sampled_from(["eu", "us"]),
    kinds,
    st.lists(paths, min_size=1, max_size=9).map(tuple),
    st.booleans(),
    st.sampled_from([(), (("A", "b"),)]),
)
spends = st.lists(
    st.builds(
        Spend, accounts, st.integers(19_999, 20_003), st.sampled_from(["url", "dir"]), st.integers(0, 9), st.just(30)
    ),
    max_size=3,
)
calls = st.tuples(st.lists(wishes, max_size=4), spends, st.integers(-DAY, DAY))
points = st.integers(0, 200)
ranges = st.lists(st.tuples(points, st.integers(0, 60)).map(lambda run: (run[0], sum(run))), max_size=6).map(Ranges)
reasons = st.lists(st.tuples(st.sampled_from(Reason), ranges), max_size=3, unique_by=lambda it: it[0]).map(tuple)
edges = st.sampled_from(["e", "f"])
progresses = st.builds(Progress, points, ranges, points, reasons)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(calls, min_size=1, max_size=5)),
        st.tuples(st.just("settle"), st.tuples(edges, progresses, st.lists(st.tuples(points, points), max_size=3))),
        st.tuples(st.just("forget"), edges),
        st.tuples(st.just("drop"), st.integers(-3 * DAY, DAY)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=12,
)
selections = st.tuples(
    st.lists(domains, unique=True, max_size=3),
    st.lists(kinds, unique=True, min_size=1),
    st.lists(ranges, min_size=3, max_size=3),
)
queries = st.lists(
    st.tuples(accounts, selections, st.none() | paths, st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=5
)


def query_of(drawn: tuple) -> Query:
    account, (names, some, within), path, offset, limit = drawn
    chosen = tuple(Selection(name, tuple(some), run) for name, run in zip(names, within, strict=False))
    return Query(account, chosen or (Selection(None, tuple(some), within[0]),), path, offset, limit)


@given(steps=steps, asked=queries, small=st.booleans())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_sqlite_answers_like_memory(
    steps: list, asked: list, small: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was appended, settled and dropped, every question has the answer of plain lists."""
    file = tmp_path_factory.mktemp("log") / "log.db"
    with pytest.MonkeyPatch.context() as patch:
        if small:  # so that a few rows fill tails and segments, are merged, and pages are halved
            patch.setattr(merging, "SEGMENT_ROWS", 8)
            patch.setattr(store, "SEGMENT_ROWS", 8)
            patch.setattr(store, "TAIL_ROWS", 5)
            patch.setattr("freshline.log.chunk.CHUNK_ROWS", 5)
            patch.setattr("freshline.log.chunk.FRAME_ROWS", 2)
            patch.setattr("freshline.log.view.NEW_ROWS", 3)
            patch.setattr("freshline.log.finding.FEW_KEYS", 2)
            patch.setattr("freshline.log.finding.FEW_ROWS", 4)
            for module in ("digest", "gathering"):
                patch.setattr(f"freshline.log.{module}.BUCKETS", 16)
            patch.setattr("freshline.log.gathering.STEP_BUCKETS", 8)
            patch.setattr("freshline.log.gathering.TOGETHER", 2)
            patch.setattr("freshline.log.gathering.PART_ENTRIES", 1)
            patch.setattr("freshline.log.gathering.SAMPLE_BUCKETS", 1)
            patch.setattr("freshline.log.finding.STROLL", 2)
        asyncio.run(_compare(file, steps, [query_of(drawn) for drawn in asked]))


@pytest.mark.parametrize("seed", range(4))
async def test_every_page_of_a_long_log(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page after page, over days and segments of all sizes, nothing is missing, twice there or out of order."""
    monkeypatch.setattr("freshline.log.finding.STROLL", 5)
    dice = random.Random(seed)
    memory, sqlite = MemoryLog(), SqliteLog.open(tmp_path / "log.db")
    for at in range(250):
        rows = dice.choice([1, 1, 1, 2, 5, 40])
        more = [
            wish(
                *(f"/{dice.randrange(9)}" for _ in range(rows)), domain=dice.choice("abc"), kind=dice.choice(KINDS[:3])
            )
            for _ in range(dice.choice([1, 1, 3]))
        ]
        for log in (memory, sqlite):
            await log.append(more, now=NOON + at * 700)

    def runs(longest: int) -> Ranges:
        starts = [dice.randrange(memory.head) + 1 for _ in range(30)]
        return Ranges((start, start + dice.randrange(longest)) for start in starts)

    for query in (
        every(),
        every(domain="b"),
        every(kinds=KINDS[1:2]),
        Query("1", (Selection(None, KINDS, runs(60)),)),
        Query("1", (Selection("a", KINDS[:2], runs(300)), Selection("b", KINDS, runs(9)), Selection("c", KINDS, ALL))),
        every(domain="c", path="/4"),
    ):
        whole = memory.find(replace(query, limit=1 << 20))
        for offset in range(0, whole.total + 2, 3):
            page = sqlite.find(replace(query, offset=offset, limit=4))
            assert page.total == whole.total
            assert page.rows == whole.rows[offset : offset + 4]
    await sqlite.close()


async def _compare(file: Path, steps: list, asked: list[Query]) -> None:
    memory, sqlite = MemoryLog(), SqliteLog.open(file)
    clock = itertools.count(NOON, 9_000)
    marks: dict[int, str | None] = {}
    try:
        for what, detail in steps:
            now = next(clock)
            if what == "append":
                results = []
                for log in (memory, sqlite):
                    appends = [log.append(wishes, spends, now=now + skew) for wishes, spends, skew in detail]
                    results.append(await _outcomes(appends))
                assert results[0] == results[1]
            elif what == "settle":
                edge, progress, spans = detail
                head = memory.head
                about = [
                    Evidence(edge, min(it), max(it), now, now + 1.5, f"{it}")
                    for it in spans
                    if head and max(it) <= head
                ]
                for log in (memory, sqlite):
                    await log.settle(edge, progress, about)
            elif what == "forget":
                for log in (memory, sqlite):
                    await log.forget(detail)
            elif what == "drop":
                for log in (memory, sqlite):
                    await log.drop_before(now + detail)
            else:
                await sqlite.close()
                sqlite = SqliteLog.open(file)
            for position in range(sqlite.oldest, sqlite.head + 1):
                marks.setdefault(position, sqlite.mark(position))
                assert sqlite.task(position) == memory.task(position)
        _agree(memory, sqlite, asked)
        _agree(memory, SqliteLog.reader(file), asked)
        for position in range(sqlite.oldest, sqlite.head + 1):
            assert sqlite.mark(position) == marks[position]
    finally:
        await sqlite.close()


async def _outcomes(appends: list) -> list[object]:
    settled = await asyncio.gather(*appends, return_exceptions=True)
    return [it.args if isinstance(it, Overspent) else it for it in settled]


def _agree(memory: MemoryLog, other: Log, asked: list[Query]) -> None:
    questions: list[Callable[[Log], object]] = [lambda log: (log.head, log.oldest)]
    questions += [lambda log, it=it: log.find(it) for it in asked]
    for at in range(0, memory.head + 3, 2):
        questions += [
            lambda log, at=at: log.task(at),
            lambda log, at=at: log.read(at, 7),
            lambda log, at=at: log.evidence("e", at),
        ]
    questions += [lambda log, at=at: log.position_at(at) for at in range(NOON - DAY, NOON + 2 * DAY, 3_000)]
    questions += [lambda log, day=day: log.used("1", day) for day in range(19_998, 20_004)]
    questions += [lambda log: log.progress("e"), lambda log: log.progress("f")]
    for question in questions:
        assert question(other) == question(memory)


async def test_the_last_mark_that_was_dropped_is_still_known(log: Log) -> None:
    """An edge that stood at the head of a log now empty has missed nothing, so it need not be flushed."""
    await log.append([wish("/a", "/b")], now=NOON)
    mark = log.mark(2)

    await log.drop_before(NOON + 10 * DAY)

    assert log.oldest == 3
    assert log.mark(2) == mark
    assert log.mark(1) is None


def group_of(log: Log, account: str, domain: str, position: int) -> str:
    """By what the log says of where rows are placed."""
    runs = log.placed(account)[domain]
    return [group for first, group in runs if first <= position or first == runs[0][0]][-1]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("12"), st.sampled_from(["a.test", "b.test"]), st.sampled_from("gh"), st.booleans()),
        max_size=20,
    )
)
def test_where_rows_are_placed(tmp_path: Path, steps: list[tuple[str, str, str, bool]]) -> None:
    """The group of every row that is kept, after days were dropped, and after the log was opened again."""

    async def live(memory: MemoryLog, file: Path) -> None:
        sqlite = SqliteLog.open(file)
        for log in (memory, sqlite):
            now = 0
            for account, domain, group, next_day in steps:
                now += 86_400 * next_day
                await log.append(
                    [msgspec.structs.replace(wish("/a", "/b", account=account, domain=domain), group=group)], now=now
                )
            await log.drop_before(now - 86_400)
        for task in memory.read(0, 1000):
            for log in (memory, sqlite):
                for position in range(task.id, task.last + 1):
                    assert group_of(log, task.wish.account, task.wish.domain, position) == task.wish.group
        kept = {account: sqlite.placed(account) for account in "12"}
        await sqlite.close()
        again = SqliteLog.open(file)
        assert {account: again.placed(account) for account in "12"} == kept
        assert SqliteLog.reader(file).placed("1") == kept["1"]
        await again.close()

    with TemporaryDirectory(dir=tmp_path) as home:
        asyncio.run(live(MemoryLog(), Path(home) / "log.db"))


async def test_bytes_of_a_prefetch_are_summed_by_task_and_edge(log: Log) -> None:
    """However many pieces of evidence bring them; they go with the edge, and with the task's day."""
    await log.append([wish("a", "b"), wish("c")], now=NOON)
    for first, size in ((1, 100), (2, 20), (3, 7)):
        piece = Evidence("e", first, first, NOON, NOON, "fetched", size, 3 if first == 3 else 1)
        await log.settle("e", Progress(), [piece])
    await log.settle("f", Progress(), [Evidence("f", 1, 2, NOON, NOON, "fetched", 5, 1)])

    assert log.warmed(1) == {"e": 120, "f": 5}
    assert log.warmed(3) == {"e": 7}
    assert log.warmed(2) == {}
    await log.forget("f")
    assert log.warmed(1) == {"e": 120}
    await log.drop_before(int(NOON) + 5 * 86_400)
    assert log.warmed(1) == {}
