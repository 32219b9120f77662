"""What freshline/inventory promises: validated, encrypted at rest, and seen by every process."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freshline.ambient import Ambient
from freshline.datafile import WrongFile
from freshline.domain.edge import Edge
from freshline.domain.source import Source
from freshline.inventory.base import AccessKey, Inventory
from freshline.inventory.sqlite import LOOK_SECONDS, SqliteInventory
from freshline.inventory.vault import Vault, WrongKey

EDGE = Edge("e1", "nginx", "default", "127.0.0.1:8101", "cache.test:80", "gate-secret-of-e1", joined=7)


class Clock(Ambient):
    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "inventory.db"


@pytest.fixture
def inventory(file: Path) -> Iterator[SqliteInventory]:
    it = SqliteInventory.open(file)
    yield it
    it.close()


def everything(inventory: SqliteInventory) -> tuple[object, ...]:
    accounts = inventory.accounts()
    keys = [key for account in accounts for key in inventory.access_keys(account.id)]
    return accounts, keys, [inventory.domains(account.id) for account in accounts], list(inventory.edges())


def test_accounts_and_keys(inventory: SqliteInventory) -> None:
    """An account and its keys are made, switched off and removed."""
    account = inventory.add_account("shop")
    key = inventory.add_access_key(account.id)
    protocol: Inventory = inventory

    assert re.fullmatch(r"[1-9][0-9]{15}", account.id)
    assert re.fullmatch(r"LTAI[A-Za-z0-9]{20}", key.id)
    assert re.fullmatch(r"[A-Za-z0-9]{30}", key.secret)
    assert protocol.account(account.id) == account
    assert protocol.access_key(key.id) == key

    inventory.set_account_enabled(account.id, False)
    inventory.set_key_active(key.id, False)
    assert protocol.account(account.id) == replace(account, enabled=False)
    assert protocol.access_key(key.id) == replace(key, active=False)

    inventory.remove_key(key.id)
    assert protocol.access_key(key.id) is None


def test_a_key_from_elsewhere(inventory: SqliteInventory) -> None:
    """A key that programs already use is taken in as it is."""
    account = inventory.add_account("shop").id
    key = inventory.add_access_key(account, id_="testid", secret="testsecret")

    assert key == AccessKey("testid", account, "testsecret")
    assert inventory.access_keys(account) == [key]


def test_domains(inventory: SqliteInventory) -> None:
    """Domains are listed by name, lower case, and go on- and offline."""
    account, other = inventory.add_account("a").id, inventory.add_account("b").id
    second = inventory.add_domain("Img.Test", account, "eu")
    first = inventory.add_domain("css.test", account, "eu")
    inventory.add_domain("other.test", other, "us")

    assert second.name == "img.test"
    assert list(inventory.domains(account)) == [first, second]
    inventory.set_domain_online("img.test", False)
    changed = inventory.domain("img.test")
    assert changed is not None and changed.modified >= second.modified == second.created
    assert changed == replace(second, online=False, modified=changed.modified)
    assert inventory.domain_by_id(second.id) == changed
    inventory.remove_domain("img.test")
    assert list(inventory.domains(account)) == [first]


def test_what_a_domain_says_of_itself(inventory: SqliteInventory, file: Path) -> None:
    """Its origins, type and scope are kept, and its group and origins can be changed."""
    account = inventory.add_account("a").id
    sources = (Source("192.0.2.1"), Source("o.test", "domain", 8080, "30", "5"))
    made = inventory.add_domain("img.test", account, "eu", type_="video", scope="overseas", sources=sources)
    assert inventory.domain("img.test") == made

    inventory.change_domain("img.test", group="us", sources=sources[:1])
    again = SqliteInventory.open(file)
    changed = again.domain("img.test")
    again.close()
    assert changed is not None
    assert changed == replace(made, group="us", sources=sources[:1], modified=changed.modified)

    inventory.remove_domain("img.test")
    assert inventory.add_domain("img.test", account, "eu").id != made.id


def test_edges(inventory: SqliteInventory) -> None:
    """Edges are listed by name, all or one group's."""
    last = replace(EDGE, name="z", group="us")
    inventory.roster.add(last)
    inventory.roster.add(EDGE)

    assert list(inventory.edges()) == [EDGE, last]
    assert list(inventory.edges("us")) == [last]
    assert list(inventory.edges("nowhere")) == []
    inventory.roster.remove("z")
    assert list(inventory.edges()) == [EDGE]


