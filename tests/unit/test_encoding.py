"""Percent-encoding: the fast way and the standard library's way agree."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from freshline.wire.encoding import decode, encode, encode_twice, join_pairs, parse_pairs

escapes = st.lists(
    st.sampled_from([b"%", b"4", b"1", b"%41", b"%25", b"%2B", b"%2f", b"+", b" ", b"a", b"\xff", b"%0A"])
)


@given(st.binary(max_size=300))
def test_encode(raw: bytes) -> None:
    """RFC 3986, nothing but the unreserved left bare."""
    assert encode(raw).decode() == quote(raw, safe="~")
    assert encode_twice(raw) == encode(encode(raw))


@given(escapes, st.booleans())
def test_decode(parts: list[bytes], long: bool) -> None:
    """Every escape is decoded once, whatever stands beside it, in short values and in long ones."""
    raw = b"".join(parts) + b"%3A" * 200 * long

    assert decode(raw) == unquote_to_bytes(raw.replace(b"+", b" "))


@given(st.binary(max_size=900))
def test_back_and_forth(raw: bytes) -> None:
    """What is encoded comes back."""
    assert parse_pairs(join_pairs([(b"a", raw), (raw, b"")])) == [(b"a", raw), (raw, b"")]


def test_pairs() -> None:
    """Empty parts are nothing; a name alone has an empty value; the order is the sender's."""
    raw = "b=2&&a&a=1=2&c=%E4%BD%A0+x&"

    assert parse_pairs(raw.encode()) == [
        (name.encode(), value.encode()) for name, value in parse_qsl(raw, keep_blank_values=True)
    ]
