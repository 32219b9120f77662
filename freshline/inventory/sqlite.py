"""The inventory in an SQLite file that any number of processes may change while the service reads it.

Reading is a dictionary look-up. Whether another process changed the file is asked at most every ``LOOK_SECONDS``, and
costs a few microseconds when it did not. A change that is refused changes nothing.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from freshline import datafile
from freshline.ambient import Ambient
from freshline.domain.edge import Edge
from freshline.domain.media import Media
from freshline.domain.source import Source
from freshline.domain.topology import Topology
from freshline.inventory import names
from freshline.inventory.base import AccessKey, Account, Domain, Taken
from freshline.inventory.library import Library
from freshline.inventory.principals import Principals
from freshline.inventory.register import Register
from freshline.inventory.roster import Roster
from freshline.inventory.vault import Vault, WrongKey, key_from

VERSION = 3  #: of the schema
UNLOCKED = 100_000  #: secrets that are kept as they are, so that none is decrypted again with each change
LOOK_SECONDS = 0.5  #: how soon a change by another process is seen
ACCOUNT_DIGITS = 16
DOMAIN_DIGITS = 12
KEY_PREFIX, KEY_LETTERS, SECRET_LETTERS = "LTAI", 20, 30

_ALPHANUMERICS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class _State:
    """All there is, as of one look at the file."""

    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, AccessKey] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)
    numbered: dict[int, Domain] = field(default_factory=dict)  #: by id
    owned: dict[str, list[Domain]] = field(default_factory=dict)  #: by account
    topology: Topology = field(default_factory=lambda: Topology(()))
    edges: list[Edge] = field(default_factory=list)
    principals: Principals = field(default_factory=Principals)


class SqliteInventory:
    """Open with :meth:`open`."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault, ambient: Ambient, place: datafile.Place) -> None:
        self._db = connection
        self._place = place
        self._vault = vault
        self._ambient = ambient
        self._looked = 0.0
        self._seen = 0
        self._stale = False  #: changed by us since
        self._plain: dict[tuple[bytes, str], str] = {}  #: secrets as the file has them and whose, and as they are
        self._state = _State()
        self.tokens = vault.aside("tokens")
        self.register = Register(connection, self._change, _random)
        self.library = Library(connection, self._change)
        self.roster = Roster(connection, self._change, vault, self._unlocked)
        self._look()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        key: bytes | None = None,
        key_file: str | os.PathLike[str] | None = None,
        ambient: Ambient | None = None,
    ) -> SqliteInventory:
        """Open the inventory at a path, or make it.

        :param key: encrypts the secrets; otherwise it is read from ``key_file``
        :param key_file: default ``secret.key`` beside the inventory; made together with a new inventory
        :raises WrongFile: the file is something else
        :raises WrongKey: the key is not this inventory's
        """
        file = Path(path)
        new = not file.exists()
        if key is None:
            key = key_from(Path(key_file) if key_file else file.with_name("secret.key"), create=new)
        vault = Vault(key)
        schema = (files("freshline.inventory") / "inventory.sql").read_text()
        connection = datafile.open_for_writing(file, "inventory", VERSION, schema)
        try:
            connection.execute("PRAGMA foreign_keys=1")
            connection.execute(
                "INSERT INTO seal SELECT ? WHERE NOT EXISTS (SELECT * FROM seal)", (vault.lock("freshline", "seal"),)
            )
            vault.unlock(connection.execute("SELECT proof FROM seal").fetchone()[0], "seal")
            return cls(connection, vault, ambient or Ambient(), datafile.Place(file, "inventory"))
        except WrongKey:
            connection.close()
            raise WrongKey(f"the key is not the one the secrets in {file} were encrypted with") from None

    def close(self) -> None:
        self._db.close()

    # -- reading ------------------------------------------------------------------------------------------------

    def account(self, id_: str) -> Account | None:
        return self._now().accounts.get(id_)

    def accounts(self) -> Sequence[Account]:
        """Every account, by name."""
        return sorted(self._now().accounts.values(), key=lambda account: account.name)

    def access_key(self, id_: str) -> AccessKey | None:
        return self._now().keys.get(id_)

    def access_keys(self, account: str) -> Sequence[AccessKey]:
        """The keys of an account, by id."""
        return [key for _, key in sorted(self._now().keys.items()) if key.account == account]

    @property
    def principals(self) -> Principals:
        return self._now().principals

    def domain(self, name: str) -> Domain | None:
        return self._now().domains.get(name)

    def domain_by_id(self, id_: int) -> Domain | None:
        return self._now().numbered.get(id_)

    def domains(self, account: str) -> Sequence[Domain]:
        return self._now().owned.get(account, [])

    def media(self, id_: str) -> Media | None:
        return self.library.media(id_)

    @property
    def topology(self) -> Topology:
        return self._now().topology

    def edges(self, group: str | None = None) -> Sequence[Edge]:
        edges = self._now().edges
        return edges if group is None else [edge for edge in edges if edge.group == group]

    def edge(self, name: str) -> Edge | None:
        return next((edge for edge in self._now().edges if edge.name == name), None)

    @property
    def changes(self) -> int:
        """Rows changed by us since it was opened."""
        return self._db.total_changes

    # -- changing -----------------------------------------------------------------------------------------------

    def add_account(self, name: str) -> Account:
        """:raises ValueError: the name is bad or taken, like everywhere below"""
        names.name("account name", name)
        account = Account(_random(string.digits, ACCOUNT_DIGITS, first="123456789"), name)
        with self._change(f"account name {name!r} is taken"):
            self._db.execute("INSERT INTO account VALUES (?, ?, 1)", (account.id, name))
        return account

    def set_account_enabled(self, id_: str, enabled: bool) -> None:
        self._one("account", id_, "UPDATE account SET enabled = ? WHERE id = ?", (enabled, id_))

    def set_service(self, account: str, name: str, state: Literal["open", "closed", "suspended"]) -> None:
        """Whether an account has a service, by the name that policies have for it."""
        names.name("service", name)
        with self._change(f"service {name!r} cannot be set"):
            self._need_account(account)
            self._db.execute("DELETE FROM service WHERE account = ? AND name = ?", (account, name))
            if state != "open":
                self._db.execute("INSERT INTO service VALUES (?, ?, ?)", (account, name, state))

    def add_access_key(
        self, account: str, user: str = "", *, id_: str | None = None, secret: str | None = None
    ) -> AccessKey:
        """Make a key of an account, or take in one that exists elsewhere (both ``id_`` and ``secret``).

        :param user: the name of the user whose key it is; else it is the account's own
        """
        if (id_ is None) != (secret is None):
            raise ValueError("an access key is imported with both its id and its secret")
        key = AccessKey(
            names.key_id(id_ if id_ is not None else KEY_PREFIX + _random(_ALPHANUMERICS, KEY_LETTERS)),
            account,
            names.secret(
                "access key secret", secret if secret is not None else _random(_ALPHANUMERICS, SECRET_LETTERS)
            ),
        )
        with self._change(f"access key {key.id!r} is there already"):
            self._need_account(account)
            owner = self.register.id_of("user", account, user) if user else None
            locked = self._vault.lock(key.secret, f"access key {key.id}")
            self._db.execute("INSERT INTO access_key VALUES (?, ?, ?, 1, ?)", (key.id, account, locked, owner))
        return replace(key, user=owner or "")

    def set_key_active(self, id_: str, active: bool) -> None:
        self._one("access key", id_, "UPDATE access_key SET active = ? WHERE id = ?", (active, id_))

    def remove_key(self, id_: str) -> None:
        self._one("access key", id_, "DELETE FROM access_key WHERE id = ?", (id_,))

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
        now = int(self._ambient.now())
        number = int(_random(string.digits, DOMAIN_DIGITS, first="123456789"))
        domain = Domain(names.domain(name), account, names.name("group", group), True,
                        number, now, now, type_, scope, tuple(sources))  # fmt: skip
        with self._change(f"domain {domain.name!r} is there already"):
            self._need_account(account)
            self._db.execute(
                "INSERT INTO domain VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
                (domain.name, account, group, number, now, now, type_, scope, _json(sources)),
            )
        return domain

    def change_domain(
        self,
        name: str,
        *,
        online: bool | None = None,
        group: str | None = None,
        sources: Sequence[Source] | None = None,
    ) -> None:
        if group is not None:
            names.name("group", group)
        self._one(
            "domain",
            name,
            "UPDATE domain SET online = coalesce(?, online), grouped = coalesce(?, grouped), "
            "sources = coalesce(?, sources), modified = ? WHERE name = ?",
            (online, group, None if sources is None else _json(sources), int(self._ambient.now()), name),
        )

    def set_domain_online(self, name: str, online: bool) -> None:
        self.change_domain(name, online=online)

    def remove_domain(self, name: str) -> None:
        self._one("domain", name, "DELETE FROM domain WHERE name = ?", (name,))

    # -- inside -------------------------------------------------------------------------------------------------

    def _need_account(self, id_: str) -> None:
        if self._db.execute("SELECT 1 FROM account WHERE id = ?", (id_,)).fetchone() is None:
            raise ValueError(f"account {id_!r} is unknown")

    def _one(self, what: str, name: str, statement: str, values: tuple[object, ...]) -> None:
        with self._change(f"{what} {name!r} cannot be changed"):
            if not self._db.execute(statement, values).rowcount:
                raise ValueError(f"{what} {name!r} is unknown")

    @contextmanager
    def _change(self, if_refused: str) -> Iterator[None]:
        self._place.check()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException as trouble:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(trouble, sqlite3.IntegrityError):
                raise Taken(if_refused) from None
            raise
        self._stale = True  # reading all again takes longer than most changes, and there may be a thousand of them

    def _now(self) -> _State:
        now = self._ambient.monotonic()
        if self._stale:
            self._look()
        elif now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if self._version() != self._seen:
                self._look()
        return self._state

    def _version(self) -> int:
        """Another number after every commit of another connection."""
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _look(self) -> None:
        self._looked = self._ambient.monotonic()
        self._db.execute("BEGIN")
        try:
            self._seen = self._version()
            self._state = self._read()
            self._stale = False
        finally:
            self._db.execute("COMMIT")

    def _read(self) -> _State:
        state = _State(principals=self.register.read(self._state.principals))
        services: dict[tuple[str, str], set[str]] = {}
        for account, name, service in self._db.execute("SELECT account, name, state FROM service"):
            services.setdefault((account, service), set()).add(name)
        for id_, name, enabled in self._db.execute("SELECT id, name, enabled FROM account"):
            closed, suspended = (frozenset(services.get((id_, each), ())) for each in ("closed", "suspended"))
            state.accounts[id_] = Account(id_, name, bool(enabled), closed, suspended)
        for id_, account, secret, active, user in self._db.execute("SELECT * FROM access_key"):
            plain = self._unlocked(secret, f"access key {id_}")
            state.keys[id_] = AccessKey(id_, account, plain, bool(active), user or "")
        for row in self._db.execute("SELECT * FROM domain ORDER BY name"):
            name, account, group, online, number, created, modified, type_, scope, sources = row
            domain = Domain(name, account, group, bool(online), number, created, modified, type_, scope,
                            _sources(sources))  # fmt: skip
            state.domains[name] = state.numbered[number] = domain
            state.owned.setdefault(account, []).append(domain)
        edges = self.roster.read()
        return replace(state, edges=edges, topology=Topology(edges))

    def _unlocked(self, locked: bytes, of: str) -> str:
        if (plain := self._plain.get((locked, of))) is None:
            if len(self._plain) >= UNLOCKED:
                self._plain.clear()
            plain = self._plain[locked, of] = self._vault.unlock(locked, of)
        return plain


def _json(sources: Sequence[Source]) -> str:
    return msgspec.json.encode(list(sources)).decode()


def _sources(text: str) -> tuple[Source, ...]:
    return msgspec.json.decode(text, type=tuple[Source, ...]) if text != "[]" else ()


def _random(letters: str, length: int, *, first: str | None = None) -> str:
    start = secrets.choice(first) if first else ""
    return start + "".join(secrets.choice(letters) for _ in range(length - len(start)))
