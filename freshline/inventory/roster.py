"""Edges on file: declared, ordered about, removed.

What is refused is a ``ValueError`` and changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from freshline.domain.edge import Duty, Edge
from freshline.domain.topology import with_edge
from freshline.inventory import names
from freshline.inventory.vault import Vault


class Roster:
    """Part of the inventory: it changes the same file in the same transactions.

    :param change: a transaction; its argument is what is said where a name is taken
    :param vault: locks the secrets of gates
    :param unlocked: a secret as the file has it and whose it is, as it was before it was locked
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        change: Callable[[str], AbstractContextManager[None]],
        vault: Vault,
        unlocked: Callable[[bytes, str], str],
    ) -> None:
        self._db = connection
        self._change = change
        self._vault = vault
        self._unlocked = unlocked

    def read(self) -> list[Edge]:
        """By name, as the file has them now; also within a change."""
        edges = []
        for row in self._db.execute("SELECT * FROM edge ORDER BY name"):
            name, kind, group, gate, site, secret, joined, parents, area, duty = row
            plain = self._unlocked(secret, f"edge {name}")
            edges.append(
                Edge(name, kind, group, gate, site, plain, joined, tuple(json.loads(parents)), area, Duty(duty))
            )
        return edges

    def add(self, edge: Edge) -> None:
        names.name("edge name", edge.name)
        names.name("edge kind", edge.kind)
        names.name("group", edge.group)
        names.address("gate", edge.gate)
        names.address("site", edge.site)
        names.secret("gate secret", edge.secret)
        if edge.joined < 0:
            raise ValueError(f"joined {edge.joined}: a position, 0 or more")
        names.area(edge.area)
        with self._change(f"edge {edge.name!r} is there already"):
            with_edge(self.read(), edge)
            locked = self._vault.lock(edge.secret, f"edge {edge.name}")
            row = (edge.name, edge.kind, edge.group, edge.gate, edge.site, locked, edge.joined)
            self._db.execute(
                "INSERT INTO edge VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, json.dumps(edge.parents), edge.area, edge.duty),
            )

    def change(
        self,
        name: str,
        *,
        gate: str | None = None,
        site: str | None = None,
        group: str | None = None,
        secret: str | None = None,
        parents: Sequence[str] | None = None,
        area: str | None = None,
        duty: Duty | None = None,
    ) -> None:
        """What is not given stays, and so do its name and its kind."""
        if group is not None:
            names.name("group", group)
        for field, value in (("gate", gate), ("site", site)):
            if value is not None:
                names.address(field, value)
        if secret is not None:
            names.secret("gate secret", secret)
        if area is not None:
            names.area(area)
        with self._change(f"edge {name!r} cannot be changed"):
            there = {edge.name: edge for edge in self.read()}
            if name not in there:
                raise ValueError(f"edge {name!r} is unknown")
            if parents is not None:
                with_edge(there.values(), replace(there[name], parents=tuple(parents)))
            self._db.execute(
                "UPDATE edge SET gate = coalesce(?, gate), site = coalesce(?, site), grouped = coalesce(?, grouped), "
                "secret = coalesce(?, secret), parents = coalesce(?, parents), area = coalesce(?, area), "
                "duty = coalesce(?, duty) WHERE name = ?",
                (
                    gate,
                    site,
                    group,
                    None if secret is None else self._vault.lock(secret, f"edge {name}"),
                    None if parents is None else json.dumps(tuple(parents)),
                    area,
                    duty,
                    name,
                ),
            )

    def rejoin(self, head: int) -> None:
        """An edge that joined later than the log reaches joins at its head: that log was put back, or begun anew."""
        if any(edge.joined > head for edge in self.read()):
            with self._change("edges cannot be changed"):
                self._db.execute("UPDATE edge SET joined = ? WHERE joined > ?", (head, head))

    def remove(self, name: str) -> None:
        """:raises ValueError: others fetch through it"""
        with self._change(f"edge {name!r} cannot be removed"):
            if children := [edge.name for edge in self.read() if name in edge.parents]:
                one = len(children) == 1
                what = (
                    "fetches through it; give it another parent" if one else "fetch through it; give them other parents"
                )
                raise ValueError(f"edge {name!r}: {', '.join(children)} {what} first")
            if not self._db.execute("DELETE FROM edge WHERE name = ?", (name,)).rowcount:
                raise ValueError(f"edge {name!r} is unknown")
