"""What the service knows about accounts, domains and edges. Reading is plain calls that cost a dictionary look-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from freshline.domain.edge import Edge


@dataclass(frozen=True, slots=True)
class Account:
    id: str  #: decimal digits, as in a resource name
    name: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class AccessKey:
    id: str
    account: str
    secret: str = field(repr=False)
    active: bool = True


@dataclass(frozen=True, slots=True)
class Domain:
    name: str  #: lower case, no port
    account: str
    group: str  #: the edge group that serves it
    online: bool = True


class Inventory(Protocol):
    def account(self, id_: str) -> Account | None: ...

    def access_key(self, id_: str) -> AccessKey | None: ...

    def domain(self, name: str) -> Domain | None: ...

    def domains(self, account: str) -> Sequence[Domain]:
        """The domains of an account, by name."""
        ...

    def edges(self, group: str | None = None) -> Sequence[Edge]:
        """The edges of a group, or all, by name."""
        ...
