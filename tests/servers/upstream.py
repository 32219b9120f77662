"""What a cache fetches from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tests.servers.base import CacheServer


class Upstream(Protocol):
    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class Through:
    """A cache as the origin of another."""

    cache: CacheServer

    @property
    def address(self) -> str:
        return self.cache.edge.site

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])
