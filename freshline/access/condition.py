"""``Condition`` of a policy's statement: operators, keys and values (CONTRACT 5).

All operators must hold, and all keys of an operator. Of several values one is enough; ``…Not…`` is the opposite of its
positive twin, so none of its values may fit. A key that a call does not have fits nothing.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from freshline.access import wildcard

SOURCE_IP, CURRENT_TIME, SECURE_TRANSPORT, MFA_PRESENT = (
    "acs:SourceIp",
    "acs:CurrentTime",
    "acs:SecureTransport",
    "acs:MFAPresent",
)
#: The keys every call has, and what kind of operator beside String they go with.
KEYS = {SOURCE_IP: "address", CURRENT_TIME: "date", SECURE_TRANSPORT: "truth", MFA_PRESENT: "truth"}

Context = Mapping[str, str]  #: what is known of a call, by key
Test = Callable[[str], bool]  #: of a call's value

_KEY = re.compile(r"[A-Za-z0-9-]{1,32}:[!-~]{1,128}\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?\Z", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Condition:
    operator: str
    key: str
    values: tuple[str, ...]
    tests: tuple[Test, ...]  #: one for each value
    negated: bool

    def holds(self, context: Context) -> bool:
        value = context.get(self.key)
        return (value is not None and any(test(value) for test in self.tests)) is not self.negated


# -- what a value in a policy asks of a call's: each gives a test, or ValueError -------
def _equal(text: str) -> Test:
    return text.__eq__


def _equal_ignoring_case(text: str) -> Test:
    folded = text.casefold()
    return lambda value: value.casefold() == folded


def _ordered(read: Callable[[str], Any], compare: Callable[[Any, Any], bool], text: str) -> Test:
    right = read(text)

    def test(value: str) -> bool:
        try:
            return compare(read(value), right)
        except ValueError:
            return False

    return test


def _number(text: str) -> Decimal:
    if not _NUMBER.match(text):
        raise ValueError("a decimal number")
    return Decimal(text)


def _time(text: str) -> float:
    """Unix seconds."""
    if _TIME.match(text):
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError("a time with its zone, as in 2026-11-21T17:00:00+08:00")


def _truth(text: str) -> Test:
    wanted = text.lower()
    if wanted not in ("true", "false"):
        raise ValueError("true or false")
    return lambda value: value.lower() == wanted


def _address(text: str) -> Test:
    try:
        network = _plain(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("an address or a network, as in 10.0.0.0/8") from None

    def test(value: str) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address in network

    return test


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """``::ffff:10.0.0.0/104`` is ``10.0.0.0/8`` (RFC 4291 section 2.5.5.2)."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


_COMPARISONS = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}

#: Operator -> the kind of key it is for, how a value is read, whether it is turned round.
OPERATORS: dict[str, tuple[str, Callable[[str], Test], bool]] = {
    "StringEquals": ("text", _equal, False),
    "StringNotEquals": ("text", _equal, True),
    "StringEqualsIgnoreCase": ("text", _equal_ignoring_case, False),
    "StringNotEqualsIgnoreCase": ("text", _equal_ignoring_case, True),
    "StringLike": ("text", wildcard.compile, False),
    "StringNotLike": ("text", wildcard.compile, True),
    **{f"Numeric{how}": ("number", partial(_ordered, _number, by), False) for how, by in _COMPARISONS.items()},
    "NumericNotEquals": ("number", partial(_ordered, _number, operator.eq), True),
    **{f"Date{how}": ("date", partial(_ordered, _time, by), False) for how, by in _COMPARISONS.items()},
    "DateNotEquals": ("date", partial(_ordered, _time, operator.eq), True),
    "Bool": ("truth", _truth, False),
    "IpAddress": ("address", _address, False),
    "NotIpAddress": ("address", _address, True),
}


# -- reading -------------------------------------------------------------------------
def read(raw: Any, where: str, mistakes: list[str]) -> Iterator[Condition]:
    """The conditions in a ``Condition`` element.

    :param mistakes: what is wrong is added here
    """
    if not isinstance(raw, dict):
        mistakes.append(f"{where}: must be an object, operators to keys to values")
        return
    for name, keys in raw.items():
        if name not in OPERATORS:
            mistakes.append(f"{where}: {name!r} is no operator{instead(name, OPERATORS)}")
        elif not isinstance(keys, dict) or not keys:
            mistakes.append(f"{where}.{name}: must be an object, keys to values")
        else:
            for key, values in keys.items():
                yield from _read_one(name, key, values, f"{where}.{name}.{key}", mistakes)


def _read_one(name: str, key: str, raw: Any, where: str, mistakes: list[str]) -> Iterator[Condition]:
    kind, compile_, negated = OPERATORS[name]
    if not is_key(key):
        mistakes.append(f"{where}: no such key{instead(key, KEYS)}")
        return
    if kind != "text" and KEYS.get(key, kind) != kind:
        fitting = [each for each in OPERATORS if OPERATORS[each][0] in ("text", KEYS[key])]
        mistakes.append(f"{where}: {name} does not go with {key}; these do: {', '.join(fitting)}")
        return
    values = raw if isinstance(raw, list) else [raw]
    if not values:
        mistakes.append(f"{where}: must have a value")
    texts, tests = [], []
    for value in values:
        text = _text(value)
        if text is None:
            mistakes.append(f"{where}: must be text, a number, true or false, or a list of them")
            continue
        try:
            tests.append(compile_(text))
            texts.append(text)
        except ValueError as wrong:
            mistakes.append(f"{where}: {text!r} must be {wrong}")
    yield Condition(name, key, tuple(texts), tuple(tests), negated)


def is_key(key: str) -> bool:
    """A key that calls have, or one of another service's, which ours never have."""
    return key in KEYS or (bool(_KEY.match(key)) and not key.startswith("acs:"))


def _text(value: Any) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
    return None


def instead(name: str, names: Mapping[str, Any]) -> str:
    """``; did you mean …?``, or all there are."""
    close = get_close_matches(name, names, 1) or [each for each in names if each.lower() == name.lower()]
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"
