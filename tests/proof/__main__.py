"""``make prove``: rounds until there are reads enough, then every gate without its judgement, then the page.

python -m tests.proof                      # the long form; writes docs/proof.md
python -m tests.proof --seed 7 --rounds 1  # one round of a seed
python -m tests.proof --sabotage nginx     # only that: a gate that judges nothing has to be caught
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from tests.proof.checker import told
from tests.proof.faults import FAULTS
from tests.proof.fleet import KINDS, tiers
from tests.proof.report import write
from tests.proof.round import Plan
from tests.proof.trial import Lied, Outcome, prove, sabotage

READS = 1_000_000  #: begun after Complete
ROUNDS = 5  #: at least, so that several fleets with different lapses are tried
SECONDS = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of the first round")
    parser.add_argument("--rounds", type=int, default=0, help="just so many; nothing is written")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a round is worked and hurt")
    parser.add_argument("--reads", type=int, default=READS, help="after Complete, that there must be")
    parser.add_argument("--sabotage", choices=KINDS, help="only show that this gate is caught when it judges nothing")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no server is left running
    try:
        if asked.sabotage:
            _caught(asked.sabotage, asked.seed)
            return 0
        return _prove(asked)
    except Lied as lie:
        print(lie, file=sys.stderr)
        return 1


def _prove(asked: argparse.Namespace) -> int:
    began = time.monotonic()
    rounds: list[Outcome] = []
    after = 0
    while len(rounds) < asked.rounds if asked.rounds else len(rounds) < ROUNDS or after < asked.reads:
        seed = asked.seed + len(rounds)
        print(f"round {len(rounds) + 1}, seed {seed}", flush=True)
        rounds.append(prove(Plan(seed, asked.seconds, tiers(), wrong=list(FAULTS))))
        after += rounds[-1].verdict.after
        print(told(rounds[-1].verdict) + f"\n{after:,} reads begun after Complete so far, none stale", flush=True)
    if not asked.rounds:
        caught = [_caught(kind, asked.seed) for kind in KINDS]
        write(rounds, caught, time.monotonic() - began)
    return 0


def _caught(kind: str, seed: int) -> Outcome:
    outcome = sabotage(kind, seed)
    stale, after = outcome.verdict.stale_count, outcome.verdict.after
    print(f"{kind} that judges nothing is caught: {stale:,} of {after:,} reads after Complete are stale", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
