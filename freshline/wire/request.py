"""One call as it came in: method, headers, and its parameters wherever the caller put them.

Parameters may stand in the query string, in a urlencoded body, or in both (CONTRACT 1). Names and values stay bytes
here, since signatures are made over bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from freshline.wire.asked import Asked, asked
from freshline.wire.credential import signed_headers
from freshline.wire.encoding import Pairs
from freshline.wire.shape import Shape

FORM = b"application/x-www-form-urlencoded"


@dataclass(slots=True)
class Request:
    method: str
    query: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)  #: names in lower case
    body: bytes = b""
    secure: bool = False  #: it came over TLS
    shape: Shape | None = None  #: of its head, where that was read before

    asked: Asked = field(init=False)
    params: dict[bytes, bytes] = field(init=False)  #: every parameter once; not to be changed
    signed_headers: list[bytes] | None = field(init=False)
    """The names a V3 signature says it covers, in its order; ``None`` where there is no V3 signature."""

    def __post_init__(self) -> None:
        if self.shape is None:
            self.signed_headers = signed_headers(self.headers.get(b"authorization", b""))
        else:
            self.signed_headers = self.shape.signed_headers
        self.take(self.body)

    def take(self, body: bytes) -> None:
        """The body has come."""
        self.body = body
        form = bool(body) and (self._is_form() if self.shape is None else self._has_form_shape(self.shape))
        self.asked = asked(self.query, body, form, again=self.signed_headers is not None)
        self.params = self.asked.params

    @property
    def query_pairs(self) -> Pairs:
        return self.asked.query_pairs

    @property
    def form_pairs(self) -> Pairs:
        return self.asked.form_pairs

    def param(self, name: bytes) -> str:
        """A parameter as text; ``""`` where there is none. What is not UTF-8 matches nothing."""
        value = self.params.get(name)
        return value.decode("utf-8", "surrogateescape") if value else ""

    def header(self, name: bytes) -> str:
        """A header's value without blanks around it; ``""`` where there is none."""
        value = self.headers.get(name)
        return value.strip().decode("latin-1") if value else ""

    def _has_form_shape(self, shape: Shape) -> bool:
        form: bool | None = shape.values.get(FORM)
        if form is None:
            form = shape.values[FORM] = self._is_form()
        return form

    def _is_form(self) -> bool:
        """Whether the body holds parameters.

        A content type that a V3 signature does not cover says nothing: a stranger could change it and so hide the body.
        """
        if self.signed_headers is not None and b"content-type" not in self.signed_headers:
            return True
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == FORM


def merge_headers(lines: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Header lines by lower-case name; lines of one name are joined (RFC 9110 section 5.3)."""
    out: dict[bytes, bytes] = {}
    for name, value in lines:
        name = name.lower()
        out[name] = b", ".join((out[name], value)) if name in out else value
    return out
