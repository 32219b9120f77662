"""The sandbox as a server: the service's own API code, a few paths for the test beside it, and a header that says so.

PUT  /sandbox/rules   a list of rules (freshline/sandbox/script.py); [] goes back to the built-in ones
POST /sandbox/clock   {"advance_seconds": 60}, {"stop": true} or {"go_on": true}
POST /sandbox/reset   forget every task, rule and unit spent
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import uvicorn

from freshline.access.limits import Limits
from freshline.api.app import App, ASGIApp, Receive, Scope, Send
from freshline.sandbox import script
from freshline.sandbox.clock import SandboxClock
from freshline.sandbox.script import BadScript, Script
from freshline.sandbox.stage import OpenHouse, Stage
from freshline.spec import model

HEADER = (b"x-freshline-sandbox", b"scripted edges; nothing is refreshed")
BODY_LIMIT = 1 << 20
CENTURY_SECONDS = 100 * 365 * 86_400  # callers stay in the present, however far a test moves the clock
KEY_ID, SECRET = "testid", "testsecret"  # what the vendor's own samples use


class Sandbox:
    """One service in memory. Give it to any ASGI server, or use :func:`running`."""

    def __init__(self, key_id: str = KEY_ID, secret: str = SECRET, limits: Limits | None = None) -> None:
        self.key_id, self.secret = key_id, secret
        self._limits = replace(limits or Limits(), rates=_no_rates(), window_seconds=CENTURY_SECONDS)
        self.clock, self.script = SandboxClock(), Script()
        self._routes: Mapping[str, ASGIApp] = {
            "/sandbox/rules": _told("PUT", self._set_rules),
            "/sandbox/clock": _told("POST", self._set_clock),
            "/sandbox/reset": _told("POST", self._reset),
        }
        self._begin()

    def _begin(self) -> None:
        stage, house = Stage(self.script, self.clock), OpenHouse(self.key_id, self.secret)
        self._app = App(model.load(), stage, house, self.clock, limits=self._limits, routes=self._routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], HEADER]
            await send(message)

        await self._app(scope, receive, marked)

    def rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """What shall become of tasks from now on.

        :raises BadScript: with every mistake there is
        """
        self.script.replace(script.read(list(rules)))

    def reset(self) -> None:
        self.script.replace([])
        self._begin()

    def _set_rules(self, value: Any) -> None:
        self.rules(value if isinstance(value, list) else [value])

    def _set_clock(self, value: Any) -> None:
        match value:
            case {"advance_seconds": int() | float() as seconds}:
                self.clock.advance(seconds)
            case {"stop": True}:
                self.clock.stop()
            case {"go_on": True}:
                self.clock.go_on()
            case _:
                raise ValueError('one of {"advance_seconds": N}, {"stop": true}, {"go_on": true}')

    def _reset(self, value: Any) -> None:
        self.reset()


def _no_rates() -> dict[str, float]:
    """A test asks as often as it likes; throttling is had by rule."""
    return {operation.action: 1e9 for operation in model.load()}


def _told(method: str, act: Callable[[Any], None]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        status, said = 200, "ok"
        try:
            if scope["method"] != method:
                status, said = 405, f"{method} only"
            else:
                body = await _body(receive)
                act(json.loads(body) if body else None)
        except (BadScript, ValueError) as error:
            status, said = 400, str(error)
        content = f"{said}\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return answer


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_LIMIT:
            raise ValueError(f"more than {BODY_LIMIT} bytes")
    return body


@contextlib.contextmanager
def running(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a thread for as long as the context lasts. Gives the address, ``host:port``."""
    sock = socket.create_server((host, port))
    config = uvicorn.Config(sandbox, http="httptools", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="freshline sandbox", daemon=True)
    thread.start()
    try:
        yield "{}:{}".format(*sock.getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()
