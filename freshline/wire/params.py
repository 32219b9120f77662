"""Parameters from text to values, as the tables say.

What is not there or empty takes its default. What is there must be right: nothing is clamped, trimmed or guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from freshline.domain import source as origins
from freshline.domain import target
from freshline.domain.errors import Fault, Refused
from freshline.domain.source import Source
from freshline.spec.model import Operation, Param, SpecError
from freshline.wire import content, slots, times
from freshline.wire.request import Request

TASK_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)  #: stays within a signed 64-bit number
_TASK_IDS = re.compile(r"[1-9][0-9]{0,17}(?:,[1-9][0-9]{0,17})*", re.ASCII)
NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
DOMAIN_LIMIT = 253  #: characters (RFC 1035 section 2.3.4)
HEADERS_LIMIT = 32  #: header lines that a prefetch may carry
HEADER_BYTES = 4096  #: of all of them

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
#: Not a prefetch's business: they frame the message, or ask for less than the whole object.
_NOT_YOURS = re.compile(
    r"host|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|content-.*|range|if-.*|freshline-.*"
)


class _Wrong(ValueError):
    """Not of its type."""


class _Over(ValueError):
    """Too many items."""


class Reader:
    """Reads the arguments of one operation, by the handler's words.

    :raises SpecError: a default is none of its parameter's values
    """

    def __init__(self, operation: Operation) -> None:
        self._params = {name.encode(): (name, param) for name, param in operation.params.items()}
        self._required = [(name.encode(), name) for name, param in operation.params.items() if param.required]
        self._given = dict(operation.set)  # what is there before a caller sends anything
        for name, param in operation.params.items():
            if param.default is not None:
                try:
                    self._given[param.to] = PARSERS[param.type](param, param.default)
                except ValueError:
                    raise SpecError(f"{operation.action}: {name} cannot be {param.default!r}") from None

    def read(self, request: Request) -> dict[str, Any]:
        """Unknown parameters are ignored (CONTRACT 1); one that is not there and has no default is left out.

        :raises Refused: as the operation's table says
        """
        if (twice := request.asked.repeated()) is not None:
            raise Refused(Fault.PARAMETERS_GARBLED, param=_printable(twice))
        sent = request.params
        for raw_name, name in self._required:
            if not sent.get(raw_name):
                raise Refused(Fault.PARAMETER_MISSING, param=name)
        out = self._given.copy()
        for raw_name, (name, param) in self._params.items():
            if raw := sent.get(raw_name):
                out[param.to] = _read_one(name, param, raw)
        return out


def _read_one(name: str, param: Param, raw: bytes) -> Any:
    if param.longest is not None and len(raw) > param.longest:
        raise Refused(param.long or param.wrong, param=name)
    try:
        value = PARSERS[param.type](param, raw.decode())
    except _Over:
        raise Refused(param.over or param.wrong, param=name) from None
    except times.Unreal:
        raise Refused(param.unreal or param.wrong, param=name) from None
    except ValueError:  # what is not UTF-8, too
        raise Refused(param.wrong, param=name) from None
    if value == () and param.required:
        raise Refused(Fault.PARAMETER_MISSING, param=name)
    return value


# -- one parser per type: of (param, text), a value or ValueError ----------------
def _text(_: Param, text: str) -> str:
    if not text.isprintable():
        raise _Wrong
    return text


def _line(_: Param, text: str) -> str:
    """What a line of a task may be, to find it by: more than is printable, such as U+00A0."""
    if target.holds_controls(text):
        raise _Wrong
    return text


def _document(_: Param, text: str) -> str:
    """Text of lines, read by whoever it is for."""
    return text


def _flag(_: Param, text: str) -> bool:
    """SDKs write True, true and false."""
    match text.lower():
        case "true":
            return True
        case "false":
            return False
    raise _Wrong


def _number(param: Param, text: str) -> int:
    if not NUMBER.fullmatch(text):
        raise _Wrong
    value = int(text)
    if (param.min is not None and value < param.min) or (param.max is not None and value > param.max):
        raise _Wrong
    return value


def _choice(param: Param, text: str) -> str:
    """Capitals do not matter: the documents themselves write ``file`` here and ``File`` there."""
    if text in param.values:
        return param.values[text]
    for name, value in param.values.items():
        if name.lower() == text.lower():
            return value
    raise _Wrong


def _lines(_: Param, text: str) -> tuple[str, ...]:
    r"""Split at ``\n`` or ``\r\n``. Empty lines, and so a trailing newline, ask for nothing."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return tuple([line for line in text.split("\n") if line])


