"""What a purge names, as one JSON object with a list for each type (CONTRACT 1.6)."""

from __future__ import annotations

import msgspec


class CacheKey(msgspec.Struct, frozen=True, rename="pascal"):
    """A URL and the request headers that its variant was chosen by. Every variant of a URL goes, so they are idle."""

    url: str
    headers: dict[str, str] = {}


class Content(msgspec.Struct, frozen=True, rename="pascal"):
    files: list[str | CacheKey] = []
    directories: list[str] = []
    cache_tags: list[str] = []
    hostnames: list[str] = []
    ignore_params: list[str] = []
    cache_keys: list[CacheKey] = []
    purge_all: bool = False


def read(text: str) -> Content:
    """:raises ValueError: it is no such object"""
    try:
        return msgspec.json.decode(text, type=Content)
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise ValueError(wrong) from None
