"""One TOML file and the environment make the settings. All mistakes are reported at once.

``[service] listen = "…"`` in the file is ``FRESHLINE_SERVICE_LISTEN`` in the environment, which wins. What is not said
has a default; what is not known is a mistake.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freshline.access.limits import Limits
from freshline.api.app import TROUBLESHOOT
from freshline.delivery.lateness import Deadlines
from freshline.delivery.pace import Pace
from freshline.drivers.patience import Patience
from freshline.setting import RULE, Rule, Wrong, is_address, setting, split_address, written

__all__ = ["BadConfig", "Gates", "Service", "Settings", "is_address", "known", "load", "split_address"]

PREFIX = "FRESHLINE_"
SHOWN = 120  #: characters of a wrong value that are repeated to whoever wrote it

#: In the environment under our prefix, and no settings: the command line's own, and what Kubernetes says of a Service
#: of our name (FRESHLINE_PORT_8080_TCP_ADDR, FRESHLINE_SERVICE_HOST).
_NO_SETTING = re.compile(PREFIX + r"(CONFIG|ENDPOINT|(PORT|SERVICE_PORT)(_.*)?|SERVICE_HOST)\Z")


class BadConfig(ValueError):
    """``args[0]`` lists every mistake, one a line: key, value, and what is allowed."""


@dataclass(frozen=True)
class Service:
    listen: str = setting("127.0.0.1:8080", "where the API listens; port 0 takes a free one", address=True)
    data_dir: str = setting(
        "freshline-data", "the log, the inventory and the key that its secrets are encrypted with", filled=True
    )
    key_file: str = setting("", "where that key is instead; when empty, secret.key in data_dir")
    tls_certificate: str = setting(
        "", "a PEM file, certificate and chain: the API speaks https; renewed files are taken up"
    )
    tls_key: str = setting("", "the certificate's key, a PEM file; when empty, it is in the certificate's")
    trusted_proxies: str = setting(
        "", "proxies before the API, whose X-Forwarded-For and -Proto are believed", networks=True
    )
    forbidden_status: int = setting(
        403, "the status of what policies do not allow", one_of=(403, 400), least=400, most=403
    )
    default_format: str = setting("XML", "what a V1 call gets that names no Format", one_of=("XML", "JSON"))
    recommend: str = setting(
        TROUBLESHOOT, "the Recommend of error answers: where to read more", words=("code", "product", "request_id")
    )
    enforce_protocols: bool = setting(False, "refuse over http what the vendor has over https only")
    say_retry_after: bool = setting(True, "throttled answers say in x-acs-retry-after how long to wait")
    audit_days: int = setting(
        90, "days that the audit trail is kept, who asked for what; 0: none is written", least=0, most=3_650
    )
    log_level: str = setting("info", "what is written to standard error", one_of=("debug", "info", "warning", "error"))


@dataclass(frozen=True)
class Gates(Patience):
    fetches_per_domain: int = setting(
        32, "prefetches of one domain under way, over all edges: warming is no attack", least=1, most=10_000
    )
    follow_redirects: bool = setting(
        False, "a prefetch that is redirected (301, 302) within its domain goes on there; else it has failed"
    )


@dataclass(frozen=True)
class Settings:
    service: Service = Service()
    gates: Gates = Gates()
    delivery: Pace = Pace()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()


@dataclass(frozen=True)
class Known:
    """A setting there is."""

    section: str
    key: str
    kind: type  #: of the value; of each value in a table
    table: bool
    default: Any
    rule: Rule

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.section}_{self.key}".upper()

    @property
    def allowed(self) -> str:
        one = self.rule.allowed(self.kind)
        return f"a table, such as {written(self.default or {'NAME': 1})}, each {one}" if self.table else one


def known() -> dict[str, dict[str, Known]]:
    """Every setting, by section and key."""
    found: dict[str, dict[str, Known]] = {}
    for section, defaults in vars(Settings()).items():
        hints = typing.get_type_hints(type(defaults))
        of_section = found[section] = {}
        for each in dataclasses.fields(defaults):
            hint, default = hints[each.name], getattr(defaults, each.name)
            table = isinstance(default, Mapping)
            kind = typing.get_args(hint)[1] if table else hint
            of_section[each.name] = Known(section, each.name, kind, table, default, each.metadata[RULE])
    return found


def load(path: str | os.PathLike[str] | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a file (none: only defaults) and the environment.

    :raises BadConfig: with every mistake there is
    """
    there_is, mistakes = known(), list[str]()
    made: dict[str, dict[str, Any]] = {section: {} for section in there_is}
    given = [*_from_file(path, there_is, mistakes), *_from_environment(environ, there_is, mistakes)]
    for where, what, value in given:
        before = made[what.section].get(what.key, what.default)
        made[what.section][what.key] = _read(where, what, value, before, mistakes)
    if mistakes:
        raise BadConfig("\n".join(mistakes))
    defaults = Settings()
    return Settings(**{name: dataclasses.replace(getattr(defaults, name), **made[name]) for name in made})


