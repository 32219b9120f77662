"""Callers refresh, caches are told commands. This is the one place where the first becomes the second."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urljoin

from msgspec import Struct
from msgspec.structs import replace

from freshline.domain import target as targets
from freshline.domain.task import Kind, Rows


class Verb(StrEnum):
    """What a gate understands (docs/gates.md)."""

    FILE = "file"  #: one URL with its query string, every variant
    PATH = "path"  #: one path with whatever query string
    DIR = "dir"  #: everything under a path
    REGEX = "regex"  #: every URL whose path and query match from the start
    TAG = "tag"  #: every object the origin tagged so


VERBS = {
    Kind.FILE: Verb.FILE,
    Kind.DIRECTORY: Verb.DIR,
    Kind.REGEX: Verb.REGEX,
    Kind.IGNORE_PARAMS: Verb.PATH,
    Kind.TAG: Verb.TAG,
}


@dataclass(frozen=True, slots=True)
class Command:
    """One row, as a gate is told it. ``what`` is canonical (freshline.domain.target)."""

    position: int
    force: bool  #: true: the object is gone; false: it must be revalidated with the origin before it is served
    verb: Verb
    host: str
    what: bytes


class Fetch(Struct, frozen=True, gc=False):
    """One row of a prefetch: what an edge shall go and get. Thousands a second are made."""

    position: int
    scheme: str  #: ``http`` where the caller named none
    host: str
    target: str  #: path and query, ready for a request line
    headers: tuple[tuple[str, str], ...] = ()
    task: int = 0  #: whose row it is


def fetches(rows: Rows) -> list[Fetch]:
    """Prefetches, row by row.

    :param rows: with the tasks that they are of
    """
    wish = rows.wish
    asked, headers = targets.asked_for(wish.domain, wish.paths), wish.headers
    positions = range(rows.first, rows.last + 1)
    return [
        Fetch(position, scheme or "http", host, target, headers, task)
        for position, task, (scheme, host, target) in zip(positions, rows.tasks, asked, strict=True)
    ]


def onward(fetch: Fetch, status: int, location: str) -> Fetch | None:
    """What a redirect leads to, if it stays within the domain: 301 and 302 only (CONTRACT 2)."""
    if status not in (301, 302) or not location:
        return None
    try:
        target = targets.parse(urljoin(f"{fetch.scheme}://{fetch.host}{fetch.target}", location).partition("#")[0])
    except ValueError:  # BadTarget is one
        return None
    there = replace(fetch, scheme=target.scheme, target=target.request_target())
    return there if target.domain == fetch.host and there != fetch else None


def what(kind: Kind, path: str) -> bytes:
    """What a row is about, canonical."""
    match kind:
        case Kind.TAG:
            return path.encode()
        case Kind.REGEX:
            return pattern(path).encode()
        case Kind.FILE:
            return targets.parse(path).canonical()
        case _:
            return targets.parse(path).canonical_path()


def pattern(line: str) -> str:
    """The pattern of a Regex line: all from the first ``/`` after the host, matched from the start of the path."""
    _, _, rest = line.partition("://") if line.lower().startswith(("http://", "https://")) else ("", "", line)
    return "/" + rest.partition("/")[2]
