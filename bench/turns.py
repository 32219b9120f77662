"""python -m bench.turns FILTER [TURNS]

CPU time of ``DescribeRefreshTasks`` by a filter of :mod:`bench.cases.list` over 10,000,000 rows and over 10,000: two
processes by turns, no network. Turns are short, so that whatever else runs on the machine meets both.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

import uvloop
from uvicorn import Config

from bench.cases.list import ACTION, ASKS
from bench.hot import connect
from bench.service import Service, filled
from freshline import wiring
from freshline.api.connection import connections
from freshline.config import load

SIZES = 10_000_000, 10_000
WARM = 40_000  #: calls before anything counts: every row of the small log has been asked for by then
CALLS = 200  #: of a turn
TURNS = 100


async def _serve(name: str, rows: int) -> None:
    """Answer each number that comes with the microseconds that a call took in as many."""
    made, dice = filled(rows), random.Random(7)
    made.read_through()
    settings = load(made.home / "freshline.toml", {})
    settings = replace(settings, service=replace(settings.service, data_dir=str(made.home)))
    service = Service(made)
    async with wiring.service(settings) as (app, _):
        wire, protocol = connect(Config(app, http=connections(app), log_config=None, access_log=False))
        for line in sys.stdin:
            calls = [service.signed(ACTION, ASKS[name](dice, service)) for _ in range(int(line))]
            begun = time.process_time()
            for call in calls:
                await wire.ask(protocol, call)
            print((time.process_time() - begun) / len(calls) * 1e6, flush=True)


def _turns(name: str, turns: int) -> Iterator[tuple[float, ...]]:
    with ExitStack() as stack:
        sides = [stack.enter_context(_started(name, rows)) for rows in SIZES]
        for side in sides:
            _ask(side, WARM)
        for _ in range(turns):
            yield tuple(_ask(side, CALLS) for side in sides)
        for side in sides:
            assert side.stdin is not None
            side.stdin.close()


def _started(name: str, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.turns", name, "--serve", str(rows)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _ask(side: subprocess.Popen[str], calls: int) -> float:
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write(f"{calls}\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench.turns", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("filter", choices=list(ASKS))
    parser.add_argument("turns", nargs="?", type=int, default=TURNS)
    parser.add_argument("--serve", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.turns < 1:
        parser.error(f"{asked.turns} turns: at least one is needed")
    if asked.serve:
        uvloop.run(_serve(asked.filter, asked.serve))
        return
    for rows in SIZES:
        filled(rows)
    pairs = list(_turns(asked.filter, asked.turns))
    for rows, side in zip(SIZES, zip(*pairs, strict=True), strict=True):
        print(f"{rows:>10,} rows: {median(side):.1f} us a call, {sorted(side)[len(side) // 10]:.1f} in the best tenth")
    print(f"{median(many - few for many, few in pairs):+.1f} us, in the middle of {len(pairs)} turns")


if __name__ == "__main__":
    main()
