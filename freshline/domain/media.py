"""A medium and where it is played from: what refreshes and prefetches by media id come down to.

The vendor's library knows which streams it made of a video; here the operator says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

# help.aliyun.com/document_detail/454923.html, and for the definitions 124671.html
FORMATS = ("mp4", "m3u8", "mp3", "flv", "webm", "ts")
DEFINITIONS = ("FD", "LD", "SD", "HD", "OD", "2K", "4K", "SQ", "HQ", "AUTO")
STREAM_TYPES = ("video", "audio")
SLICED = "m3u8"  #: the format whose streams have slices

PLAYS = 20  #: play URLs of one medium
SLICES = 20  #: that are kept of one stream, and that a call may ask for


@dataclass(frozen=True, slots=True)
class Play:
    """One play URL."""

    url: str
    format: str
    definition: str
    stream_type: str
    slices: tuple[str, ...] = ()  #: the URLs of the first parts of a playlist, in its order


@dataclass(frozen=True, slots=True)
class Media:
    id: str
    account: str
    plays: tuple[Play, ...]  #: the latest last

    def chosen(
        self,
        formats: Collection[str] | None = None,
        definitions: Collection[str] | None = None,
        stream_types: Collection[str] | None = None,
        *,
        latest: bool,
        slices: int = 0,
    ) -> list[str]:
        """URLs, each once: the play URLs that are asked for, and the first slices of each.

        :param formats: ``None``: of every format; likewise the next two
        :param latest: of several streams of one format and definition only the last that was declared
        """
        found = [
            play
            for play in self.plays
            if (formats is None or play.format in formats)
            and (definitions is None or play.definition in definitions)
            and (stream_types is None or play.stream_type in stream_types)
        ]
        if latest:
            last = {(play.format, play.definition, play.stream_type): play for play in found}
            found = [play for play in found if last[play.format, play.definition, play.stream_type] is play]
        return list(dict.fromkeys(url for play in found for url in (play.url, *play.slices[:slices])))
