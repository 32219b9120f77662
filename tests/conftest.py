"""The servers that tests borrow. Each test gets its own, on free ports, and they are gone when it ends."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers.base import CacheServer, leave
from tests.servers.origin import Origin

settings.register_profile("tests", deadline=None)  # a busy machine is no failure
settings.load_profile("tests")

SERVERS = ("nginx", "varnish", "squid", "trafficserver")
KINDS = [kind for kind in SERVERS if importlib.util.find_spec(f"tests.servers.{kind}") is not None]


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A scripted origin, listening."""
    server = Origin()
    server.start()
    yield server
    server.stop()


def _running(
    request: pytest.FixtureRequest, tmp_path: Path, origin: Origin, read_timeout_seconds: int | None = None
) -> Iterator[CacheServer]:
    kind = request.param
    module = importlib.import_module(f"tests.servers.{kind}")
    # Only traffic_manager can have its server reload, and it takes seconds to start.
    more = {"managed": True} if kind == "trafficserver" and request.node.get_closest_marker("reloads") else {}
    server: CacheServer = getattr(module, kind.title())(tmp_path, origin, **more)
    if read_timeout_seconds is not None:
        server.read_timeout_seconds = read_timeout_seconds
    server.start()
    yield server
    leave(server)


@pytest.fixture(params=KINDS)
def cache(request: pytest.FixtureRequest, tmp_path: Path, origin: Origin) -> Iterator[CacheServer]:
    """A running cache of each kind in front of the origin, its gate bound to no log yet."""
    yield from _running(request, tmp_path, origin)


@pytest.fixture(params=KINDS)
def impatient(request: pytest.FixtureRequest, tmp_path: Path, origin: Origin) -> Iterator[CacheServer]:
    """The same, but it gives the origin only a second for its headers."""
    yield from _running(request, tmp_path, origin, read_timeout_seconds=1)
