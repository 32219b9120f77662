"""One file a case, each with a ``run`` that gives its lines."""

from __future__ import annotations

from importlib import import_module

from bench.harness import Case

#: In the order they are run and printed.
NAMES = ("describe", "list", "submit", "settle", "prove", "hits", "million", "prefetch", "weight", "counts")


def case(name: str) -> Case:
    return Case(name, import_module(f"bench.cases.{name}").run)
