"""Where a path occurs, without an index entry per row.

Every row leaves five bytes of its path's digest and four of its position. They gather in a :class:`Tail` in memory,
128 buckets of it, and each time the tail is full its buckets go to the store as blobs, one per bucket. A look-up scans
one bucket: at ten million rows about 700 kB in 150 blobs. What the tail held is found again in the segments after a
crash, so it needs no log of its own.

Five bytes and a bucket are 47 bits: among ten million rows a stranger looks the same once in fourteen million queries.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from freshline.domain.task import Kind, Task, Wish

BUCKETS = 128
TAIL_ROWS = 65_536  #: a tail as long as this goes to the store
BYTES = 5  #: of a digest that are kept

# One digest serves all kinds: each keeps another window of it, so that a query for all kinds scans one bucket. These
# numbers are in the files: add to them, never change them.
_WINDOW = {Kind.FILE: 0, Kind.DIRECTORY: 1, Kind.REGEX: 2, Kind.IGNORE_PARAMS: 3, Kind.TAG: 4, Kind.PRELOAD: 5}
_DIGEST_BYTES = BYTES + 8


def digests(account: str, domain: str, paths: Iterable[str]) -> list[bytes]:
    start = blake2b(f"{account}\n{domain}\n".encode(), digest_size=_DIGEST_BYTES)
    out = []
    for path in paths:
        digest = start.copy()
        digest.update(path.encode())
        out.append(digest.digest())
    return out


def bucket_of(digest: bytes) -> int:
    return digest[-1] % BUCKETS


def window(digest: bytes, kind: Kind) -> bytes:
    at = _WINDOW[kind]
    return digest[at : at + BYTES]


def matches(entries: bytes, needle: bytes) -> Iterator[int]:
    """Offsets from the day's first position, of one stored bucket's rows that look like ``needle``."""
    count = len(entries) // (BYTES + 4)
    for place in _places(entries, needle, count * BYTES):
        at = count * BYTES + place * 4
        yield int.from_bytes(entries[at : at + 4], "little")


class Tail:
    """Rows that are not in the store's buckets yet: those after ``start``, in one day that begins at ``day_first``."""

    def __init__(self, day_first: int, start: int) -> None:
        self.day_first = day_first
        self.start = start
        self.end = start
        self._hashes = [bytearray() for _ in range(BUCKETS)]
        self._offsets = [array("I") for _ in range(BUCKETS)]

    def __len__(self) -> int:
        """How many rows."""
        return self.end - self.start

    def add(self, task: Task) -> None:
        wish: Wish = task.wish
        at = _WINDOW[wish.kind]
        end = at + BYTES
        offset = task.id - self.day_first
        hashes, offsets = self._hashes, self._offsets
        for digest in digests(wish.account, wish.domain, wish.paths):
            bucket = digest[-1] % BUCKETS
            offsets[bucket].append(offset)  # before its digest: a reader beside us never sees a digest without it
            hashes[bucket] += digest[at:end]
            offset += 1
        self.end = task.last

    def matches(self, bucket: int, needle: bytes) -> list[int]:
        """Positions of rows that look like ``needle``."""
        hashes, offsets = self._hashes[bucket], self._offsets[bucket]
        return [self.day_first + offsets[place] for place in _places(hashes, needle, len(hashes))]

    def upto(self, end: int) -> Tail:
        """The same without the rows past ``end``: a transaction that added them has failed."""
        if end >= self.end:
            return self
        out = Tail(self.day_first, min(self.start, end))
        out.end = end
        for bucket, offsets in enumerate(self._offsets):
            kept = bisect_right(offsets, end - self.day_first)
            out._offsets[bucket] = offsets[:kept]
            out._hashes[bucket] = self._hashes[bucket][: kept * BYTES]
        return out

    def blobs(self) -> Iterator[tuple[int, bytes]]:
        """Every bucket that is not empty, as it is stored."""
        for bucket, (hashes, offsets) in enumerate(zip(self._hashes, self._offsets, strict=True)):
            if offsets:
                yield bucket, bytes(hashes) + b"".join(offset.to_bytes(4, "little") for offset in offsets)


def _places(hashes: bytes | bytearray, needle: bytes, end: int) -> Iterator[int]:
    at = hashes.find(needle, 0, end)
    while at != -1:
        if at % BYTES == 0:
            yield at // BYTES
        at = hashes.find(needle, at + 1, end)
