"""``account user``, ``account service``, ``policy`` and ``role``: who of an account may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table
from freshline.cli.people import account, account_id, show_key
from freshline.cli.policies import Document, check, read

if TYPE_CHECKING:
    from freshline.inventory.principals import Role, User
    from freshline.inventory.register import Which
    from freshline.inventory.sqlite import SqliteInventory

user = App(name="user", help="Users of an account, who may do what policies allow.")
policy = App(name="policy", help="Policies in the RAM language: what they allow, and to whom.")
role = App(name="role", help="Roles that users take for a while.")
account.command(user)


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


# -- users ---------------------------------------------------------------------
@user.command(name="add")
def add_user(account: str, name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Make a user with a first access key, shown this once. Until a policy is attached they may do nothing.

    ```
    freshline account user add shop anna
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    with place.inventory() as inventory:
        id_ = account_id(inventory, account)
        made = inventory.register.add_user(id_, name)
        first = inventory.add_access_key(id_, made.name)
    show_key(first, json, user=made.name)


@user.command(name="list")
def users(account: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """List the users of an account, their keys and what is attached to them.

    ```
    freshline account user list shop
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    with place.inventory() as inventory:
        rows = [_user(inventory, each) for each in inventory.principals.users(account_id(inventory, account))]
    if json:
        as_json(rows)
        return
    keys = [", ".join(key["id"] + ("" if key["active"] else " (inactive)") for key in row["keys"]) for row in rows]
    table(
        ["USER", "ID", "POLICIES", "KEYS"],
        [(row["name"], row["id"], ", ".join(row["policies"]), each) for row, each in zip(rows, keys, strict=True)],
    )


@user.command(name="remove")
def remove_user(account: str, name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Remove a user and their keys.

    ```
    freshline account user remove shop anna
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    with place.inventory() as inventory:
        inventory.register.remove_user(account_id(inventory, account), name)
    if json:
        as_json({"removed": name})


# -- policies ------------------------------------------------------------------
@policy.command(name="add")
def add_policy(name: str, file: Document, /, *, account: str, json: AsJson = False, place: Place = HERE) -> None:
    """Add a policy to an account, or change it for everybody it is attached to.

    ```
    freshline policy add refreshers refreshers.json --account shop
    ```

    Parameters
    ----------
    file
        The policy; - reads standard input.
    account
        The account's id or name.
    """
    document = read(file)
    notes = check(document, str(file))
    with place.inventory() as inventory:
        inventory.register.add_policy(account_id(inventory, account), name, document)
    if json:
        as_json({"policy": name, "notes": notes})
    else:
        for note in notes:
            print(f"note: {note}")


