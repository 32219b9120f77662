"""The parameters of a call, wherever they stood, and what a signature is made of them.

Whoever waits for a task sends the same bytes again and again, so what was made of them is kept for a while: of calls
whose signature is in a header, since otherwise no two are alike.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from freshline.wire.encoding import Pairs, join_pairs, parse_pairs

KEPT = 2_048
LONGEST = 1_024  #: bytes of the query and the body of what is kept


class Asked:
    """Not to be changed by anybody."""

    def __init__(self, query: bytes, body: bytes, form: bool) -> None:
        """:param form: the body holds parameters, too"""
        self._body: bytes | None = body
        self._digest = self._canonical_query = b""
        self.query_pairs: Pairs = parse_pairs(query)
        self.form_pairs: Pairs = parse_pairs(body) if form else []
        self.params = dict(self.form_pairs)  #: every parameter once
        self.params.update(self.query_pairs)
        self.values: dict[object, Any] = {}  #: what was read out of them, by who read it

    @property
    def canonical_query(self) -> bytes:
        if self.query_pairs and not self._canonical_query:
            self._canonical_query = join_pairs(sorted(self.query_pairs))
        return self._canonical_query

    @property
    def digest(self) -> bytes:
        """Of the body, in hex."""
        if self._body is not None:
            self._digest, self._body = sha256(self._body), None
        return self._digest

    def repeated(self) -> str | None:
        """A parameter that comes twice, if there is one. Which of the two is meant nobody can say."""
        if len(self.params) == len(self.query_pairs) + len(self.form_pairs):
            return None
        seen: set[bytes] = set()
        for name, _ in (*self.query_pairs, *self.form_pairs):
            if name in seen:
                return name.decode("utf-8", "replace")
            seen.add(name)
        raise AssertionError("fewer names than pairs, and none of them twice")


def asked(query: bytes, body: bytes, form: bool, *, again: bool) -> Asked:
    """:param again: the same bytes may come again"""
    return _known(query, body, form) if again and len(query) + len(body) <= LONGEST else Asked(query, body, form)


_known = lru_cache(KEPT)(Asked)
_SHA256_OF_NOTHING = hashlib.sha256(b"").hexdigest().encode()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() if data else _SHA256_OF_NOTHING
