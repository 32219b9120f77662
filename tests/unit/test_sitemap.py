"""Sitemaps are read within bounds, and whatever means harm is refused by name."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from freshline.cli import sitemap
from freshline.cli.sitemap import BadSitemap, urls

SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


def urlset(*pages: str, more: str = "") -> str:
    listed = "".join(f"<url><loc> {page} </loc>{more}<lastmod>2026-11-21</lastmod></url>" for page in pages)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {SPACE}>{listed}</urlset>'


def index(*sitemaps: str) -> str:
    return (
        f"<sitemapindex {SPACE}>" + "".join(f"<sitemap><loc>{e}</loc></sitemap>" for e in sitemaps) + "</sitemapindex>"
    )


class Site:
    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.pages.get(self.path)
                to = site.redirects.get(self.path)
                self.send_response(302 if to else 404 if body is None else 200)
                if to:
                    self.send_header("Location", to)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.at = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def at(tmp_path: Path) -> Path:
    return tmp_path / "sitemap.xml"


def test_an_index_leads_to_all_pages_plain_and_packed(site: Site) -> None:
    """In the order of the index; extensions are passed over, also where they have a loc of their own."""
    image = (
        '<i:image xmlns:i="http://www.google.com/schemas/sitemap-image/1.1"><i:loc>http://a.test/i</i:loc></i:image>'
    )
    site.pages["/index.xml"] = index(f"{site.at}/one.xml", f"{site.at}/two.xml.gz").encode()
    site.pages["/one.xml"] = urlset("http://a.test/1?x=1&amp;y=2", "http://a.test/ü", more=image).encode()
    site.pages["/two.xml.gz"] = gzip.compress(urlset("http://a.test/3").encode())

    found = ["http://a.test/1?x=1&y=2", "http://a.test/ü", "http://a.test/3"]
    assert list(urls(f"{site.at}/index.xml")) == found


def test_a_file_is_as_good_as_a_url(at: Path) -> None:
    """Also one without the namespace, which many write."""
    at.write_text("<urlset><url><loc>http://a.test/1</loc></url></urlset>")
    assert list(urls(str(at))) == ["http://a.test/1"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"<!DOCTYPE u [<!ENTITY e0 'x'>{BOMB}]>{urlset('&e9;')}", "document type"),
        (f"<!DOCTYPE u [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>{urlset('&f;')}", "document type"),
        (f"<!DOCTYPE u SYSTEM 'http://a.test/x.dtd'>{urlset('http://a.test/')}", "document type"),
        ("<html><body>404</body></html>", "no sitemap but <html>"),
        (urlset("http://a.test/")[:-3], "no XML"),
        ("", "no XML"),
        ("\x00\x01", "no XML"),
        ("<urlset>" + "<x>" * 50, "nested more than 16 deep"),
        (urlset("http://a.test/" + "x" * 3000), "more than 2,048 characters"),
        (urlset("http://a.test/a\nb"), "is no URL"),
        (urlset(""), "is no URL"),
        (index("file:///etc/passwd"), "no URL of a sitemap"),
        (index("http://127.0.0.1:1/a.xml", "http://b.test/a.xml"), "127.0.0.1:1/a.xml"),
        (index(*["http://a.test/x"] * 1001), "at most 1,000"),
    ],
)
def test_what_is_no_sitemap_is_refused(at: Path, content: str, why: str) -> None:
    """Each by name, and nothing of it is used."""
    at.write_text(content)
    with pytest.raises(BadSitemap, match=why) as refused:
        list(urls(str(at)))
    assert str(refused.value)


def test_an_index_leads_to_no_other_host_and_to_no_other_index(site: Site) -> None:
    """Whoever wrote it would else choose what this machine asks for."""
    site.pages["/a.xml"] = index("http://localhost:1/secret").encode()
    site.pages["/b.xml"] = index(f"{site.at}/a.xml").encode()
    site.redirects["/c.xml"] = "file:///etc/passwd"

    for path, why in (("/a.xml", "another host"), ("/b.xml", "an index in an index"), ("/c.xml", "c.xml")):
        with pytest.raises(BadSitemap, match=why):
            list(urls(site.at + path))


def test_a_bomb_of_gzip_is_not_unpacked(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte that becomes a megabyte is let go once it has passed the bound."""
    monkeypatch.setattr(sitemap, "FILE_BYTES", 10_000)
    at.write_bytes(gzip.compress(b" " * 1_000_000))
    with pytest.raises(BadSitemap, match="longer than 10,000 bytes"):
        list(urls(str(at)))


def test_gzip_in_several_members(at: Path) -> None:
    """As `cat one.gz two.gz` makes it; zeros may follow, anything else may not."""
    text = urlset("http://a.test/1", "http://a.test/2").encode()
    members = gzip.compress(text[:30]) + gzip.compress(b"") + gzip.compress(text[30:])
    for more in (b"", b"\0" * 100):
        at.write_bytes(members + more)
        assert list(urls(str(at))) == ["http://a.test/1", "http://a.test/2"]
    at.write_bytes(members + b"\0\0and more")
    with pytest.raises(BadSitemap, match="broken gzip"):
        list(urls(str(at)))


def test_gzip_without_end_is_let_go(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken is counted as well as what it becomes: members may be empty."""
    monkeypatch.setattr(sitemap, "FILE_BYTES", 10_000)
    at.write_bytes(gzip.compress(b"") * 1_000)
    with pytest.raises(BadSitemap, match="longer than 10,000 bytes"):
        list(urls(str(at)))


@pytest.mark.parametrize("cut", [10, 40])
def test_broken_gzip_is_told(at: Path, cut: int) -> None:
    """Half of a list is no list."""
    packed = gzip.compress(urlset("http://a.test/1").encode())
    at.write_bytes(packed[:cut] if cut == 10 else packed[:20] + b"\xff" * 40)
    with pytest.raises(BadSitemap, match=r"cut off|broken gzip|no XML"):
        list(urls(str(at)))


def test_nobody_there_is_told(tmp_path: Path) -> None:
    """A file, a host."""
    for where in (str(tmp_path / "none.xml"), "http://127.0.0.1:1/x", "http://[/"):
        with pytest.raises(BadSitemap, match=r"none.xml|127.0.0.1|\["):
            list(urls(where))
