"""What only a file can get wrong: crashes, locks, full disks, other processes, and small segments merged."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from freshline.datafile import InUse, WrongFile
from freshline.domain.edge import Evidence, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Task, Wish
from freshline.log import digest, gathering, merging, store, writer
from freshline.log.base import LogUnavailable, Overspent, Query, Selection, Spend
from freshline.log.gathering import Gathering
from freshline.log.press import is_plain
from freshline.log.sqlite import SqliteLog
from freshline.log.statements import statements

NOON = 20_000 * 86_400 + 43_200
DAY = 86_400
ALL = Ranges([(1, 1 << 40)])

CHILD = """
import asyncio, itertools, sys
from freshline.domain.edge import Progress
from freshline.domain.task import Kind, Wish
from freshline.log.base import Overspent, Spend
from freshline.log.sqlite import SqliteLog

async def call(log, name):
    for number in itertools.count():
        path = f"/{name}/{number}"
        wish = Wish("1", "a.test", "eu", Kind.FILE, (path, path + "/2"))
        (task,) = await log.append([wish], [Spend("1", 1, "url", 2, 1 << 40)], now=1_728_043_200)
        await log.settle(name, Progress(cursor=task.id))
        print(task.id, path, name, flush=True)

async def main():
    log = SqliteLog.open(sys.argv[1])
    await asyncio.gather(*(call(log, f"w{number}") for number in range(8)))

asyncio.run(main())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def wish(*paths: str) -> Wish:
    return Wish("1", "a.test", "eu", Kind.FILE, paths or ("/x",))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # the writer's thread tells nobody that it is done
        await asyncio.sleep(0.005)


def run_and_kill(script: str, file: Path, *, after_lines: int) -> list[str]:
    """Everything a script said until it was killed, some time after so many lines."""
    with subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after_lines)]
        child.send_signal(signal.SIGKILL)
        return lines + child.stdout.readlines()


def copy_cut(source: Path, target: Path, bytes_off: int) -> None:
    whole = source.read_bytes()
    target.write_bytes(whole[: len(whole) - bytes_off])


def size(file: Path) -> int:
    return file.stat().st_size


def halve(file: Path) -> None:
    copy_cut(file, file, size(file) // 2)


async def test_everything_is_there_after_reopening(file: Path) -> None:
    """Closed and opened again, the log is the same log."""
    log = SqliteLog.open(file)
    tasks = await log.append([wish("/a", "/b")], [Spend("1", 7, "url", 2, 10)], now=NOON)
    await log.settle("e", Progress(1, Ranges([(2, 2)])), [Evidence("e", 1, 1, 1.0, 2.0, "ok")])
    before = (log.id, log.head, log.mark(1), log.progress("e"), log.evidence("e", 1), log.used("1", 7), log.read(0, 9))
    await log.close()

    log = SqliteLog.open(file)
    assert before == (
        log.id, log.head, log.mark(1), log.progress("e"), log.evidence("e", 1), log.used("1", 7), log.read(0, 9)
    )  # fmt: skip
    with pytest.raises(Overspent):
        await log.append([wish()], [Spend("1", 7, "url", 9, 10)], now=NOON)
    (task,) = await log.append([wish()], now=NOON - 100)
    assert (task.id, task.created) == (tasks[-1].last + 1, NOON)
    await log.close()


@pytest.mark.parametrize("merge_rows", [4_096, 64])
async def test_killed_under_load(file: Path, merge_rows: int) -> None:
    """Every id that was answered is there after kill -9, and nothing is half there."""
    patch = f"from freshline.log import merging; merging.SEGMENT_ROWS = {merge_rows}\n"
    lines = run_and_kill(patch + CHILD, file, after_lines=600)

    log = SqliteLog.open(file)
    newest: dict[str, int] = {}
    for line in lines:
        if line.endswith("\n"):
            id_, path, name = line.split()
            task = log.task(int(id_))
            assert task is not None
            assert task.wish.paths[0] == path
            newest[name] = int(id_)
    for name, id_ in newest.items():
        progress = log.progress(name)
        assert progress is not None
        assert progress.cursor >= id_
    held = log.read(0, 1 << 30)
    assert [task.id for task in held] == list(range(1, log.head, 2))
    assert log.find(Query("1", (Selection("a.test", (Kind.FILE,), ALL),))).total == log.head
    assert log.find(Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path=held[-1].wish.paths[1])).total == 1
    assert log.used("1", 1) == {"url": log.head}
    await log.close()


