"""How eager delivery is. Seconds, unless the name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from freshline.setting import setting


@dataclass(frozen=True, slots=True)
class Pace:
    retry_first_seconds: float = setting(0.25, "before the first retry; doubled each time", least=0.01, most=60)
    retry_most_seconds: float = setting(5.0, "between two tries, at most", least=0.01, most=3_600)
    heartbeat_seconds: float = setting(3.0, "an idle edge is asked where it stands this often", least=0.05, most=3_600)
    lease_heartbeats: int = setting(
        5, "heartbeats that a gate holds its lease for when it hears no more", least=2, most=24
    )
    flush_again_seconds: float = setting(
        300.0, "the most that two flushes of an edge are held apart", least=0, most=86_400
    )
    fetch_window: int = setting(
        32, "prefetches under way on one edge; twice as many where accounts would wait for others", least=1, most=1_000
    )
    fetch_tries: int = setting(3, "before an origin's failure is final", least=1, most=100)

    def pause_seconds(self, tries: int, dice: float) -> float:
        """Before the next try: doubling, and between half of it and the whole, so a fleet does not come back in step.

        :param dice: in [0, 1)
        """
        whole = min(self.retry_first_seconds * 2.0 ** min(tries - 1, 30), self.retry_most_seconds)
        return whole * (0.5 + dice / 2)
