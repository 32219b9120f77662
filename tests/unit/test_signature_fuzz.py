"""Signed calls through the whole service, with lasting and temporary keys: every bit of them counts, and no more.

``tests/unit/test_signature.py`` has the schemes themselves. Here a call is a refresh, so what is wrongly let in would
also be in the log.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from freshline.domain.errors import Fault, Refused
from freshline.inventory import session
from freshline.inventory.session import Session
from freshline.wire import signature
from freshline.wire.encoding import join_pairs
from freshline.wire.request import Request
from freshline.wire.signature import Signed
from tests.running import running
from tests.service import HOST, NOON, Answer, Service
from tests.unit.test_roles import house
from tests.unit.test_signature import scribble

PARAMS = {"ObjectPath": "http://img.test/a%20b?x=1&y=ü\nhttp://img.test/c+d~*", "Force": "true"}
OURS = str(Path(signature.__file__).parents[1])  #: where the service's own code is
BITS = range(8)
KEY, SECRET = "STS.fuzzed", "fuzzedsecret"


@dataclass(frozen=True)
class Call:
    """One as it comes in, in the parts that a stranger can reach."""

    method: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def request(self) -> Request:
        return Request(self.method.decode("latin-1"), self.query, dict(self.headers), self.body)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What it says, however it is written. What V3 does not sign says nothing; a V3 body is signed as written."""
        request = self.request
        signed = request.signed_headers
        if signed is None:
            return request.method, sorted(request.query_pairs + request.form_pairs)
        authorization = request.headers.get(b"authorization", b"").strip()
        headers = [(name, request.headers.get(name, b"").strip()) for name in signed]
        return request.method, sorted(request.query_pairs), headers, authorization, self.body


def house_with_a_session() -> Service:
    return house(may="cdn:*")


def token(service: Service) -> str:
    return session.seal(Session(KEY, SECRET, "3000", "ci", int(NOON) + 3600), service.books.tokens)


def signed(service: Service, scheme: str, method: str, place: str, temporary: bool) -> Call:
    """A refresh of two URLs.

    :param place: of its parameters: ``query``, ``form`` or ``both``
    """
    key, secret = (KEY, SECRET) if temporary else ("testid", "testsecret")
    params = dict(PARAMS)
    form = {"query": {}, "form": params, "both": {"ObjectPath": params["ObjectPath"]}}[place]
    query = {name: value for name, value in params.items() if name not in form}
    if scheme == "v3":
        made = signature.sign_v3(
            method, HOST, "RefreshObjectCaches", "2018-05-10", query, key_id=key, secret=secret,
            now=NOON, nonce="n1", form=form, token=token(service) if temporary else "",
        )  # fmt: skip
    else:
        query |= {"Action": "RefreshObjectCaches", "Version": "2018-05-10", "Format": "JSON"}
        query |= {"SecurityToken": token(service)} if temporary else {}
        made = signature.sign_v1(method, HOST, query, key_id=key, secret=secret, now=NOON, nonce="n1", form=form)
    return received(made)


def received(made: Signed) -> Call:
    headers = tuple((name.lower().encode(), value.encode()) for name, value in made.headers.items())
    return Call(made.method.encode(), made.target.partition("?")[2].encode(), headers, made.body)


async def answer(service: Service, call: Call) -> Answer:
    return await service.raw(call.method.decode("latin-1"), b"/?" + call.query, call.headers, call.body)


KINDS = [
    (scheme, method, place, temporary)
    for temporary in (False, True)
    for scheme, method, place in (
        ("v1", "GET", "query"), ("v1", "POST", "form"), ("v1", "POST", "both"),
        ("v3", "POST", "query"), ("v3", "POST", "form"), ("v3", "GET", "query"),
    )
]  # fmt: skip
kinds = pytest.mark.parametrize(("scheme", "method", "place", "temporary"), KINDS)


def flips(whole: bytes) -> Iterator[bytes]:
    for at in range(len(whole)):
        for bit in BITS:
            yield whole[:at] + bytes((whole[at] ^ 1 << bit,)) + whole[at + 1 :]


def mutants(call: Call) -> Iterator[Call]:
    """Every call that differs in one bit: of the method, the query, a header's name or value, or the body."""
    yield from (replace(call, method=method) for method in flips(call.method))
    yield from (replace(call, query=query) for query in flips(call.query))
    yield from (replace(call, body=body) for body in flips(call.body))
    for at, (name, value) in enumerate(call.headers):
        others = call.headers[:at], call.headers[at + 1 :]
        changed = [*((odd, value) for odd in flips(name)), *((name, odd) for odd in flips(value))]
        yield from (replace(call, headers=(*others[0], header, *others[1])) for header in changed)