async def test_one_writer(file: Path) -> None:
    """A second service is told who has the log; a reader is welcome."""
    log = SqliteLog.open(file)
    with pytest.raises(InUse, match=f"{file} is in use by process {os.getpid()}"):
        SqliteLog.open(file)
    await log.close()
    await SqliteLog.open(file).close()


async def test_readers_see_what_is_committed(file: Path) -> None:
    """Another process sees every commit at once, also the path of a row just appended, and can change nothing."""
    log = SqliteLog.open(file)
    reader = SqliteLog.reader(file)
    assert (reader.id, reader.head, reader.oldest) == (log.id, 0, 1)
    tasks = await log.append([wish("/a", "/b")], [Spend("1", 7, "url", 2, 10)], now=NOON)
    await log.settle("e", Progress(2), [Evidence("e", 1, 2, 1.0, 2.0, "ok")])

    assert reader.read(0, 9) == tasks
    assert reader.find(Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path="/b")).rows[0].position == 2
    assert reader.progress("e") == Progress(2)
    assert reader.evidence("e", 2) == log.evidence("e", 2)
    assert reader.used("1", 7) == {"url": 2}
    with pytest.raises(LogUnavailable):
        await reader.append([wish()], now=NOON)
    await log.close()
    await reader.close()


async def test_reading_a_log_nobody_writes(file: Path) -> None:
    """The service need not run for its log to be looked at; without a file there is nothing to look at."""
    with pytest.raises(FileNotFoundError, match=str(file)):
        SqliteLog.reader(file)
    log = SqliteLog.open(file)
    tasks = await log.append([wish()], now=NOON)
    await log.close()

    reader = SqliteLog.reader(file)
    assert reader.read(0, 9) == tasks
    await reader.close()


def test_wrong_files_are_named(file: Path) -> None:
    """A text, another program's database, another kind and another version are refused by name."""
    file.write_text("not a database, but long enough to look at\n" * 100)
    with pytest.raises(WrongFile, match=f"{file} is no freshline log"):
        SqliteLog.open(file)
    for script, words in (
        ("CREATE TABLE t (x)", "is no freshline log"),
        ("CREATE TABLE file (what, version); INSERT INTO file VALUES ('inventory', 1)", "but a freshline inventory"),
        ("CREATE TABLE file (what, version); INSERT INTO file VALUES ('log', 99)", "of version 99; this program needs"),
    ):
        file.unlink()
        with sqlite3.connect(file) as connection:
            connection.executescript(script)
        connection.close()
        for opened in (SqliteLog.open, SqliteLog.reader):
            with pytest.raises(WrongFile, match=words):
                opened(file)


async def test_torn_files(file: Path) -> None:
    """A file cut short is called damaged; a write-ahead log cut short loses at most its last commits."""
    log = SqliteLog.open(file)
    await log.append([wish(*(f"/{at}" for at in range(20_000)))], now=NOON)
    await log.append([wish()], now=NOON)
    copy, wal = file.with_name("copy.db"), file.with_name("copy.db-wal")
    copy_cut(file, copy, 0)
    copy_cut(file.with_name("log.db-wal"), wal, 100)
    await log.close()

    log = SqliteLog.open(copy)
    assert log.head in (0, 20_000)
    assert [task.last for task in log.read(0, 1 << 20)] == [log.head] * bool(log.head)
    await log.close()

    halve(file)
    with pytest.raises(WrongFile, match=f"{file} is damaged"):
        SqliteLog.open(file)