def test_an_edge_is_changed_in_place(inventory: SqliteInventory, file: Path) -> None:
    """What is named changes, for every process; the rest stays, the secret and where it joined above all."""
    inventory.roster.add(EDGE)
    inventory.roster.add(replace(EDGE, name="other"))

    inventory.roster.change("e1", gate="10.0.0.6:9101", group="us")
    assert inventory.edge("e1") == replace(EDGE, gate="10.0.0.6:9101", group="us")
    inventory.roster.change("e1", site="10.0.0.6:80", secret="another-secret")
    again = SqliteInventory.open(file)
    changed = again.edges()
    again.close()

    expected = replace(EDGE, gate="10.0.0.6:9101", site="10.0.0.6:80", group="us", secret="another-secret")
    assert changed == [expected, replace(EDGE, name="other")]


BAD: list[tuple[Callable[[SqliteInventory, str], Any], str]] = [
    (lambda it, _: it.add_account("a b"), "account name 'a b'"),
    (lambda it, _: it.roster.change("nope", site="a:1"), "edge 'nope' is unknown"),
    (lambda it, _: it.roster.change("e1", gate="a"), "gate 'a'"),
    (lambda it, _: it.roster.change("e1", site="a:0"), "site 'a:0'"),
    (lambda it, _: it.roster.change("e1", group="a/b"), "group 'a/b'"),
    (lambda it, _: it.roster.change("e1", secret=""), "gate secret"),
    (lambda it, _: it.add_account(""), "account name ''"),
    (lambda it, _: it.add_account("shop"), "account name 'shop' is taken"),
    (lambda it, _: it.set_account_enabled("5", False), "account '5' is unknown"),
    (lambda it, _: it.add_access_key("5"), "account '5' is unknown"),
    (lambda it, a: it.add_access_key(a, id_="x y", secret="s"), "access key id 'x y'"),
    (lambda it, a: it.add_access_key(a, id_="x", secret="é"), "access key secret"),
    (lambda it, a: it.add_access_key(a, id_="x"), "both its id and its secret"),
    (lambda it, a: it.add_access_key(a, id_="taken", secret="s"), "access key 'taken' is there already"),
    (lambda it, _: it.set_key_active("5", False), "access key '5' is unknown"),
    (lambda it, _: it.remove_key("5"), "access key '5' is unknown"),
    (lambda it, a: it.add_domain("http://x.test", a, "eu"), "domain 'http://x.test'"),
    (lambda it, a: it.add_domain("x.test:80", a, "eu"), "domain 'x.test:80'"),
    (lambda it, a: it.add_domain("*.x.test", a, "eu"), "domain '*.x.test'"),
    (lambda it, a: it.add_domain("x.test/", a, "eu"), "domain 'x.test/'"),
    (lambda it, a: it.add_domain("x.test", a, "e u"), "group 'e u'"),
    (lambda it, _: it.add_domain("x.test", "5", "eu"), "account '5' is unknown"),
    (lambda it, a: it.add_domain("IMG.test", a, "eu"), "domain 'img.test' is there already"),
    (lambda it, _: it.set_domain_online("x.test", True), "domain 'x.test' is unknown"),
    (lambda it, _: it.remove_domain("x.test"), "domain 'x.test' is unknown"),
    (lambda it, _: it.roster.add(EDGE), "edge 'e1' is there already"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e/2")), "edge name 'e/2'"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e2", gate="127.0.0.1")), "gate '127.0.0.1'"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e2", gate=":80")), "gate ':80'"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e2", site="h:99999")), "site 'h:99999'"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e2", site="a b:80")), "site 'a b:80'"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e2", secret="")), "gate secret"),
    (lambda it, _: it.roster.add(replace(EDGE, name="e2", joined=-1)), "joined -1"),
    (lambda it, _: it.roster.remove("e2"), "edge 'e2' is unknown"),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_changes_nothing(
    inventory: SqliteInventory, file: Path, change: Callable[[SqliteInventory, str], Any], words: str
) -> None:
    """What is refused is named, and all is as it was, also in the file."""
    account = inventory.add_account("shop").id
    inventory.add_access_key(account, id_="taken", secret="s")
    inventory.add_domain("img.test", account, "eu")
    inventory.roster.add(EDGE)
    before = everything(inventory)

    with pytest.raises(ValueError, match=re.escape(words)):
        change(inventory, account)

    again = SqliteInventory.open(file)
    assert everything(inventory) == everything(again) == before
    again.close()


