"""What the service knows about accounts, domains and edges. Reading is plain calls that cost a dictionary look-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from freshline.domain.edge import Edge
from freshline.domain.media import Media
from freshline.domain.source import Source
from freshline.domain.topology import Topology
from freshline.inventory.principals import Principals
from freshline.inventory.vault import Vault


class Taken(ValueError):
    """The name is somebody's already."""


@dataclass(frozen=True, slots=True)
class Account:
    id: str  #: decimal digits, as in a resource name
    name: str
    enabled: bool = True
    closed: frozenset[str] = frozenset()  #: services it did not open, as policies name them: ``cdn``
    suspended: frozenset[str] = frozenset()  #: services that were taken away from it


@dataclass(frozen=True, slots=True)
class AccessKey:
    id: str
    account: str
    secret: str = field(repr=False)
    active: bool = True
    user: str = ""  #: the id of the user it belongs to; empty: the account itself


@dataclass(frozen=True, slots=True)
class Domain:
    name: str  #: lower case, no port
    account: str
    group: str  #: the edge group that serves it
    online: bool = True
    id: int = 0  #: its own for ever: a domain of the same name that is made later has another
    created: int = 0  #: Unix seconds
    modified: int = 0
    type: str = "web"  #: what it carries and where its visitors are, in the callers' words; only kept
    scope: str = "global"
    sources: tuple[Source, ...] = ()  #: likewise


class Inventory(Protocol):
    @property
    def principals(self) -> Principals:
        """Users, roles and policies."""
        ...

    @property
    def tokens(self) -> Vault:
        """What session tokens are sealed with."""
        ...

    def account(self, id_: str) -> Account | None: ...

    def access_key(self, id_: str) -> AccessKey | None: ...

    def domain(self, name: str) -> Domain | None: ...

    def domains(self, account: str) -> Sequence[Domain]:
        """The domains of an account, by name."""
        ...

    def domain_by_id(self, id_: int) -> Domain | None: ...

    def media(self, id_: str) -> Media | None:
        """A medium of anybody's, with its play URLs."""
        ...

    def edges(self, group: str | None = None) -> Sequence[Edge]:
        """The edges of a group, or all, by name."""
        ...

    @property
    def topology(self) -> Topology:
        """How they hang together. The same object until an edge changes."""
        ...

    def add_domain(
        self,
        name: str,
        account: str,
        group: str,
        *,
        type_: str = "web",
        scope: str = "global",
        sources: Sequence[Source] = (),
    ) -> Domain:
        """:raises Taken: it is there already, whosever it is"""
        ...

    def change_domain(
        self,
        name: str,
        *,
        online: bool | None = None,
        group: str | None = None,
        sources: Sequence[Source] | None = None,
    ) -> None:
        """Change what is given."""
        ...

    def remove_domain(self, name: str) -> None: ...
