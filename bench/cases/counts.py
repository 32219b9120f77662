"""Instructions of the hot paths, counted by callgrind: the same on every machine, to the percent.

Nothing to be held against but what was counted before: ``python -m bench --against REVISION``.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

from bench.harness import HERE, Bench, Line
from bench.hot import PATHS
from bench.process import python

_TOTAL = re.compile(r"refs:\s+([\d,]+)")
WORDS = {
    "bare": "uvicorn and a handler that gives the bytes of a poll",
    "poll": "the same ten ids again, nothing has moved",
    "describe": "ten other ids each time",
    "list": "any page of all rows",
    "domain": "first page of one domain",
    "refresh": "one URL",
    "refresh-thousand": "a thousand URLs",
}


def run(bench: Bench) -> list[Line]:
    lines = []
    for path, calls in PATHS.items():
        calls = calls // 4 if bench.quick else calls
        # What the counting itself takes is in both.
        one, many = _count(path, 1), _count(path, calls + 1)
        value = (many - one) / calls / 1e3
        what = f"instructions of a call: {WORDS[path]}"
        lines.append(Line(f"counts.{path}", what, "", value, None, "≤", "thousand", [value]))
    return lines


def _count(path: str, calls: int) -> int:
    with tempfile.TemporaryDirectory() as home:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={home}/out"]
        command += [*python("bench.hot", path, str(calls)), "--count"]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, cwd=HERE.parent, env=environ, capture_output=True, text=True, check=True)
    found = _TOTAL.search(done.stderr)
    assert found is not None, done.stderr[-1000:]
    return int(found[1].replace(",", ""))
