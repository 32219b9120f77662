"""Every bound of the API, with its name and default (CONTRACT 2). All can be configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Units an account may spend a day. Tags come out of ``dir``: both drop a set of objects at once.
#: The contract's samples of ``block`` are 300 and 100; nothing spends it here, nor ``preload_edge``.
DAILY = {
    "url": 10_000,
    "dir": 100,
    "regex": 20,
    "ignore_params": 100,
    "preload": 1_000,
    "preload_edge": 20,
    "block": 300,
}

#: Lines in one call, by bucket. The contract is silent on ``ignore_params``.
PER_CALL = {"url": 1_000, "dir": 100, "regex": 1, "ignore_params": 100, "preload": 100}

#: Lines a minute and domain, by bucket. Sources say 1,000 and 10,000 for ``url``; the newer one is taken.
PER_MINUTE = {"url": 10_000, "dir": 100, "preload": 1_000}


@dataclass(frozen=True, slots=True)
class Limits:
    daily: Mapping[str, int] = field(default_factory=lambda: dict(DAILY))
    domains: int = 50  #: domains of an account, as DescribeCdnUserQuota prints it
    per_call: Mapping[str, int] = field(default_factory=lambda: dict(PER_CALL))
    urls_per_call: int = 1_000  #: lines in any one call, whatever they ask for
    domains_per_call: int = 10
    per_minute: Mapping[str, int] = field(default_factory=lambda: dict(PER_MINUTE))  #: a bucket not named: no limit
    refresh_queue: int = 1_000_000  #: rows of an account not yet done
    preload_queue: int = 100_000
    rates: Mapping[str, float] = field(default_factory=dict)  #: calls a second and account, by action; else the table's
    day_offset_seconds: int = 8 * 3600  #: the quota day begins at midnight in UTC+8
    kept_seconds: int = 3 * 86_400  #: what the query operations may reach back
    window_seconds: int = 15 * 60  #: how far a caller's clock may be off, either way
    nonces: int = 2_000_000  #: nonces remembered; when full, calls are put off rather than nonces forgotten
    body_bytes: int = 4 << 20
    body_seconds: float = 30.0  #: for a body to arrive

    def day(self, now: float) -> int:
        """The number of the quota day."""
        return int(now + self.day_offset_seconds) // 86_400
