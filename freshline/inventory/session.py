"""Sessions: temporary credentials that carry all about themselves, sealed, so nothing needs to be kept.

Whoever has the inventory's key can open the token: every process of the service, also after a restart. Nobody else can
read or make one.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec

from freshline.inventory.vault import Vault, WrongKey

PREFIX = "STS."  #: how the ids of temporary keys begin
TOKEN_LIMIT = 16_384  #: characters
_PLACE = "session token"


class BadToken(ValueError):
    """It is none of ours."""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. The order of the fields is that in the token."""

    key_id: str
    secret: str
    role: str  #: the id, so that a role made again under an old name has no old sessions
    name: str
    expires: int  #: Unix seconds
    policy: str = ""  #: what the session may do at most; empty: all the role may

    def __repr__(self) -> str:
        return f"Session({self.key_id})"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Session).decode


def seal(session: Session, vault: Vault) -> str:
    return b64encode(vault.lock_bytes(_encode(session), _PLACE)).decode()


def unseal(token: str, vault: Vault) -> Session:
    """:raises BadToken: it is none of ours"""
    if len(token) > TOKEN_LIMIT:
        raise BadToken("too long")
    try:
        return _decode(vault.unlock_bytes(b64decode(token, validate=True), _PLACE))
    except (WrongKey, ValueError, msgspec.DecodeError):
        raise BadToken("not a token of ours") from None
