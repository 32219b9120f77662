"""The long form: see :mod:`tests.scale.fleet`."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from tests.scale.fleet import simulate

parser = argparse.ArgumentParser(prog="tests.scale")
parser.add_argument("--edges", type=int, default=10_000)
parser.add_argument("--tasks", type=int, default=1_000_000)
parser.add_argument("--seed", type=int, default=1)
asked = parser.parse_args()
logging.getLogger("freshline").setLevel(logging.CRITICAL)  # thousands of edges that are out of reach
with tempfile.TemporaryDirectory() as home:
    print(simulate(Path(home), asked.edges, asked.tasks, asked.seed, lambda text: print(text, flush=True)))
