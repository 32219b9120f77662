"""Scripted gates: they take whatever they are told and keep nothing but where they stand (docs/gates.md).

python -m bench.gates FIRST_PORT COUNT [--deaf]

``--deaf``: they answer where they stand, and never a batch, so that nothing is ever finished.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.process import Process, python
from bench.service import edge
from freshline.domain.edge import Edge
from tests.servers.base import free_port, listens

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
BACKLOG = 64


class Stand:
    """Where one gate stands."""

    log, position, mark = "-", "0", "-"


class Gate(asyncio.Protocol):
    def __init__(self, stand: Stand, deaf: bool) -> None:
        self._stand, self._deaf = stand, deaf
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) != -1:
            length = _LENGTH.search(self._got, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._got) < whole:
                return
            head, body, self._got = self._got[:end], self._got[end + 4 : whole], self._got[whole:]
            if answer := self._answer(head, body):
                clock = b"freshline-clock: bench %d" % (time.monotonic_ns() // 1_000_000)
                self._transport.write(
                    b"HTTP/1.1 200 OK\r\n%b\r\ncontent-length: %d\r\n\r\n%b" % (clock, len(answer), answer)
                )

    def _answer(self, head: bytes, body: bytes) -> bytes:
        stand = self._stand
        if head.startswith(b"GET /freshline/status"):
            return (
                f"gate nginx 1\nlog {stand.log}\nposition {stand.position}\nmark {stand.mark}\nsynced 1\n"
                "lapse serve\nlease 0\n"
            ).encode()
        words = body[: body.index(b"\n")].decode().split(" ")
        if words[0] == "flush":
            _, stand.log, stand.position, stand.mark = words
        elif self._deaf:
            return b""
        else:
            _, _, _, stand.position, stand.mark, _ = words
        return f"ok {stand.position} {stand.mark}\n".encode()


async def main(first: int, count: int, deaf: bool) -> None:
    loop = asyncio.get_running_loop()
    for port in range(first, first + count):
        await loop.create_server(partial(Gate, Stand(), deaf), "127.0.0.1", port, backlog=BACKLOG)
    await asyncio.Event().wait()


class Gates(AbstractContextManager["Gates"]):
    """A fleet of them in one process; ``edges`` is how they are declared."""

    def __init__(self, home: Path, count: int, *, deaf: bool = False) -> None:
        first = free_port(count)
        self.edges: list[Edge] = [edge(f"e{at}", f"127.0.0.1:{first + at}") for at in range(count)]
        last = self.edges[-1].gate
        command = python("bench.gates", str(first), str(count)) + ["--deaf"] * deaf
        self.process = Process(command, up=lambda: listens(last), log=home / "gates.log")

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Gates:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), "--deaf" in sys.argv))
