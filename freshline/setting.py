"""How one setting is declared: its default, what it means, what is allowed.

    body_bytes: int = setting(4 << 20, "the body of one call", least=4096, most=64 << 20)

``config.py`` holds what it reads against this, and ``config_page.py`` prints it; nothing is said twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from string import Formatter
from typing import Any

RULE = "rule"  #: the key in a field's metadata

_LABEL = r"[A-Za-z0-9_-]{1,63}"
_ADDRESS = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\]):[0-9]{{1,5}}\Z")
_NAMES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


class Wrong(ValueError):
    """``args[0]`` is what must be instead."""


@dataclass(frozen=True)
class Rule:
    means: str
    least: float | None = None
    most: float | None = None
    one_of: tuple[Any, ...] = ()
    address: bool = False
    networks: bool = False
    filled: bool = False
    words: tuple[str, ...] = ()  #: that the text may have in braces, to be filled in
    keys: Callable[[], Iterable[str]] | None = None  #: of a table, where its default does not name them all

    def allowed(self, kind: type) -> str:
        if self.one_of:
            return f"one of {', '.join(map(str, self.one_of))}"
        if self.address:
            return "host:port, as in 127.0.0.1:8080 or [::1]:8080"
        if self.networks:
            return "addresses and networks with commas between them, as in 10.0.0.0/8, ::1"
        if self.words:
            return f"a string in which braces stand only around {', '.join(self.words)}"
        if self.least is not None and self.most is not None:
            return f"{_NAMES[kind]} from {written(self.least)} to {written(self.most)}"
        return _NAMES[kind] + " that is not empty" * self.filled

    def read(self, kind: type, value: Any) -> Any:
        """The value as the service uses it.

        :raises Wrong: it is not allowed
        """
        if kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**53 else value
        fits = type(value) is kind  # exactly: True is no 1
        if fits and self.one_of:
            fits = value in self.one_of
        if fits and self.address:
            fits = is_address(value)
        if fits and self.networks:
            fits = is_networks(value)
        if fits and self.words:
            fits = is_template(value, self.words)
        if fits and self.filled:
            fits = bool(value)
        if fits and self.least is not None and self.most is not None:
            fits = self.least <= value <= self.most
        if not fits:
            raise Wrong(self.allowed(kind))
        return value


def setting(default: Any, means: str, **rule: Any) -> Any:
    """A field of a dataclass of settings; see :class:`Rule`."""
    metadata = {RULE: Rule(means, **rule)}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def is_networks(text: str) -> bool:
    """Addresses and networks, separated by commas."""
    try:
        split_networks(text)
    except ValueError:
        return False
    return True


def split_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """:raises ValueError: one of them is none"""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_template(text: str, words: Iterable[str]) -> bool:
    """Whether ``text.format`` needs none but these words, each as it is."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        return False
    return all(name is None or (name in words and not spec and not how) for _, name, spec, how in parts)


def is_address(text: str) -> bool:
    """``host:port``, IPv6 hosts in brackets."""
    return bool(_ADDRESS.match(text)) and int(text.rpartition(":")[2]) < 65536


def split_address(text: str) -> tuple[str, int]:
    """The host (brackets taken off) and the port of an address that :func:`is_address`."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def written(value: Any) -> str:
    """A value as TOML has it."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"{value:_}" if abs(value) >= 10_000 else str(value)
        case float():
            return written(int(value)) if value.is_integer() else repr(value)
        case Mapping():
            return "{" + ", ".join(f"{_key(name)} = {written(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case str():
            return json.dumps(value)
        case _:  # a date or a time
            return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
