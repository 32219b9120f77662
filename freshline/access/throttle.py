"""Token buckets: so many a second, saved up to a burst, counted on a clock that never goes back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

BUCKETS = 100_000  #: remembered at once; the one unused longest goes first, and begins full when it is back


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float  # monotonic seconds


@dataclass(frozen=True, slots=True)
class Draw:
    """What is to be taken from one bucket."""

    key: Hashable
    amount: float
    rate: float  #: tokens a second
    burst: float  #: tokens a full bucket holds


class Throttle:
    def __init__(self, capacity: int = BUCKETS) -> None:
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self._capacity = capacity

    def take(self, draws: Sequence[Draw], now: float) -> float:
        """Take all draws or none.

        :param now: monotonic seconds
        :return: 0 if taken, else the seconds until it may be tried again
        """
        if len(draws) == 1:  # nearly always
            (draw,) = draws
            bucket = self._filled(draw, now)
            if bucket.tokens < draw.amount:
                return (draw.amount - bucket.tokens) / draw.rate
            bucket.tokens -= draw.amount
            return 0.0
        buckets = [self._filled(draw, now) for draw in draws]
        waits = [
            (draw.amount - bucket.tokens) / draw.rate
            for draw, bucket in zip(draws, buckets, strict=True)
            if bucket.tokens < draw.amount
        ]
        if waits:
            return max(waits)
        for draw, bucket in zip(draws, buckets, strict=True):
            bucket.tokens -= draw.amount
        return 0.0

    def give_back(self, draws: Sequence[Draw]) -> None:
        """Undo a :meth:`take` whose purpose came to nothing."""
        for draw in draws:
            if (bucket := self._buckets.get(draw.key)) is not None:
                bucket.tokens = min(draw.burst, bucket.tokens + draw.amount)

    def __len__(self) -> int:
        return len(self._buckets)

    def _filled(self, draw: Draw, now: float) -> _Bucket:
        bucket = self._buckets.get(draw.key)
        if bucket is None:
            bucket = self._buckets[draw.key] = _Bucket(draw.burst, now)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(draw.key)
        if now > bucket.at:  # calls have the time at which they began, and may end in another order
            bucket.tokens = min(draw.burst, bucket.tokens + (now - bucket.at) * draw.rate)
            bucket.at = now
        return bucket
