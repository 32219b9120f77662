"""Places at the origins, which all edges share: warming is not an attack.

No more than so many prefetches of one domain are under way at a time, over all edges. One edge has half of them at
most, so that an edge whose fetches hang leaves room for the others. Who finds none is told when there is one, those
who have waited longest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class OriginSlots:
    each: int = 32  #: of one domain
    taken: Counter[str] = field(default_factory=Counter)  #: by domain
    waiting: dict[str, dict[str, Places]] = field(default_factory=dict)  #: domain -> edge; the next to be told first

    def of(self, edge: str, wake: Callable[[], None]) -> Places:
        """:param wake: called when there is a place that the edge was refused before"""
        return Places(self, edge, wake)

    def offer(self, host: str) -> None:
        """Tell the next of those who wait for a place, if there is one."""
        while self.taken[host] < self.each and (waiting := self.waiting.get(host)):
            places = waiting.pop(next(iter(waiting)))
            if not waiting:
                del self.waiting[host]
            if places.is_open:
                places.offered.add(host)
                places.wake()
                return


@dataclass(slots=True)
class Places:
    """One edge's part in them: :class:`freshline.delivery.events.Places`."""

    slots: OriginSlots
    edge: str
    wake: Callable[[], None]
    taken: Counter[str] = field(default_factory=Counter)
    offered: set[str] = field(default_factory=set)
    is_open: bool = True

    def take(self, host: str, most: int = 1) -> int:
        slots = self.slots
        most = min(most, (slots.each + 1) // 2 - self.taken[host])
        if most < 1:
            return 0  # when one of its own comes back it is there to see it
        left = slots.each - slots.taken[host]
        if left < most:
            slots.waiting.setdefault(host, {})[self.edge] = self
            most = max(left, 0)
        if most:
            self.taken[host] += most
            slots.taken[host] += most
        return most

    def give_back(self, host: str, count: int = 1) -> None:
        for counter in (self.taken, self.slots.taken):
            counter[host] -= count
            if not counter[host]:
                del counter[host]
        self.slots.offer(host)

    def pass_on(self) -> None:
        """What it was offered and did not take is for others."""
        while self.offered:
            self.slots.offer(self.offered.pop())

    def close(self) -> None:
        """It wants none any more, nor has it any: whatever broke between taking them and using them."""
        self.is_open = False
        for host, count in list(self.taken.items()):
            self.give_back(host, count)
        self.pass_on()
