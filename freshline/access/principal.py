"""Who a call is made by: the account itself, one of its users, or somebody in one of its roles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from freshline.access.policy import Policy

_ARN = re.compile(r"acs:ram::([0-9]{1,32}):(root|(?:user|role)/[A-Za-z0-9._-]{1,64})\Z")


class Kind(StrEnum):
    """In the vendor's words, as ``AccessDeniedDetail`` has them (CONTRACT 3.3)."""

    ROOT = "Account"
    USER = "SubUser"
    SESSION = "AssumedRoleUser"


@dataclass(frozen=True, slots=True)
class Principal:
    account: str
    kind: Kind
    id: str  #: of the account, the user or the role
    name: str = ""  #: of the user or the role
    policies: tuple[Policy, ...] = ()
    session: str = ""  #: the name that whoever took the role gave this session
    session_policy: Policy | None = None  #: allows nothing; what it does not allow is not allowed

    @property
    def arn(self) -> str:
        match self.kind:
            case Kind.ROOT:
                return f"acs:ram::{self.account}:root"
            case Kind.USER:
                return f"acs:ram::{self.account}:user/{self.name}"
            case Kind.SESSION:
                return f"acs:ram::{self.account}:role/{self.name}/{self.session}"

    @property
    def display_name(self) -> str:
        """As ``AccessDeniedDetail`` names them: a user by id, a session by role and session."""
        return f"{self.name}:{self.session}" if self.kind is Kind.SESSION else self.id

    def trusted_by(self, trusted: tuple[str, ...]) -> bool:
        """Whether a role that trusts these may be taken. ``…:root`` is everybody of an account."""
        own = self.arn.rpartition("/")[0] if self.kind is Kind.SESSION else self.arn
        return any(each.lower() in (own.lower(), f"acs:ram::{self.account}:root") for each in trusted)


def split_arn(text: str) -> tuple[str, str]:
    """Account and ``root``, ``user/…`` or ``role/…`` of a resource name.

    :raises ValueError: it is none of a principal
    """
    match = _ARN.match(text)
    if match is None:
        raise ValueError(f"{text!r}: acs:ram::ACCOUNT:root, …:user/NAME or …:role/NAME")
    return match[1], match[2]