async def test_a_day_learns_how_to_compress(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has rows enough, and else from the day before; what was there, and what comes, is read all the same."""
    monkeypatch.setattr(store, "TAIL_ROWS", 300)
    monkeypatch.setattr("freshline.log.view.NEW_ROWS", 20)
    log = SqliteLog.open(file)
    tasks: list[Task] = []
    learned = []
    for at in range(4):
        wishes = [wish(f"/{os.urandom(4).hex()}/photo-{number}.jpg") for number in range(200)]
        tasks += await log.append(wishes, now=NOON + DAY * (at // 3))
        days = [day for (day,) in log._db.execute("SELECT day FROM day")]
        known = [log._db.execute(statements(day)["dictionary"]).fetchall() for day in days]
        learned.append([len(each) for each in known])

    assert learned == [[0], [1], [1], [1, 1]]
    chunks = log._db.execute(statements(NOON // DAY)["chunks"], (1, 600)).fetchall()
    plain = [is_plain(packed) for _, _, _, packed in chunks]
    assert plain == sorted(plain, reverse=True) and not plain[-1]
    for at in range(2):
        assert log.read(0, 1 << 20) == log.tasks([task.id for task in tasks]) == tasks
        assert [log.task(task.id) for task in tasks] == tasks
        assert [path for rows in log.rows(0, 800) for path in rows.wish.paths] == [task.wish.paths[0] for task in tasks]
        if not at:
            await log.close()
            log = SqliteLog.open(file)
    await log.close()


async def test_full_disk(file: Path) -> None:
    """With no space nothing is taken in and all can be read; when there is space it goes on, without a restart."""
    log = SqliteLog.open(file)
    kept = await log.append([wish("/a")], [Spend("1", 7, "url", 1, 100)], now=NOON)
    await log.settle("e", Progress(1))
    await until(lambda: not log._writer._merging.due)
    pages = log._writing.execute("PRAGMA page_count").fetchone()[0]
    log._writing.execute(f"PRAGMA max_page_count={pages}")
    long = wish(*(f"/{os.urandom(40).hex()}" for _ in range(3_000)))
    refused = await asyncio.gather(
        *(log.append([long], [Spend("1", 7, "url", 1, 100)], now=NOON) for _ in range(3)),
        log.settle("e", Progress(9)),
        return_exceptions=True,
    )

    assert [type(it) for it in refused] == [LogUnavailable] * 4
    assert (log.head, log.used("1", 7), log.progress("e")) == (1, {"url": 1}, Progress(1))
    assert log.read(0, 9) == kept
    assert log.find(Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path=long.paths[0])).total == 0

    log._writing.execute("PRAGMA max_page_count=1000000")
    (task,) = await log.append([long], [Spend("1", 7, "url", 1, 100)], now=NOON)
    assert (task.id, log.used("1", 7)) == (2, {"url": 2})
    assert log.find(Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path=long.paths[0])).total == 1
    await log.close()


async def test_who_looks_up_does_not_hold_up_the_writer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups share a transaction for as long as nothing is written. It ends before anything is.

    One that stayed would show an old state, and the write-ahead log could not be begun anew: it would only grow.
    """
    monkeypatch.setattr("freshline.log.sqlite.CHECKPOINT_PAGES", 50)
    log = SqliteLog.open(file)
    for at in range(1, 200):
        (task,) = await log.append([wish()], now=NOON)
        assert task.id == at
        for _ in range(3):
            assert log.tasks([at]) == [task]
        await until(lambda: log._hold._idle)
        assert log.task(at) == log.task(at) == task
        assert log._db.in_transaction
        assert log.find(Query("1", (Selection(None, (Kind.FILE,), ALL),))).total == at
        assert log.tasks([at, at + 1, at]) == [task, None, task]
    for at in range(1, 200):  # and what moves no head is written
        await log.settle("e", Progress(at))
        await until(lambda: log._hold._idle)
        assert log.task(at) is not None and log._db.in_transaction

    assert size(Path(f"{file}-wal")) < 100 * 4_096
    await log.close()


async def test_callers_share_commits(file: Path) -> None:
    """What is called at once is written at once; a call that cannot be stored fails alone."""
    log = SqliteLog.open(file)
    wakes: list[int] = []
    log.on_append(lambda: wakes.append(log.head))
    bad = wish("/\ud800")
    outcomes = await asyncio.gather(*(log.append([wish()], now=NOON) for _ in range(500)), return_exceptions=True)

    stored = [tasks for tasks in outcomes if not isinstance(tasks, BaseException)]
    assert [task.id for (task,) in stored] == list(range(1, 501))
    assert len(wakes) < 10
    three = await asyncio.gather(
        *(log.append([it], now=NOON) for it in (wish("/a"), bad, wish("/b"))), return_exceptions=True
    )
    assert [it[0].id if isinstance(it, list) else type(it) for it in three] == [501, UnicodeEncodeError, 502]
    await log.close()


async def test_a_caller_that_gives_up_spoils_nothing(file: Path) -> None:
    """A cancelled call may or may not have been stored; the others are answered."""
    log = SqliteLog.open(file)
    calls = [asyncio.create_task(log.append([wish()], now=NOON)) for _ in range(9)]
    await asyncio.sleep(0)
    calls[4].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert sum(isinstance(it, list) for it in outcomes) == 8
    await log.close()


async def test_days_go_though_whoever_dropped_them_has_gone(file: Path) -> None:
    """What is dropped is not looked for, and what is left is found, whoever waited for it or did not."""
    log = SqliteLog.open(file)
    await log.append([wish("/a")], now=NOON)
    await log.append([wish("/b")], now=NOON + DAY)
    assert (log.oldest, log.position_at(0)) == (1, 1)
    dropping = asyncio.create_task(log.drop_before(NOON + DAY))
    await asyncio.sleep(0)
    dropping.cancel()
    query = Query("1", (Selection(None, tuple(Kind), ALL),))
    await until(lambda: log.find(query).total == 1)

    await until(lambda: log.oldest == 2)
    assert (log.task(1), log.position_at(0)) == (None, 2)
    assert [row.position for row in log.find(query).rows] == [2]
    await log.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_a_dead_writer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the writing thread dies of a mistake of ours, every call is refused and what is stored can be read."""
    log = SqliteLog.open(file)
    await log.append([wish()], now=NOON)
    monkeypatch.setattr(log._writer, "_take", lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await log.append([wish()], now=NOON)

    assert log.head == 1
    await log.close()


async def test_merging_keeps_every_answer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small segments become few, and marks, ids, times, totals and pages stay what they were."""
    log = SqliteLog.open(file)
    tasks: list[Task] = []
    for at in range(200):
        tasks += await log.append([wish(f"/{at % 7}", "/b")], now=NOON + at)
    query = Query("1", (Selection(None, (Kind.FILE,), Ranges([(3, 90), (95, 333)])),), offset=77, limit=9)
    by_path = Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path="/3")

    def answers() -> list[object]:
        return [
            [log.mark(at) for at in range(1, 401)],
            [log.position_at(NOON + at) for at in range(-1, 202)],
            (log.find(query), log.find(by_path), log.read(0, 1000)),
        ]

    before = answers()
    assert _segments(log) == 200
    monkeypatch.setattr(merging, "SEGMENT_ROWS", 64)
    log._writer.submit([])
    await until(lambda: not log._writer._merging.due)

    assert _segments(log) < 40
    assert answers() == before
    assert log.read(0, 1000) == tasks
    await log.close()
    log = SqliteLog.open(file)
    assert answers() == before
    await log.close()


