"""``policy``: what users and roles of an account may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table
from freshline.cli.people import AnAccount, opened
from freshline.cli.policies import Document, check, read

if TYPE_CHECKING:
    from freshline.inventory.register import Which

policy = App(name="policy", help="Policies in the RAM language: what they allow, and to whom.")


@policy.command(name="add")
def add_policy(name: str, file: Document, /, *, account: AnAccount, json: AsJson = False, place: Place = HERE) -> None:
    """Add a policy to an account, or change it for everybody it is attached to.

    ```
    freshline policy add refreshers refreshers.json --account shop
    ```

    Parameters
    ----------
    file
        The policy; - reads standard input.
    """
    document = read(file)
    notes = check(document, str(file))
    with opened(place, account) as (inventory, id_):
        inventory.register.add_policy(id_, name, document)
    if json:
        as_json({"policy": name, "notes": notes})
    else:
        for note in notes:
            print(f"note: {note}")
        print(f"policy {name} is there")


@policy.command(name="list")
def policies(*, account: AnAccount | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """List policies: those every account has and, with --account, its own.

    ```
    freshline policy list --account shop
    ```
    """
    from freshline.access import system

    rows = [{"name": name, "type": "System", "attached_to": list[str]()} for name in system.documents()]
    if account is not None:
        with opened(place, account) as (inventory, id_):
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
def show_policy(name: str, /, *, account: AnAccount | None = None, place: Place = HERE) -> None:
    """Print a policy, one that every account has or, with --account, one of its own.

    ```
    freshline policy show AliyunCDNReadOnlyAccess
    freshline policy show refreshers --account shop
    ```
    """
    from freshline.access import system

    document = system.documents().get(name)
    if document is None and account is not None:
        with opened(place, account) as (inventory, id_):
            document = inventory.principals.documents.get((id_, name.lower()))
    if document is None:
        fail(f"policy {name!r} is unknown" + ("" if account else "; with --account its own are looked at, too"), 2)
    print(document.rstrip("\n"))


@policy.command(name="remove")
def remove_policy(name: str, /, *, account: AnAccount, json: AsJson = False, place: Place = HERE) -> None:
    """Remove a policy that is attached to nobody.

    ```
    freshline policy remove refreshers --account shop
    ```
    """
    with opened(place, account) as (inventory, id_):
        inventory.register.remove_policy(id_, name)
    if json:
        as_json({"removed": name})


@policy.command
def attach(
    name: str,
    /,
    *,
    account: AnAccount,
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
    user
        Its name.
    role
        Its name.
    """
    which, whom = _whom(user, role)
    with opened(place, account) as (inventory, id_):
        inventory.register.attach(id_, name, which, whom)
    if json:
        as_json({"attached": name, which: whom})
    else:
        print(f"{name} is attached to {which} {whom}")


@policy.command
def detach(
    name: str,
    /,
    *,
    account: AnAccount,
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
    user
        Its name.
    role
        Its name.
    """
    which, whom = _whom(user, role)
    with opened(place, account) as (inventory, id_):
        inventory.register.detach(id_, name, which, whom)
    if json:
        as_json({"detached": name, which: whom})
    else:
        print(f"{name} is no longer attached to {which} {whom}")


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


def _whom(user: str | None, role: str | None) -> tuple[Which, str]:
    if user and not role:
        return "user", user
    if role and not user:
        return "role", role
    fail("say either --user or --role", 2)
