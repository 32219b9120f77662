"""How chunks are compressed: in frames, so that who wants one row unpacks a few and not all.

A few rows say little about each other. So frames are compressed with a dictionary, which a day learns from its own
rows once it has enough of them, or from those of the day before. Before that a chunk is one frame, without.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import accumulate, pairwise

import zstandard

CHUNK_ROWS = 56  #: of URLs with fifty letters four chunks fill a page of the file
FRAME_ROWS = 14  #: where most tasks have one row; of a long task all rows are shown together
DICTIONARY_BYTES = 2_048  #: larger ones make chunks larger
LEVEL = 1  #: of compression; 3 saves nothing, and 6 a tenth of a chunk at five times the price

_ROWS = 0x7F  #: of the first byte: rows of each frame but the last; 0 where there is one, without a dictionary
_WIDE = 0x80  #: and whether frames end at numbers of 32 bits; else of 16


class Press(threading.local):
    """What compresses the chunks of a day. A thread may not use another's."""

    def __init__(self, dictionary: bytes | None = None) -> None:
        known = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary)
        kind = zstandard.FORMAT_ZSTD1 if known is None else zstandard.FORMAT_ZSTD1_MAGICLESS
        how = zstandard.ZstdCompressionParameters.from_level(LEVEL, format=kind, write_dict_id=False)
        self.knows = known is not None  #: anything beforehand
        self._press = zstandard.ZstdCompressor(compression_params=how, dict_data=known).compress
        self._unpress = zstandard.ZstdDecompressor(format=kind, dict_data=known).decompress

    def fold(self, frames: Sequence[bytes], rows: int) -> bytes:
        """A chunk as it is stored.

        :param rows: of each frame but the last; of a press that knows nothing there is but one frame
        """
        pressed = [self._press(frame) for frame in frames]
        if not self.knows:
            return b"\0" + b"".join(pressed)
        ends = list(accumulate(map(len, pressed)))[:-1]
        width = 4 if ends and ends[-1] >= 1 << 16 else 2
        head = bytes([rows | (_WIDE if width == 4 else 0)]), *(end.to_bytes(width, "little") for end in ends)
        return b"".join((*head, *pressed))

    def frame(self, blob: bytes, rows: int, at: int) -> bytes:
        """One frame of a chunk that has so many rows."""
        if not blob[0]:
            return PLAIN._unpress(blob[1:])
        last = (rows - 1) // (blob[0] & _ROWS)
        width = 4 if blob[0] & _WIDE else 2
        head, mark = 1 + width * last, 1 + width * at
        begin = head + int.from_bytes(blob[mark - width : mark], "little") if at else head
        end = head + int.from_bytes(blob[mark : mark + width], "little") if at < last else len(blob)
        return self._unpress(blob[begin:end])

    def frame_with(self, blob: bytes, rows: int, row: int) -> tuple[bytes, int]:
        """The frame that has one of the rows of a chunk, and which of the frame's rows that is."""
        at, row = divmod(row, rows_together(blob, rows))
        return self.frame(blob, rows, at), row

    def frames(self, blob: bytes, rows: int) -> list[bytes]:
        """All of them."""
        if not blob[0]:
            return [PLAIN._unpress(blob[1:])]
        last = (rows - 1) // (blob[0] & _ROWS)
        width = 4 if blob[0] & _WIDE else 2
        head = 1 + width * last
        ends = (head + int.from_bytes(blob[at : at + width], "little") for at in range(1, head, width))
        return [self._unpress(blob[begin:end]) for begin, end in pairwise((head, *ends, len(blob)))]


PLAIN = Press()


def is_plain(blob: bytes) -> bool:
    """Whether a chunk is compressed without a dictionary, and so by any press."""
    return not blob[0]


def rows_together(blob: bytes, rows: int) -> int:
    """How many rows each frame of a chunk has, but the last.

    :param rows: of the chunk
    """
    return blob[0] & _ROWS or rows


def learn(frames: Sequence[bytes]) -> bytes:
    """A dictionary for frames like these."""
    try:
        return zstandard.train_dictionary(DICTIONARY_BYTES, list(frames)).as_bytes()
    except zstandard.ZstdError:  # too few, or too much alike to be learned from: then they are one themselves
        return b"\n" + b"".join(frames)[1 - DICTIONARY_BYTES :]  # of the other kind only with another first byte
