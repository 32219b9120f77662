"""``--plan``: which edges a refresh would go to, and what they have of it. Nothing is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freshline.cli.local import Place
from freshline.cli.output import as_json, fail, table
from freshline.cli.probing import probe
from freshline.domain.edge import Edge
from freshline.domain.target import BadTarget
from freshline.domain.task import Kind, Wish
from freshline.drivers.base import Presence, Probed
from freshline.inventory.sqlite import SqliteInventory
from freshline.operations.submit import READERS

PROBED = 100  #: URLs of a plan that gates are asked about


def show(lines: Sequence[str], kind: Kind, place: Place, json: bool) -> None:
    """A row for each line, in their order."""
    with place.inventory() as inventory:
        rows = [_row(inventory, line, kind) for line in lines]
    if kind is Kind.FILE:
        for row in rows[:PROBED]:
            row["stored"] = _stored(row["url"], row["edges"])
    for row in rows:
        row["edges"] = [edge.name for edge in row["edges"]]
    if json:
        as_json(rows)
        return
    shown = [[row["url"], row["group"], row["stored"], " ".join(row["edges"]) or "none"] for row in rows]
    table(["URL", "GROUP", "STORED", "EDGES, PARENTS FIRST"], shown)


def _row(inventory: SqliteInventory, line: str, kind: Kind) -> dict[str, Any]:
    """:param line: of a tag, the domain"""
    try:
        name = line.lower() if kind is Kind.TAG else READERS[kind](line)
    except BadTarget as error:
        fail(f"{line!r} is no {kind.value}: {error}", 2)
    domain = inventory.domain(name)
    if domain is None:
        fail(f"{line}: {name} is no domain of the inventory", 2)
    topology = inventory.topology
    edges = topology.taking(Wish(domain.account, name, domain.group, kind, (line,)))
    ordered = sorted(edges, key=lambda edge: (-topology.tier(edge.name), edge.name))
    return {"url": line, "domain": name, "group": domain.group, "edges": ordered, "stored": "-"}


def _stored(url: str, edges: Sequence[Edge]) -> str:
    """How many of the edges have it, as their gates say; those that say nothing are told apart."""
    answers = [of_edge[url] for of_edge in probe(edges, [url])]
    known = [answer for answer in answers if isinstance(answer, Probed)]
    stored = sum(answer.presence is Presence.STORED for answer in known)
    unknown = f", {len(answers) - len(known)} unknown" if len(known) < len(answers) else ""
    return f"{stored} of {len(answers)}{unknown}"
