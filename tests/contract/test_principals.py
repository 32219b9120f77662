"""What the inventory promises of users, roles and policies, and of what it hands out for a while."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from freshline.access import system
from freshline.access.policy import BadPolicy
from freshline.access.principal import Kind, Principal
from freshline.inventory.base import Inventory
from freshline.inventory.register import Which
from freshline.inventory.session import TOKEN_LIMIT, BadToken, Session, seal, unseal
from freshline.inventory.sqlite import SqliteInventory

READS = json.dumps({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "cdn:Describe*", "Resource": "*"}]})
NOTHING = READS.replace("Allow", "Deny")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "inventory.db"


@pytest.fixture
def inventory(file: Path) -> Iterator[SqliteInventory]:
    it = SqliteInventory.open(file)
    yield it
    it.close()


def test_users_and_their_keys(inventory: SqliteInventory) -> None:
    """A user has keys of their own, and they go with the user."""
    account = inventory.add_account("shop").id
    user = inventory.register.add_user(account, "Anna")
    own, first, second = (inventory.add_access_key(account, name) for name in ("", "anna", "Anna"))
    protocol: Inventory = inventory

    assert re.fullmatch("2[0-9]{17}", user.id)
    assert protocol.principals.user(account, "ANNA") == user
    assert (own.user, first.user, second.user) == ("", user.id, user.id)
    assert protocol.access_key(first.id) == first

    inventory.register.remove_user(account, "Anna")
    assert inventory.access_keys(account) == [own]
    assert protocol.principals.users(account) == []


def test_policies(inventory: SqliteInventory) -> None:
    """A policy is written, attached to users and roles, changed for all of them at once, and taken away."""
    account = inventory.add_account("shop").id
    register = inventory.register
    register.add_user(account, "anna")
    register.add_role(account, "reader")
    register.add_policy(account, "Reads", READS)
    holders: tuple[tuple[Which, str], ...] = (("user", "anna"), ("role", "reader"), ("user", "anna"))
    for which, name in holders:
        register.attach(account, "reads", which, name)
    register.attach(account, "AliyunCDNReadOnlyAccess", "user", "anna")

    def held() -> list[str]:
        user = inventory.principals.user(account, "anna")
        assert user is not None
        return [policy.name for policy in inventory.principals.policies_of(user)]

    assert held() == ["AliyunCDNReadOnlyAccess", "Reads"]
    before = inventory.principals.policy(account, "Reads")
    register.add_user(account, "bert")
    assert inventory.principals.policy(account, "Reads") is before
    register.add_policy(account, "Reads", NOTHING)
    after = inventory.principals.policy(account, "reads")
    assert after is not None and after.statements[0].effect == "Deny"

    register.detach(account, "Reads", "user", "anna")
    register.detach(account, "Reads", "role", "reader")
    register.remove_policy(account, "Reads")
    assert held() == ["AliyunCDNReadOnlyAccess"]


def test_roles(inventory: SqliteInventory) -> None:
    """A role trusts its account if nobody else is named."""
    account = inventory.add_account("shop").id
    role = inventory.register.add_role(account, "deploy")
    other = inventory.register.add_role(account, "build", ["acs:ram::1:user/ci"], 7200)

    assert re.fullmatch("3[0-9]{17}", role.id)
    assert (role.trusted, role.longest_seconds) == ((f"acs:ram::{account}:root",), 3600)
    assert inventory.principals.roles(account) == [other, role]
    assert inventory.principals.role(account, "DEPLOY") == role
    inventory.register.remove_role(account, "deploy")
    assert inventory.principals.role(account, "deploy") is None


def test_trust() -> None:
    """Everybody of an account, one user, or one role; never by a name that only looks alike."""
    anna = Principal("1", Kind.USER, "2", "anna")
    session = Principal("1", Kind.SESSION, "3", "deploy", session="x")

    assert anna.trusted_by(("acs:ram::1:root",)) and anna.trusted_by(("acs:ram::1:user/Anna",))
    assert not anna.trusted_by(("acs:ram::1:user/ann", "acs:ram::2:root", "acs:ram::2:user/anna"))
    assert session.trusted_by(("acs:ram::1:role/deploy",))
    assert not session.trusted_by(("acs:ram::1:user/deploy", "acs:ram::1:role/deploy/x"))
    assert Principal("1", Kind.ROOT, "1").arn == "acs:ram::1:root"


def test_services(inventory: SqliteInventory) -> None:
    """Everything is open until it is closed or taken away."""
    account = inventory.add_account("shop").id
    found = inventory.account(account)
    assert found is not None and found.closed == found.suspended == frozenset()

    inventory.set_service(account, "cdn", "suspended")
    inventory.set_service(account, "vod", "closed")
    found = inventory.account(account)
    assert found is not None and (found.closed, found.suspended) == ({"vod"}, {"cdn"})
    inventory.set_service(account, "cdn", "open")
    found = inventory.account(account)
    assert found is not None and found.suspended == frozenset()


BAD: list[tuple[Callable[[SqliteInventory, str], Any], str]] = [
    (lambda it, a: it.register.add_user("5", "x"), "account '5' is unknown"),
    (lambda it, a: it.register.add_user(a, "x y"), "user name 'x y'"),
    (lambda it, a: it.register.add_user(a, "ANNA"), "user 'ANNA' of account"),
    (lambda it, a: it.register.remove_user(a, "x"), "user 'x' of account"),
    (lambda it, a: it.register.remove_user("5", "anna"), "user 'anna' of account '5' is unknown"),
    (lambda it, a: it.add_access_key(a, "x"), "user 'x' of account"),
    (lambda it, a: it.add_access_key(a, id_="STS.x", secret="s"), "access key id 'STS.x'"),
    (lambda it, a: it.register.add_role(a, "Deploy"), "role 'Deploy' of account"),
    (lambda it, a: it.register.add_role(a, "x", ["anna"]), "'anna': acs:ram::ACCOUNT:root"),
    (lambda it, a: it.register.add_role(a, "x", longest_seconds=899), "session 899"),
    (lambda it, a: it.register.remove_role(a, "anna"), "role 'anna' of account"),
    (lambda it, a: it.register.add_policy(a, "x", "{}"), "Version: must be"),
    (lambda it, a: it.register.add_policy(a, "aliyuncdnfullaccess", READS), "is a system policy's"),
    (lambda it, a: it.register.add_policy("5", "x", READS), "account '5' is unknown"),
    (lambda it, a: it.register.attach(a, "x", "user", "anna"), "policy 'x' of account"),
    (lambda it, a: it.register.attach(a, "Reads", "role", "anna"), "role 'anna' of account"),
    (lambda it, a: it.register.detach(a, "Reads", "role", "deploy"), "is not attached to role 'deploy'"),
    (lambda it, a: it.register.remove_policy(a, "Reads"), "policy 'Reads' is attached"),
    (lambda it, a: it.register.remove_policy(a, "x"), "policy 'x' of account"),
    (lambda it, a: it.set_service("5", "cdn", "open"), "account '5' is unknown"),
    (lambda it, a: it.set_service(a, "c dn", "open"), "service 'c dn'"),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_changes_nothing(
    inventory: SqliteInventory, file: Path, change: Callable[[SqliteInventory, str], Any], words: str
) -> None:
    """What is refused is named, and all is as it was, also in the file."""
    account = inventory.add_account("shop").id
    inventory.register.add_user(account, "anna")
    inventory.register.add_role(account, "deploy")
    inventory.register.add_policy(account, "Reads", READS)
    inventory.register.attach(account, "Reads", "user", "anna")
    before = inventory.principals, inventory.access_keys(account)

    with pytest.raises(ValueError, match=re.escape(words)):
        change(inventory, account)

    again = SqliteInventory.open(file)
    assert (inventory.principals, inventory.access_keys(account)) == before
    assert again.principals.by_id == before[0].by_id and again.principals.documents == before[0].documents
    again.close()


def test_a_bad_policy_says_why(inventory: SqliteInventory) -> None:
    """All its mistakes, not only the first."""
    account = inventory.add_account("shop").id
    with pytest.raises(BadPolicy) as wrong:
        inventory.register.add_policy(account, "x", '{"Version": 1, "Statement": [{}]}')

    assert len(str(wrong.value).splitlines()) == 4


def test_system_policies() -> None:
    """Every product's pair is right, and reads or does everything."""
    assert {"AliyunCDNFullAccess", "AliyunCDNReadOnlyAccess", "AliyunSTSAssumeRoleAccess"} <= system.policies().keys()
    assert all(policy.name == name and policy.statements for name, policy in system.policies().items())


