"""For pytest: ``freshline_endpoint`` is a service to test against, one for the run and clean for every test.

def test_it_waits(freshline_endpoint):
    freshline_endpoint.rules([{"match": "*.iso", "outcome": "stuck", "at": "99.37%"}])
    my_code(freshline_endpoint.url, freshline_endpoint.key_id, freshline_endpoint.secret)
    freshline_endpoint.clock.advance(60)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from freshline.sandbox.server import Sandbox


class Endpoint:
    """Where it is, how to sign, and what shall happen."""

    def __init__(self, sandbox: Sandbox, address: str) -> None:
        self._sandbox = sandbox
        self.address = address  #: ``host:port``, as the official SDKs want it
        self.url = f"http://{address}"
        self.key_id, self.secret = sandbox.key_id, sandbox.secret
        self.clock = sandbox.clock
        self.rules, self.accounts, self.reset = sandbox.rules, sandbox.accounts, sandbox.reset


@pytest.fixture(scope="session")
def _freshline_server() -> Iterator[Endpoint]:
    from freshline.sandbox.server import Sandbox, running

    sandbox = Sandbox()
    with running(sandbox) as address:
        yield Endpoint(sandbox, address)


@pytest.fixture
def freshline_endpoint(_freshline_server: Endpoint) -> Iterator[Endpoint]:
    """The vendor's refresh and prefetch API on loopback, with scripted outcomes."""
    _freshline_server.reset()
    yield _freshline_server
    _freshline_server.clock.go_on()
