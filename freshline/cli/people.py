"""``account`` and ``domain``: who may ask, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table

if TYPE_CHECKING:
    from freshline.inventory.base import AccessKey, Domain
    from freshline.inventory.sqlite import SqliteInventory

AnAccount = Annotated[str, Parameter(help="The account's id or name.")]

account = App(name="account", help="Accounts and their access keys.")
key = App(name="key", help="Access keys of accounts.")
domain = App(name="domain", help="Domains, whose they are, and which edges serve them.")
account.command(key)


@account.command
def add(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Make an account with its first access key. The secret is shown this once.

    ```
    freshline account add shop
    ```
    """
    with place.inventory(new=True) as inventory:
        made = inventory.add_account(name)
        first = inventory.add_access_key(made.id)
    show_key(first, json)


@account.command(name="list")
def accounts(*, json: AsJson = False, place: Place = HERE) -> None:
    """List accounts and the ids of their keys, with the user whose key it is; one without is the account's own.

    ```
    freshline account list --json
    ```
    """
    with place.inventory() as inventory:
        rows = [_account(inventory, each.id) for each in inventory.accounts()]
    if json:
        as_json(rows)
        return
    shown = [", ".join(map(_key, row["keys"])) for row in rows]
    table(
        ["ACCOUNT", "NAME", "ENABLED", "KEYS"],
        [(row["id"], row["name"], _yes(row["enabled"]), ids) for row, ids in zip(rows, shown, strict=True)],
    )


