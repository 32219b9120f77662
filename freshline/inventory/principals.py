"""Users, roles and policies, ready to be looked up. Names differ by more than case."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshline.access import system
from freshline.access.policy import Policy


@dataclass(frozen=True, slots=True)
class User:
    """A RAM user: somebody of an account who may do what policies allow, and nothing else."""

    id: str
    account: str
    name: str
    policies: tuple[str, ...] = ()  #: names


@dataclass(frozen=True, slots=True)
class Role:
    """What a user may become for a while."""

    id: str
    account: str
    name: str
    trusted: tuple[str, ...]  #: who may take it: ``acs:ram::ACCOUNT:root`` or ``…:user/NAME``, ``…:role/NAME``
    policies: tuple[str, ...] = ()  #: names
    longest_seconds: int = 3600  #: a session

    @property
    def arn(self) -> str:
        return f"acs:ram::{self.account}:role/{self.name}"


@dataclass(slots=True)
class Principals:
    """As of one look at the inventory."""

    by_id: dict[str, User | Role] = field(default_factory=dict)
    by_name: dict[tuple[str, type, str], User | Role] = field(default_factory=dict)
    policies: dict[tuple[str, str], Policy] = field(default_factory=dict)  #: by account and name
    documents: dict[tuple[str, str], str] = field(default_factory=dict)  #: likewise, as they were written

    def add(self, one: User | Role) -> None:
        self.by_id[one.id] = one
        self.by_name[one.account, type(one), one.name.lower()] = one

    def user(self, account: str, name: str) -> User | None:
        found = self.by_name.get((account, User, name.lower()))
        return found if isinstance(found, User) else None

    def role(self, account: str, name: str) -> Role | None:
        found = self.by_name.get((account, Role, name.lower()))
        return found if isinstance(found, Role) else None

    def users(self, account: str) -> list[User]:
        """The users of an account, by name."""
        found = (each for each in self.by_id.values() if isinstance(each, User) and each.account == account)
        return sorted(found, key=lambda user: user.name)

    def roles(self, account: str) -> list[Role]:
        """The roles of an account, by name."""
        found = (each for each in self.by_id.values() if isinstance(each, Role) and each.account == account)
        return sorted(found, key=lambda role: role.name)

    def policies_of(self, one: User | Role) -> tuple[Policy, ...]:
        """What is attached, ready to decide. A policy that is gone allows nothing."""
        found = (self.policy(one.account, name) for name in one.policies)
        return tuple(policy for policy in found if policy is not None)

    def policy(self, account: str, name: str) -> Policy | None:
        """A policy of the account's own, or one that every account has."""
        return self.policies.get((account, name.lower())) or system.policies().get(name)
