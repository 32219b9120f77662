"""Every bound of the API, with its name and default (CONTRACT 2). All can be configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freshline.setting import setting

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

MANY = 1_000_000_000  #: the most that a number here can be set to: no limit at all


def _operations() -> list[str]:
    from freshline.spec import model

    return sorted({operation.action for operation in model.load()})


@dataclass(frozen=True, slots=True)
class Limits:
    daily: Mapping[str, int] = setting(DAILY, "units an account may spend a day", least=0, most=MANY)
    domains: int = setting(50, "domains of an account, as DescribeCdnUserQuota prints it", least=0, most=MANY)
    per_call: Mapping[str, int] = setting(PER_CALL, "lines in one call, by what they ask for", least=0, most=100_000)
    urls_per_call: int = setting(1_000, "lines in any one call, whatever they ask for", least=1, most=100_000)
    domains_per_call: int = setting(10, "domains that the lines of one call may name", least=1, most=1_000)
    per_minute: Mapping[str, int] = setting(PER_MINUTE, "lines a minute for one domain", least=1, most=MANY)
    refresh_queue: int = setting(1_000_000, "refreshed lines of an account that are not done", least=1, most=MANY)
    preload_queue: int = setting(100_000, "prefetched lines of an account that are not done", least=1, most=MANY)
    rates: Mapping[str, float] = setting(
        {},
        "calls a second for one account, by operation; else as the vendor has it",
        least=0.001,
        most=MANY,
        keys=_operations,
    )
    day_offset_seconds: int = setting(
        8 * 3600, "the quota day begins at midnight so far east of Greenwich", least=-12 * 3600, most=14 * 3600
    )
    kept_seconds: int = setting(
        3 * 86_400, "how far back tasks can be asked for; older days are dropped", least=3600, most=14 * 86_400
    )
    window_seconds: int = setting(15 * 60, "how far a caller's clock may be off, either way", least=1, most=86_400)
    nonces: int = setting(
        2_000_000, "nonces remembered; when full, calls are put off, not nonces forgotten", least=1_000, most=MANY
    )
    body_bytes: int = setting(4 << 20, "the body of one call", least=4 << 10, most=64 << 20)
    body_seconds: float = setting(30.0, "for a body to arrive", least=0.1, most=3_600)

    def day(self, now: float) -> int:
        """The number of the quota day."""
        return int(now + self.day_offset_seconds) // 86_400
