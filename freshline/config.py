"""One TOML file and the environment make the settings. All mistakes are reported at once.

``[service] listen = "…"`` in the file is ``FRESHLINE_SERVICE_LISTEN`` in the environment, which wins. What is not said
has a default; what is not known is a mistake.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freshline.access.limits import Limits
from freshline.delivery.machine import Pace
from freshline.delivery.runner import Deadlines

PREFIX = "FRESHLINE_"


class BadConfig(ValueError):
    """``args[0]`` lists every mistake, one a line: key, value, and what is allowed."""


def _between(least: float, most: float) -> Mapping[str, Any]:
    return {"least": least, "most": most}


@dataclass(frozen=True)
class Service:
    listen: str = field(default="127.0.0.1:8080", metadata={"address": True})
    data_dir: str = "freshline-data"  #: the log, the inventory and the key that its secrets are encrypted with
    key_file: str = ""  #: default: ``secret.key`` in data_dir
    default_format: str = field(default="XML", metadata={"one_of": ("XML", "JSON")})  #: of a V1 call that names none
    log_level: str = field(default="info", metadata={"one_of": ("debug", "info", "warning", "error")})


@dataclass(frozen=True)
class Gates:
    answer_seconds: float = field(default=10.0, metadata=_between(0.1, 600))
    fetch_seconds: float = field(default=300.0, metadata=_between(1, 86400))  #: one prefetch, from first to last byte
    fetches_per_domain: int = field(default=8, metadata=_between(1, 10_000))  #: over all edges: warming is no attack


@dataclass(frozen=True)
class Settings:
    service: Service = Service()
    gates: Gates = Gates()
    delivery: Pace = Pace()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()


def load(path: str | os.PathLike[str] | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a file (none: only defaults) and the environment.

    :raises BadConfig: with every mistake there is
    """
    mistakes: list[str] = []
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise BadConfig(f"{path}: {error.strerror or error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadConfig(f"{path}: not TOML: {error}") from None
    sections = {each.name: each for each in dataclasses.fields(Settings)}
    _from_environment(table, sections, environ, mistakes)
    made: dict[str, Any] = {}
    for name, given in table.items():
        if name not in sections:
            mistakes.append(f"[{name}]: no such section; there are {', '.join(sections)}")
        elif not isinstance(given, dict):
            mistakes.append(f"{name} = {given!r}: {name} is a section, written [{name}]")
    for name, section in sections.items():
        given = table.get(name, {})
        default = section.default
        made[name] = _section(name, default, given if isinstance(given, dict) else {}, mistakes)
    if mistakes:
        raise BadConfig("\n".join(mistakes))
    return Settings(**made)


def _section(section: str, default: Any, given: Mapping[str, Any], mistakes: list[str]) -> Any:
    hints = typing.get_type_hints(type(default))
    known = {each.name: each for each in dataclasses.fields(default)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        where = f"{section}.{key} = {value!r}"
        if key not in known:
            mistakes.append(f"{where}: no such key; [{section}] has {', '.join(known)}")
            continue
        wrong, value = _checked(value, hints[key], known[key].metadata)
        if wrong:
            mistakes.append(f"{where}: {wrong}")
        values[key] = _merged(getattr(default, key), value, where, mistakes)
    return default if mistakes else dataclasses.replace(default, **values)


def _merged(default: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    """A table in the file changes what it names, and leaves the rest. Where the default names keys, these are all."""
    if not (isinstance(default, Mapping) and isinstance(value, dict)):
        return value
    if unknown := [key for key in value if default and key not in default]:
        mistakes.append(f"{where}: no such key {', '.join(unknown)}; there are {', '.join(default)}")
    return {**default, **value}


def _checked(value: Any, hint: Any, rules: Mapping[str, Any]) -> tuple[str, Any]:
    """What is wrong with a value (or nothing), and the value as its type wants it."""
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    origin = typing.get_origin(hint) or hint
    if origin is float and type(value) is int:
        value = float(value)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return ("must be a table", value) if not isinstance(value, dict) else _table(value, hint)
    if type(value) is not origin:
        names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
        return f"must be {names.get(origin, origin)}", value
    if "one_of" in rules and value not in rules["one_of"]:
        return f"must be one of {', '.join(rules['one_of'])}", value
    least, most = rules.get("least", 0), rules.get("most", float("inf"))
    if origin in (int, float) and not least <= value <= most:
        return f"must be {least} or more" if most == float("inf") else f"must lie between {least} and {most}", value
    if rules.get("address") and not is_address(value):
        return "must be host:port, as in 127.0.0.1:8080", value
    return "", value


def _table(value: dict[str, Any], hint: Any) -> tuple[str, Any]:
    """A table of numbers, such as rates by operation."""
    wanted = typing.get_args(hint)[1] if typing.get_args(hint) else object
    for key, each in value.items():
        wrong, value[key] = _checked(each, wanted, {})
        if wrong:
            return f"{key} {wrong}", value
    return "", value


def is_address(text: str) -> bool:
    """``host:port``, IPv6 hosts in brackets."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 <= int(port) < 65536


def split_address(text: str) -> tuple[str, int]:
    """The host (brackets taken off) and the port of an address that :func:`is_address`."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _from_environment(
    table: dict[str, Any],
    sections: Mapping[str, dataclasses.Field[Any]],
    environ: Mapping[str, str],
    mistakes: list[str],
) -> None:
    for name, text in sorted(environ.items()):
        section, _, key = name.removeprefix(PREFIX).lower().partition("_")
        if not name.startswith(PREFIX) or section not in sections:
            continue
        hints = typing.get_type_hints(type(sections[section].default))
        if key not in hints:
            mistakes.append(f"{name}: no such setting; [{section}] has {', '.join(hints)}")
            continue
        try:
            value: Any = text if hints[key] is str else tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            mistakes.append(f"{name} = {text!r}: must be written as in TOML")
            continue
        inner = table.setdefault(section, {})
        if isinstance(inner, dict):
            inner[key] = value
