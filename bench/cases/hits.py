"""Hits that a cache serves with the gate in it, beside the same cache without: first without rules, then with many."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from functools import partial

from bench import caches
from bench.caches import Kind, Server, fill, running, target
from bench.harness import Bench, Line, Sample, compare, interleave
from bench.wrk import get, wrk
from freshline.domain.action import Command, Verb
from freshline.drivers.base import Applied, Batch, Gate
from tests.servers.base import SITE

OBJECTS = 1_000
CONNECTIONS = 16
BATCH = 2_000
SECONDS = 1  #: of a turn: a few hundredths are told better by many short ones than by few long ones
LOG = "b" * 32
#: Rules of the host that is asked for; none covers an object that is.
RULES = {Verb.FILE: 100_000, Verb.DIR: 1_000, Verb.REGEX: 100, Verb.TAG: 1_000}


def run(bench: Bench) -> list[Line]:
    return [line for kind in caches.kinds() for line in _of(bench, kind)]


def _of(bench: Bench, kind: Kind) -> Iterator[Line]:
    with running(kind) as (gated, pid), running(kind, gated=False) as (plain, plain_pid):
        sides = {
            "gated": partial(_hits, gated, pid),
            "plain": partial(_hits, plain, plain_pid),
        }
        asyncio.run(_begin(gated))
        for server, its in ((gated, pid), (plain, plain_pid)):
            fill(server, its, 0, OBJECTS)
        rounds = 2 * bench.rounds + 1
        empty = interleave(rounds, sides)
        asyncio.run(_tell(gated))
        fill(gated, pid, 0, OBJECTS)
        full = interleave(rounds, sides)
    what = f"hits of {kind.name} with the gate"
    many = ", ".join(f"{count:,} {verb.value}" for verb, count in RULES.items())
    alone = f"the same {kind.name} without it"
    yield compare(f"hits.{kind.name}", f"{what}, no rules", alone, empty["gated"], empty["plain"], reach=0.95)
    yield compare(f"hits.{kind.name}.rules", f"{what}; {many} rules", alone, full["gated"], full["plain"], reach=0.9)


def _hits(server: Server, pid: int) -> Sample:
    requests = [get(SITE, target(number)) for number in range(OBJECTS)]
    return wrk(server.edge.site, requests, seconds=SECONDS, connections=CONNECTIONS, pid=pid).sample()


async def _begin(server: Server) -> None:
    driver = server.driver()
    assert isinstance(await driver.flush(LOG, 0, LOG), Applied)
    await driver.close()


async def _tell(server: Server) -> None:
    driver = server.driver()
    where = await driver.status()
    assert isinstance(where, Gate), where
    commands = list(_commands())
    for at in range(0, len(commands), BATCH):
        some = tuple(commands[at : at + BATCH])
        mark = secrets.token_hex(4)
        last = at + BATCH >= len(commands)
        answer = await driver.apply(Batch(LOG, at, some[-1].position, mark, last, some))
        assert isinstance(answer, Applied) and not answer.refused, answer
    await driver.close()


def _commands() -> Iterator[Command]:
    position = 0
    for verb, count in RULES.items():
        for number in range(count):
            position += 1
            yield Command(position, True, verb, SITE, _what(verb, number))


def _what(verb: Verb, number: int) -> bytes:
    match verb:
        case Verb.DIR:
            return b"/news/%d/archive/" % number
        case Verb.REGEX:
            return rb"/video/%d/.*\.m3u8" % number
        case Verb.TAG:
            return b"tag-%d" % number
        case _:
            return b"/refreshed/%d/photo-%d.jpg" % (number % 100, number)
