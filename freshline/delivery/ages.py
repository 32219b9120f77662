"""How old rows are, whatever is done to the wall clock meanwhile.

``created`` is what callers read and what the wall clock said. A clock that is set back by a day, or was ahead for a
minute, would make rows from the future: their deadline would never come, or that of every open row at once. So age is
counted on the monotonic clock from when this service first saw the row. Of rows that were there when it started the
wall clock is believed once: so old they were then, and they have aged with the monotonic clock since.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from freshline.ambient import Ambient
from freshline.log.base import Log

STEP_SECONDS = 0.2  #: ages are so exact,
MOMENTS = 8192  #: or by the 512th part: so many are kept, and older ones lie further apart


class Ages:
    """One for all edges of a service."""

    def __init__(self, log: Log, ambient: Ambient) -> None:
        self._log, self._ambient = log, ambient
        self._began, self._wall = ambient.monotonic(), ambient.now()
        self._first = log.head  #: rows up to here were there before us
        self._times: list[float] = [self._began]
        self._heads: list[int] = [self._first]  #: at that time the log ended here
        log.on_append(self.look)

    def look(self) -> None:
        """Note how far the log is now, unless that was done a moment ago."""
        now, head = self._ambient.monotonic(), self._log.head
        if head > self._heads[-1] and now >= self._times[-1] + STEP_SECONDS:
            self._times.append(now)
            self._heads.append(head)
            if len(self._times) > MOMENTS:
                self._thin(now)

    def _thin(self, now: float) -> None:
        kept: list[int] = []
        for at in range(len(self._times) - 1, 0, -1):
            last = self._times[kept[-1]] if kept else now
            if last - self._times[at - 1] > (now - last) * 16 / MOMENTS:  # too far apart without it
                kept.append(at)
        kept = [0, *reversed(kept)]
        self._times, self._heads = [self._times[at] for at in kept], [self._heads[at] for at in kept]

    def older_than(self, seconds: float) -> int:
        """Every row up to here is at least so old; 0: none is."""
        self.look()
        now = self._ambient.monotonic()
        at = bisect_right(self._times, now - seconds) - 1
        if at > 0:
            return self._heads[at]
        if at == 0:
            return self._first
        return min(self._first, self._log.position_at(int(self._wall + (now - self._began) - seconds)) - 1)

    def of(self, position: int) -> float:
        """Seconds since a row that is kept was accepted."""
        self.look()
        now = self._ambient.monotonic()
        if position > self._first:
            at = bisect_left(self._heads, position)
            return now - self._times[at] if at < len(self._times) else 0.0
        tasks = self._log.read(position - 1, 1)
        return now - self._began + (max(0.0, self._wall - tasks[0].created) if tasks else 0.0)
