"""The ratios as a picture, beside what they shall reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

from bench.harness import Line

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "freshline"  # the same results give the same file
matplotlib.rcParams["svg.fonttype"] = "none"

DONE, SHORT, PLAIN = "#2a7f4f", "#b5462f", "#5b6b7b"


def draw(results: Sequence[dict[str, Any]], home: Path) -> list[str]:
    """
    :return: the cases whose rounds were drawn
    """
    home.mkdir(parents=True, exist_ok=True)
    lines = [line for result in results for line in result["lines"] if line.reach]
    _reaches(lines, home / "reach.svg")
    drawn = [result for result in results if any(len(line.rounds) > 1 for line in result["lines"])]
    for result in drawn:
        _rounds(result["lines"], home / f"{result['case']}.svg")
    return [str(result["case"]) for result in drawn]


def _reaches(lines: Sequence[Line], file: Path) -> None:
    """How far each is beyond its reach, or short of it; 1 is the reach itself."""
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(lines) + 1.2))
    names = [line.key for line in lines][::-1]
    shares = [_share(line) for line in lines][::-1]
    axes.barh(names, [share - 1 for share in shares], left=1, color=[DONE if share >= 1 else SHORT for share in shares])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("times the reach (right of the line: reached)")
    _save(figure, axes, file)


def _rounds(lines: Sequence[Line], file: Path) -> None:
    """Every round, the median, and the reach."""
    figure, axes = pyplot.subplots(figsize=(9, 0.38 * len(lines) + 1.2))
    for at, line in enumerate(reversed(lines)):
        scale = line.reach or line.value or 1
        color = PLAIN if line.reached is None else DONE if line.reached else SHORT
        axes.plot([value / scale for value in line.rounds], [at] * len(line.rounds), "o", color=color, alpha=0.35)
        axes.plot([line.value / scale], [at], "|", color=color, markersize=16, markeredgewidth=2)
    axes.set_yticks(range(len(lines)), [line.key for line in reversed(lines)])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("each round, as a part of the reach (of the median where there is none)")
    _save(figure, axes, file)


def _share(line: Line) -> float:
    assert line.reach
    return max(line.value / line.reach if line.sense == "≥" else line.reach / max(line.value, 1e-9), 1e-3)


def _save(figure: Any, axes: Any, file: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
