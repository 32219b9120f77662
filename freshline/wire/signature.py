"""Signatures, made and checked: V1 (HMAC-SHA1 over all parameters) and V3 (ACS3-HMAC-SHA256), CONTRACT 4.

What a signature does not cover must not matter. V1 covers the method and every parameter. V3 covers the method, the
query, the body's hash and the headers it lists; so those we act on (``host``, ``x-acs-*``) must be on its list.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import msgspec

from freshline.domain.errors import Fault, Refused
from freshline.wire import credential, times
from freshline.wire.asked import sha256
from freshline.wire.credential import V3_ALGORITHM
from freshline.wire.encoding import Pairs, encode_twice, join_pairs
from freshline.wire.request import FORM, Request
from freshline.wire.shape import Shape

SECRETS_KEPT = 1_024  #: ready to sign with


class Scheme(StrEnum):
    V1 = "1.0"
    V3 = "ACS3"


class Claim(msgspec.Struct, frozen=True):
    """What a call says of itself, before anything of it is believed."""

    scheme: Scheme
    action: str
    version: str
    key_id: str
    timestamp: str
    nonce: str
    signature: bytes
    token: str  #: of temporary credentials; ``""`` without


def read(request: Request) -> Claim:
    """Find who says they call.

    :raises Refused: something every call must have is missing, or the way of signing is none of ours
    """
    if request.headers.get(b"authorization", b"").startswith(b"ACS3-"):
        return _read_v3(request)
    if request.header(b"x-acs-bearer-token") or request.params.get(b"SignatureType") == b"BEARERTOKEN":
        raise Refused(Fault.SIGNATURE_METHOD)
    return _read_v1(request)


def check(request: Request, claim: Claim, secret: str) -> None:
    """Believe the claim, or not.

    :raises Refused: the signature is not what the secret makes of this request
    """
    if claim.scheme is Scheme.V1:
        string = string_to_sign_v1(request)
        expected = _hmac_v1(secret, string)
    else:
        string = string_to_sign_v3(request)
        expected = _hmac_v3(secret, string)
    if not hmac.compare_digest(expected, claim.signature):
        raise Refused(Fault.SIGNATURE_WRONG, string_to_sign=string.decode("utf-8", "replace"))


# -- V1 -----------------------------------------------------------------------
_V1_NEEDS = (
    b"Action", b"Version", b"AccessKeyId", b"Timestamp", b"SignatureNonce", b"SignatureMethod", b"SignatureVersion",
    b"Signature",
)  # fmt: skip


def _read_v1(request: Request) -> Claim:
    params = request.params
    timestamp = params.get(b"Timestamp") or params.get(b"TimeStamp")  # some clients spell it so (CONTRACT 4.1)
    for name in _V1_NEEDS:
        if not params.get(name) and not (name == b"Timestamp" and timestamp):
            raise Refused(Fault.PARAMETER_MISSING, param=name.decode())
    if params[b"SignatureMethod"] != b"HMAC-SHA1":
        raise Refused(Fault.SIGNATURE_METHOD)
    for name, allowed in ((b"SignatureVersion", b"1.0"), (b"SignatureType", b"")):
        if params.get(name, allowed) != allowed:
            raise Refused(Fault.PARAMETER_WRONG, param=name.decode())
    return Claim(
        scheme=Scheme.V1,
        action=request.param(b"Action"),
        version=request.param(b"Version"),
        key_id=request.param(b"AccessKeyId"),
        timestamp=(timestamp or b"").decode("utf-8", "replace"),
        nonce=request.param(b"SignatureNonce"),
        signature=params[b"Signature"],
        token=request.param(b"SecurityToken"),
    )


def string_to_sign_v1(request: Request) -> bytes:
    """``METHOD&%2F&`` and the encoded, sorted parameters, encoded once more as a whole."""
    pairs = [*request.query_pairs, *request.form_pairs] if request.form_pairs else request.query_pairs.copy()
    pairs.sort()
    canonical = [encode_twice(name) + b"%3D" + encode_twice(value) for name, value in pairs if name != b"Signature"]
    return request.method.encode() + b"&%2F&" + b"%26".join(canonical)


def _hmac_v1(secret: str, string: bytes) -> bytes:
    return b64encode(_signed(secret + "&", "sha1", string).digest())


# -- V3 -----------------------------------------------------------------------
_PLACE = b"\0"  #: which no head holds


@dataclass(frozen=True, slots=True)
class _Known:
    """What the fixed part of a head says of a call that is signed."""

    action: str
    version: str
    key_id: str
    token: str
    string: bytes  #: what is signed, hashed; a place is left for each of these, and for the digest of the body
    places: tuple[bytes, ...]


def _read_v3(request: Request) -> Claim:
    if request.shape is not None:
        known = request.shape.values.get(_Known)
        if known is not None:
            headers = request.headers
            return Claim(
                Scheme.V3,
                known.action,
                known.version,
                known.key_id,
                headers[b"x-acs-date"].decode("latin-1"),
                headers[b"x-acs-signature-nonce"].decode("latin-1"),
                headers[b"authorization"].rpartition(credential.SIGNATURE)[2],
                known.token,
            )
        claim = _read_v3_anew(request)
        _keep(request, request.shape, claim)
        return claim
    return _read_v3_anew(request)


def _keep(request: Request, shape: Shape, claim: Claim) -> None:
    """What was found goes for every head of this shape, as far as it comes from the head."""
    headers, signed = request.headers, shape.signed_headers or []
    if not (headers.get(b"x-acs-action", b"").strip() and headers.get(b"x-acs-version", b"").strip()):
        return
    if not {b"x-acs-date", b"x-acs-signature-nonce"} <= {*shape.varying} or b"authorization" in signed:
        return
    places = tuple([name for name in signed if name in shape.varying])
    marked = headers | dict.fromkeys(shape.varying, _PLACE)
    string = _canonical_v3(request.method, request.asked.canonical_query, marked, signed, _PLACE)
    if string.count(_PLACE) == len(places) + 1:
        string = string.replace(b"%", b"%%").replace(_PLACE, b"%b")
        shape.values[_Known] = _Known(claim.action, claim.version, claim.key_id, claim.token, string, places)


def _read_v3_anew(request: Request) -> Claim:
    found, signature = credential.read(request.headers[b"authorization"])
    given = request.headers.get
    claim = Claim(
        Scheme.V3,
        given(b"x-acs-action", b"").strip().decode("latin-1") or request.param(b"Action"),
        given(b"x-acs-version", b"").strip().decode("latin-1") or request.param(b"Version"),
        found.key_id,
        given(b"x-acs-date", b"").strip().decode("latin-1"),
        given(b"x-acs-signature-nonce", b"").strip().decode("latin-1"),
        signature,
        given(b"x-acs-security-token", b"").strip().decode("latin-1"),
    )
    if not (claim.action and claim.version and claim.key_id and claim.timestamp and claim.nonce and signature):
        raise Refused(Fault.PARAMETER_MISSING, param=_missing(claim))
    unsigned = request.headers.keys() - found.names
    if b"host" in unsigned or [name for name in unsigned if name.startswith(b"x-acs-")]:
        string = string_to_sign_v3(request).decode("utf-8", "replace")
        raise Refused(Fault.SIGNATURE_INCOMPLETE, string_to_sign=string)
    beside = given(b"x-acs-accesskey-id")  # SDKs send it with a token
    if beside and beside.strip().decode("latin-1") not in ("", claim.key_id):
        raise Refused(Fault.TOKEN_MISMATCH)
    return claim


def _missing(claim: Claim) -> str:
    given = {
        "Action": claim.action,
        "Version": claim.version,
        "AccessKeyId": claim.key_id,
        "Timestamp": claim.timestamp,
        "SignatureNonce": claim.nonce,
        "Signature": claim.signature,
    }
    return next(name for name, value in given.items() if not value)


def string_to_sign_v3(request: Request) -> bytes:
    signed, asked = request.signed_headers or [], request.asked
    if request.shape is not None and (known := request.shape.values.get(_Known)) is not None:
        values = [request.headers[name] for name in known.places]
        return V3_ALGORITHM + b"\n" + sha256(known.string % (*values, asked.digest))
    return _string_to_sign_v3(request.method, asked.canonical_query, request.headers, signed, asked.digest)


def _string_to_sign_v3(
    method: str, query: bytes, headers: Mapping[bytes, bytes], signed: list[bytes], digest: bytes
) -> bytes:
    return V3_ALGORITHM + b"\n" + sha256(_canonical_v3(method, query, headers, signed, digest))


def _canonical_v3(
    method: str, query: bytes, headers: Mapping[bytes, bytes], signed: list[bytes], digest: bytes
) -> bytes:
    lines = [
        method.encode(),
        b"/",
        query,
        *[b"%b:%b" % (name, headers.get(name, b"").strip()) for name in signed],
        b"",
        b";".join(signed),
        digest,
    ]
    return b"\n".join(lines)


def _hmac_v3(secret: str, string: bytes) -> bytes:
    return _signed(secret, "sha256", string).hexdigest().encode()


def _signed(secret: str, algorithm: str, string: bytes) -> hmac.HMAC:
    made = _keyed(secret, algorithm).copy()
    made.update(string)
    return made


@lru_cache(SECRETS_KEPT)
def _keyed(secret: str, algorithm: str) -> hmac.HMAC:
    """With the secret hashed in, which takes longer than all the rest."""
    return hmac.new(secret.encode(), digestmod=algorithm)


# -- the other direction --------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Signed:
    """A call ready to be sent."""

    method: str
    target: str  #: what goes into the request line
    headers: dict[str, str]
    body: bytes = b""


def sign_v1(
    method: str,
    host: str,
    params: Mapping[str, str],
    *,
    key_id: str,
    secret: str,
    now: float,
    nonce: str,
    form: Mapping[str, str] | None = None,
) -> Signed:
    """Sign in the old way: everything is a parameter, ``Action`` and ``Version`` too.

    :param params: go into the query string
    :param form: go into the body
    :param now: Unix seconds
    """
    common = {
        "AccessKeyId": key_id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": nonce,
        "SignatureVersion": "1.0",
        "Timestamp": times.write(int(now)),
    }
    query = _pairs(common | dict(params))
    headers, body = _form(form)
    unsigned = Request(method, join_pairs(query), {b"content-type": FORM}, body)
    signature = _hmac_v1(secret, string_to_sign_v1(unsigned))
    target = b"/?" + join_pairs([*query, (b"Signature", signature)])
    return Signed(method, target.decode(), {"host": host, **headers}, body)


def sign_v3(
    method: str,
    host: str,
    action: str,
    version: str,
    params: Mapping[str, str],
    *,
    key_id: str,
    secret: str,
    now: float,
    nonce: str,
    form: Mapping[str, str] | None = None,
    token: str = "",
) -> Signed:
    """Sign in the new way: who and what in headers, covered like the query and the body.

    :param params: go into the query string
    :param form: go into the body
    :param now: Unix seconds
    :param token: of a temporary key
    """
    headers, body = _form(form)
    headers |= {
        "host": host,
        "x-acs-action": action,
        "x-acs-version": version,
        "x-acs-date": times.write(int(now)),
        "x-acs-signature-nonce": nonce,
        "x-acs-content-sha256": sha256(body).decode(),
    }
    if token:
        headers |= {"x-acs-accesskey-id": key_id, "x-acs-security-token": token}
    query = _pairs(params)
    names = sorted(headers)
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    string = _string_to_sign_v3(method, join_pairs(sorted(query)), raw, [n.encode() for n in names], sha256(body))
    signature = _hmac_v3(secret, string).decode()
    headers["Authorization"] = (
        f"{V3_ALGORITHM.decode()} Credential={key_id},SignedHeaders={';'.join(names)},Signature={signature}"
    )
    return Signed(method, f"/?{join_pairs(query).decode()}" if query else "/", headers, body)


def _pairs(params: Mapping[str, str]) -> Pairs:
    return [(name.encode(), value.encode()) for name, value in params.items()]


def _form(form: Mapping[str, str] | None) -> tuple[dict[str, str], bytes]:
    return ({"content-type": FORM.decode()}, join_pairs(_pairs(form))) if form else ({}, b"")