@policy.command(name="list")
def policies(*, account: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """List policies: those every account has and, with --account, its own.

    ```
    freshline policy list --account shop
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    from freshline.access import system

    rows = [{"name": name, "type": "System", "attached_to": list[str]()} for name in system.documents()]
    if account is not None:
        with place.inventory() as inventory:
            id_ = account_id(inventory, account)
            principals = inventory.principals
            for owner, key in principals.documents:
                if owner == id_:
                    rows.append({"name": principals.policies[owner, key].name, "type": "Custom", "attached_to": []})
            everybody = [("user", each.name, each.policies) for each in principals.users(id_)]
            everybody += [("role", each.name, each.policies) for each in principals.roles(id_)]
        for row in rows:
            row["attached_to"] = [f"{which} {name}" for which, name, held in everybody if row["name"] in held]
    if json:
        as_json(rows)
    else:
        table(
            ["POLICY", "TYPE", "ATTACHED TO"],
            [(row["name"], row["type"], ", ".join(row["attached_to"])) for row in rows],
        )


@policy.command(name="show")
def show_policy(name: str, /, *, account: str | None = None, place: Place = HERE) -> None:
    """Print a policy, one that every account has or, with --account, one of its own.

    ```
    freshline policy show AliyunCDNReadOnlyAccess
    freshline policy show refreshers --account shop
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    from freshline.access import system

    document = system.documents().get(name)
    if document is None and account is not None:
        with place.inventory() as inventory:
            id_ = account_id(inventory, account)
            document = inventory.principals.documents.get((id_, name.lower()))
    if document is None:
        fail(f"policy {name!r} is unknown" + ("" if account else "; with --account its own are looked at, too"), 2)
    print(document.rstrip("\n"))


@policy.command(name="remove")
def remove_policy(name: str, /, *, account: str, json: AsJson = False, place: Place = HERE) -> None:
    """Remove a policy that is attached to nobody.

    ```
    freshline policy remove refreshers --account shop
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    with place.inventory() as inventory:
        inventory.register.remove_policy(account_id(inventory, account), name)
    if json:
        as_json({"removed": name})


@policy.command
def attach(
    name: str,
    /,
    *,
    account: str,
    user: str | None = None,
    role: str | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Let a policy count for a user or a role; the service sees it within a second.

    ```
    freshline policy attach refreshers --account shop --user anna
    freshline policy attach AliyunCDNReadOnlyAccess --account shop --role deploy
    ```

    Parameters
    ----------
    account
        The account's id or name.
    user
        Its name.
    role
        Its name.
    """
    which, whom = _whom(user, role)
    with place.inventory() as inventory:
        inventory.register.attach(account_id(inventory, account), name, which, whom)
    if json:
        as_json({"attached": name, which: whom})


@policy.command
def detach(
    name: str,
    /,
    *,
    account: str,
    user: str | None = None,
    role: str | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Let a policy no longer count for a user or a role.

    ```
    freshline policy detach refreshers --account shop --user anna
    ```

    Parameters
    ----------
    account
        The account's id or name.
    user
        Its name.
    role
        Its name.
    """
    which, whom = _whom(user, role)
    with place.inventory() as inventory:
        inventory.register.detach(account_id(inventory, account), name, which, whom)
    if json:
        as_json({"detached": name, which: whom})


@policy.command
def explain(message: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Read the EncodedDiagnosticMessage of a denial: which policy and statement it was.

    ```
    freshline policy explain MESSAGE
    ```

    Parameters
    ----------
    message
        As the caller got it.
    """
    from base64 import b64decode
    from json import loads

    from freshline.api.authorization import DIAGNOSIS
    from freshline.inventory.vault import WrongKey

    with place.inventory() as inventory:
        try:
            found = loads(inventory.tokens.unlock(b64decode(message, validate=True), DIAGNOSIS))
        except (WrongKey, ValueError):
            fail("this is no message of this service, or it was changed", 2)
    if json:
        as_json(found)
    else:
        width = max(map(len, found))
        print("\n".join(f"{name:{width}}  {'-' if value is None else value}" for name, value in found.items()))


# -- roles ---------------------------------------------------------------------
@role.command(name="add")
def add_role(
    account: str,
    name: str,
    /,
    *,
    trust: list[str] | None = None,
    longest_seconds: int = 3600,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Make a role. Who takes it may do what is attached to it, and nothing else, until the session ends.

    ```
    freshline role add shop deploy
    freshline role add shop deploy --trust acs:ram::1234567890123456:user/ci --longest-seconds 7200
    ```

    Parameters
    ----------
    account
        The account's id or name.
    trust
        Who may take it: acs:ram::ACCOUNT:root, for all its users, or …:user/NAME or …:role/NAME. Without, all users of
        the account whose policies allow sts:AssumeRole.
    longest_seconds
        A session, 900 to 43200.
    """
    with place.inventory() as inventory:
        made = inventory.register.add_role(account_id(inventory, account), name, trust or (), longest_seconds)
    if json:
        as_json(_role(made))
    else:
        print(made.arn)


@role.command(name="list")
def roles(account: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """List the roles of an account, whom they trust and what is attached to them.

    ```
    freshline role list shop
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    with place.inventory() as inventory:
        rows = [_role(each) for each in inventory.principals.roles(account_id(inventory, account))]
    if json:
        as_json(rows)
        return
    table(
        ["ARN", "POLICIES", "TRUSTED", "LONGEST"],
        [
            (row["arn"], *(", ".join(row[of]) for of in ("policies", "trusted")), f"{row['longest_seconds']} s")
            for row in rows
        ],
    )


@role.command(name="remove")
def remove_role(account: str, name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Remove a role. Its sessions end at once.

    ```
    freshline role remove shop deploy
    ```

    Parameters
    ----------
    account
        The account's id or name.
    """
    with place.inventory() as inventory:
        inventory.register.remove_role(account_id(inventory, account), name)
    if json:
        as_json({"removed": name})


def _whom(user: str | None, role: str | None) -> tuple[Which, str]:
    if user and not role:
        return "user", user
    if role and not user:
        return "role", role
    fail("say either --user or --role", 2)


def _user(inventory: SqliteInventory, each: User) -> dict[str, Any]:
    keys = [key for key in inventory.access_keys(each.account) if key.user == each.id]
    return {
        "name": each.name,
        "id": each.id,
        "policies": list(each.policies),
        "keys": [{"id": key.id, "active": key.active} for key in keys],
    }


def _role(each: Role) -> dict[str, Any]:
    return {
        "arn": each.arn,
        "id": each.id,
        "trusted": list(each.trusted),
        "policies": list(each.policies),
        "longest_seconds": each.longest_seconds,
    }
