"""Users, roles and policies on file: adding, attaching, removing.

What is refused is a ``ValueError`` and changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
import string
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Literal

from freshline.access import policy as policies
from freshline.access import system
from freshline.access.principal import split_arn
from freshline.inventory import names
from freshline.inventory.principals import Principals, Role, User

USER_FIRST, ROLE_FIRST = "2", "3"  #: digits that ids begin with, so that no user has a role's
ID_DIGITS = 18
SHORTEST_SECONDS, LONGEST_SECONDS = 900, 43_200  #: of a session (help.aliyun.com/document_detail/28710.html)

Which = Literal["user", "role"]


class Register:
    """Part of the inventory: it changes the same file in the same transactions.

    :param change: a transaction; its argument is what is said where a name is taken
    :param random: of letters and a length, a text nobody guesses
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        change: Callable[[str], AbstractContextManager[None]],
        random: Callable[[str, int], str],
    ) -> None:
        self._db = connection
        self._change = change
        self._random = random

    # -- users and roles ------------------------------------------------------
    def add_user(self, account: str, name: str) -> User:
        user = User(self._id(USER_FIRST), account, names.name("user name", name))
        with self._change(f"user {name!r} of account {account!r} is there already"):
            self._need_account(account)
            self._db.execute("INSERT INTO user VALUES (?, ?, ?)", (user.id, account, name))
        return user

    def remove_user(self, account: str, name: str) -> None:
        """With its keys."""
        with self._change(f"user {name!r} cannot be removed"):
            id_ = self.id_of("user", account, name)
            self._db.execute("DELETE FROM attached WHERE principal = ?", (id_,))
            self._db.execute("DELETE FROM access_key WHERE user = ?", (id_,))
            self._db.execute("DELETE FROM user WHERE id = ?", (id_,))

    def add_role(
        self, account: str, name: str, trusted: Iterable[str] = (), longest_seconds: int = SHORTEST_SECONDS * 4
    ) -> Role:
        """:param trusted: who may take it; everybody of the account if none are named"""
        trusts = tuple(trusted) or (f"acs:ram::{account}:root",)
        for each in trusts:
            split_arn(each)
        if not SHORTEST_SECONDS <= longest_seconds <= LONGEST_SECONDS:
            raise ValueError(f"session {longest_seconds}: {SHORTEST_SECONDS} to {LONGEST_SECONDS} seconds")
        role = Role(self._id(ROLE_FIRST), account, names.name("role name", name), trusts, (), longest_seconds)
        with self._change(f"role {name!r} of account {account!r} is there already"):
            self._need_account(account)
            self._db.execute(
                "INSERT INTO role VALUES (?, ?, ?, ?, ?)",
                (role.id, account, name, json.dumps(role.trusted), longest_seconds),
            )
        return role

    def remove_role(self, account: str, name: str) -> None:
        """Its sessions end at once."""
        with self._change(f"role {name!r} cannot be removed"):
            id_ = self.id_of("role", account, name)
            self._db.execute("DELETE FROM attached WHERE principal = ?", (id_,))
            self._db.execute("DELETE FROM role WHERE id = ?", (id_,))

    # -- policies -------------------------------------------------------------
    def add_policy(self, account: str, name: str, document: str) -> None:
        """A policy, or a new text for one that is there.

        :raises BadPolicy: with every mistake in it
        """
        names.name("policy name", name)
        if name.lower() in map(str.lower, system.documents()):
            raise ValueError(f"policy name {name!r} is a system policy's")
        policies.parse(document, name)
        with self._change(f"policy {name!r} cannot be added"):
            self._need_account(account)
            self._db.execute(
                "INSERT INTO policy VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = ?3",
                (account, name, document),
            )

    def remove_policy(self, account: str, name: str) -> None:
        with self._change(f"policy {name!r} cannot be removed"):
            used = self._db.execute("SELECT 1 FROM attached WHERE account = ? AND policy = ?", (account, name))
            if used.fetchone() is not None:
                raise ValueError(f"policy {name!r} is attached; detach it first")
            if not self._db.execute("DELETE FROM policy WHERE account = ? AND name = ?", (account, name)).rowcount:
                raise ValueError(f"policy {name!r} of account {account!r} is unknown")

    def attach(self, account: str, policy: str, which: Which, name: str) -> None:
        with self._change(f"policy {policy!r} cannot be attached"):
            known = self._db.execute("SELECT name FROM policy WHERE account = ? AND name = ?", (account, policy))
            row = known.fetchone()
            if row is None and policy not in system.documents():
                raise ValueError(f"policy {policy!r} of account {account!r} is unknown")
            id_ = self.id_of(which, account, name)
            self._db.execute(
                "INSERT INTO attached VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (account, row[0] if row else policy, id_),
            )

    def detach(self, account: str, policy: str, which: Which, name: str) -> None:
        with self._change(f"policy {policy!r} cannot be detached"):
            at = (account, policy, self.id_of(which, account, name))
            gone = self._db.execute("DELETE FROM attached WHERE account = ? AND policy = ? AND principal = ?", at)
            if not gone.rowcount:
                raise ValueError(f"policy {policy!r} is not attached to {which} {name!r}")

    def id_of(self, which: Which, account: str, name: str) -> str:
        """:raises ValueError: there is none of that name"""
        statement = {
            "user": "SELECT id FROM user WHERE account = ? AND name = ?",
            "role": "SELECT id FROM role WHERE account = ? AND name = ?",
        }[which]
        row = self._db.execute(statement, (account, name)).fetchone()
        if row is None:
            raise ValueError(f"{which} {name!r} of account {account!r} is unknown")
        id_: str = row[0]
        return id_

    # -- inside ---------------------------------------------------------------
    def read(self, before: Principals) -> Principals:
        """All there is. A policy that has not changed is not read again."""
        out = Principals()
        attached: dict[str, list[str]] = {}
        for id_, policy in self._db.execute("SELECT principal, policy FROM attached ORDER BY policy"):
            attached.setdefault(id_, []).append(policy)
        for id_, account, name in self._db.execute("SELECT id, account, name FROM user"):
            out.add(User(id_, account, name, tuple(attached.get(id_, ()))))
        for id_, account, name, trusted, longest in self._db.execute("SELECT * FROM role"):
            out.add(Role(id_, account, name, tuple(json.loads(trusted)), tuple(attached.get(id_, ())), longest))
        for account, name, document in self._db.execute("SELECT * FROM policy ORDER BY name"):
            key = account, name.lower()
            same = before.documents.get(key) == document
            out.policies[key] = before.policies[key] if same else policies.parse(document, name)
            out.documents[key] = document
        return out

    def _id(self, first: str) -> str:
        return first + self._random(string.digits, ID_DIGITS - 1)

    def _need_account(self, id_: str) -> None:
        if self._db.execute("SELECT 1 FROM account WHERE id = ?", (id_,)).fetchone() is None:
            raise ValueError(f"account {id_!r} is unknown")