@account.command
def enable(account: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Let an account call again.

    ```
    freshline account enable shop
    ```

    Parameters
    ----------
    account
        Its id or its name.
    """
    _switch(account, True, json, place)


@account.command
def disable(account: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Refuse all calls of an account. Its tasks go on.

    ```
    freshline account disable shop
    ```

    Parameters
    ----------
    account
        Its id or its name.
    """
    _switch(account, False, json, place)


@account.command
def service(
    account: str,
    service: str,
    state: Literal["open", "closed", "suspended"],
    /,
    *,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Say whether an account has a service. Without, all are open.

    ```
    freshline account service shop cdn suspended
    ```

    Parameters
    ----------
    account
        Its id or its name.
    service
        The service's name in policies: cdn, dcdn, vod, …
    """
    from freshline.spec import model

    known = sorted({product.service for product in model.load().products.values()})
    if service not in known:
        fail(f"service {service!r} is unknown; there are {', '.join(known)}", 2)
    with place.inventory() as inventory:
        inventory.set_service(account_id(inventory, account), service, state)
    if json:
        as_json({"service": service, "state": state})
    else:
        print(f"{service} of account {account} is {state}")


@key.command(name="add")
def add_key(
    account: str,
    /,
    *,
    user: str = "",
    key_id: str | None = None,
    secret_file: Path | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Make another access key, or take in one that callers have already. A secret we make is shown this once.

    ```
    freshline account key add shop
    freshline account key add shop --user anna
    freshline account key add shop --key-id LTAI5tExample --secret-file key.txt
    ```

    Parameters
    ----------
    account
        The account's id or name.
    user
        The user whose key it is; without, it is the account's own, which no policy limits.
    key_id
        The id of a key from elsewhere; goes with --secret-file.
    secret_file
        A file with the secret of that key.
    """
    if (key_id is None) != (secret_file is None):
        fail("--key-id and --secret-file go together", 2)
    secret = read_secret(secret_file) if secret_file else None
    with place.inventory() as inventory:
        made = inventory.add_access_key(account_id(inventory, account), user, id_=key_id, secret=secret)
    show_key(made, json, user)


@key.command(name="set")
def set_key(key_id: str, state: Literal["active", "inactive"], /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Switch an access key on or off; the service sees it within a second.

    ```
    freshline account key set LTAI5tExample inactive
    ```
    """
    with place.inventory() as inventory:
        inventory.set_key_active(key_id, state == "active")
    if json:
        as_json({"access_key_id": key_id, "active": state == "active"})


@key.command(name="remove")
def remove_key(key_id: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Delete an access key.

    ```
    freshline account key remove LTAI5tExample
    ```
    """
    with place.inventory() as inventory:
        inventory.remove_key(key_id)
    if json:
        as_json({"removed": key_id})


@domain.command(name="add")
def add_domain(
    name: str, /, *, account: str, group: str = "default", json: AsJson = False, place: Place = HERE
) -> None:
    """Give a domain to an account and an edge group.

    ```
    freshline domain add img.example.com --account shop --group eu
    ```

    Parameters
    ----------
    name
        The host name alone.
    account
        The account's id or name.
    group
        The edges that serve it.
    """
    with place.inventory() as inventory:
        made = inventory.add_domain(name, account_id(inventory, account), group)
        served = bool(inventory.edges(group))
    if json:
        as_json(_domain(made))
    elif not served:
        print(f"note: the group {group} has no edges yet; tasks for {made.name} are Complete at once")


@domain.command(name="list")
def domains(*, account: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """List domains.

    ```
    freshline domain list --account shop
    ```

    Parameters
    ----------
    account
        Only the domains of this account, its id or its name.
    """
    with place.inventory() as inventory:
        owners = [account_id(inventory, account)] if account else [each.id for each in inventory.accounts()]
        rows = [_domain(each) for owner in owners for each in inventory.domains(owner)]
    if json:
        as_json(rows)
        return
    columns = ["DOMAIN", "ACCOUNT", "GROUP", "ONLINE"]
    table(columns, [(row["name"], row["account"], row["group"], _yes(row["online"])) for row in rows])


@domain.command(name="set")
def set_domain(name: str, state: Literal["online", "offline"], /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Take or refuse tasks for a domain.

    ```
    freshline domain set img.example.com offline
    ```
    """
    with place.inventory() as inventory:
        inventory.set_domain_online(name.lower(), state == "online")
        now = inventory.domain(name.lower())
    if json:
        as_json(_domain(now))


@domain.command(name="remove")
def remove_domain(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Take a domain away from its account.

    ```
    freshline domain remove img.example.com
    ```
    """
    with place.inventory() as inventory:
        inventory.remove_domain(name.lower())
    if json:
        as_json({"removed": name.lower()})


def read_secret(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", 2)
    except UnicodeDecodeError:
        fail(f"{file}: a secret is printable ASCII characters without spaces", 2)


@contextmanager
def opened(place: Place, account: str) -> Iterator[tuple[SqliteInventory, str]]:
    """The inventory, and the id of an account that is called by its id or its name."""
    with place.inventory() as inventory:
        yield inventory, account_id(inventory, account)


def account_id(inventory: SqliteInventory, account: str) -> str:
    """The id of an account that is called by its id or its name.

    :raises ValueError: there is none
    """
    if inventory.account(account) is not None:
        return account
    for each in inventory.accounts():
        if each.name == account:
            return each.id
    raise ValueError(f"account {account!r} is unknown")


def _switch(account: str, enabled: bool, json: bool, place: Place) -> None:
    with place.inventory() as inventory:
        id_ = account_id(inventory, account)
        inventory.set_account_enabled(id_, enabled)
        now = _account(inventory, id_)
    if json:
        as_json(now)


def _account(inventory: SqliteInventory, id_: str) -> dict[str, Any]:
    each = inventory.account(id_)
    assert each is not None, f"account {id_} went away"
    users = {user.id: user.name for user in inventory.principals.users(id_)}
    keys = [
        {"id": key.id, "active": key.active} | ({"user": users[key.user]} if key.user else {})
        for key in inventory.access_keys(id_)
    ]
    return {"id": each.id, "name": each.name, "enabled": each.enabled, "keys": keys}


def _key(key: dict[str, Any]) -> str:
    notes = [*([f"user {key['user']}"] if "user" in key else []), *([] if key["active"] else ["inactive"])]
    return f"{key['id']} ({', '.join(notes)})" if notes else str(key["id"])


def _domain(each: Domain | None) -> dict[str, Any]:
    assert each is not None, "a domain went away"
    return {"name": each.name, "account": each.account, "group": each.group, "online": each.online}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def show_key(key: AccessKey, json: bool, user: str = "") -> None:
    made = {"account": key.account} | ({"user": user} if user else {})
    made |= {"access_key_id": key.id, "access_key_secret": key.secret}
    if json:
        as_json(made)
    else:
        print("\n".join(f"{name:18} {value}" for name, value in made.items()))
