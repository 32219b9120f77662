"""Reads over time, how far edges were behind, and what part of the tasks was done how soon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

from tests.proof.trial import Outcome

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "freshline"
matplotlib.rcParams["svg.fonttype"] = "none"

GOOD, BAD, PLAIN, FAINT = "#2a7f4f", "#b5462f", "#5b6b7b", "#d9d4c7"
SHOWN = {"kill a server": "k", "kill the service": "S", "cut off a gate": "g", "cut off a gate for long": "G"}


def draw(rounds: Sequence[Outcome], home: Path) -> None:
    _reads(rounds, home / "reads.svg")
    _lag(rounds, home / "lag.svg")
    _percent(rounds, home / "percent.svg")


def _reads(rounds: Sequence[Outcome], file: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(10, 3.2))
    start = 0.0
    for outcome in rounds:
        times = [start + at for at, _, _ in outcome.figures.reads]
        axes.fill_between(times, [all_ for _, all_, _ in outcome.figures.reads], color=GOOD, linewidth=0)
        axes.fill_between(times, [failed for _, _, failed in outcome.figures.reads], color=BAD, linewidth=0)
        _marks(axes, outcome, start)
        start += outcome.figures.seconds
    axes.set_ylabel("reads a second (red: failed)")
    axes.set_xlabel("seconds; below: k a server killed, S the service, g a gate cut off, G for long")
    _save(figure, axes, file)


def _marks(axes: Any, outcome: Outcome, start: float) -> None:
    for kind, since, _ in outcome.figures.wrong:
        if kind in SHOWN:
            axes.text(start + since, -0.02, SHOWN[kind], transform=axes.get_xaxis_transform(), ha="center", va="top",
                      fontsize=5, color=PLAIN)  # fmt: skip
    axes.axvline(start, color=FAINT, linewidth=1)
    axes.tick_params(axis="x", pad=10)


def _lag(rounds: Sequence[Outcome], file: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(10, 3.2))
    start = 0.0
    colors: dict[str, str] = {}
    for outcome in rounds:
        for edge, lags in sorted(outcome.figures.lags.items()):
            label = None if edge in colors else edge
            color = colors.setdefault(edge, f"C{len(colors)}")
            axes.plot(
                [start + at for at, _ in lags], [behind for _, behind in lags], color=color, label=label, linewidth=1
            )
        _marks(axes, outcome, start)
        start += outcome.figures.seconds
    axes.set_ylabel("seconds that an edge is behind")
    axes.set_xlabel("seconds; below: as above")
    axes.legend(ncols=len(colors), loc="upper center", bbox_to_anchor=(0.5, 1.18), fontsize=8, frameon=False)
    _save(figure, axes, file)


def _percent(rounds: Sequence[Outcome], file: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(10, 3.2))
    kinds = sorted({kind for outcome in rounds for kind in outcome.verdict.seconds_to_complete})
    for kind in kinds:
        took = sorted(s for outcome in rounds for s in outcome.verdict.seconds_to_complete.get(kind, ()))
        axes.step(took, [100 * (at + 1) / len(took) for at in range(len(took))], where="post", label=kind)
    axes.set_xscale("log")
    axes.set_ylabel("% of those that were Complete")
    axes.set_xlabel("seconds from the answer with the task's id until it was seen Complete")
    axes.legend(fontsize=8, frameon=False)
    _save(figure, axes, file)


def _save(figure: Any, axes: Any, file: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
