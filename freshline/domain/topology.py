"""How the edges of a fleet hang together: groups that serve domains, and edges that fetch through other edges.

An edge that fetches from the origin itself has no parents. One that fetches through other caches names these as its
parents, in whatever group they are; a group is served by its edges and by all they fetch through. The tier of an edge
is counted from the visitors: L1 is nobody's parent, and a parent is a tier above the highest of its children.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from freshline.domain.edge import Edge
from freshline.domain.task import Wish

TIERS = 16  #: from the visitors to the origin; a fleet has two or three


class BadTopology(ValueError):
    """The text says which edges do not go together."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which tasks an edge takes part in. Edges with the same scope are told the same."""

    serves: frozenset[tuple[str, str]]  #: group and area of itself and of all that fetch through it
    above: frozenset[str]  #: groups that fetch through it, and those of its own in which nobody fetches through anybody

    def takes(self, wish: Wish) -> bool:
        """Every refresh concerns every edge (docs/design.md); a prefetch only those it is meant for."""
        if not wish.kind.is_prefetch:
            return True
        if wish.parents_only and wish.group not in self.above:
            return False
        areas = [area for group, area in self.serves if group == wish.group]
        return bool(areas) and (not wish.area or wish.area in areas or "" in areas)


class Topology:
    """The fleet at one moment. Cheap to ask, dear to make: keep it for as long as the edges stay the same."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        """Parents that are no edges are passed over."""
        self.edges = {edge.name: edge for edge in edges}
        self._children: dict[str, list[str]] = {name: [] for name in self.edges}
        for edge in self.edges.values():
            for parent in edge.parents:
                if parent in self._children:
                    self._children[parent].append(edge.name)
        self._serving: dict[str, tuple[Edge, ...]] = {}
        self._scopes: dict[str, Scope] = {}
        self._tiers: dict[str, int] = {}

    def parents(self, name: str) -> list[Edge]:
        """Those an edge has to wait for."""
        own = self.edges[name].parents if name in self.edges else ()
        return [self.edges[each] for each in own if each in self.edges]

    def children(self, name: str) -> list[str]:
        return self._children.get(name, [])

    def tier(self, name: str) -> int:
        """1 for an edge that nobody fetches through."""
        if name not in self._tiers:
            self._tiers[name] = 1 + max(map(self.tier, self.children(name)), default=0)
        return self._tiers[name]

    def serving(self, group: str) -> Sequence[Edge]:
        """The edges a task of the group waits for, by name."""
        if group not in self._serving:
            names = self._with_ancestors(edge.name for edge in self.edges.values() if edge.group == group)
            self._serving[group] = tuple(self.edges[name] for name in sorted(names))
        return self._serving[group]

    def taking(self, wish: Wish) -> Sequence[Edge]:
        """Those of them that have something to do for a task."""
        serving = self.serving(wish.group)
        if not wish.kind.is_prefetch or not (wish.area or wish.parents_only):
            return serving
        return tuple(edge for edge in serving if self.scope(edge.name).takes(wish))

    def scope(self, name: str) -> Scope:
        if name not in self._scopes:
            below = [self.edges[each] for each in self._with_descendants(name)]
            above = {edge.group for edge in below if edge.name != name or self._is_flat(edge.group)}
            self._scopes[name] = Scope(frozenset((edge.group, edge.area) for edge in below), frozenset(above))
        return self._scopes[name]

    def check(self) -> None:
        """:raises BadTopology: a parent is no edge, or edges fetch through each other in a circle or too many tiers"""
        for edge in self.edges.values():
            if unknown := [parent for parent in edge.parents if parent not in self.edges]:
                raise BadTopology(f"edge {edge.name!r} fetches through {unknown[0]!r}, which is no edge")
        depths: dict[str, int] = {}
        for name in self.edges:
            self._depth(name, [], depths)

    def _depth(self, name: str, trail: list[str], depths: dict[str, int]) -> int:
        """Tiers from an edge to the origin."""
        if name in trail:
            circle = " → ".join([*trail[trail.index(name) :], name])
            raise BadTopology(f"edges fetch through each other in a circle: {circle}")
        if name not in depths:
            above = [] if len(trail) > TIERS else self.edges[name].parents
            depths[name] = 1 + max((self._depth(parent, [*trail, name], depths) for parent in above), default=0)
            if len(trail) + depths[name] > TIERS:
                first = [*trail, name][0]
                raise BadTopology(f"edge {first!r} fetches through {TIERS} others or more in a row: too many tiers")
        return depths[name]

    def _is_flat(self, group: str) -> bool:
        """Nobody of the group fetches through anybody: all its edges are nearest to the origin."""
        return not any(edge.parents for edge in self.edges.values() if edge.group == group)

    def _with_ancestors(self, names: Iterable[str]) -> set[str]:
        return _closure(names, lambda name: [each for each in self.edges[name].parents if each in self.edges])

    def _with_descendants(self, name: str) -> set[str]:
        return _closure([name], self.children) if name in self.edges else set()


def with_edge(edges: Iterable[Edge], changed: Edge) -> Topology:
    """The fleet as it would be, checked.

    :raises BadTopology: it would not hold together
    """
    topology = Topology(({edge.name: edge for edge in edges} | {changed.name: changed}).values())
    topology.check()
    return topology


def _closure(names: Iterable[str], more: Callable[[str], Iterable[str]]) -> set[str]:
    found: set[str] = set()
    open_ = list(names)
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_ += more(name)
    return found
