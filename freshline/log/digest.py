"""Where a path occurs, without an index entry per row.

Every row leaves five bytes of its path's digest and four that say its kind and its place in the day. They gather in a
:class:`Tail` in memory, in buckets; each time the tail is full it goes to the store as a run, a blob for each bucket,
and runs of one size become one of the next (:mod:`freshline.log.gathering`), whose buckets are split where they grow
long. So a look-up reads a page of some ten runs, whatever the log holds. What the tail held is found again in the
chunks after a crash, so it needs no log of its own.

Five bytes and a bucket are 52 bits: among ten million rows a stranger looks the same once in four hundred million
queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from struct import Struct

from freshline.domain.task import Kind, Task, Wish

BUCKETS = 4_096
TAIL_ROWS = 65_536  #: a tail as long as this goes to the store
BYTES = 5  #: of a digest that are kept
ENTRY = BYTES + 4
PARTS = 4  #: bits: a bucket of a long run is split further, into 16 parts at most
PART_ENTRIES = 210  #: so that a part is no longer than this, and two are on a page of the file

# These numbers are in the files: add to them, never change them.
_CODE = {Kind.FILE: 0, Kind.DIRECTORY: 1, Kind.REGEX: 2, Kind.IGNORE_PARAMS: 3, Kind.TAG: 4, Kind.PRELOAD: 5}
_KIND = {code: kind for kind, code in _CODE.items()}
_PLACES = 29  #: bits of a row's place in its day; a day has no more rows than that
_PLACE = (1 << _PLACES) - 1
_said = Struct("<I").pack
_number = Struct(f"<{BYTES}xH").unpack  #: what is left of a digest, for its bucket


def digests(account: str, domain: str, paths: Iterable[str]) -> list[bytes]:
    start = blake2b(f"{account}\n{domain}\n".encode(), digest_size=BYTES + 2)
    out = []
    for path in paths:
        digest = start.copy()
        digest.update(path.encode())
        out.append(digest.digest())
    return out


def bucket_of(digest: bytes) -> int:
    number: int = _number(digest)[0]
    return number % BUCKETS


def matches(entries: bytes | bytearray, digest: bytes, kinds: Collection[Kind]) -> list[int]:
    """Offsets from the day's first position, of one bucket's rows of these kinds that look like this digest."""
    out: list[int] = []
    needle = digest[:BYTES]
    at = entries.find(needle)
    while at != -1:
        if at % ENTRY == 0:
            said = int.from_bytes(entries[at + BYTES : at + ENTRY], "little")
            if _KIND[said >> _PLACES] in kinds:
                out.append(said & _PLACE)
        at = entries.find(needle, at + 1)
    return out


def blob_id(run: int, bucket: int, part: int = 0) -> int:
    """What a blob of a run is stored under."""
    return (run * BUCKETS + bucket) << PARTS | part


def split(entries: bytes, bits: int) -> Iterator[tuple[int, bytes]]:
    """The parts of a bucket that are not empty, by the first bits of the digest."""
    if not bits:
        yield 0, entries
        return
    parts: dict[int, list[bytes]] = {}
    for at in range(0, len(entries), ENTRY):
        parts.setdefault(entries[at] >> (8 - bits), []).append(entries[at : at + ENTRY])
    for part in sorted(parts):
        yield part, b"".join(parts[part])


class Tail:
    """Rows that are not in the store's buckets yet: those after ``start``, in one day that begins at ``day_first``."""

    def __init__(self, day_first: int, start: int) -> None:
        self.day_first = day_first
        self.start = start
        self.end = start
        self._buckets = [bytearray() for _ in range(BUCKETS)]

    def __len__(self) -> int:
        """How many rows."""
        return self.end - self.start

    def add(self, task: Task) -> None:
        wish: Wish = task.wish
        offset = task.id - self.day_first
        assert offset + len(wish.paths) <= _PLACE, "a day has too many rows to find their paths again"
        said = _CODE[wish.kind] << _PLACES | offset
        buckets = self._buckets
        for digest in digests(wish.account, wish.domain, wish.paths):
            # At once: a reader beside us never sees half an entry.
            buckets[_number(digest)[0] % BUCKETS] += digest[:BYTES] + _said(said)
            said += 1
        self.end = task.last

    def matches(self, digest: bytes, kinds: Collection[Kind]) -> list[int]:
        """Positions of rows of these kinds that look like this digest."""
        return [self.day_first + at for at in matches(bytes(self._buckets[bucket_of(digest)]), digest, kinds)]

    def upto(self, end: int) -> Tail:
        """The same without the rows past ``end``: a transaction that added them has failed."""
        if end >= self.end:
            return self
        out = Tail(self.day_first, min(self.start, end))
        out.end = end
        for bucket, entries in zip(out._buckets, self._buckets, strict=True):
            kept = len(entries)
            while kept and self.day_first + _offset(entries, kept - ENTRY) > end:
                kept -= ENTRY
            bucket += entries[:kept]
        return out

    def blobs(self) -> Iterator[tuple[int, bytes]]:
        """Every bucket that is not empty, as it is stored."""
        for bucket, entries in enumerate(self._buckets):
            if entries:
                yield bucket, bytes(entries)


def _offset(entries: bytearray, at: int) -> int:
    return int.from_bytes(entries[at + BYTES : at + ENTRY], "little") & _PLACE
