"""The origin: every body says what it is, in which version, and when its request came here.

What an answer is, is settled when the request arrives, however long the answer then takes. Some answers always take
their time, so that refreshes overtake fetches; faults make it worse.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.proof.recorder import Recorder
from tests.proof.universe import LONG_LINES, Page

AGE_SECONDS = 3600
SLOW_SHARE = 0.08  #: of all answers, without any fault
SLOW_SECONDS = 0.4


@dataclass(slots=True)
class Mood:
    """What is wrong with it now."""

    headers_seconds: float = 0.0  #: each answer waits up to so long before its headers
    body_seconds: float = 0.0  #: and halfway through its body
    errors: float = 0.0  #: the share that is answered 503
    cuts: float = 0.0  #: the share that breaks off halfway through the body


@dataclass
class Origin:
    """``address`` and ``port`` are what a cache server is given."""

    pages: Sequence[Page]
    recorder: Recorder
    dice: random.Random
    mood: Mood = field(default_factory=Mood)
    served: int = 0

    def __post_init__(self) -> None:
        self.versions = [0] * len(self.pages)
        self._newest = 0
        self._known = {(page.host, target): page for page in self.pages for target in page.spellings}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self.recorder.note("bump", version=0, pages=[page.id for page in self.pages])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def bump(self, ids: Iterable[int]) -> None:
        """From now on these are new. Whoever arrives after the noted moment gets it."""
        ids = sorted(ids)
        self._newest += 1
        for id_ in ids:
            self.versions[id_] = self._newest
        self.recorder.note("bump", version=self._newest, pages=ids)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a cache that hung up is not news
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(task)
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        arrived = time.monotonic_ns()
        method, target, protocol = head[0].split(" ")
        asked = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        host = asked.get("host", "").partition(":")[0].lower()
        if target.startswith("http://"):
            target = "/" + target.removeprefix("http://").partition("/")[2]
        page = self._known.get((host, target))
        self.served += 1
        version = self.versions[page.id] if page else 0
        keep = asked.get("connection", "" if protocol == "HTTP/1.1" else "close").lower() != "close"
        mood, dice = self.mood, self.dice
        slow = SLOW_SECONDS if dice.random() < SLOW_SHARE else 0.0
        await _pause(dice.uniform(0, max(mood.headers_seconds, slow)))
        if page is None or dice.random() < mood.errors:
            status = "503 Trouble" if page else "404 Unknown"
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n".encode())
            await writer.drain()
            return keep
        variant = (asked.get("accept-language") or "-") if page.vary else "-"
        tag = f'"{page.id}.{version}.{variant}"'
        lines = [
            f"date: {formatdate(usegmt=True)}",  # without one, Squid takes what has a max-age for stale
            f"cache-control: max-age={AGE_SECONDS}",
            f"cache-tag: {','.join(page.tags)}",
            f"etag: {tag}",
            *(["vary: Accept-Language"] if page.vary else []),
        ]
        if asked.get("if-none-match") == tag:
            writer.write(("\r\n".join(["HTTP/1.1 304 Not Modified", *lines]) + "\r\n\r\n").encode())
            await writer.drain()
            return keep
        line = f"page={page.id} version={version} fetched={arrived} variant={variant};\n"
        body = (line * (LONG_LINES if page.long else 1)).encode()
        lines += ["content-type: text/plain", f"content-length: {len(body)}"]
        writer.write(("\r\n".join(["HTTP/1.1 200 OK", *lines]) + "\r\n\r\n").encode())
        if method == "HEAD":
            await writer.drain()
            return keep
        half = len(body) // 2
        writer.write(body[:half])
        await writer.drain()
        await _pause(dice.uniform(0, mood.body_seconds))
        if dice.random() < mood.cuts:
            writer.transport.abort()
            return False
        writer.write(body[half:])
        await writer.drain()
        return keep


async def _pause(seconds: float) -> None:
    if seconds > 0.0:
        await asyncio.sleep(seconds)
