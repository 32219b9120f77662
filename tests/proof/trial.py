"""A round and its verdict. What a round recorded stays where it fails, and goes where it does not."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.proof.checker import Verdict, check, told
from tests.proof.figures import Figures, figures
from tests.proof.fleet import flat
from tests.proof.round import Plan, play

SABOTAGE_SECONDS = 6.0
FEW = 2_000  #: reads of an edge that say little of how much it caches
HITS = 0.2  #: the share that has to come from its cache, where it is not without a lease under ``bypass``


@dataclass(frozen=True)
class Outcome:
    plan: Plan
    verdict: Verdict
    figures: Figures
    home: Path  #: gone, unless it failed


class Lied(AssertionError):
    """A promise was broken. The text says which, and where everything is."""


def trial(plan: Plan, home: Path | None = None) -> Outcome:
    """Play it and look. Raises whatever broke the harness itself; the recording is left then, too."""
    home = home or Path(tempfile.mkdtemp(prefix=f"freshline-proof-{plan.seed}-"))
    home.chmod(0o755)  # caches that are somebody else have their files in it
    try:
        play(plan, home)
    except BaseException:
        print(f"seed {plan.seed} broke; what there is of it is in {home}")
        raise
    return Outcome(plan, check(home), figures(home), home)


def prove(plan: Plan, home: Path | None = None) -> Outcome:
    """:raises Lied: with the seed, what was found, and the place of the recording and of the servers' logs"""
    outcome = trial(plan, home)
    if not outcome.verdict.holds:
        raise Lied(
            f"seed {plan.seed}:\n{told(outcome.verdict)}\nThe recording (events.jsonl, reads-*.txt) and what the"
            f" servers wrote are in {outcome.home}"
        )
    for edge, counts in outcome.verdict.by_edge.items():
        if (
            outcome.verdict.lapses[edge] != "bypass"
            and counts["answered"] > FEW
            and counts["hits"] < HITS * counts["answered"]
        ):
            raise Lied(f"seed {plan.seed}: {edge} hardly caches, so it proves nothing: {dict(counts)}; {outcome.home}")
    shutil.rmtree(outcome.home, ignore_errors=True)
    return outcome


def sabotage(kind: str, seed: int, home: Path | None = None, seconds: float = SABOTAGE_SECONDS) -> Outcome:
    """The same harness over a cache of this kind whose gate judges nothing, and a sound one beside it.

    :raises Lied: the checker did not catch it, or caught somebody else
    """
    other = "varnish" if kind == "nginx" else "nginx"
    outcome = trial(Plan(seed, seconds, flat([kind, other]), blind=kind), home)
    caught = outcome.verdict.stale_by_edge
    if {edge.partition("-")[0] for edge in caught} != {kind}:
        raise Lied(
            f"seed {seed}: a {kind} that judges nothing should be caught, and nobody else; caught were"
            f" {dict(caught)}. The recording is in {outcome.home}"
        )
    shutil.rmtree(outcome.home, ignore_errors=True)
    return outcome
