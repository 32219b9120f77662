"""Each signed request counts once.

A nonce is remembered as long as its timestamp could be accepted, and no longer. It is burnt only after its signature
was verified, or strangers could burn other people's. Memory has a bound; when it is reached calls are put off, since
forgetting a nonce early would let a request be replayed.
"""

from __future__ import annotations

GENERATIONS = 4  #: sets that make up one life; a nonce lives one life, and up to a quarter more


class Nonces:
    """Remembers for twice the clock window: a timestamp may lie one window ahead, and is good one window after."""

    def __init__(self, window_seconds: int, capacity: int) -> None:
        self._capacity = capacity
        self._span = max(1, -(-2 * window_seconds // GENERATIONS))  # seconds of one generation
        self._sets: list[set[int]] = [set()]
        self._newest = 0  # which generation _sets[0] is

    def knows(self, key_id: str, nonce: str) -> bool:
        """Whether a nonce was used before."""
        mark = _mark(key_id, nonce)
        return any(mark in seen for seen in self._sets)

    def burn(self, key_id: str, nonce: str, now: float) -> bool:
        """Use up a nonce that was not known. False: there is no room to remember it.

        :param now: Unix seconds
        """
        self._turn(int(now) // self._span)
        if len(self) >= self._capacity:
            return False
        self._sets[0].add(_mark(key_id, nonce))
        return True

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    def _turn(self, generation: int) -> None:
        """Begin new generations and drop the dead. A clock that goes back begins none."""
        steps = generation - self._newest
        if steps <= 0:
            return
        self._newest = generation
        fresh: list[set[int]] = [set() for _ in range(min(steps, GENERATIONS + 1))]
        self._sets = (fresh + self._sets)[: GENERATIONS + 1]


def _mark(key_id: str, nonce: str) -> int:
    """Eight bytes of SipHash under the process's own key instead of the text: what is remembered has a bound."""
    return hash((key_id, nonce))
