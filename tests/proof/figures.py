"""What a recording says of speed: reads a second, how far edges were behind, how soon tasks were Complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NS = 1_000_000_000


@dataclass
class Figures:
    """Seconds, from the beginning of the round."""

    seconds: float = 0.0
    reads: list[tuple[float, float, float]] = field(default_factory=list)  #: when, reads a second, of these failed
    lags: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  #: by edge: when, seconds behind
    tasks: list[tuple[float, int, int]] = field(default_factory=list)  #: when, answered and ended so far
    wrong: list[tuple[str, float, float]] = field(default_factory=list)  #: kind of fault, from, until
    origin: int = 0  #: requests it had


def figures(home: Path) -> Figures:
    found = Figures()
    begun = 0
    before: dict[str, Any] = {}
    open_: dict[tuple[str, int], float] = {}
    with (home / "events.jsonl").open() as lines:
        for line in lines:
            event = json.loads(line)
            what, at = event["what"], event["t"]
            begun = begun or at
            now = (at - begun) / NS
            match what:
                case "sample":
                    if before:
                        took = (at - before["t"]) / NS
                        each = [(event[name] - before[name]) / took for name in ("read", "failed")]
                        found.reads.append((now, each[0], each[1]))
                    for edge, seconds in event["lags"].items():
                        found.lags.setdefault(edge, []).append((now, seconds))
                    found.tasks.append((now, event["answered"], event["ended"]))
                    before = event
                case "fault":
                    open_[event["kind"], at] = now
                case "mended":
                    found.wrong.append((event["kind"], open_.pop((event["kind"], event["began"])), now))
                case "over":
                    found.origin = event["origin"]
            found.seconds = now
    return found


def percentile(values: Sequence[float], part: float) -> float:
    """The value that this part of them does not exceed.

    >>> percentile([1, 2, 3, 4], 0.5)
    2
    """
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(part * 1000) // 1000) - 1)]
