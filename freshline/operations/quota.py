"""What an account may spend a day, and what is left of it."""

from __future__ import annotations

from typing import Any

import msgspec

from freshline.domain.task import Kind
from freshline.log.base import Spend
from freshline.operations.desk import Call, Desk

#: What a row of each kind is paid from. A tag, like a directory, drops a set of objects at once; the contract has no
#: quota of its own for it.
BUCKETS = {
    Kind.FILE: "url",
    Kind.DIRECTORY: "dir",
    Kind.REGEX: "regex",
    Kind.IGNORE_PARAMS: "ignore_params",
    Kind.TAG: "dir",
    Kind.PRELOAD: "preload",
}


class QuotaArgs(msgspec.Struct, frozen=True):
    """Nothing."""


def quota(desk: Desk, call: Call, args: QuotaArgs) -> dict[str, Any]:
    """``"<bucket>.quota"`` and ``"<bucket>.left"`` for each bucket there is."""
    used = desk.log.used(call.account, desk.limits.day(call.now))
    out: dict[str, Any] = {"domain.quota": desk.limits.domains}
    for bucket, allowance in desk.limits.daily.items():
        out[f"{bucket}.quota"] = allowance
        out[f"{bucket}.left"] = max(0, allowance - used.get(bucket, 0))
    return out


def spend(desk: Desk, call: Call, bucket: str, amount: int) -> Spend:
    return Spend(call.account, desk.limits.day(call.now), bucket, amount, desk.limits.daily[bucket])