async def test_paths_are_found_wherever_they_lie(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the tail, in runs of any size, in a run that is being made of others, on three days, and after a restart."""
    monkeypatch.setattr(store, "TAIL_ROWS", 16)
    monkeypatch.setattr(gathering, "OVERDUE", 1)
    log = SqliteLog.open(file)
    for at in range(300):
        await log.append([wish(f"/{at % 10}", "/x")], now=NOON + at * 600)
    query = Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path="/4", limit=100)

    for _ in range(2):
        page = log.find(query)
        assert page.total == 30
        assert [row.position for row in page.rows] == [at * 2 + 1 for at in range(299, -1, -1) if at % 10 == 4]
        await log.close()
        log = SqliteLog.open(file)
    await until(lambda: not log._writer._gathering.due)

    assert log.find(query) == page
    kept = "SELECT level FROM run_20000 UNION ALL SELECT level FROM run_20001"
    levels = [level for (level,) in log._db.execute(kept)]
    assert len(levels) == 2, "what is left of a day that is over is one run"
    assert min(levels) > 0
    await log.close()


async def test_runs_become_one_when_it_is_quiet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes for a while: a path is looked for in one run, or in two where most rows are in one already."""
    monkeypatch.setattr(store, "TAIL_ROWS", 16)
    monkeypatch.setattr(writer, "QUIET_SECONDS", 0.05)
    log = SqliteLog.open(file)
    query = Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path="/4", limit=100)

    def levels() -> list[int]:
        return [level for (level,) in log._db.execute("SELECT level FROM run_20000 ORDER BY number")]

    async def add(runs: int) -> None:
        for at in range(16 * runs):
            await log.append([wish(f"/{at % 8}")], now=NOON)

    await add(7)
    await until(lambda: levels() == [1])
    assert log.find(query).total == 14
    await add(3)
    await until(lambda: levels() == [1])
    assert log.find(query).total == 20
    await add(12)
    await until(lambda: levels() == [2])
    await add(2)
    await until(lambda: levels() == [2, 0])

    assert log.find(query).total == 48
    assert log._writer._gathering.quiet
    await log.close()