SESSION = Session("STS.key", "secret-of-the-session", "3000", "anna", 1_800_000_000, READS)


def test_tokens(inventory: SqliteInventory, file: Path) -> None:
    """A token says all of a session to every process that has the key, and nothing to anybody else."""
    token = seal(SESSION, inventory.tokens)
    again = SqliteInventory.open(file)

    assert unseal(token, again.tokens) == SESSION
    assert b"secret-of-the-session" not in b64decode(token)
    assert "secret" not in repr(SESSION)
    again.close()


@pytest.mark.parametrize("at", range(0, 1000, 97))
def test_tokens_cannot_be_changed(inventory: SqliteInventory, at: int) -> None:
    """One bit anywhere, and it is no token."""
    raw = bytearray(b64decode(seal(SESSION, inventory.tokens)))
    raw[at % len(raw)] ^= 1

    with pytest.raises(BadToken):
        unseal(b64encode(raw).decode(), inventory.tokens)


def test_what_is_no_token(inventory: SqliteInventory, tmp_path: Path) -> None:
    """Garbage, another inventory's token, and a secret at rest of this one."""
    other = SqliteInventory.open(tmp_path / "other.db", key=bytes(32))
    at_rest = inventory._vault.lock_bytes(b"x", "session token")
    others = seal(SESSION, other.tokens)
    other.close()

    for token in ("", "x", "tok+en/==", "é", "A" * 100, "A" * (TOKEN_LIMIT + 1), others, b64encode(at_rest).decode()):
        with pytest.raises(BadToken):
            unseal(token, inventory.tokens)
