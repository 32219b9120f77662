"""What a V3 ``Authorization`` header says before its signature: whose key it is, and which headers are signed.

A caller's is the same in every call, so it is read once and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from freshline.domain.errors import Fault, Refused

V3_ALGORITHM = b"ACS3-HMAC-SHA256"
V3_PARTS = (b"Credential", b"Signature", b"SignedHeaders")
SIGNATURE = b"Signature="

KEPT = 1_024
LONGEST = 1_024  #: bytes of what is kept


@dataclass(frozen=True, slots=True)
class Credential:
    key_id: str
    listed: bytes  #: the names of the signed headers, as they were written
    names: frozenset[bytes]


def read(authorization: bytes) -> tuple[Credential, bytes]:
    """The credential and the signature.

    :raises Refused: it is of another algorithm, or not whole
    """
    head, _, signature = authorization.rpartition(SIGNATURE)
    if len(head) <= LONGEST and signature.isalnum() and (known := before_signature(head)) is not None:
        return known, signature
    return _read(authorization)


def signed_headers(authorization: bytes) -> list[bytes] | None:
    """The names a V3 signature says it covers, in its order; ``None`` where there is no V3 signature."""
    if not authorization.startswith(b"ACS3-"):
        return None
    names = authorization.partition(b"SignedHeaders=")[2].partition(b",")[0].strip()
    return names.split(b";") if names else []


@lru_cache(KEPT)
def before_signature(head: bytes) -> Credential | None:
    """What a header with this before its signature says; ``None`` where its signature is not the last of it."""
    try:
        credential, signature = _read(head + SIGNATURE + b"0")
    except Refused:
        return None
    return credential if signature == b"0" else None


def _read(authorization: bytes) -> tuple[Credential, bytes]:
    algorithm, _, rest = authorization.partition(b" ")
    if algorithm != V3_ALGORITHM:
        raise Refused(Fault.SIGNATURE_METHOD)
    parts: dict[bytes, bytes] = {}
    for part in rest.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name in parts or name not in V3_PARTS:  # or a call could be read in two ways
            raise Refused(Fault.SIGNATURE_INCOMPLETE, string_to_sign="")
        parts[name] = value
    try:
        key_id, signature, listed = (parts[name] for name in V3_PARTS)
    except KeyError:
        raise Refused(Fault.SIGNATURE_INCOMPLETE, string_to_sign="") from None
    return Credential(key_id.decode("utf-8", "surrogateescape"), listed, frozenset(listed.split(b";"))), signature
