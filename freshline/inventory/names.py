"""What may be written where, and the words for what may not. Every check returns the value as it is kept."""

from __future__ import annotations

import re

from freshline.domain import target as targets

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_SECRET = re.compile(r"[!-~]{1,256}\Z")


def name(field: str, value: str) -> str:
    if not _NAME.match(value):
        raise ValueError(f"{field} {value!r}: 1 to 64 letters, digits, '.', '_' or '-'")
    return value


def area(value: str) -> str:
    if value not in ("", "domestic", "overseas"):
        raise ValueError(f"area {value!r}: domestic, overseas, or nothing for both")
    return value


def key_id(value: str) -> str:
    if not _KEY_ID.match(value):
        raise ValueError(f"access key id {value!r}: 1 to 128 letters, digits, '.', '_' or '-'")
    if value.startswith("STS."):
        raise ValueError(f"access key id {value!r}: those that begin with STS. are of temporary keys")
    return value


def secret(field: str, value: str) -> str:
    if not _SECRET.match(value):
        raise ValueError(f"{field}: 1 to 256 printable ASCII characters without spaces")  # the value is not for logs
    return value


def domain(value: str) -> str:
    host = value.lower()
    if _host(host) != host:
        raise ValueError(f"domain {value!r}: a host name without scheme, port or path")
    return host


def address(field: str, value: str) -> str:
    host, colon, port = value.rpartition(":")
    fits = colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not fits or _host(host.lower()) != host.lower():
        raise ValueError(f"{field} {value!r}: host:port, with a port from 1 to 65535")
    return value


def _host(value: str) -> str | None:
    try:
        return targets.parse(value).domain
    except targets.BadTarget:
        return None
