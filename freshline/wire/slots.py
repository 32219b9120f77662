"""When a scheduled prefetch shall run, as callers write it: a JSON array of plans (CONTRACT 1.6)."""

from __future__ import annotations

import msgspec

from freshline.wire import times

MOST = 100  #: in one call


class Slot(msgspec.Struct, frozen=True):
    start: int | None  #: Unix seconds; ``None``: at once
    end: int | None  #: ``None``: until all is done
    interval: int  #: seconds
    slice_len: int


class _Written(msgspec.Struct, rename="pascal"):
    interval: int
    slice_len: int
    start_time: str | None = None
    end_time: str | None = None


def read(text: str) -> tuple[Slot, ...]:
    """:raises ValueError: it is no such array, or an empty one"""
    try:
        found = msgspec.json.decode(text, type=list[_Written])
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise ValueError(wrong) from None
    if not 0 < len(found) <= MOST:
        raise ValueError(f"{len(found)} of them")
    return tuple(Slot(_time(it.start_time), _time(it.end_time), it.interval, it.slice_len) for it in found)


def _time(text: str | None) -> int | None:
    return times.read_any(text) if text else None
