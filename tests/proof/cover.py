"""What one line of a task covers, worked out anew from docs/gates.md; shares no code with what is being checked."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Floor:
    """What may be returned."""

    version: int = 0  #: no older one
    fetched: int = 0  #: nothing fetched before
    task: str = ""  #: that brought it this far


@dataclass
class Page:
    host: str
    path: str
    query: str
    tags: set[str]
    plain: bool = True  #: it has one spelling, and no variants
    bumps: list[int] = field(default_factory=list)  #: when its versions began
    versions: list[int] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)  #: when a refresh that covers it was first seen Complete
    floors: list[Floor] = field(default_factory=list)  #: from each of these moments on

    @property
    def url(self) -> str:
        """As it is prefetched."""
        return f"http://{self.host}{self.path}{'?' if self.query else ''}{self.query}"

    def version_at(self, moment: int) -> int:
        return self.versions[bisect_right(self.bumps, moment) - 1]


def canonical(path: str) -> str:
    """Escapes decoded, empty and dot segments resolved."""
    decoded = re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), path)
    kept: list[str] = []
    parts = decoded.split("/")
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and parts[-1] in ("", ".", "..") else "")


def covers(kind: str, host: str, line: str, page: Page) -> bool:
    if kind == "Tag":
        return page.host == host and line in page.tags
    rest = line.split("://", 1)[1]
    name, _, tail = rest.partition("/")
    if name.lower() != page.host:
        return False
    whole = page.path + ("?" + decoded(page.query) if page.query else "")
    if kind == "Regex":
        pattern = re.compile("/" + tail)
        return bool(pattern.match(page.path) or pattern.match(whole))
    path, _, query = tail.partition("?")
    path = canonical("/" + path)
    if kind == "File":
        return path + ("?" + decoded(query) if query else "") == whole
    if kind in ("IgnoreParams", "ExQuery"):
        return path == page.path
    assert kind == "Directory", kind
    return page.path.startswith(path)


def decoded(query: str) -> str:
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), query)
