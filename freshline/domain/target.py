"""From what a caller wrote to what a cache can be told: hosts, paths and queries in one spelling.

A cache sees ``/a//b/../%61`` where the caller wrote ``/a/a``. Both sides reduce a path to the same canonical bytes:
percent-escapes decoded, runs of ``/`` folded, dot segments resolved (RFC 3986 section 5.2.4). Two spellings that a
cache keeps apart may become one here; then a refresh takes one object too many, never one too few. Every gate carries
the same function, and ``tests/contract`` feeds both the same spellings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from urllib.parse import unquote_to_bytes

PATH_LIMIT = 1024  #: bytes in one ObjectPath line (CONTRACT 2)

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_SLASHES = re.compile(rb"/{2,}")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SENDABLE = re.compile(r"[!#-;=?-\[\]_a-z~]*")  #: in a request line as it is

#: Nearly every line there is: printable ASCII, a host in lower case, no port. All others are looked at closely.
_USUAL = re.compile(r"(?:(https?)://)?([a-z0-9_.-]+)(/[!-\"$->@-~]*)?(?:\?([!-\"$-~]*))?")
_USUAL_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)  #: after the host's slash
_SENDABLE_BYTES = bytes(byte for byte in _USUAL_BYTES if _SENDABLE.fullmatch(chr(byte)))


class BadTarget(ValueError):
    """The line is no URL of a cache. The text says what is wrong with it."""


class WildcardDomain(BadTarget):
    """The host part holds ``*``: refreshes name one domain (CONTRACT 2)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parsed ObjectPath. ``path`` and ``query`` are as written; the canonical forms are methods."""

    scheme: str  #: ``"http"``, ``"https"``, or ``""`` where the caller wrote none: both are meant
    domain: str  #: lower case, no port
    port: int | None
    path: str  #: starts with ``/``
    query: str | None  #: without the ``?``; ``None`` where there is no ``?``

    def canonical_path(self) -> bytes:
        return canonical_path(self.path.encode())

    def canonical(self) -> bytes:
        """Path and query as one, as gates compare them."""
        path = self.canonical_path()
        return path if self.query is None else path + b"?" + unquote_to_bytes(self.query)

    def request_target(self) -> str:
        """Path and query fit for a request line: what is not printable ASCII is percent-encoded."""
        raw = self.path if self.query is None else f"{self.path}?{self.query}"
        if _SENDABLE.fullmatch(raw):
            return raw
        return "".join(chr(b) if 0x21 <= b <= 0x7E and b not in b'"<>\\^`{|}' else f"%{b:02X}" for b in raw.encode())


def parse(line: str) -> Target:
    """Read one ObjectPath line: ``[http[s]://]host[:port][/path][?query]``.

    :raises WildcardDomain: the host holds ``*``
    :raises BadTarget: anything else that is no URL: controls, spaces, a fragment, user info, an empty or bad host
    """
    usual = _usual(line)
    if usual is not None:
        scheme, host, path, query = usual.groups()
        return Target(scheme or "", host, None, path or "/", query)
    if len(line.encode("utf-8", "surrogatepass")) > PATH_LIMIT:
        raise BadTarget(f"longer than {PATH_LIMIT} bytes")
    if " " in line or holds_controls(line):
        raise BadTarget("holds a space or a control character")
    scheme, rest = "", line
    if (at := line.find("://")) != -1 and line[:at].isalpha():
        scheme, rest = line[:at].lower(), line[at + 3 :]
        if scheme not in ("http", "https"):
            raise BadTarget(f"scheme {scheme!r} is not http or https")
    cut = min((i for i in (rest.find("/"), rest.find("?")) if i != -1), default=len(rest))
    authority, tail = rest[:cut], rest[cut:]
    if "*" in authority:
        raise WildcardDomain(f"{authority!r} is a wildcard")
    host, _, port_text = authority.partition(":")
    host = host.lower()
    if not _HOST.match(host):
        raise BadTarget(f"{authority!r} is not a host")
    port = None
    if ":" in authority:
        if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536):
            raise BadTarget(f"{port_text!r} is not a port")
        port = int(port_text)
    if "#" in tail:
        raise BadTarget("a fragment never reaches a cache")
    path, mark, query = tail.partition("?")
    return Target(scheme, host, port, path or "/", query if mark else None)


def domain(line: str) -> str:
    """The domain of a line, which may be one of thousands of a call.

    :raises BadTarget: as :func:`parse`
    """
    usual = _usual(line)
    return parse(line).domain if usual is None else usual[2]


def common_domain(lines: Sequence[str]) -> str | None:
    """The domain of all lines, where they are of one and are written as most are; looked at together.

    ``None`` says nothing but that they have to be looked at one by one.

    :raises BadTarget: the first line is none; as :func:`parse`
    """
    host = domain(lines[0])
    text = "\n" + "\n".join(lines)
    starts = sum(text.count(f"\n{scheme}{host}/") for scheme in ("", "http://", "https://"))
    if starts != len(lines) or not text.isascii() or max(map(len, lines)) > PATH_LIMIT:
        return None
    left = text.encode("ascii").translate(None, _USUAL_BYTES)
    return host if left == b"\n" * len(lines) else None


def asked_for(host: str, lines: Sequence[str]) -> list[tuple[str, str, str]]:
    """Scheme, host and :meth:`Target.request_target` of each line, as :func:`parse` has them.

    :param host: of the lines; those that are written as most are, are looked at together
    :param lines: that were taken before
    """
    starts = [(scheme, f"{scheme}://{host}/" if scheme else f"{host}/") for scheme in ("http", "https", "")]
    left = "\n".join(lines).encode("utf-8", "surrogatepass").translate(None, _SENDABLE_BYTES)
    plain = left == b"\n" * (len(lines) - 1)
    for scheme, start in starts if plain else ():
        if all(map(str.startswith, lines, repeat(start))):
            return [(scheme, host, line[len(start) - 1 :]) for line in lines]
    out = []
    for line in lines:
        for scheme, start in starts if plain else ():
            if line.startswith(start):
                out.append((scheme, host, line[len(start) - 1 :]))
                break
        else:
            target = parse(line)
            out.append((target.scheme, target.domain, target.request_target()))
    return out


def _usual(line: str) -> re.Match[str] | None:
    match = _USUAL.fullmatch(line)
    return match if match is not None and len(line) <= PATH_LIMIT and _is_host(match[2]) else None


@lru_cache(4096)
def _is_host(name: str) -> bool:
    return _HOST.match(name) is not None


def holds_controls(line: str) -> bool:
    """Whether something in it can be in no line that is taken: a control character, or half of a surrogate pair."""
    return _CONTROLS.search(line) is not None


def canonical_path(path: bytes) -> bytes:
    """Decode, fold and resolve a path. The result starts with ``/`` and keeps a trailing one.

    >>> canonical_path(b"/a//b/.././%61")
    b'/a/a'
    """
    if b"%" not in path and b"//" not in path and b"/." not in path and path[:1] == b"/":
        return path
    decoded = _SLASHES.sub(b"/", unquote_to_bytes(path))
    out: list[bytes] = []
    segments = decoded.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if out:
                out.pop()
        elif segment != b".":
            out.append(segment)
    if segments and segments[-1] in (b".", b"..") and out[-1:] != [b""]:
        out.append(b"")
    return _SLASHES.sub(b"/", b"/" + b"/".join(out))
