"""``account`` and ``domain``: who may ask, and for what."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table

account = App(name="account", help="Accounts and their access keys.")
key = App(name="key", help="Access keys of accounts.")
domain = App(name="domain", help="Domains, whose they are, and which edges serve them.")
account.command(key)


@account.command
def add(name: str, *, json: AsJson = False, place: Place = HERE) -> None:
    """Make an account with its first access key. The secret is shown this once.

    ```
    freshline account add shop
    ```
    """
    with place.inventory() as inventory:
        made = inventory.add_account(name)
        first = inventory.add_access_key(made.id)
    _show_key(first.id, first.secret, made.id, json)


@account.command(name="list")
def accounts(*, json: AsJson = False, place: Place = HERE) -> None:
    """List accounts and the ids of their keys."""
    with place.inventory() as inventory:
        rows = [(each, inventory.access_keys(each.id)) for each in inventory.accounts()]
    if json:
        as_json(
            [
                {"id": each.id, "name": each.name, "enabled": each.enabled}
                | {"keys": [{"id": key.id, "active": key.active} for key in keys]}
                for each, keys in rows
            ]
        )
        return
    shown = [", ".join(key.id + ("" if key.active else " (inactive)") for key in keys) for _, keys in rows]
    table(
        ["ACCOUNT", "NAME", "ENABLED", "KEYS"],
        [(each.id, each.name, each.enabled, ids) for (each, _), ids in zip(rows, shown, strict=True)],
    )


@account.command
def enable(id_: str, *, place: Place = HERE) -> None:
    """Let an account call again."""
    with place.inventory() as inventory:
        inventory.set_account_enabled(id_, True)


@account.command
def disable(id_: str, *, place: Place = HERE) -> None:
    """Refuse all calls of an account. Its tasks go on."""
    with place.inventory() as inventory:
        inventory.set_account_enabled(id_, False)


@key.command(name="add")
def add_key(account_id: str, *, json: AsJson = False, place: Place = HERE) -> None:
    """Make another access key. The secret is shown this once."""
    with place.inventory() as inventory:
        made = inventory.add_access_key(account_id)
    _show_key(made.id, made.secret, account_id, json)


@key.command(name="set")
def set_key(key_id: str, state: Literal["active", "inactive"], *, place: Place = HERE) -> None:
    """Switch an access key on or off."""
    with place.inventory() as inventory:
        inventory.set_key_active(key_id, state == "active")


@key.command(name="remove")
def remove_key(key_id: str, *, place: Place = HERE) -> None:
    """Delete an access key."""
    with place.inventory() as inventory:
        inventory.remove_key(key_id)


@domain.command(name="add")
def add_domain(name: str, *, account: str, group: str = "default", place: Place = HERE) -> None:
    """Give a domain to an account and an edge group.

    ```
    freshline domain add img.example.com --account 1234567890123456 --group eu
    ```
    """
    with place.inventory() as inventory:
        inventory.add_domain(name, account, group)
        if not inventory.edges(group):
            print(f"note: the group {group} has no edges yet; tasks for {name} are Complete at once")


@domain.command(name="list")
def domains(*, account: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """List domains."""
    with place.inventory() as inventory:
        owners = [account] if account else [each.id for each in inventory.accounts()]
        found = [each for owner in owners for each in inventory.domains(owner)]
    rows = [{"name": d.name, "account": d.account, "group": d.group, "online": d.online} for d in found]
    if json:
        as_json(rows)
    else:
        table(["DOMAIN", "ACCOUNT", "GROUP", "ONLINE"], [list(row.values()) for row in rows])


@domain.command(name="set")
def set_domain(name: str, state: Literal["online", "offline"], *, place: Place = HERE) -> None:
    """Take or refuse tasks for a domain."""
    with place.inventory() as inventory:
        inventory.set_domain_online(name, state == "online")


@domain.command(name="remove")
def remove_domain(name: str, *, place: Place = HERE) -> None:
    """Take a domain away from its account."""
    with place.inventory() as inventory:
        if inventory.domain(name) is None:
            fail(f"there is no domain {name}", 2)
        inventory.remove_domain(name)


def _show_key(id_: str, secret: str, account_id: str, json: bool) -> None:
    made = {"account": account_id, "access_key_id": id_, "access_key_secret": secret}
    if json:
        as_json(made)
    else:
        print("\n".join(f"{name:18} {value}" for name, value in made.items()))
