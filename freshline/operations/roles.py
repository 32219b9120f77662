"""Taking a role for a while, and asking who one is.

What is handed out is not kept: the token says all of the session (freshline/inventory/session.py). So it ends when it
says, or when its role is removed, and not before.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from freshline.access import policy as policies
from freshline.access.principal import Kind, split_arn
from freshline.domain.errors import Fault, Refused
from freshline.inventory import session
from freshline.inventory.session import Session
from freshline.operations.desk import Call, Desk
from freshline.wire import times

SECRET_BYTES, KEY_BYTES = 22, 12

ASSUMES = frozenset(
    {Fault.ROLE_ARN_WRONG, Fault.ROLE_UNKNOWN, Fault.ROLE_UNTRUSTING, Fault.ROLE_FOR_USERS, Fault.SESSION_NAME_WRONG,
     Fault.DURATION_WRONG, Fault.POLICY_WRONG}
)  # fmt: skip

_SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}\Z")
_IDENTITIES = {Kind.ROOT: "Account", Kind.USER: "RAMUser", Kind.SESSION: "AssumedRoleUser"}


class AssumeArgs(msgspec.Struct, frozen=True):
    role: str
    name: str
    seconds: int
    policy: str | None = None
    external_id: str | None = None  #: checked by the table, otherwise idle
    source_identity: str | None = None  #: likewise


class IdentityArgs(msgspec.Struct, frozen=True):
    """Nothing."""


def assume_role(desk: Desk, call: Call, args: AssumeArgs) -> dict[str, Any]:
    if call.caller.kind is Kind.ROOT:
        raise Refused(Fault.ROLE_FOR_USERS)
    try:
        account, relative = split_arn(args.role)
    except ValueError:
        raise Refused(Fault.ROLE_ARN_WRONG) from None
    if not relative.startswith("role/"):
        raise Refused(Fault.ROLE_ARN_WRONG)
    if not _SESSION_NAME.match(args.name):
        raise Refused(Fault.SESSION_NAME_WRONG)
    if args.policy:
        try:
            policies.parse(args.policy)
        except policies.BadPolicy:
            raise Refused(Fault.POLICY_WRONG) from None
    role = desk.inventory.principals.role(account, relative.removeprefix("role/"))
    if role is None and account == call.account:
        raise Refused(Fault.ROLE_UNKNOWN, role=args.role)
    if role is None or not call.caller.trusted_by(role.trusted):  # nobody learns which roles others have
        raise Refused(Fault.ROLE_UNTRUSTING)
    if args.seconds > role.longest_seconds:
        raise Refused(Fault.DURATION_WRONG)
    made = Session(
        session.PREFIX + desk.ambient.token(KEY_BYTES).upper(),
        desk.ambient.token(SECRET_BYTES),
        role.id,
        args.name,
        int(call.now) + args.seconds,
        args.policy or "",
    )
    return {
        "key_id": made.key_id,
        "secret": made.secret,
        "token": session.seal(made, desk.inventory.tokens),
        "expires": times.write(made.expires),
        "arn": f"{role.arn}/{args.name}",
        "id": f"{role.id}:{args.name}",
    }


def caller_identity(desk: Desk, call: Call, args: IdentityArgs) -> dict[str, Any]:
    caller = call.caller
    return {
        "account": caller.account,
        "arn": caller.arn,
        "kind": _IDENTITIES[caller.kind],
        "id": f"{caller.id}:{caller.session}" if caller.session else caller.id,
        "user": "" if caller.kind is Kind.SESSION else caller.id,
        "role": caller.id if caller.kind is Kind.SESSION else "",
    }
