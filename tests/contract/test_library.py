"""Media on file: play URLs are checked when they are declared, and kept in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freshline.inventory.library import Library
from freshline.inventory.sqlite import SqliteInventory

AT = "https://play.test/film"


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[SqliteInventory]:
    it = SqliteInventory.open(tmp_path / "inventory.db")
    shop, other = it.add_account("shop"), it.add_account("other")
    it.add_domain("play.test", shop.id, "eu")
    it.add_domain("also.test", shop.id, "eu")
    it.add_domain("theirs.test", other.id, "eu")
    yield it
    it.close()


@pytest.fixture
def library(inventory: SqliteInventory) -> Library:
    return inventory.library


def test_declared_and_found(inventory: SqliteInventory, library: Library, tmp_path: Path) -> None:
    """A medium belongs to the account of its URLs' domain, and another process sees it at once."""
    library.add("film", [f"{AT}.MP4", f"{AT}.mp3"], definition="HD")
    made = library.add("film", [f"{AT}/list"], format="m3u8", slices=[f"{AT}/0.ts", "http://also.test/1.ts"])
    beside = SqliteInventory.open(tmp_path / "inventory.db")
    seen = beside.media("film")
    beside.close()

    assert seen == made == inventory.media("film")
    domain = inventory.domain("play.test")
    assert domain and made.account == domain.account
    assert [(play.format, play.definition, play.stream_type, len(play.slices)) for play in made.plays] == [
        ("mp4", "HD", "video", 0), ("mp3", "HD", "audio", 0), ("m3u8", "OD", "video", 2),
    ]  # fmt: skip
    assert library.all(made.account) == library.all() == [made] and library.all("nobody") == []


def test_declared_anew(library: Library) -> None:
    """A URL that is declared again is the latest, and what it was before is forgotten."""
    library.add("film", [f"{AT}-a.mp4", f"{AT}-b.mp4"])
    made = library.add("film", [f"{AT}-a.mp4"], definition="HD")

    assert [(play.url, play.definition) for play in made.plays] == [(f"{AT}-b.mp4", "OD"), (f"{AT}-a.mp4", "HD")]


def test_removed(library: Library) -> None:
    """URL by URL, or whole; with the last URL the medium goes."""
    library.add("film", [f"{AT}-{n}.mp4" for n in range(3)])
    library.remove("film", [f"{AT}-1.mp4"])
    left = library.media("film")
    assert left and [play.url for play in left.plays] == [f"{AT}-0.mp4", f"{AT}-2.mp4"]

    library.remove("film", [play.url for play in left.plays])
    assert library.media("film") is None
    library.add("film", [f"{AT}.mp4"])
    library.remove("film")
    assert library.all() == []


@pytest.mark.parametrize(
    ("act", "trouble"),
    [
        (lambda it: it.add("a b", [f"{AT}.mp4"]), "media id 'a b'"),
        (lambda it: it.add("film", []), "no play URLs"),
        (lambda it: it.add("film", ["play.test/a.mp4"]), "begins with http"),
        (lambda it: it.add("film", ["https://play.test/a/"], format="mp4"), "does not end with /"),
        (lambda it: it.add("film", ["https://play.test/a.mp4?of=/"]), "does not end with /"),
        (lambda it: it.add("film", ["https://*.play.test/a.mp4"]), "is no URL"),
        (lambda it: it.add("film", [f"{AT}.avi"]), "format 'avi' is none of mp4"),
        (lambda it: it.add("film", [f"{AT}.mp4"], definition="UHD"), "definition 'UHD' is none of FD"),
        (lambda it: it.add("film", [f"{AT}.mp4"], stream_type="smell"), "stream type 'smell'"),
        (lambda it: it.add("film", [f"{AT}.mp4"], slices=[f"{AT}.ts"]), "only m3u8"),
        (lambda it: it.add("film", [f"{AT}.m3u8"], slices=["x y"]), "'x y' is no URL"),
        (lambda it: it.add("film", [f"{AT}.m3u8"], slices=[f"{AT}.ts"] * 21), "21 slices"),
        (lambda it: it.add("film", [f"{AT}-1.m3u8", f"{AT}-2.m3u8"], slices=[f"{AT}.ts"]), "one at a time"),
        (lambda it: it.add("film", [f"{AT}-{n}.mp4" for n in range(21)]), "21 play URLs; 20 are the most"),
        (lambda it: it.add("film", ["https://nobody.test/a.mp4"]), "nobody.test is no domain"),
        (lambda it: it.add("film", [f"{AT}.mp4", "https://theirs.test/a.mp4"]), "of several accounts"),
        (lambda it: it.add("known", ["https://theirs.test/a.mp4"]), "belongs to account"),
        (lambda it: it.remove("film"), "'film' is unknown"),
        (lambda it: it.remove("known", [f"{AT}-x.mp4"]), "has no play URL"),
    ],
)
def test_refused(library: Library, act: Callable[[Library], None], trouble: str) -> None:
    """What is wrong is named, and nothing changes."""
    library.add("known", [f"{AT}.mp4"])
    before = library.all()
    with pytest.raises(ValueError, match=trouble.replace("(", r"\(").replace("*", r"\*")):
        act(library)

    assert library.all() == before