@kinds
async def test_no_bit_can_be_flipped(scheme: str, method: str, place: str, temporary: bool) -> None:
    """A call with any one bit of what is signed changed is refused, stores nothing, and burns no nonce."""
    service = house_with_a_session()
    whole = signed(service, scheme, method, place, temporary)
    tried = 0
    for mutant in mutants(whole):
        if mutant.meaning != whole.meaning:
            tried += 1
            refused = await answer(service, mutant)
            assert refused.status in (400, 404), (mutant, refused.content)

    assert service.log.head == 0 and tried > 500
    assert (await answer(service, whole)).status == 200
    assert service.log.head == 2


@kinds
async def test_nothing_can_be_taken_away_or_added(scheme: str, method: str, place: str, temporary: bool) -> None:
    """No parameter and no signed header can be left out, doubled or put beside."""
    service = house_with_a_session()
    whole = signed(service, scheme, method, place, temporary)
    pairs = whole.request.query_pairs
    twice = [pair for pair in pairs if pair[0] != b"Signature"]  # that one is not part of what is signed
    wrong = [replace(whole, query=join_pairs(pairs[:at] + pairs[at + 1 :])) for at in range(len(pairs))]
    wrong += [replace(whole, query=join_pairs([*pairs, pair])) for pair in [*twice, (b"Force", b"false"), (b"X", b"")]]
    wrong += [replace(whole, body=whole.body + b"&X=1"), replace(whole, body=b"")] if whole.body else []
    if scheme == "v3":
        headers = whole.headers
        names = whole.request.signed_headers or []
        wrong += [
            replace(whole, headers=headers[:at] + headers[at + 1 :])
            for at, (name, _) in enumerate(headers)
            if name in (*names, b"authorization")
        ]
        wrong += [replace(whole, headers=(*headers, (name, b"x"))) for name in names]
        wrong += [replace(whole, headers=(*headers, (b"x-acs-more", b"x")))]
    for mutant in wrong:
        if mutant.meaning != whole.meaning:
            assert (await answer(service, mutant)).status in (400, 404), mutant

    assert service.log.head == 0
    assert (await answer(service, whole)).status == 200


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_legal_spelling_is_the_same_call(data: st.DataObject) -> None:
    """Order, escapes, ``+`` for a blank, hex digits of either case, and in V1 the place; with a token or without."""
    scheme, method, place, temporary = data.draw(st.sampled_from(KINDS))
    service = house_with_a_session()
    call = signed(service, scheme, method, place, temporary)
    query, form = call.request.query_pairs, call.request.form_pairs
    headers = list(call.headers)
    body = call.body
    if scheme == "v1" and method == "POST":  # what stands where is not signed
        pairs = data.draw(st.permutations(query + form))
        cut = data.draw(st.integers(0, len(pairs)))
        query, form = pairs[:cut], pairs[cut:]
        body = written(data.draw, form)
        kind = data.draw(
            st.sampled_from(["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded ; charset=UTF-8"])
        )
        headers = [*(pair for pair in headers if pair[0] != b"content-type"), (b"content-type", kind.encode())]
    else:
        query = data.draw(st.permutations(query))
    if scheme == "v3":
        blanks = st.sampled_from([b"", b" ", b"\t", b"  "])
        headers = [
            (name, data.draw(blanks) + value + data.draw(blanks)) for name, value in headers if name != b"authorization"
        ]
        authorization = dict(call.headers)[b"authorization"].replace(
            b",", data.draw(st.sampled_from([b",", b", ", b" , "]))
        )
        headers = [*data.draw(st.permutations(headers)), (b"authorization", authorization)]
    again = Call(call.method, written(data.draw, query), tuple(headers), body)

    assert asyncio.run(answer(service, again)).status == 200, again


def written(draw: Any, pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"&".join(scribble(draw, name) + b"=" + scribble(draw, value) for name, value in pairs)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, str.swapcase])
def test_header_names_have_no_case(spell: Callable[[str], str]) -> None:
    """Over a socket: names in any case, blanks around values, and the header lines in any order."""
    with running() as service:
        made = signature.sign_v3(
            "POST", service.address, "RefreshObjectCaches", "2018-05-10", {}, key_id="testid", secret="testsecret",
            now=service.app.desk.ambient.now(), nonce=spell("n"), form={"ObjectPath": "http://img.test/a"},
        )  # fmt: skip
        lines = [f"{spell(name)}: \t{value} " for name, value in reversed(made.headers.items())]
        head = "\r\n".join([f"POST {made.target} HTTP/1.1", *lines, f"Content-Length: {len(made.body)}", "", ""])

        assert over_a_socket(service.address, head.encode() + made.body).startswith(b"HTTP/1.1 200 ")
        assert service.log.head == 1


def over_a_socket(address: str, sent: bytes) -> bytes:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        return connection.recv(1 << 16)


