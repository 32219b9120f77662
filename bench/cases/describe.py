"""``DescribeRefreshTaskById``, signed, 10 ids out of 10,000,000 rows, JSON.

The floor is a handler on the same server that returns the same bytes (:mod:`bench.bare`).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.harness import Bench, Line, Sample, compare, interleave
from bench.moto import Moto
from bench.service import Bare, Service, filled
from bench.wrk import wrk

ACTION = "DescribeRefreshTaskById"
IDS = 10
CALLERS = 1_000  #: in the polled case: each asks for its own ten, again and again
CONNECTIONS = 16
MOTO_CONNECTIONS = 8  #: with more of them it does less
CALLS_A_SECOND = 20_000  #: more than are ever answered


def run(bench: Bench) -> list[Line]:
    books = filled(bench.pick(1_000_000, 10_000_000))
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as home, Service(books) as service:
        headers, body = service.call(ACTION, {"TaskId": _ids(dice, books.rows)})
        assert body.count(b'"TaskId"') == IDS, body
        own = [_ids(dice, books.rows) for _ in range(CALLERS)]
        for ids in own:  # a poll is not the first call
            service.call(ACTION, {"TaskId": ids})

        def polls() -> Iterator[bytes]:
            for _ in range(CALLS_A_SECOND * bench.seconds):
                yield service.signed(ACTION, {"TaskId": dice.choice(own)})

        def strangers() -> Iterator[bytes]:
            for _ in range(CALLS_A_SECOND * bench.seconds):
                yield service.signed(ACTION, {"TaskId": _ids(dice, books.rows)})

        with Bare(Path(home), headers, body) as bare:

            def side(server: Service | Bare, calls: Callable[[], Iterator[bytes]]) -> Sample:
                books.read_through()
                return wrk(
                    server.address, calls(), seconds=bench.seconds, connections=CONNECTIONS, pid=server.pid
                ).sample()

            # One after the other, or those who come once would push the pollers out of what is kept for them.
            pairs = [
                interleave(bench.rounds, {"ours": partial(side, service, calls), "bare": partial(side, bare, calls)})
                for calls in (polls, strangers)
            ]
            with Moto(Path(home)) as moto:

                def theirs() -> Sample:
                    return wrk(
                        moto.address, [moto.get], seconds=bench.seconds, connections=MOTO_CONNECTIONS, pid=moto.pid
                    ).sample()

                beside = interleave(bench.pick(2, 3), {"ours": partial(side, service, polls), "moto": theirs})
    what = f"`{ACTION}`, signed, {IDS} ids of {books.rows:,} rows"
    floor = "the same server, the same bytes"
    polled, strange = f"{what}, {CALLERS:,} callers who poll", f"{what}, other ids each time"
    return [
        compare("describe.moto", polled, "moto `GetInvalidation`", beside["ours"], beside["moto"], reach=20),
        compare("describe.polled", polled, floor, pairs[0]["ours"], pairs[0]["bare"], reach=0.5),
        compare("describe.strange", strange, floor, pairs[1]["ours"], pairs[1]["bare"], reach=None),
    ]


def _ids(dice: random.Random, rows: int) -> str:
    return ",".join(str(dice.randrange(rows) + 1) for _ in range(IDS))