async def test_killed_while_runs_are_made_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run half made is dropped and made anew; no path is lost meanwhile, and none is found twice."""
    monkeypatch.setattr(store, "TAIL_ROWS", 16)
    monkeypatch.setattr(Gathering, "due", False)
    log = SqliteLog.open(file)
    for at in range(70):
        await log.append([wish(f"/{at % 10}", "/x")], now=NOON)
    query = Query("1", (Selection("a.test", (Kind.FILE,), ALL),), path="/4", limit=100)
    before = log.find(query)
    await log.close()
    monkeypatch.undo()

    with sqlite3.connect(file, isolation_level=None) as connection:
        for steps in range(1, 20, 3):  # further each time, as far as the end; nobody says goodbye
            work = Gathering(connection)
            for _ in range(steps):
                work.step()
            reader = SqliteLog.reader(file)
            assert reader.find(query) == before
            await reader.close()
        while work.due:
            work.step()
        left = connection.execute("SELECT count(*), min(level) FROM run_20000").fetchone()
        held = connection.execute("SELECT sum(length(entries)) FROM digest_20000").fetchone()[0]
    connection.close()

    assert left[1] > 0 or left[0] < gathering.TOGETHER
    assert held == digest.ENTRY * 128, "every row that is not in the tail is in one run"


def test_digests_that_differ_by_one_shift() -> None:
    """A needle that only fits across two entries is not found."""
    entries = b"xabcd" + b"eabc" + b"d" + b"abcde" + b"abc" + b"abcde" + b"\7\0\0\0" + b"abcde" + b"\7\0\0\x20"

    assert digest.matches(entries, b"abcde..", [Kind.FILE]) == [7]
    assert digest.matches(entries, b"abcde..", [Kind.FILE, Kind.DIRECTORY]) == [7, 7]


def _segments(log: SqliteLog) -> int:
    count: int = log._db.execute("SELECT count(*) FROM segment_20000").fetchone()[0]
    return count
