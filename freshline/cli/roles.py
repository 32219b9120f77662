"""``role``: what users may become for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, table
from freshline.cli.people import AnAccount, opened

if TYPE_CHECKING:
    from freshline.inventory.principals import Role

role = App(name="role", help="Roles that users take for a while.")


@role.command(name="add")
def add_role(
    account: AnAccount,
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
    freshline role add shop deploy --trust acs:ram::1234567890123456:user/ci
    freshline role add shop deploy --longest-seconds 7200
    ```

    Parameters
    ----------
    trust
        Who may take it: acs:ram::ACCOUNT:root, for all its users, or …:user/NAME or …:role/NAME. Without, all users of
        the account whose policies allow sts:AssumeRole.
    longest_seconds
        A session, 900 to 43200.
    """
    with opened(place, account) as (inventory, id_):
        made = inventory.register.add_role(id_, name, trust or (), longest_seconds)
    if json:
        as_json(_role(made))
    else:
        print(made.arn)


@role.command(name="list")
def roles(account: AnAccount, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """List the roles of an account, whom they trust and what is attached to them.

    ```
    freshline role list shop
    ```
    """
    with opened(place, account) as (inventory, id_):
        rows = [_role(each) for each in inventory.principals.roles(id_)]
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
def remove_role(account: AnAccount, name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Remove a role. Its sessions end at once.

    ```
    freshline role remove shop deploy
    ```
    """
    with opened(place, account) as (inventory, id_):
        inventory.register.remove_role(id_, name)
    if json:
        as_json({"removed": name})


def _role(each: Role) -> dict[str, Any]:
    return {
        "arn": each.arn,
        "id": each.id,
        "trusted": list(each.trusted),
        "policies": list(each.policies),
        "longest_seconds": each.longest_seconds,
    }
