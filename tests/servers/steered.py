"""A log with one cache server behind it: numbers what it is told, and delivers it through the real driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from freshline.domain.action import Command, Fetch, Verb
from freshline.drivers.base import Adrift, Applied, Batch, Driver, Fetched, Gate, Lease, Probed, Several, Trouble
from tests.servers.base import SITE

T = TypeVar("T")
Answers = dict[int, Fetched | Trouble]  #: by the number of the fetch in its list
Row = tuple[Verb, bytes] | tuple[Verb, bytes, str] | tuple[Verb, bytes, str, bool]


def fetches(*paths: str, scheme: str = "http", headers: tuple[tuple[str, str], ...] = ()) -> list[Fetch]:
    return [Fetch(0, scheme, SITE, path, headers) for path in paths]


class Driven(Protocol):
    def driver(self) -> Driver: ...


class Steered:
    def __init__(self, cache: Driven, log: str = "log-a") -> None:
        self.log, self.position = log, 0
        self.commands: list[Command] = []
        self.driver = cache.driver()
        self._runner = asyncio.Runner()

    def bind(self) -> Steered:
        """Flush the gate into this log, at its head."""
        answer = self.run(self.driver.flush(self.log, self.position, self.mark()))
        assert isinstance(answer, Applied), answer
        return self

    def refresh(self, verb: Verb, what: bytes, host: str = SITE, force: bool = True) -> Applied:
        """Accept one row and see it applied."""
        return self.applied((verb, what, host, force))

    def accept(self, *rows: Row) -> Batch:
        """Put rows into the log; the batch that would bring them."""
        after = self.position
        for verb, what, *more in rows:
            host, force = (*more, SITE, True)[:2] if len(more) != 1 else (more[0], True)
            self.position += 1
            self.commands.append(Command(self.position, bool(force), verb, str(host), what))
        return self.batch(after)

    def batch(self, after: int, upto: int | None = None) -> Batch:
        upto = self.position if upto is None else upto
        commands = tuple(command for command in self.commands if after < command.position <= upto)
        return Batch(self.log, after, upto, self.mark(upto), upto == self.position, commands)

    def applied(self, *rows: Row) -> Applied:
        answer = self.apply(self.accept(*rows))
        assert isinstance(answer, Applied) and answer.position == self.position, answer
        return answer

    def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift | Trouble:
        return self.run(self.driver.apply(batch, lease))

    def catch_up(self) -> None:
        """What delivery does with a gate that was away: ask where it stands, and go on from there or flush it."""
        gate = self.status()
        if gate.log != self.log or gate.mark != self.mark(gate.position):
            self.bind()
            return
        answer = self.apply(self.batch(gate.position))
        assert isinstance(answer, Applied) and answer.position == self.position, answer

    def mark(self, position: int | None = None) -> str:
        return f"{self.log}.{self.position if position is None else position}"

    def status(self, lease: Lease | None = None) -> Gate:
        gate = self.run(self.driver.status(lease))
        assert isinstance(gate, Gate), gate
        return gate

    def probe(self, target: str, host: str = SITE) -> Probed:
        answer = self.run(self.driver.probe(Fetch(self.position, "http", host, target)))
        assert isinstance(answer, Probed), answer
        return answer

    def fetch(self, target: str, *headers: tuple[str, str], host: str = SITE) -> Fetched:
        answer = self.run(self.driver.fetch(Fetch(self.position, "http", host, target, headers)))
        assert isinstance(answer, Fetched), answer
        return answer

    def fetch_each(self, whats: Sequence[Fetch], ended: Callable[[int, Fetched | Trouble], None]) -> Trouble | None:
        """In one request. What befell those that were not answered."""

        async def asked() -> Trouble | None:
            assert isinstance(self.driver, Several)
            over: asyncio.Future[Trouble | None] = asyncio.get_running_loop().create_future()
            self.driver.fetch_each_then(whats, lambda some: [ended(*each) for each in some], over.set_result)
            return await over

        return self.run(asked())

    @contextmanager
    def fetching(self, whats: Sequence[Fetch]) -> Iterator[Answers]:
        """In one request, which is under way meanwhile: what has been answered. At the end each has to be."""
        answers: Answers = {}
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(self.fetch_each, whats, answers.__setitem__)
            yield answers
            assert asked.result() is None
        assert answers.keys() == set(range(len(whats)))

    def fetch_all(self, whats: Sequence[Fetch]) -> list[Fetched | Trouble]:
        """In one request. Each has to be answered."""
        with self.fetching(whats) as answers:
            pass
        return [answers[at] for at in range(len(whats))]

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(doing)

    def close(self) -> None:
        self.run(self.driver.close())
        self._runner.close()
