"""docs/proof.md: the figures of the last long run, between two marks; the words around them are written by hand."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.proof import plots
from tests.proof.figures import percentile
from tests.proof.trial import Outcome

PAGE = Path("docs/proof.md")
PLOTS = Path("docs/proof")
BEGIN, END = "<!-- figures: written by make prove -->\n", "<!-- end of figures -->\n"
PARTS = (0.5, 0.95, 0.99)


def write(rounds: Sequence[Outcome], caught: Sequence[Outcome], seconds: float) -> None:
    PLOTS.mkdir(exist_ok=True)
    plots.draw(rounds, PLOTS)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + figures(rounds, caught, seconds) + END + after)
    print(f"{PAGE} and the plots in {PLOTS} are written")


def figures(rounds: Sequence[Outcome], caught: Sequence[Outcome], seconds: float) -> str:
    verdicts = [outcome.verdict for outcome in rounds]
    worked = sum(outcome.plan.seconds for outcome in rounds)
    lines: Counter[str] = sum((verdict.lines for verdict in verdicts), Counter())
    faults: Counter[str] = sum((verdict.faults for verdict in verdicts), Counter())
    reads = sum(verdict.reads for verdict in verdicts)
    answered, hits = sum(verdict.answered for verdict in verdicts), sum(verdict.hits for verdict in verdicts)
    seeds = f"{rounds[0].plan.seed} to {rounds[-1].plan.seed}"
    on = f"{os.cpu_count()} CPU cores; {datetime.date.today()}, {seconds / 60:.0f} minutes in all"
    asked = sum(outcome.figures.origin for outcome in rounds)
    tasks, audits = sum(verdict.tasks for verdict in verdicts), sum(verdict.audits for verdict in verdicts)
    gone = sum(verdict.gone for verdict in verdicts)
    totals = [
        ("rounds", f"{len(rounds)}, of {rounds[0].plan.seconds:.0f} s each and what it took to settle; seeds {seeds}"),
        ("edges", ", ".join(place.name for place in rounds[0].plan.places)),
        ("reads", f"{reads:,}; {answered:,} got a page ({answered / worked:,.0f} a second), {hits:,} from a cache"),
        ("**reads begun after `Complete`**", f"**{sum(verdict.after for verdict in verdicts):,}**"),
        ("of these in the next second", f"{sum(verdict.soon for verdict in verdicts):,}"),
        ("**of these stale**", f"**{sum(verdict.stale_count for verdict in verdicts)}**"),
        ("reads that had to be hits, after a prefetch", f"{sum(verdict.warm for verdict in verdicts):,}, and were"),
        (
            "tasks",
            f"{tasks:,}, all looked for {audits} times, none lost but {gone} with an old log",
        ),
        ("lines, by their end", ", ".join(f"{count:,} {how}" for how, count in sorted(lines.items()))),
        ("calls that nobody answered", f"{sum(verdict.unanswered for verdict in verdicts):,}"),
        ("requests at the origin", f"{asked:,}"),
        ("machine", on),
    ]
    parts = ["| | |\n|---|---|\n", *(f"| {name} | {value} |\n" for name, value in totals)]
    parts += ["\n| Fault | Times |\n|---|---|\n", *(f"| {kind} | {count} |\n" for kind, count in faults.most_common())]
    parts += ["\n| Time to `Complete` | Lines | p50 | p95 | p99 |\n|---|---|---|---|---|\n", *_times(rounds)]
    parts += ["\n| Edge | Reads | Got a page | From its cache | After `Complete` |\n|---|---|---|---|---|\n"]
    edges: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        for edge, counts in verdict.by_edge.items():
            edges.setdefault(edge, Counter()).update(counts)
    for edge, counts in edges.items():
        cells = " | ".join(f"{counts[name]:,}" for name in ("reads", "answered", "hits", "after"))
        parts.append(f"| {edge} | {cells} |\n")
    parts += ["\n| Sabotaged | Reads after `Complete` | Of these stale | At its neighbour |\n|---|---|---|---|\n"]
    for outcome in caught:
        parts.append(sabotaged(outcome))
    return "".join(parts)


def sabotaged(outcome: Outcome) -> str:
    verdict, blind = outcome.verdict, outcome.plan.blind
    after = sum(counts["after"] for edge, counts in verdict.by_edge.items() if edge.startswith(blind))
    stale = sum(count for edge, count in verdict.stale_by_edge.items() if edge.startswith(blind))
    return f"| {blind} | {after:,} | {stale:,} | {verdict.stale_count - stale} |\n"


def _times(rounds: Sequence[Outcome]) -> Iterable[str]:
    kinds = sorted({kind for outcome in rounds for kind in outcome.verdict.seconds_to_complete})
    for kind in kinds:
        took = [s for outcome in rounds for s in outcome.verdict.seconds_to_complete.get(kind, ())]
        cells = " | ".join(f"{percentile(took, part):.2f} s" for part in PARTS)
        yield f"| {kind} | {len(took):,} | {cells} |\n"
