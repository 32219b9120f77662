"""wrk, with requests that are made beforehand: a signed call is good only once, and signing must not be measured."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from bench.harness import HERE, Sample, Unmeasured
from bench.process import cpu

SCRIPT = HERE / "wrk.lua"


@dataclass(frozen=True, slots=True)
class Result:
    requests: int
    seconds: float
    refused: int  #: answers that were not 2xx or 3xx
    broken: int  #: no answer
    bytes: int
    p50: float  #: seconds
    p99: float
    cpu: float  #: seconds of the server

    def sample(self, units: int = 1) -> Sample:
        """:param units: that one request is good for"""
        good = (self.requests - self.refused) * units
        return Sample(good / self.seconds, self.cpu / good, {"p50_ms": self.p50 * 1e3, "p99_ms": self.p99 * 1e3})


def wrk(
    address: str, requests: Iterable[bytes], *, seconds: int, connections: int, pid: int, may_refuse: bool = False
) -> Result:
    """One slice.

    :param requests: whole ones, head and body; when they have all been sent they begin anew
    :param pid: of the server, whose CPU time is taken
    :raises Unmeasured: an answer was an error that was not to be expected, or there was none
    """
    with tempfile.TemporaryDirectory() as home:
        sizes: list[int] = []
        with (Path(home) / "requests").open("wb") as file:
            for request in requests:
                sizes.append(file.write(request))
        (Path(home) / "ends").write_text("\n".join(map(str, accumulate(sizes))))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "10s", "-s", str(SCRIPT)]
        command += [f"http://{address}/", "--", f"{home}/requests", f"{home}/ends"]
        before = cpu(pid)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 120)
        spent = cpu(pid) - before
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result = Result(**json.loads(line.removeprefix("RESULT ")), cpu=spent)
    if result.broken or (result.refused and not may_refuse) or not result.requests:
        raise Unmeasured(f"{result.refused} of {result.requests} refused, {result.broken} broken: {done.stdout[-300:]}")
    return result


def get(host: str, target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
