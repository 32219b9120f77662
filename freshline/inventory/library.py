"""Media on file: which URLs each is played from, as the operator declares them.

Looked up in the file each time: a library may hold more media than are worth keeping in memory, and calls that name
one are few. What is refused is a ``ValueError`` and changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import PurePosixPath

from freshline.domain import target
from freshline.domain.media import DEFINITIONS, FORMATS, PLAYS, SLICED, SLICES, STREAM_TYPES, Media, Play
from freshline.inventory import names


class Library:
    """Part of the inventory: it changes the same file in the same transactions.

    :param change: a transaction; its argument is what is said where a name is taken
    """

    def __init__(self, connection: sqlite3.Connection, change: Callable[[str], AbstractContextManager[None]]) -> None:
        self._db = connection
        self._change = change

    def media(self, id_: str) -> Media | None:
        return next(iter(self._read([id_])), None)

    def all(self, account: str | None = None) -> list[Media]:
        """The media of an account, or of all, by id."""
        rows = self._db.execute("SELECT id FROM media WHERE ?1 IS NULL OR account = ?1", (account,))
        return self._read([id_ for (id_,) in rows])

    def add(
        self,
        id_: str,
        urls: Sequence[str],
        *,
        format: str | None = None,
        definition: str = "OD",
        stream_type: str | None = None,
        slices: Sequence[str] = (),
    ) -> Media:
        """Declare play URLs of a medium; one that is there already is declared anew, and is the latest from then on.

        The medium belongs to the account whose domain the URLs are of.

        :param format: else it is what the URL ends with
        :param stream_type: else audio for mp3, and video
        :param slices: the URLs of a playlist's first parts; for one URL only
        """
        names.name("media id", id_)
        plays = [_play(url, format, definition, stream_type, slices) for url in urls]
        if not plays:
            raise ValueError(f"media {id_!r}: no play URLs are given")
        if slices and len(plays) > 1:
            raise ValueError("slices belong to one play URL; give one at a time")
        with self._change(f"media {id_!r} cannot be added"):
            (account,) = self._accounts([url for play in plays for url in (play.url, *play.slices)])
            before = self.media(id_)
            if before is None:
                self._db.execute("INSERT INTO media VALUES (?, ?)", (id_, account))
            elif before.account != account:
                raise ValueError(f"media {id_!r} belongs to account {before.account!r}, these URLs to {account!r}")
            (last,) = self._db.execute("SELECT coalesce(max(made), 0) FROM play WHERE media = ?", (id_,)).fetchone()
            for made, play in enumerate(plays, last + 1):
                row = (id_, made, play.url, play.format, play.definition, play.stream_type, json.dumps(play.slices))
                self._db.execute("DELETE FROM play WHERE media = ? AND url = ?", (id_, play.url))
                self._db.execute("INSERT INTO play VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            now = self.media(id_)
            assert now is not None, f"media {id_} went away"
            if len(now.plays) > PLAYS:
                raise ValueError(f"media {id_!r} would have {len(now.plays)} play URLs; {PLAYS} are the most")
        return now

    def remove(self, id_: str, urls: Sequence[str] = ()) -> None:
        """Forget some play URLs of a medium, or all of it."""
        with self._change(f"media {id_!r} cannot be removed"):
            found = self.media(id_)
            if found is None:
                raise ValueError(f"media {id_!r} is unknown")
            known = [play.url for play in found.plays]
            if strange := [url for url in urls if url not in known]:
                raise ValueError(f"media {id_!r} has no play URL {strange[0]!r}")
            gone = set(urls) or set(known)
            self._db.executemany("DELETE FROM play WHERE media = ? AND url = ?", [(id_, url) for url in gone])
            if len(gone) == len(known):
                self._db.execute("DELETE FROM media WHERE id = ?", (id_,))

    def _accounts(self, urls: Sequence[str]) -> set[str]:
        found = set()
        for name in {target.parse(url).domain for url in urls}:
            row = self._db.execute("SELECT account FROM domain WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise ValueError(f"{name} is no domain of the inventory")
            found.add(row[0])
        if len(found) > 1:
            raise ValueError(f"these URLs are of several accounts: {', '.join(sorted(found))}")
        return found

    def _read(self, ids: Sequence[str]) -> list[Media]:
        rows = self._db.execute(
            "SELECT id, account, url, format, definition, stream_type, slices FROM media "
            "JOIN play ON play.media = media.id WHERE media.id IN (SELECT value FROM json_each(?)) ORDER BY id, made",
            (json.dumps(ids),),
        )
        out: dict[str, Media] = {}
        for id_, account, url, format_, definition, stream_type, slices in rows:
            play = Play(url, format_, definition, stream_type, tuple(json.loads(slices)))
            before = out.get(id_, Media(id_, account, ()))
            out[id_] = replace(before, plays=(*before.plays, play))
        return list(out.values())


def _play(url: str, format_: str | None, definition: str, stream_type: str | None, slices: Sequence[str]) -> Play:
    at = _object(url)
    format_ = format_ or PurePosixPath(at.path).suffix.removeprefix(".").lower()
    for word, value, values in (("format", format_, FORMATS), ("definition", definition, DEFINITIONS)):
        if value not in values:
            raise ValueError(f"{url}: {word} {value!r} is none of {', '.join(values)}")
    if stream_type is None:
        stream_type = "audio" if format_ == "mp3" else "video"
    if stream_type not in STREAM_TYPES:
        raise ValueError(f"{url}: stream type {stream_type!r} is none of {', '.join(STREAM_TYPES)}")
    if slices and format_ != SLICED:
        raise ValueError(f"{url}: only {SLICED} streams have slices")
    if len(slices) > SLICES:
        raise ValueError(f"{url}: {len(slices)} slices; the first {SLICES} are all that can be asked for")
    for each in slices:
        _object(each)
    return Play(url, format_, definition, stream_type, tuple(slices))


def _object(url: str) -> target.Target:
    try:
        at = target.parse(url)
    except target.BadTarget as wrong:
        raise ValueError(f"{url!r} is no URL: {wrong}") from None
    if not at.scheme or at.path.endswith("/") or url.endswith("/"):  # which a prefetch would not take
        raise ValueError(f"{url!r}: a play URL begins with http:// or https:// and does not end with /")
    return at
