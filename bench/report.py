"""Results as text, as docs/performance.md and as plots beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from bench.cases import NAMES
from bench.harness import HERE, RESULTS, Line, kept, revived

ROOT = HERE.parent
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"
MARKS = {True: "yes", False: "**no**", None: ""}


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def text(lines: Iterable[Line]) -> str:
    out = []
    for line in lines:
        reach = f"(reach {line.sense} {line.reach:g})" if line.reach is not None else ""
        spread = f"{number(min(line.rounds))}…{number(max(line.rounds))}" if len(line.rounds) > 1 else ""
        by_cpu = f"by CPU {number(line.cpu)}" if line.cpu is not None else ""
        verdict = {True: "reached", False: "NOT REACHED", None: ""}[line.reached]
        out.append(f"  {line.key:28} {number(line.value):>8} {line.unit} {spread:16} {by_cpu:13} {reach} {verdict}")
        detail = ", ".join(f"{name} {value}" for name, value in line.detail.items())
        out.append(f"  {'':28} {detail}")
    return "\n".join(out)


def results() -> list[dict[str, Any]]:
    files = (RESULTS / f"{name}.json" for name in NAMES)
    return [kept(file) for file in files if file.exists()]


def write() -> None:
    """The page's table and its plots, from what is kept. What people wrote around them stays."""
    found = results()
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    from bench import plots

    drawn = plots.draw(found, PLOTS)
    PAGE.write_text(f"{before}{BEGIN}\n\n{_table(found, drawn)}\n{END}{after}")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def _table(found: Sequence[dict[str, Any]], drawn: Sequence[str]) -> str:
    """
    :param drawn: cases whose rounds there is a plot of
    """
    machine = found[-1]["machine"] if found else {}
    out = [
        f"{machine.get('cpu')}, {machine.get('cores')} cores, Linux {machine.get('kernel')}, Python "
        f"{machine.get('python')}. The middle of the rounds; in brackets the lowest and the highest. *By CPU* is the "
        "same ratio of CPU time that the servers took for one unit.",
        "",
        "| case | against | ratio | by CPU | reach | reached |",
        "|---|---|---|---|---|---|",
    ]
    for result in found:
        for line in result["lines"]:
            unit = "" if line.unit == "×" else f" {line.unit}"
            spread = f" ({number(min(line.rounds))}…{number(max(line.rounds))})" if len(line.rounds) > 1 else ""
            reach = f"{line.sense} {line.reach:g}{unit}" if line.reach is not None else ""
            by_cpu = number(line.cpu) if line.cpu is not None else ""
            value = f"**{number(line.value)}{unit}**{spread}"
            out.append(f"| {line.what} | {line.against} | {value} | {by_cpu} | {reach} | {MARKS[line.reached]} |")
    rounds = ", ".join(f"[{name}]({PLOTS.name}/{name}.svg)" for name in drawn)
    out += ["", f"![How far each line is beyond its reach]({PLOTS.name}/reach.svg)", "", f"Each round: {rounds}."]
    out += ["", "What was measured on both sides, in its own units:", "", "| | ours | floor | |", "|---|---|---|---|"]
    for result in found:
        for line in result["lines"]:
            if not (detail := dict(line.detail)):
                continue
            ours, floor, unit = (detail.pop(name, "") for name in ("ours", "floor", "unit"))
            rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in detail.items())
            out.append(f"| `{line.key}` | {_shown(ours)} {unit} | {_shown(floor)} {unit} | {rest} |")
    commits = {result["commit"] for result in found}
    out += ["", f"Measured at {', '.join(sorted(commits))}; every round is in `bench/results/`.", ""]
    return "\n".join(out)


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


def against(revision: str) -> None:
    """What is kept now beside what was kept at another commit."""
    import json

    for now in results():
        where = f"{revision}:{(RESULTS / now['case']).relative_to(ROOT)}.json"
        done = subprocess.run(["git", "show", where], cwd=ROOT, capture_output=True, text=True, check=False)
        then = revived(json.loads(done.stdout)) if done.returncode == 0 else {"lines": []}
        before = {line.key: line for line in then["lines"]}
        for line in now["lines"]:
            old = before.get(line.key)
            was = f"{number(old.value):>9} -> " if old else f"{'new':>9}    "
            times = f"  ×{line.value / old.value:.2f}" if old and old.value else ""
            print(f"{line.key:32} {was}{number(line.value):>9}{times}")
