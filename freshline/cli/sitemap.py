"""The pages of a site, as its sitemap lists them (sitemaps.org, protocol 0.9): plain or gzip, or an index of such.

Whoever wrote it may mean harm. So everything is bounded, a document type (and with it every entity) is refused, and an
index leads to no other host than its own.
"""

from __future__ import annotations

import http.client
import itertools
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from xml.parsers import expat

FILE_BYTES = 50 << 20  #: of one, unpacked: as the protocol has it
FILE_URLS = 50_000  #: likewise
FILES = 1_000  #: that one index names
URL_LENGTH = 2_048
DEPTH = 16  #: elements in each other; a sitemap has three, extensions some more
ANSWER_SECONDS = 30.0
PIECE = 1 << 16
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"
ROOTS = {"urlset": "url", "sitemapindex": "sitemap"}


class BadSitemap(Exception):
    """``args[0]`` names it and says what is wrong."""


def urls(where: str) -> Iterator[str]:
    """Every ``loc``, in order.

    :param where: a URL (http or https) or the name of a file
    :raises BadSitemap: it cannot be had, is none, or exceeds a bound
    """
    root, found = _parsed(where)
    if root == "urlset":
        yield from found
        return
    if len(found) > FILES:
        raise BadSitemap(f"{where}: an index of {len(found):,} sitemaps; at most {FILES:,} are read")
    host = urlsplit(where).netloc.lower() if _is_url(where) else None
    for each in found:
        if not _is_url(each):
            raise BadSitemap(f"{where}: {each!r} is no URL of a sitemap")
        host = urlsplit(each).netloc.lower() if host is None else host
        if urlsplit(each).netloc.lower() != host:
            raise BadSitemap(f"{where}: leads to another host: {each}")
        inner, more = _parsed(each)
        if inner != "urlset":
            raise BadSitemap(f"{each}: an index in an index")
        yield from more


def _is_url(where: str) -> bool:
    return where.lower().startswith(("http://", "https://"))


def _parsed(where: str) -> tuple[str, list[str]]:
    """The name of the outermost element, and each ``loc`` that counts."""
    reader = _Reader(where)
    try:
        for piece in _unpacked(where, _pieces(where)):
            reader.feed(piece)
        return reader.end()
    except expat.ExpatError as error:
        raise BadSitemap(f"{where}: no XML: {error}") from None


def _pieces(where: str) -> Iterator[bytes]:
    try:
        if not _is_url(where):
            with Path(where).open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
            return
        with _opener().open(where, timeout=ANSWER_SECONDS) as answer:
            while piece := answer.read(PIECE):
                yield piece
    except HTTPError as error:
        raise BadSitemap(f"{where}: answered {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise BadSitemap(f"{where}: {getattr(reason, 'strerror', None) or reason}") from None


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS and nothing else: a redirect to a file or to FTP leads nowhere."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _unpacked(where: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Gzip is told by its first bytes, whatever the name or the header says."""
    pieces = _bounded(where, pieces)
    first = next(pieces, b"")
    pieces = itertools.chain((first,), pieces)
    if first[:2] != b"\x1f\x8b":
        yield from pieces
        return
    try:
        yield from _bounded(where, _inflated(pieces))
    except zlib.error as error:
        raise BadSitemap(f"{where}: broken gzip: {error}") from None


def _bounded(where: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > FILE_BYTES:
            raise BadSitemap(f"{where}: longer than {FILE_BYTES:,} bytes")
        yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Of each member in turn (RFC 1952, section 2.2); zeros after one fill a block of a tape."""
    unpack = zlib.decompressobj(wbits=31)
    for piece in pieces:
        rest = piece
        while rest:
            if unpack.eof:
                rest = rest.lstrip(b"\0")
                unpack = zlib.decompressobj(wbits=31) if rest else unpack
            else:
                yield unpack.decompress(rest, FILE_BYTES + 1)
                rest = unpack.unused_data
    if not unpack.eof:
        raise zlib.error("cut off")


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where
        self._open: list[str] = []
        self._text: list[str] | None = None
        self._length = 0
        self._found: list[str] = []
        self._root = ""
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data

    def feed(self, piece: bytes) -> None:
        self._parser.Parse(piece, False)

    def end(self) -> tuple[str, list[str]]:
        self._parser.Parse(b"", True)
        return self._root, self._found

    def _refuse(self, *_: object) -> None:
        raise BadSitemap(f"{self._where}: has a document type; a sitemap needs none")

    def _start(self, name: str, _: object) -> None:
        namespace, _, local = name.rpartition(" ")
        local = local if namespace in (NAMESPACE, "") else name
        if not self._open:
            if local not in ROOTS:
                raise BadSitemap(f"{self._where}: no sitemap but <{name.rpartition(' ')[2]}>")
            self._root = local
        self._open.append(local)
        if len(self._open) > DEPTH:
            raise BadSitemap(f"{self._where}: elements nested more than {DEPTH} deep")
        if self._open[1:] == [ROOTS[self._root], "loc"]:
            self._text, self._length = [], 0

    def _data(self, text: str) -> None:
        if self._text is not None:
            self._length += len(text)
            if self._length > URL_LENGTH:
                raise BadSitemap(f"{self._where}: a URL of more than {URL_LENGTH:,} characters")
            self._text.append(text)

    def _end(self, _: object) -> None:
        if self._text is not None and self._open[-1] == "loc":
            url = "".join(self._text).strip()
            self._text = None
            if not url or any(ch <= " " or ch == "\x7f" for ch in url):
                raise BadSitemap(f"{self._where}: {url!r} is no URL")
            self._found.append(url)
            if len(self._found) > FILE_URLS:
                raise BadSitemap(f"{self._where}: more than {FILE_URLS:,} URLs")
        self._open.pop()
