"""Values to bytes: answers and errors, in JSON or XML, as the contract's samples show them (CONTRACT 1.1, 3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from freshline.spec.model import FaultRow, Field, Shape

CONTENT_TYPES = {"json": b"application/json;charset=utf-8", "xml": b"text/xml;charset=utf-8"}

_encode_json = msgspec.json.Encoder().encode
_PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>'
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2


class Format(StrEnum):
    JSON = "json"
    XML = "xml"


class Item(dict[str, Any]):
    """An entry of a list that is answered more than once, such as a row of a task: JSON is made of it once."""

    __slots__ = ("_json", "_shape")
    _json: msgspec.Raw
    _shape: Shape

    def json(self, shape: Shape) -> msgspec.Raw:
        try:
            if self._shape is shape:
                return self._json
        except AttributeError:  # the first time
            pass
        self._json = made = msgspec.Raw(_encode_json(_tree(shape, self)))
        self._shape = shape
        return made


class Items(list[Item]):
    """All of such a list, where that is answered more than once: not to be changed once it was."""

    __slots__ = ("_json", "_shape")
    _json: msgspec.Raw
    _shape: Shape

    def json(self, shape: Shape) -> msgspec.Raw:
        try:
            if self._shape is shape:
                return self._json
        except AttributeError:  # the first time
            pass
        self._json = made = msgspec.Raw(_encode_json([item.json(shape) for item in self]))
        self._shape = shape
        return made


def answer(action: str, shape: Shape, values: Mapping[str, Any], format_: Format) -> bytes:
    """What an operation answers.

    :param values: by the sources that the shape names; a list is a sequence of such mappings
    """
    if format_ is Format.JSON:
        return _encode_json(_tree(shape, values))
    return f"{_PROLOGUE}<{action}Response>{''.join(_elements(shape, values))}</{action}Response>".encode()


def error(
    row: FaultRow,
    words: Mapping[str, str],
    *,
    request_id: str,
    host: str,
    recommend: str,
    product: str,
    format_: Format,
    denial: Mapping[str, str] | None = None,
) -> bytes:
    """The envelope of every error.

    :param words: fill the placeholders of the table's row
    :param recommend: where to read more; ``{code}``, ``{product}`` and ``{request_id}`` are filled in
    :param denial: who was denied what; its own element at the end
    """
    code = row.code.format_map(words)
    envelope = {
        "RequestId": request_id,
        "HostId": host,
        "Code": code,
        "Message": row.message.format_map(words),
        "Recommend": recommend.format(code=code, product=product, request_id=request_id),
    }
    if format_ is Format.JSON:
        out: dict[str, Any] = {name: _encodable(value) for name, value in envelope.items()}
        if denial is not None:
            out["AccessDeniedDetail"] = {name: _encodable(value) for name, value in denial.items()}
        return _encode_json(out)
    elements = "".join(_element(name, value) for name, value in envelope.items())
    if denial is not None:
        inner = "".join(_element(name, value) for name, value in denial.items())
        elements += f"<AccessDeniedDetail>{inner}</AccessDeniedDetail>"
    return f"{_PROLOGUE}<Error>{elements}</Error>".encode()


def _tree(shape: Shape, values: Mapping[str, Any]) -> dict[str, Any]:
    if shape.plain is not None:
        return {name: values[source] for name, source in shape.plain}
    out: dict[str, Any] = {}
    for field in shape.fields:
        value: Any = None if field.single else values[field.source]
        if field.shape is not None:
            inner = field.shape
            if field.single:
                value = _tree(inner, values)
            elif isinstance(value, Items):
                value = value.json(inner)
            else:
                value = [item.json(inner) if isinstance(item, Item) else _tree(inner, item) for item in value]
            if field.node is not None:
                value = {field.node: value}
        elif field.text or field.spell:
            value = _print(field, value)
        out[field.name] = value
    return out


def _elements(shape: Shape, values: Mapping[str, Any]) -> Iterator[str]:
    for field in shape.xml:
        value = [values] if field.single else values[field.source]
        if field.shape is None and isinstance(value, list):  # of texts
            yield from (_element(field.name, text) for text in value)
        elif field.shape is None:
            yield _element(field.name, str(_print(field, value)))
        elif field.node is None:  # repeated, with no element around them
            yield from _list(field.name, field.shape, value)
        else:
            yield f"<{field.name}>{''.join(_list(field.node, field.shape, value))}</{field.name}>"


def _list(name: str, shape: Shape, items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for item in items:
        yield f"<{name}>{''.join(_elements(shape, item))}</{name}>"


def _print(field: Field, value: Any) -> Any:
    if field.spell:
        value = field.spell.get(value, value)
    return str(value) if field.text else value


def _element(name: str, text: str) -> str:
    """A caller's text can neither end the element nor break the document."""
    if not text:
        return f"<{name}/>"
    return f"<{name}>{_NOT_XML.sub(chr(0xFFFD), text).translate(_ESCAPES)}</{name}>"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