def test_secrets_are_not_in_the_file(inventory: SqliteInventory, file: Path) -> None:
    """Nothing on the disk shows a secret, and the key file is its owner's alone."""
    account = inventory.add_account("shop").id
    key = inventory.add_access_key(account)
    inventory.roster.add(EDGE)
    written = b"".join(it.read_bytes() for it in file.parent.iterdir())

    assert key.id.encode() in written
    assert key.secret.encode() not in written
    assert EDGE.secret.encode() not in written
    assert "-secret" not in repr(EDGE) + repr(key)
    assert file.with_name("secret.key").stat().st_mode & 0o777 == 0o600


def test_a_wrong_key_is_refused(file: Path, tmp_path: Path) -> None:
    """With another key, without one, or with one that is none, the inventory does not open."""
    right = bytes(range(32))
    inventory = SqliteInventory.open(file, key=right)
    inventory.roster.add(EDGE)
    inventory.close()

    with pytest.raises(WrongKey, match=f"not the one the secrets in {file}"):
        SqliteInventory.open(file, key=bytes(32))
    with pytest.raises(WrongKey, match=f"key file {tmp_path / 'secret.key'} is missing"):
        SqliteInventory.open(file)
    bad = tmp_path / "bad.key"
    bad.write_text("not hexadecimal")
    with pytest.raises(WrongKey, match=f"{bad} is no key file"):
        SqliteInventory.open(file, key_file=bad)
    with pytest.raises(WrongKey, match="32 bytes, not 3"):
        SqliteInventory.open(file, key=b"abc")

    again = SqliteInventory.open(file, key=right)
    assert list(again.edges()) == [EDGE]
    again.close()


def test_a_secret_belongs_to_its_row() -> None:
    """A ciphertext moved to another row does not open."""
    vault = Vault(bytes(32))
    with pytest.raises(WrongKey):
        vault.unlock(vault.lock("s", "edge a"), "edge b")


def test_changes_of_another_process_are_seen(file: Path) -> None:
    """Another connection's change is there after the look interval, and a look at an unchanged file reads nothing."""
    clock = Clock()
    service, command = SqliteInventory.open(file, ambient=clock), SqliteInventory.open(file)
    account = command.add_account("shop")
    assert service.account(account.id) is None

    clock.at += LOOK_SECONDS
    assert service.account(account.id) == account
    state = service._state
    clock.at += LOOK_SECONDS
    assert service.account(account.id) == account
    assert service._state is state

    command.add_domain("img.test", account.id, "eu")
    service.add_domain("css.test", account.id, "eu")
    assert [it.name for it in service.domains(account.id)] == ["css.test", "img.test"]
    service.close()
    command.close()


def test_wrong_files_are_named(file: Path) -> None:
    """Another program's database is refused by name."""
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(WrongFile, match=f"{file} is no freshline inventory"):
        SqliteInventory.open(file, key=bytes(32))