# -- what the comparison tells ------------------------------------------------------
class Guarded(bytes):
    """A signature that may be compared by ``hmac.compare_digest`` alone: every other look at it is an error."""

    def _look(self, *_: object) -> Any:
        raise AssertionError("a signature was looked at otherwise than by hmac.compare_digest")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = __iter__ = __contains__ = _look
    __len__ = __hash__ = __add__ = startswith = endswith = find = hex = decode = strip = lower = upper = _look


def a_claim(scheme: str) -> tuple[Request, signature.Claim]:
    call = signed(Service(), scheme, "POST", "form", temporary=False)
    return call.request, signature.read(call.request)


@pytest.mark.parametrize("scheme", ["v1", "v3"])
def test_compare_digest_alone_decides(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, of the whole of both, and its word is the verdict: nothing else looks at a signature."""
    request, claim = a_claim(scheme)
    real, asked = hmac.compare_digest, list[tuple[bytes, bytes]]()

    def verdict(word: bool) -> Callable[[bytes, bytes], bool]:
        def compare(one: bytes, other: bytes) -> bool:
            asked.append((one, other))
            return word

        return compare

    signature.check(request, structs.replace(claim, signature=Guarded(claim.signature)), "testsecret")
    with pytest.raises(Refused):
        signature.check(request, structs.replace(claim, signature=Guarded(b"x" + claim.signature[1:])), "testsecret")

    monkeypatch.setattr(hmac, "compare_digest", verdict(True))
    for wrong in (b"", b"x", b"x" * len(claim.signature), claim.signature[:-1], claim.signature + b"x"):
        signature.check(request, structs.replace(claim, signature=Guarded(wrong)), "testsecret")
    monkeypatch.setattr(hmac, "compare_digest", verdict(False))
    with pytest.raises(Refused):
        signature.check(request, structs.replace(claim, signature=Guarded(claim.signature)), "testsecret")

    assert len(asked) == 6
    assert all(isinstance(other, Guarded) and real(one, claim.signature) for one, other in asked)


@pytest.mark.parametrize("scheme", ["v1", "v3"])
async def test_the_work_is_the_same_wherever_it_is_wrong(scheme: str) -> None:
    """Through the whole service: as many instructions for a signature wrong in its first byte as in its last."""
    service = house_with_a_session()
    call = signed(service, scheme, "POST", "form", temporary=False)
    right = signature.read(call.request).signature
    counts = []
    for at in range(len(right)):
        wrong = right[:at] + (b"A" if right[at : at + 1] != b"A" else b"B") + right[at + 1 :]
        counts.append(await work(service, with_signature(call, right, wrong)))

    assert len(set(counts[1:])) == 1, counts  # the first one fills caches
    assert counts[0] >= counts[1] > 1000


def with_signature(call: Call, right: bytes, wrong: bytes) -> Call:
    def swapped(text: bytes) -> bytes:
        return text.replace(join_pairs([(b"Signature", right)]), join_pairs([(b"Signature", wrong)]))

    changed = replace(
        call, query=swapped(call.query), headers=tuple((name, swapped(value)) for name, value in call.headers)
    )
    assert changed != call
    return changed


async def work(service: Service, call: Call) -> int:
    """How many instructions of Python the service takes to refuse a call."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        refused = await answer(service, call)
    finally:
        sys.settrace(before)
    assert refused.json["Code"] == "SignatureDoesNotMatch"
    return count


def test_the_count_sees_an_early_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two tests above fail where a comparison stops at the first difference: so they can."""

    def early(one: bytes, other: bytes) -> bool:
        return len(one) == len(other) and all(a == b for a, b in zip(one, other, strict=True))

    _, claim = a_claim("v3")
    with pytest.raises(AssertionError, match="looked at otherwise"):
        early(claim.signature, Guarded(claim.signature))
    with pytest.raises(AssertionError, match="looked at otherwise"):
        assert claim.signature == Guarded(claim.signature)

    steps = []
    for at in (1, 32, 63):
        wrong = claim.signature[:at] + b"x" + claim.signature[at + 1 :]
        seen = 0

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal seen
            frame.f_trace_opcodes = True
            seen += event == "opcode"
            return trace

        sys.settrace(trace)
        try:
            early(claim.signature, wrong)
        finally:
            sys.settrace(None)
        steps.append(seen)
    assert all(later > earlier for earlier, later in pairwise(steps))


def test_a_wrong_signature_is_told_without_ours() -> None:
    """What the answer says of it is what was signed, never what the signature should have been."""
    request, claim = a_claim("v3")
    with pytest.raises(Refused) as refused:
        signature.check(request, structs.replace(claim, signature=b"0" * 64), "testsecret")

    assert refused.value.fault is Fault.SIGNATURE_WRONG
    assert claim.signature.decode() not in str(refused.value.words)
