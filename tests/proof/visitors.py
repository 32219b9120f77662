"""The processes that read (reader.py), and the load balancer before them: which edges are in rotation."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.proof.fleet import Member
from tests.proof.recorder import Recorder
from tests.proof.universe import Page

FRESH_SECONDS = 60.0
SECURE = 100  #: added to an edge's number where it is read over TLS


class Visitors:
    def __init__(
        self,
        home: Path,
        pages: Sequence[Page],
        recorder: Recorder,
        seed: int,
        processes: int,
        rate: int,
        trusted: Path,
    ) -> None:
        """
        :param trusted: the authority that certificates are of
        :param rate: the most reads in a second, of all of them; 0: as many as there can be
        """
        self._home, self._pages, self._recorder, self._trusted = home, pages, recorder, trusted
        self._seed, self._count, self._rate = seed, processes, rate
        self._processes: list[asyncio.subprocess.Process] = []
        self._listening: list[asyncio.Task[None]] = []
        self._said: list[set[str]] = []
        self._told = asyncio.Condition()
        self._counts: list[tuple[int, int]] = []

    async def start(self) -> None:
        universe = self._home / "universe.json"
        universe.write_text(json.dumps([page.as_json() for page in self._pages]))
        for number in range(self._count):
            out = self._home / f"reads-{number}.txt"
            words = [sys.executable, "-m", "tests.proof.reader", str(universe), str(out)]
            words += [f"{self._seed}.{number}", str(self._rate // self._count)]
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            self._processes.append(process)
            self._said.append(set())
            self._counts.append((0, 0))
            self._listening.append(asyncio.create_task(self._listen(number)))

    async def _listen(self, number: int) -> None:
        out = self._processes[number].stdout
        assert out is not None
        while line := (await out.readline()).decode().strip():
            if line.startswith("read "):
                _, read, failed = line.split()
                self._counts[number] = int(read), int(failed)
                continue
            async with self._told:
                self._said[number].add(line)
                self._told.notify_all()

    async def _tell(self, line: str) -> None:
        """Return once all of them have taken it up."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n".encode())
        async with self._told:
            await asyncio.wait_for(self._told.wait_for(lambda: all(line in said for said in self._said)), 30)
            for said in self._said:
                said.discard(line)

    async def put_in(self, member: Member) -> None:
        """As a load balancer does that asks whether the edge is fresh."""
        async with asyncio.timeout(FRESH_SECONDS):
            while not await member.fresh():
                await asyncio.sleep(0.05)
        lapse = member.server.lapse
        self._recorder.note("rotation", edge=member.number, name=member.name, there=True, lapse=lapse)
        await self._tell(f"in {member.number} {member.site}")
        if member.secure:
            number, secure = SECURE + member.number, lapse.replace("serve", "")  # over TLS nothing was prefetched
            self._recorder.note("rotation", edge=number, name=f"{member.name}, TLS", there=True, lapse=secure)
            await self._tell(f"in {number} {member.secure} {self._trusted}")

    async def take_out(self, member: Member) -> None:
        """Return once no read of it begins any more."""
        await self._tell(f"out {member.number}")
        if member.secure:
            await self._tell(f"out {SECURE + member.number}")
        self._recorder.note("rotation", edge=member.number, name=member.name, there=False)

    async def stop(self) -> None:
        await self._tell("end")
        for process in self._processes:
            await process.wait()
        await asyncio.gather(*self._listening)

    async def kill(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    @property
    def read(self) -> int:
        return sum(read for read, _ in self._counts)

    @property
    def failed(self) -> int:
        return sum(failed for _, failed in self._counts)
