"""Every object that there is: what visitors ask for, what callers refresh, what the origin knows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HOSTS = ("www.proof.test", "img.proof.test", "api.proof.test")
DIRECTORIES = ("/", "/a/", "/a/deep/", "/b/")
FILES = 5  #: in each directory
QUERIES = ("n=1", "n=2", "n=3&m=x", "n=%41")
TAGS = ("red", "green", "blue", "news")
VARIANTS = ("-", "de", "fr")  #: of Accept-Language; ``-`` is none
LONG_LINES = 1500  #: of the body of a long object, about 100 KiB


@dataclass(frozen=True, slots=True)
class Page:
    """One object, in all its variants."""

    id: int
    host: str
    path: str  #: canonical
    query: str  #: empty: there is none
    tags: tuple[str, ...]
    vary: bool
    long: bool
    spellings: tuple[str, ...]  #: request targets that mean it; the first is the plain one

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.spellings[0]}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def pages() -> list[Page]:
    found: list[Page] = []

    def add(host: str, path: str, query: str, *more: str) -> None:
        id_ = len(found)
        tags = tuple(sorted({TAGS[id_ % 4], TAGS[(id_ // 4) % 4]}))
        target = path + ("?" + query if query else "")
        found.append(Page(id_, host, path, query, tags, id_ % 3 == 0, id_ % 23 == 7, (target, *more)))

    for host in HOSTS:
        for directory in DIRECTORIES:
            for number in range(FILES):
                odd: tuple[str, ...] = (f"{directory}./%66{number}.html",) if number == 1 else ()
                odd += (f"{directory}x/..//f{number}.html",) if number == 2 else ()
                add(host, f"{directory}f{number}.html", "", *odd)
        add(host, "/q", "")
        for query in QUERIES:
            add(host, "/q", query)
    return found
