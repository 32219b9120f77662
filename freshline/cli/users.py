"""``account user``: who of an account may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, table
from freshline.cli.people import AnAccount, opened, show_key

if TYPE_CHECKING:
    from freshline.inventory.principals import User
    from freshline.inventory.sqlite import SqliteInventory

user = App(name="user", help="Users of an account, who may do what policies allow.")


@user.command(name="add")
def add_user(account: AnAccount, name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Make a user with a first access key, shown this once. Until a policy is attached they may do nothing.

    ```
    freshline account user add shop anna
    ```
    """
    with opened(place, account) as (inventory, id_):
        made = inventory.register.add_user(id_, name)
        first = inventory.add_access_key(id_, made.name)
    show_key(first, json, user=made.name)


@user.command(name="list")
def users(account: AnAccount, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """List the users of an account, their keys and what is attached to them.

    ```
    freshline account user list shop
    ```
    """
    with opened(place, account) as (inventory, id_):
        rows = [_user(inventory, each) for each in inventory.principals.users(id_)]
    if json:
        as_json(rows)
        return
    keys = [", ".join(key["id"] + ("" if key["active"] else " (inactive)") for key in row["keys"]) for row in rows]
    table(
        ["USER", "ID", "POLICIES", "KEYS"],
        [(row["name"], row["id"], ", ".join(row["policies"]), each) for row, each in zip(rows, keys, strict=True)],
    )


@user.command(name="remove")
def remove_user(account: AnAccount, name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Remove a user and their keys.

    ```
    freshline account user remove shop anna
    ```
    """
    with opened(place, account) as (inventory, id_):
        inventory.register.remove_user(id_, name)
    if json:
        as_json({"removed": name})


def _user(inventory: SqliteInventory, each: User) -> dict[str, Any]:
    keys = [key for key in inventory.access_keys(each.account) if key.user == each.id]
    return {
        "name": each.name,
        "id": each.id,
        "policies": list(each.policies),
        "keys": [{"id": key.id, "active": key.active} for key in keys],
    }
