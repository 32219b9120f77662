"""Signatures: what was signed is accepted however it is written, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.errors import Fault, Refused
from freshline.wire import signature
from freshline.wire.request import Request
from freshline.wire.signature import Signed

NOW = 1_456_231_584.0
COMMON = {  # hypothesis finds words of the code by itself, also those that a signed call has already
    "Action", "Version", "AccessKeyId", "Timestamp", "TimeStamp", "SignatureNonce", "SignatureMethod",
    "SignatureVersion", "Signature", "SignatureType", "SecurityToken", "BearerToken", "Format",
}  # fmt: skip
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in COMMON
)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
several = st.dictionaries(names, values, max_size=5)


def as_received(signed: Signed) -> Request:
    headers = {name.lower().encode(): value.encode() for name, value in signed.headers.items()}
    return Request(signed.method, signed.target.partition("?")[2].encode(), headers, signed.body)


def accepted(request: Request) -> bool:
    try:
        claim = signature.read(request)
        signature.check(request, claim, "testsecret")
    except Refused:
        return False
    return claim.key_id == "testid"


def v1(method: str = "GET", form: dict[str, str] | None = None, /, **params: str) -> Signed:
    params = {"Action": "DescribeRefreshQuota", "Version": "2018-05-10", **params}
    return signature.sign_v1(
        method, "cdn.test", params, key_id="testid", secret="testsecret", now=NOW, nonce="n1", form=form
    )


def v3(form: dict[str, str] | None = None, /, **params: str) -> Signed:
    return signature.sign_v3(
        "POST",
        "cdn.test",
        "RefreshObjectCaches",
        "2018-05-10",
        params,
        key_id="testid",
        secret="testsecret",
        now=NOW,
        nonce="n1",
        form=form,
    )


def test_documented_vector() -> None:
    """The example of the vendor's own documents comes out as they print it."""
    signed = signature.sign_v1(
        "GET",
        "ecs.test",
        {"Format": "XML", "Action": "DescribeRegions", "Version": "2014-05-26"},
        key_id="testid",
        secret="testsecret",
        now=1_456_231_584,
        nonce="3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
    )

    assert signed.target.endswith("&Signature=OLeaidS1JvxuMvnyHOwuJ%2BuX5qY%3D")
    assert accepted(as_received(signed))


@given(several, several)
def test_v1_agrees_with_a_plain_reading_of_the_rules(params: dict[str, str], form: dict[str, str]) -> None:
    """The fast way of building the string to sign is the documented way."""
    form = {name: value for name, value in form.items() if name not in params}
    request = as_received(v1("POST", form, **params))
    pairs = {**{name.decode(): value.decode() for name, value in request.params.items()}}
    expected = pairs.pop("Signature")
    canonical = "&".join(
        f"{quote(name, safe='~')}={quote(value, safe='~')}"
        for name, value in sorted(pairs.items(), key=lambda pair: pair[0].encode())
    )
    string = f"POST&%2F&{quote(canonical, safe='~')}"

    assert expected == b64encode(hmac.digest(b"testsecret&", string.encode(), hashlib.sha1)).decode()
    assert accepted(request)


@given(several, several)
def test_what_our_signer_makes_is_accepted(params: dict[str, str], form: dict[str, str]) -> None:
    """Whatever parameters a call carries, in the query, the body or both."""
    assert accepted(as_received(v3(form, **params)))
    assert accepted(as_received(v1("POST", {k: v for k, v in form.items() if k not in params}, **params)))


