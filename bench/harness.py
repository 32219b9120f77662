"""What a case is, how its sides take turns, and what is kept of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

HERE = Path(__file__).parent
RESULTS = HERE / "results"
WORK = HERE.parent / ".bench"  #: logs of ten million rows, kept from run to run; git does not see it

Sense = Literal["≥", "≤"]


class Unmeasured(RuntimeError):
    """Something else was measured than was meant, or nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One side in one round."""

    rate: float  #: units a second
    cpu: float | None = None  #: CPU seconds of the server for one unit
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Line:
    """One line of the table."""

    key: str  #: its own for ever, as ``describe.bare``
    what: str
    against: str
    value: float  #: the median of the rounds
    reach: float | None  #: ``None``: for information
    sense: Sense = "≥"
    unit: str = "×"
    rounds: list[float] = field(default_factory=list)
    cpu: float | None = None  #: the same ratio by CPU time of the servers
    detail: dict[str, Any] = field(default_factory=dict)  #: medians of both sides, in their own units

    @property
    def reached(self) -> bool | None:
        if self.reach is None:
            return None
        return self.value >= self.reach if self.sense == "≥" else self.value <= self.reach


@dataclass(frozen=True, slots=True)
class Bench:
    """How thorough a run is."""

    quick: bool = False
    home: Path = WORK

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 7

    @property
    def seconds(self) -> int:
        """Of one slice. wrk counts in whole seconds."""
        return 1 if self.quick else 2

    def pick(self, quick: int, full: int) -> int:
        return quick if self.quick else full

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)


@dataclass(frozen=True, slots=True)
class Case:
    """Registered in :mod:`bench.cases`; its file is one of that folder."""

    name: str
    run: Callable[[Bench], list[Line]]


def interleave(rounds: int, sides: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """A B A B …, after one turn each that does not count, not even as a failure: what has just started may be slow."""
    for measure in sides.values():
        with suppress(Unmeasured):
            measure()
    out: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            out[name].append(measure())
    return out


def compare(
    key: str,
    what: str,
    against: str,
    ours: Sequence[Sample],
    floor: Sequence[Sample],
    *,
    reach: float | None,
    unit: str = "/s",
) -> Line:
    """How many times the floor's rate ours is, each round by itself."""
    ratios = [a.rate / b.rate for a, b in zip(ours, floor, strict=True)]
    detail: dict[str, Any] = {
        "ours": _round(median(s.rate for s in ours)),
        "floor": _round(median(s.rate for s in floor)),
        "unit": unit,
    }
    cpu = None
    if all(s.cpu for s in (*ours, *floor)):
        cpu = median((b.cpu or 0) / (a.cpu or 1) for a, b in zip(ours, floor, strict=True))
        detail["ours_cpu_us"] = _round(median(s.cpu or 0 for s in ours) * 1e6)
        detail["floor_cpu_us"] = _round(median(s.cpu or 0 for s in floor) * 1e6)
    for name in ours[0].more:
        detail[f"ours_{name}"] = _round(median(s.more[name] for s in ours))
    for name in floor[0].more:
        detail[f"floor_{name}"] = _round(median(s.more[name] for s in floor))
    return Line(key, what, against, median(ratios), reach, rounds=ratios, cpu=cpu, detail=detail)


def single(
    key: str, what: str, against: str, values: Sequence[float], *, reach: float | None, unit: str, **detail: Any
) -> Line:
    """A figure that must stay under a bound, whatever else runs."""
    return Line(key, what, against, median(values), reach, "≤", unit, list(values), detail=detail)


def keep(case: str, bench: Bench, lines: Sequence[Line], seconds: float) -> Path:
    """Write down what came out, for the tables and for whoever compares later."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{case}.json"
    out = {
        "case": case,
        "quick": bench.quick,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "took_seconds": round(seconds, 1),
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "machine": machine(),
        "lines": [_rounded(asdict(line)) for line in lines],
    }
    file.write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
    return file


def kept(file: Path) -> dict[str, Any]:
    """What :func:`keep` wrote, its lines as :class:`Line`."""
    return revived(json.loads(file.read_text()))


def revived(out: dict[str, Any]) -> dict[str, Any]:
    out["lines"] = [Line(**line) for line in out["lines"]]
    return out


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        "load": " ".join(Path("/proc/loadavg").read_text().split()[:3]),
    }


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return _round(value)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
