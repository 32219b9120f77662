from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.base import CacheServer
from tests.servers.steered import Steered


@pytest.fixture
def log(cache: CacheServer) -> Iterator[Steered]:
    """A log that the cache's gate is bound to."""
    steered = Steered(cache).bind()
    yield steered
    steered.close()
