"""How long a gate that we hear nothing of can go on serving what it has.

A gate counts a lease on its own clock, from a moment that it named before we granted it. So however long the grant was
on its way, the lease is over ``seconds`` after we heard of that moment, and a margin later we may count on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from freshline.domain.edge import Progress
from freshline.drivers.base import Clock, Gate, Lapse, Lease

LONGEST = 15  #: digits of the milliseconds that a gate may say are left
UNEVEN = 1.02  #: two clocks do not run apart by more than this; the worst quartz is a hundred times better


@dataclass(slots=True)
class Leasehold:
    """What is known of one gate's lease. All times are our own monotonic seconds."""

    seconds: float  #: the length of those we grant
    noted_seconds: float  #: the longest that may be out, as it stands in the log
    lapses: bool  #: without one it serves nothing that is stored
    granting: bool = True
    drained: bool = False  #: without one, no load balancer sends it anybody
    until: float | None = None  #: from here on it holds none; ``None``: nobody knows
    clock: Clock | None = None
    heard: float = 0.0  #: when it was

    def begin(self, now: float) -> None:
        """We have just started: what was granted before may still be out, or on its way."""
        self.until = now + self.noted_seconds * UNEVEN if self.noted_seconds else None

    def stands(self, gate: Gate, now: float) -> None:
        """The gate said how it is with its lease."""
        self.lapses = gate.clock is not None and gate.lapse is not Lapse.SERVE
        self.tells(gate.clock, now)
        left = gate.detail.get("lease", "")
        if gate.clock is not None and left.isdigit() and len(left) <= LONGEST:
            self.until = max(self.until or now, now + int(left) / 1000 * UNEVEN)

    def tells(self, clock: Clock | None, now: float) -> None:
        self.clock, self.heard = clock, now

    def holds(self, now: float) -> bool:
        """As far as we know. Another start of the server, another clock: nothing holds."""
        return self.clock is not None and self.until is not None and now < self.until

    def lapsed(self, now: float) -> bool:
        """It surely holds none, and serves nothing that is stored, or nobody."""
        over = self.over
        return over is not None and now >= over

    @property
    def over(self) -> float | None:
        """From when on it is so; ``None``: nobody knows, or it goes on serving."""
        if self.drained and self.until is None and not self.noted_seconds:
            return 0.0  # nobody ever granted it any
        return self.until if self.lapses or self.drained else None

    @property
    def can_grant(self) -> bool:
        """Only what stands in the log is granted, so that whoever starts after us knows of it."""
        return self.granting and self.clock is not None and self.noted_seconds >= self.seconds

    def lacks(self, now: float) -> bool:
        """It holds none, and could be granted one."""
        return self.can_grant and not self.holds(now)

    def noted(self, progress: Progress) -> Progress | None:
        """Before a lease is granted it stands in the log how long it may last: what is to be written, if anything."""
        if self.clock is None or (self.seconds <= progress.leased_seconds and self.lapses is progress.lapses):
            return None
        longest = max(progress.leased_seconds, self.seconds)
        return replace(progress, leased_seconds=longest, lapses=self.lapses)

    def renewal(self, now: float, progress: Progress, stands: int | None = None) -> Lease | None:
        """What goes out with a request now.

        :param stands: where the request finds or brings the gate, if that is as far as it goes
        """
        if self.clock is None:
            return None
        if self.until is not None and now < self.until:
            return self.grant(progress.passed())
        # One that holds none is let in only where nothing is missing: a load balancer goes by it.
        return None if stands is None else self.grant(max(stands, progress.passed()))

    def grant(self, position: int) -> Lease | None:
        """To be sent now. A gate that does not stand at the position will not take it."""
        if self.clock is None or not self.granting or self.noted_seconds < self.seconds:
            return None
        end = self.heard + self.seconds * UNEVEN
        self.until = end if self.until is None else max(self.until, end)
        return Lease(self.clock, self.seconds, position)