Given = tuple[str, Known, Any]  #: where it stands, what it is for, and its value


def _read(where: str, what: Known, value: Any, before: Any, mistakes: list[str]) -> Any:
    if not what.table:
        try:
            return what.rule.read(what.kind, value)
        except Wrong as wrong:
            mistakes.append(f"{where} = {_shown(value)}: must be {wrong}")
            return before
    if not isinstance(value, dict):
        mistakes.append(f"{where} = {_shown(value)}: must be {what.allowed}")
        return before
    return {**before, **dict(_entries(where, what, value, mistakes))}


def _entries(where: str, what: Known, table: Mapping[str, Any], mistakes: list[str]) -> Iterator[tuple[str, Any]]:
    """A table changes what it names, and leaves the rest."""
    names = list(what.rule.keys() if what.rule.keys else what.default)
    for name, value in table.items():
        if name not in names:
            mistakes.append(f"{where}.{name} = {_shown(value)}: no such key{_instead(name, names)}")
            continue
        try:
            yield name, what.rule.read(what.kind, value)
        except Wrong as wrong:
            mistakes.append(f"{where}.{name} = {_shown(value)}: must be {wrong}")


def _from_file(
    path: str | os.PathLike[str] | None, there_is: Mapping[str, Mapping[str, Known]], mistakes: list[str]
) -> Iterator[Given]:
    if path is None:
        return
    try:
        table = _parsed(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        mistakes.append(f"{path}: {error.strerror or error}")
        return
    except ValueError as error:
        mistakes.append(f"{path}: must be TOML in UTF-8: {error}")
        return
    for section, inner in table.items():
        if section not in there_is:
            mistakes.append(f"[{section}]: no such section{_instead(section, there_is)}")
        elif not isinstance(inner, dict):
            mistakes.append(f"{section} = {_shown(inner)}: must be a section, written [{section}]")
        else:
            for key, value in inner.items():
                if key in there_is[section]:
                    yield f"{section}.{key}", there_is[section][key], value
                else:
                    instead = _instead(key, there_is[section])
                    mistakes.append(f"{section}.{key} = {_shown(value)}: no such key{instead}")


def _from_environment(
    environ: Mapping[str, str], there_is: Mapping[str, Mapping[str, Known]], mistakes: list[str]
) -> Iterator[Given]:
    variables = {each.variable: each for section in there_is.values() for each in section.values()}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or _NO_SETTING.match(name):
            continue
        if name not in variables:
            mistakes.append(f"{name} = {_shown(text)}: no such setting{_instead(name, variables)}")
            continue
        what, value = variables[name], text
        if what.table or what.kind is not str:
            try:
                table = _parsed(f"value = {text}")
                value = table["value"] if len(table) == 1 else text
            except ValueError:
                pass  # then it stays text, which is not what it must be
        yield name, what, value


def _parsed(text: str) -> dict[str, Any]:
    """:raises ValueError: it is no TOML"""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _instead(name: str, names: Iterable[str]) -> str:
    import difflib

    names = list(names)
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _shown(value: Any) -> str:
    try:
        text = written(value)
    except ValueError:  # a whole number of thousands of digits
        text = "…"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
