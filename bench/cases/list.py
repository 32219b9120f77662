"""``DescribeRefreshTasks``, any filter, any page: over 10,000,000 rows beside 10,000 rows of the same making."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from bench.harness import Bench, Line, Sample, compare, interleave
from bench.service import DOMAINS, Service, domain_of, filled, url
from bench.wrk import wrk
from freshline.wire import times

ACTION = "DescribeRefreshTasks"
CONNECTIONS = 8
CALLS_A_SECOND = 15_000  #: more than are ever answered
PAGES = 100_000  #: the contract knows no more; by 20 they reach two million rows back

Ask = Callable[[random.Random, Service], dict[str, str]]


def _domain(dice: random.Random) -> str:
    return f"d{dice.randrange(DOMAINS)}.test"


def _middle(dice: random.Random, service: Service) -> str:
    """A page in the middle of all. The small log has as many pages of 20 as there are."""
    return str(dice.randrange(min(service.books.rows // 20, PAGES)) + 1)


#: Every filter there is, alone or as they go together; each with other values in each call.
ASKS: dict[str, Ask] = {
    "first": lambda dice, service: {},
    "page": lambda dice, service: {"PageNumber": _middle(dice, service)},
    "domain": lambda dice, service: {"DomainName": _domain(dice), "ObjectType": "file"},
    "status": lambda dice, service: {
        "Status": "Failed",
        "ObjectType": "file",
        "PageNumber": str(dice.randrange(40) + 1),
    },
    "complete": lambda dice, service: {
        "Status": "Complete",
        "ObjectType": "file",
        "PageNumber": _middle(dice, service),
    },
    "time": lambda dice, service: _hours(dice, service),
    "path": lambda dice, service: {"ObjectPath": _path(dice.randrange(service.books.rows))},
    "id": lambda dice, service: {"TaskId": str(dice.randrange(service.books.rows) + 1)},
}


def _path(row: int) -> str:
    return url(domain_of(row), row)


def _hours(dice: random.Random, service: Service) -> dict[str, str]:
    begin = service.books.first + dice.randrange(30 * 3600)
    return {"StartTime": times.write(begin), "EndTime": times.write(begin + 3600), "PageNumber": "2"}


def run(bench: Bench) -> list[Line]:
    dice = random.Random(5)
    lines = []
    with ExitStack() as stack:
        many = stack.enter_context(Service(filled(bench.pick(1_000_000, 10_000_000))))
        few = stack.enter_context(Service(filled(10_000)))
        for name, ask in ASKS.items():

            def side(service: Service, ask: Ask = ask) -> Sample:
                def calls() -> Iterator[bytes]:
                    for _ in range(CALLS_A_SECOND):
                        yield service.signed(ACTION, ask(dice, service))

                service.books.read_through()
                return wrk(service.address, calls(), seconds=1, connections=CONNECTIONS, pid=service.pid).sample()

            got = interleave(bench.pick(2, 7), {"many": partial(side, many), "few": partial(side, few)})
            lines.append(
                compare(
                    f"list.{name}",
                    f"`{ACTION}` over {many.books.rows:,} rows, {NAMES[name]}",
                    f"over {few.books.rows:,} rows",
                    got["many"],
                    got["few"],
                    reach=0.8,
                )
            )
    return lines


NAMES = {
    "first": "no filter",
    "page": "any page of all",
    "domain": "of one domain",
    "status": "the failed ones",
    "complete": "any page of the complete ones",
    "time": "of one hour",
    "path": "of one ObjectPath",
    "id": "of one task",
}
