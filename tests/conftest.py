"""The servers that tests borrow. Each test gets its own, on free ports, and they are gone when it ends."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.base import CacheServer
from tests.servers.origin import Origin

KINDS = [kind for kind in ("nginx", "varnish") if importlib.util.find_spec(f"tests.servers.{kind}") is not None]


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A scripted origin, listening."""
    server = Origin()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=KINDS)
def cache(request: pytest.FixtureRequest, tmp_path: Path, origin: Origin) -> Iterator[CacheServer]:
    """A running cache of each kind in front of the origin, its gate bound to no log yet."""
    module = importlib.import_module(f"tests.servers.{request.param}")
    server: CacheServer = getattr(module, request.param.title())(tmp_path, origin)
    server.start()
    yield server
    server.stop()