def _strings(_: Param, text: str) -> tuple[str, ...]:
    """A JSON array, for what others write in lines."""
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except (msgspec.DecodeError, RecursionError):
        raise _Wrong from None


def _content(_: Param, text: str) -> content.Content:
    return content.read(text)


def _slots(_: Param, text: str) -> tuple[slots.Slot, ...]:
    return slots.read(text)


def _ids(param: Param, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if param.most is not None and len(parts) > param.most:
        raise _Over
    if not _TASK_IDS.fullmatch(text):
        raise _Wrong
    return tuple(dict.fromkeys(map(int, parts)))


def _time(_: Param, text: str) -> int:
    return times.read(text)


def _domain(_: Param, text: str) -> str:
    """One host name, in lower case. A wildcard is let through: the handler has a word for it."""
    name = text.lower()
    if len(name) > DOMAIN_LIMIT or "/" in name or "?" in name or ":" in name:
        raise _Wrong
    try:
        return target.parse(name).domain
    except target.WildcardDomain:
        return name


def _domains(param: Param, text: str) -> tuple[str, ...]:
    parts = text.split(",")
    if param.most is not None and len(parts) > param.most:
        raise _Over
    return tuple(dict.fromkeys(_domain(param, part) for part in parts))


def _tags(param: Param, text: str) -> tuple[str, ...]:
    """Words, such as tags: no blanks or controls inside. Blanks around a comma are let through."""
    parts = [part.strip(" ") for part in text.split(",")]
    parts = [part for part in parts if part]
    if param.most is not None and len(parts) > param.most:
        raise _Over
    if not all(part.isprintable() and " " not in part for part in parts):
        raise _Wrong
    return tuple(parts)


def _choices(param: Param, text: str) -> tuple[str, ...]:
    """Several of its values, joined by commas."""
    return tuple(dict.fromkeys(_choice(param, part) for part in text.split(",")))


def _headers(_: Param, text: str) -> tuple[tuple[str, str], ...]:
    """``{"Accept-Encoding": ["gzip"], "X-A": "b"}``: a header, its value or values."""
    try:
        raw = json.loads(text)
    except RecursionError:
        raise _Wrong from None
    if not isinstance(raw, dict):
        raise _Wrong
    out: list[tuple[str, str]] = []
    for name, values in raw.items():
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value):
                raise _Wrong
            out.append((name, value))
        if not _TOKEN.fullmatch(name) or _NOT_YOURS.fullmatch(name.lower()):
            raise _Wrong
    if len(out) > HEADERS_LIMIT or sum(len(name) + len(value.encode()) for name, value in out) > HEADER_BYTES:
        raise _Wrong
    return tuple(out)


def _sources(_: Param, text: str) -> tuple[Source, ...]:
    """``[{"content": "192.0.2.1", "type": "ipaddr", "port": 80}]``: at least one origin, each an address or a name."""
    try:
        found: list[Source] = msgspec.json.decode(text, type=list[Source], strict=False)
    except (msgspec.DecodeError, RecursionError):
        raise _Wrong from None
    if not 0 < len(found) <= origins.MOST or any(map(_no_origin, found)):
        raise _Wrong
    return tuple(found)


def _no_origin(it: Source) -> bool:
    try:
        host = target.parse(it.content)
    except target.BadTarget:
        return True
    plain = host.domain == it.content.lower()
    numbers = it.priority.isascii() and it.priority.isdigit() and it.weight.isascii() and it.weight.isdigit()
    return not plain or it.type not in origins.TYPES or not 0 < it.port < 65536 or not numbers


PARSERS: Mapping[str, Callable[[Param, str], Any]] = {
    "text": _text,
    "line": _line,
    "document": _document,
    "flag": _flag,
    "number": _number,
    "choice": _choice,
    "lines": _lines,
    "ids": _ids,
    "time": _time,
    "domain": _domain,
    "domains": _domains,
    "tags": _tags,
    "words": _tags,
    "choices": _choices,
    "headers": _headers,
    "sources": _sources,
    "strings": _strings,
    "content": _content,
    "slots": _slots,
}


def _printable(name: str) -> str:
    return name if len(name) <= 64 and name.isprintable() else ""
