"""How fast the SQLite log takes in tasks, and what a look-up costs when it holds a lot.

    python bench/log.py [ROWS] [SHAPE ...]

Shapes: ``bulk`` calls of 1000 URLs over 500 domains, ``single`` calls of 1000 URLs of one domain, ``one`` calls of one
URL over 500 domains, some of other accounts and kinds. Each is built at ROWS (10,000,000) and at a thousandth of it, so
growth can be seen.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from freshline.domain.edge import Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Kind, Wish
from freshline.log.base import Query, Selection
from freshline.log.sqlite import SqliteLog

START = 20_000 * 86_400
SPAN_SECONDS = 2 * 86_400  #: the rows are spread over three UTC days
DOMAINS = 500
REPEATS = 15

Shape = Callable[[int], Iterator[Wish]]


def url(domain: str, dice: random.Random, at: int) -> str:
    return f"http://{domain}/assets/{dice.getrandbits(40):010x}/photo-{at % 20_000}.jpg"


def bulk(rows: int, domains: int = DOMAINS) -> Iterator[Wish]:
    dice = random.Random(1)
    for at in range(0, rows, 1000):
        domain = f"d{dice.randrange(domains)}.test"
        kind = Kind.PRELOAD if at % 10_000 == 0 else Kind.FILE
        paths = [url(domain, dice, number) for number in range(at, min(at + 1000, rows))]
        paths[0] = f"http://{domain}/same"
        yield Wish("1", domain, "default", kind, tuple(paths))


def single(rows: int) -> Iterator[Wish]:
    return bulk(rows, domains=1)


def one(rows: int) -> Iterator[Wish]:
    dice = random.Random(1)
    for at in range(rows):
        domain = f"d{dice.randrange(DOMAINS)}.test"
        path = f"http://{domain}/same" if at % 1000 == 0 else url(domain, dice, at)
        other = dice.random() < 0.2
        account = dice.choice("123") if other else "1"
        yield Wish(account, domain, "default", Kind.PRELOAD if other else Kind.FILE, (path,))


SHAPES: dict[str, tuple[Shape, int]] = {"bulk": (bulk, 4), "single": (single, 4), "one": (one, 64)}  #: and callers


async def build(log: SqliteLog, wishes: Iterator[Wish], rows: int, callers: int) -> float:
    begun = time.perf_counter()
    done = 0

    async def call() -> None:
        nonlocal done
        for wish in wishes:
            now = START + SPAN_SECONDS * done / rows
            done += len(wish.paths)
            await log.append([wish], now=now)

    await asyncio.gather(*(call() for _ in range(callers)))
    return time.perf_counter() - begun


def timed(what: str, ask: Callable[[], object]) -> str:
    first = time.perf_counter()
    ask()
    first = time.perf_counter() - first
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return f"  {what:34} {sorted(times)[REPEATS // 2] * 1e3:9.3f} ms   first {first * 1e3:9.3f} ms"


def questions(log: SqliteLog) -> Iterator[tuple[str, Callable[[], object]]]:
    head = log.head
    dice = random.Random(2)
    everything = Ranges([(1, head)])
    files = (Kind.FILE,)
    size = max(head // 3000, 1)
    scattered = Ranges((at, at + dice.randrange(size)) for at in range(1, head, head // 1000))
    names = [f"d{number}.test" for number in range(DOMAINS)]

    def find(selections: tuple[Selection, ...], offset: int = 0, path: str | None = None) -> Callable[[], object]:
        return lambda: log.find(Query("1", selections, path, offset, 20))

    whole = (Selection(None, tuple(Kind), everything),)
    domain = (Selection("d0.test", files, everything),)
    twenty = tuple(Selection(name, files, everything) for name in names[:20])
    all_named = tuple(Selection(name, files, everything) for name in names)
    status = (Selection(None, files, scattered),)
    yield "page 1, all", find(whole)
    yield "middle page, all", find(whole, head // 2)
    yield "last page, all", find(whole, head - 20)
    total = log.find(Query("1", domain)).total
    yield f"page 1, one domain ({total})", find(domain)
    yield "middle page, one domain", find(domain, total // 2)
    yield "page 1, 20 domains", find(twenty)
    yield "middle page, 20 domains", find(twenty, log.find(Query("1", twenty)).total // 2)
    yield f"page 1, {DOMAINS} domains", find(all_named)
    yield f"middle page, {DOMAINS} domains", find(all_named, log.find(Query("1", all_named)).total // 2)
    yield f"page 1, status of {len(scattered)} runs", find(status)
    yield "page 1, the same, one domain", find((Selection("d0.test", files, scattered),))
    yield "middle page, the same", find(status, log.find(Query("1", status)).total // 2)
    often = log.find(Query("1", domain, "http://d0.test/same")).total
    named = (Selection("d0.test", tuple(Kind), everything),)
    yield f"path, {often} times there", find(named, path="http://d0.test/same")
    yield "path, not there", find(named, path="http://d0.test/none")
    ids = [log.read(dice.randrange(head), 1)[0].id for _ in range(10)]
    yield "10 ids again", lambda: [log.task(id_) for id_ in ids]
    yield "10 ids, others each time", lambda: [log.task(log.read(dice.randrange(head), 1)[0].id) for _ in range(10)]
    yield "position at a time", lambda: log.position_at(START + dice.randrange(SPAN_SECONDS))
    yield "mark", lambda: log.mark(dice.randrange(head) + 1)


async def report(name: str, rows: int) -> None:
    shape, callers = SHAPES[name]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "log.db"
        log = SqliteLog.open(file)
        seconds = await build(log, shape(rows), rows, callers)
        begun = time.perf_counter()
        await asyncio.gather(*(log.settle(f"e{n}", Progress(cursor=n)) for n in range(1000)))
        settled = time.perf_counter() - begun
        print(
            f"{name}: {rows:,} rows by {callers} callers: {rows / seconds:,.0f} rows/s; {1000 / settled:,.0f} settles/s"
        )
        await log.close()
        begun = time.perf_counter()
        log = SqliteLog.open(file)
        opened = time.perf_counter() - begun
        print(f"  {file.stat().st_size / rows:.1f} bytes/row, opened in {opened * 1e3:.0f} ms")
        for what, ask in questions(log):
            print(timed(what, ask), flush=True)
        await log.close()


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    for name in sys.argv[2:] or SHAPES:
        for size in (max(rows // 1000, 1000), rows):
            asyncio.run(report(name, size))


if __name__ == "__main__":
    main()
