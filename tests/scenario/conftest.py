from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.scenario.stack import Stack
from tests.servers.base import CacheServer
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.varnish import Varnish


@pytest.fixture
def caches(tmp_path: Path, origin: Origin) -> Iterator[list[CacheServer]]:
    """A running nginx and a running Varnish in front of the origin."""
    servers: list[CacheServer] = [Nginx(tmp_path, origin), Varnish(tmp_path, origin)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def make_stack(tmp_path: Path, caches: list[CacheServer]) -> Iterator[Callable[..., Stack]]:
    """A service over both caches, with settings of the test's."""
    made: list[Stack] = []

    def make(settings: Mapping[str, str] | None = None) -> Stack:
        home = tmp_path / "service"
        home.mkdir()
        stack = Stack(home, caches, settings).start().until_fresh()
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.stop()


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    return make_stack()
