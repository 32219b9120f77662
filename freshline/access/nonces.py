"""Each signed request counts once.

A nonce is remembered for as long as its timestamp could be accepted: for a whole life by the clock that never goes
back, and longer while the wall clock says that the timestamp is good. What is forgotten leaves its newest timestamp
behind, and nothing that old is accepted again, whatever the wall clock does. A nonce is burnt only after its signature
was verified, or strangers could burn other people's. Memory has a bound; when it is reached calls are put off, since
forgetting a nonce early would let a request be replayed.

With a :class:`~freshline.access.burnt.Burnt` they outlive the process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from freshline.access.burnt import Burnt

GENERATIONS = 4  #: sets that make up one life; a nonce lives one life, and up to a quarter more


@dataclass(slots=True)
class _Generation:
    ends: float  #: by the clock that never goes back
    newest: int = 0  #: timestamp, Unix seconds
    marks: set[int] = field(default_factory=set)


class Nonces:
    """A life is twice the clock window: a timestamp may lie one window ahead, and is good one window after."""

    def __init__(self, window_seconds: int, capacity: int, burnt: Burnt | None = None) -> None:
        """:param burnt: what was used up before this process began, and where to write what will be"""
        self._window_seconds = window_seconds
        self._capacity = capacity
        self._span = max(1, -(-2 * window_seconds // GENERATIONS))  # seconds of one generation
        self._generations: list[_Generation] = []  #: oldest first
        self._burnt = burnt
        self._count = 0  #: nonces in all of them
        self._last = "", "", 0  #: which was looked up, and its mark: it is burnt next
        self.horizon = 0  #: what was signed at or before this time (Unix seconds) may have been used
        if burnt is not None:
            self.horizon = burnt.horizon
            before = _Generation(burnt.began)  # their life begins with ours: nobody knows when it did
            for said, mark in burnt.found:
                before.newest = max(before.newest, said)
                before.marks.add(mark)
            burnt.found.clear()
            self._generations.append(before)
            self._count = len(before.marks)

    def knows(self, key_id: str, nonce: str) -> bool:
        """Whether a nonce was used before."""
        self._last = key_id, nonce, (mark := _mark(key_id, nonce))
        return any([mark in generation.marks for generation in self._generations])

    def burn(self, key_id: str, nonce: str, *, said: int, now: float, monotonic: float) -> bool:
        """Use up a nonce that was not known. False: there is no room to remember it.

        :param said: the timestamp it came with, Unix seconds
        :param now: the wall clock, Unix seconds
        :param monotonic: the clock that never goes back
        """
        self._forget(now, monotonic)
        if self._count >= self._capacity:
            return False
        if not self._generations or monotonic >= self._generations[-1].ends:
            self._generations.append(_Generation(monotonic + self._span))
        looked_up, known_as, mark = self._last
        if nonce is not known_as or key_id is not looked_up:
            mark = _mark(key_id, nonce)
        newest = self._generations[-1]
        if said > newest.newest:
            newest.newest = said
        self._count += mark not in newest.marks
        newest.marks.add(mark)
        if self._burnt is not None:
            self._burnt.add(said, mark, monotonic)
        return True

    def __len__(self) -> int:
        return self._count

    def _forget(self, now: float, monotonic: float) -> None:
        """Each by itself: one that was burnt while the clock ran ahead stays, and keeps no other from going."""
        if not self._generations or monotonic < self._generations[0].ends + 2 * self._window_seconds:
            return
        kept = []
        for each in self._generations:
            if monotonic < each.ends + 2 * self._window_seconds or now <= each.newest + self._window_seconds:
                kept.append(each)
            else:
                self.horizon = max(self.horizon, each.newest)
        self._generations = kept
        self._count = sum(len(generation.marks) for generation in kept)


def _mark(key_id: str, nonce: str) -> int:
    """Eight bytes instead of the text: what is remembered has a bound. No key, since nobody burns but their own."""
    text = f"{key_id} {nonce}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
