"""Who may call the sandbox: accounts with their keys, users, roles and policies, and whose which domain is.

    [{"name": "shop",
      "keys": [{"id": "shopkey", "secret": "shopsecret"}],
      "domains": ["shop.test", "*.shop.test"],
      "sites": {"shop.test": 123456},
      "policies": {"refreshers": {"Version": "1", "Statement": [...]}},
      "users": [{"name": "anna", "policies": ["refreshers", "AliyunSTSAssumeRoleAccess"],
                 "keys": [{"id": "anna1", "secret": "s1"}, {"id": "anna2", "secret": "s2", "active": false}]}],
      "roles": [{"name": "deploy", "policies": ["AliyunCDNFullAccess"]}]}]

The account called ``sandbox`` is there in any case, with the sandbox's own key; it has every domain that no other
claims.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from freshline.access import policy as policies
from freshline.access import system
from freshline.access.principal import split_arn
from freshline.inventory import session
from freshline.inventory.base import AccessKey, Account
from freshline.inventory.principals import Principals, Role, User

OWN = "sandbox"  #: the account that is there in any case
FIRST_ID = 1_000_000_000_000_001
SHORTEST_SECONDS, LONGEST_SECONDS = 900, 43_200  #: of a session


class BadAccounts(ValueError):
    """``args[0]`` says where and what."""


class Key(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    secret: str
    active: bool = True


class UserOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    keys: list[Key] = []
    policies: list[str] = []


class RoleOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    policies: list[str] = []
    trusted: list[str] = []  #: who may take it; nobody named: everybody of the account
    longest_seconds: int = 3600


class AccountOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    id: str = ""  #: 16 digits; else the next one
    enabled: bool = True
    keys: list[Key] = []
    domains: list[str] = []  #: patterns, as *.shop.test
    sites: dict[str, int] = {}  #: ESA's number of a domain
    services: dict[str, Literal["open", "closed", "suspended"]] = {}
    policies: dict[str, dict[str, Any]] = {}
    users: list[UserOf] = []
    roles: list[RoleOf] = []


@dataclass(slots=True)
class Accounts:
    """Ready to be looked up."""

    names: set[str] = field(default_factory=set)
    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, AccessKey] = field(default_factory=dict)
    principals: Principals = field(default_factory=Principals)
    sites: list[tuple[str, str, int]] = field(default_factory=list)  #: account, domain, number
    numbers: set[int] = field(default_factory=set)  #: of the sites
    claims: list[tuple[str, str]] = field(default_factory=list)  #: pattern, account

    @property
    def own(self) -> str:
        return next(account.id for account in self.accounts.values() if account.name == OWN)

    def owner(self, domain: str) -> str:
        """The id of the account that a domain is of."""
        return next((account for pattern, account in self.claims if fnmatchcase(domain, pattern)), self.own)


def read(value: Any, own: Key) -> Accounts:
    """Accounts from JSON.

    :param own: the sandbox's own key
    :raises BadAccounts: they contradict themselves
    """
    try:
        given = msgspec.convert(value, list[AccountOf])
    except msgspec.ValidationError as wrong:
        raise BadAccounts(f"accounts: {wrong}") from None
    if all(each.name != OWN for each in given):
        given = [AccountOf(OWN), *given]
    out = Accounts()
    numbers = (str(number) for number in range(FIRST_ID, FIRST_ID + 1_000_000))
    taken = {each.id for each in given}
    for each in given:
        id_ = each.id or next(number for number in numbers if number not in taken)
        keys = [own, *each.keys] if each.name == OWN else each.keys
        _add(out, each, id_, keys)
    return out


def _add(out: Accounts, each: AccountOf, id_: str, keys: list[Key]) -> None:
    where = f"account {each.name!r}"
    if not each.name or each.name in out.names:
        raise BadAccounts(f"{where}: a name of its own")
    if not (id_.isascii() and id_.isdigit() and len(id_) == 16) or id_ in out.accounts:
        raise BadAccounts(f"{where}: id = {id_!r}: 16 digits of its own")
    states = {
        state: frozenset(name for name, said in each.services.items() if said == state)
        for state in ("closed", "suspended")
    }
    out.names.add(each.name)
    out.accounts[id_] = Account(id_, each.name, each.enabled, states["closed"], states["suspended"])
    out.claims += [(pattern.lower(), id_) for pattern in [*each.domains, *each.sites]]
    for name, number in each.sites.items():
        if number < 1 or number in out.numbers:
            raise BadAccounts(f"{where}: sites.{name} = {number}: a number above 0 of its own")
        out.numbers.add(number)
        out.sites.append((id_, name.lower(), number))
    for key in keys:
        _add_key(out, where, key, id_)
    _add_policies(out, where, id_, each.policies)
    _add_users(out, where, id_, each.users)
    _add_roles(out, where, id_, each.roles)


def _add_policies(out: Accounts, where: str, id_: str, documents: dict[str, dict[str, Any]]) -> None:
    for name, document in documents.items():
        text = json.dumps(document)
        try:
            out.principals.policies[id_, name.lower()] = policies.parse(text, name)
        except policies.BadPolicy as bad:
            raise BadAccounts(f"{where}: policies.{name}: {bad}") from None
        out.principals.documents[id_, name.lower()] = text


def _add_users(out: Accounts, where: str, id_: str, users: list[UserOf]) -> None:
    for user in users:
        _check(out, f"{where}: user {user.name!r}", id_, user.policies, out.principals.user(id_, user.name))
        made = User(f"2{len(out.principals.by_id):017}", id_, user.name, tuple(user.policies))
        out.principals.add(made)
        for key in user.keys:
            _add_key(out, f"{where}: user {user.name!r}", key, id_, made.id)


def _add_roles(out: Accounts, where: str, id_: str, roles: list[RoleOf]) -> None:
    for role in roles:
        at = f"{where}: role {role.name!r}"
        _check(out, at, id_, role.policies, out.principals.role(id_, role.name))
        trusted = tuple(role.trusted) or (f"acs:ram::{id_}:root",)
        for arn in trusted:
            try:
                split_arn(arn)
            except ValueError as bad:
                raise BadAccounts(f"{at}: trusted: {bad}") from None
        if not SHORTEST_SECONDS <= role.longest_seconds <= LONGEST_SECONDS:
            raise BadAccounts(
                f"{at}: longest_seconds = {role.longest_seconds}: {SHORTEST_SECONDS} to {LONGEST_SECONDS}"
            )
        number = f"3{len(out.principals.by_id):017}"
        out.principals.add(Role(number, id_, role.name, trusted, tuple(role.policies), role.longest_seconds))


def _check(out: Accounts, where: str, account: str, names: list[str], there: User | Role | None) -> None:
    if there is not None:
        raise BadAccounts(f"{where}: is there twice")
    for name in names:
        if out.principals.policy(account, name) is None:
            known = ", ".join(system.documents())
            raise BadAccounts(f"{where}: policies = {name!r}: neither one of the account's nor of {known}")


def _add_key(out: Accounts, where: str, key: Key, account: str, user: str = "") -> None:
    if not key.id or not key.secret or key.id in out.keys or key.id.startswith(session.PREFIX):
        raise BadAccounts(
            f"{where}: key {key.id!r}: an id of its own that does not begin with {session.PREFIX}, and a secret"
        )
    out.keys[key.id] = AccessKey(key.id, account, key.secret, key.active, user)