@given(st.data())
def test_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    """Of a V3 call: the query, the body, every header that it sends. Of a V1 call: the query and the body."""
    new = data.draw(st.booleans())
    sent = (
        v3({"ObjectPath": "http://img.test/a b"}, Force="true") if new else v1("POST", {"ObjectPath": "x"}, Force="1")
    )
    whole = as_received(sent)
    parts = [("query", whole.query), ("body", whole.body)]
    if new:
        parts += [(name, value) for name, value in whole.headers.items()]
    where, original = data.draw(st.sampled_from(parts))
    at = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[at // 8] ^= 1 << at % 8
    changed = Request(
        whole.method,
        bytes(flipped) if where == "query" else whole.query,
        {**whole.headers, **({where: bytes(flipped)} if isinstance(where, bytes) else {})},
        bytes(flipped) if where == "body" else whole.body,
    )

    meant_the_same = (changed.query_pairs, changed.form_pairs, {k: v.strip() for k, v in changed.headers.items()}) == (
        whole.query_pairs,
        whole.form_pairs,
        whole.headers,
    )
    assert not accepted(changed) or (meant_the_same and where != "body")


def scribble(draw: st.DrawFn, raw: bytes) -> bytes:
    """The same form data in another legal spelling: any character escaped or not, hex digits in any case."""
    out = []
    for byte in raw:
        plain = chr(byte) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~!*'()/:"
        match draw(st.integers(0, 2)):
            case 0 if plain:
                out.append(chr(byte))
            case 1:
                out.append(f"%{byte:02x}")
            case _ if byte == 0x20:
                out.append("+")
            case _:
                out.append(f"%{byte:02X}")
    return "".join(out).encode()


@given(st.data())
def test_any_legal_encoding_is_accepted(data: st.DataObject) -> None:
    """Other escapes, another order, and for V1 another place: still the same call."""
    old = data.draw(st.booleans())
    whole = as_received(v1("POST", **data.draw(several)) if old else v3(**data.draw(several)))
    pairs = data.draw(st.permutations(whole.query_pairs))
    cut = data.draw(st.integers(0, len(pairs))) if old else len(pairs)
    written = [scribble(data.draw, name) + b"=" + scribble(data.draw, value) for name, value in pairs]
    headers = {**whole.headers, b"content-type": b"application/x-www-form-urlencoded;charset=UTF-8"}
    again = Request("POST", b"&".join(written[:cut]), headers if old else whole.headers, b"&".join(written[cut:]))

    assert accepted(again)


def test_a_header_we_act_on_must_be_signed() -> None:
    """Taking the action out of the signed headers, or adding a token beside them, is refused."""
    whole = as_received(v3())
    slim = {**whole.headers, b"authorization": whole.headers[b"authorization"].replace(b";x-acs-action", b"")}
    more = {**whole.headers, b"x-acs-security-token": b"stolen"}
    for headers in (slim, more):
        with pytest.raises(Refused) as refused:
            signature.read(Request("POST", whole.query, headers))

        assert refused.value.fault is Fault.SIGNATURE_INCOMPLETE


def test_an_unsigned_content_type_cannot_hide_the_body() -> None:
    """A stranger who relabels a form as something else changes nothing."""
    whole = as_received(v3({"ObjectPath": "http://img.test/a"}))
    unsigned = whole.headers[b"authorization"].replace(b"content-type;", b"")
    relabelled = Request(
        "POST", b"", {**whole.headers, b"authorization": unsigned, b"content-type": b"text/plain"}, whole.body
    )

    assert relabelled.params == {b"ObjectPath": b"http://img.test/a"}


def test_the_legacy_sdk_recognises_its_string() -> None:
    """The string in the message is the one that the client signed, the empty SignatureType in it."""
    request = as_received(v1(SignatureType=""))
    with pytest.raises(Refused) as refused:
        signature.check(request, signature.read(request), "another")
    string = refused.value.words["string_to_sign"]

    assert string.startswith("GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRefreshQuota%26")
    assert "%26SignatureType%3D%26" in string


@pytest.mark.parametrize(
    ("authorization", "fault"),
    [
        (b"ACS3-HMAC-SM3 Credential=testid,SignedHeaders=host,Signature=00", Fault.SIGNATURE_METHOD),
        (b"ACS3-RSA-SHA256 Credential=testid,SignedHeaders=host,Signature=00", Fault.SIGNATURE_METHOD),
        (b"ACS3-HMAC-SHA256", Fault.SIGNATURE_INCOMPLETE),
        (b"ACS3-HMAC-SHA256 Credential=testid,Signature=00", Fault.SIGNATURE_INCOMPLETE),
        (b"ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=,Signature=00", Fault.SIGNATURE_INCOMPLETE),
        (b"ACS3-HMAC-SHA256 Credential=,SignedHeaders=host,Signature=00", Fault.PARAMETER_MISSING),
        (b"Basic dGVzdA==", Fault.PARAMETER_MISSING),
    ],
)
def test_a_broken_authorization(authorization: bytes, fault: Fault) -> None:
    """An Authorization header that cannot be read is refused by name."""
    whole = as_received(v3())
    with pytest.raises(Refused) as refused:
        signature.read(Request("POST", b"", {**whole.headers, b"authorization": authorization}))

    assert refused.value.fault is fault
