"""Heads that are the same but for what differs in every call.

A caller's head is the same bytes from call to call, around a time, a nonce, a signature, and what is told of the body.
So it is read once. A head has the shape of that one when it is the same around those values, and they hold nothing but
letters, digits, ``-``, ``.`` and ``:``. To a parser such a value is a value, whatever it is: it would read the same.

What a shape's fixed part says is kept with it, by who read it.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

from freshline.wire.credential import SIGNATURE, before_signature, signed_headers

VARYING = (b"authorization", b"content-length", b"x-acs-content-sha256", b"x-acs-date", b"x-acs-signature-nonce")
LONGEST = 2_048  #: bytes of a head

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.:"
_END = b"\r\n\r\n"


class Shape:
    """Not to be changed by anybody; see :func:`learn`."""

    def __init__(self, method: str, query: bytes, headers: dict[bytes, bytes], whole: bytes) -> None:
        """:raises ValueError: heads like this one cannot be told so simply"""
        self.method, self.query = method, query
        said, mark, _ = headers.get(b"authorization", b"").rpartition(SIGNATURE)
        if before_signature(said) is None or b"transfer-encoding" in headers:
            raise ValueError
        credential = said + mark
        self.signed_headers = signed_headers(credential)
        self.values: dict[object, Any] = {}  #: what was read out of the fixed part, by who read it
        self._credential, self._fixed_headers = credential, headers
        spans = sorted(_span(whole, name, headers[name], credential) for name in VARYING if name in headers)
        self.varying = tuple(name for _, _, name in spans)
        self._size = whole.index(_END) + len(_END)
        ends = [0, *(at for first, last, _ in spans for at in (first, last)), self._size]
        self._pieces = struct.Struct("".join([f"{b - a}s" for a, b in pairwise(ends)]))
        self._fixed = self._pieces.unpack_from(whole)[::2]
        if self.read(whole) != headers:
            raise ValueError

    def read(self, data: bytes) -> dict[bytes, bytes] | None:
        """The headers of a request that has this shape and is the whole of ``data``."""
        size = self._size
        if len(data) < size:
            return None
        pieces = self._pieces.unpack_from(data)
        if pieces[::2] != self._fixed:
            return None
        values = pieces[1::2]
        if b"".join(values).translate(None, _PLAIN):
            return None
        headers = self._fixed_headers.copy()
        for name, value in zip(self.varying, values, strict=True):
            headers[name] = value
        headers[b"authorization"] = self._credential + headers[b"authorization"]
        length = headers.get(b"content-length", b"0")
        return headers if length.isdigit() and int(length) == len(data) - size else None

    def body(self, data: bytes) -> bytes:
        return data[self._size :]


def learn(method: str, query: bytes, headers: dict[bytes, bytes], whole: bytes) -> Shape | None:
    """The shape of a head that was read by a parser, where there can be one.

    :param headers: their names in lower case; no two lines had one name
    :param whole: the request, from its first byte to its last
    """
    if whole.find(_END, 0, LONGEST) == -1:
        return None
    try:
        return Shape(method, query, headers, whole)
    except ValueError:
        return None


def _span(whole: bytes, name: bytes, value: bytes, credential: bytes) -> tuple[int, int, bytes]:
    """Where the varying part of a value stands.

    :raises ValueError: it is not to be found
    """
    line = whole.lower().index(b"\r\n%b:" % name)
    last = whole.index(b"\r\n", line + 2)
    varies = len(value) - (len(credential) if name == b"authorization" else 0)
    if not varies or whole[line + len(name) + 3 : last].lstrip() != value:
        raise ValueError
    return last - varies, last, name
