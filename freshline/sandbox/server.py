"""The sandbox as a server: the service's own API code, a few paths for the test beside it, and a header that says so.

PUT  /sandbox/rules      a list of rules (freshline/sandbox/script.py); [] goes back to the built-in ones
PUT  /sandbox/accounts   a list of accounts (freshline/sandbox/accounts.py); [] leaves the sandbox's own
POST /sandbox/clock      {"advance_seconds": 60}, {"stop": true} or {"go_on": true}
POST /sandbox/reset      forget every task, job and unit spent; rules and accounts are those it began with
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
from freshline.access.nonces import Nonces
from freshline.api.answer import Raw
from freshline.api.app import App, ASGIApp, Receive, Scope, Send
from freshline.api.connection import connections
from freshline.domain.errors import Fault
from freshline.operations.schedule import run_due
from freshline.sandbox import accounts, script
from freshline.sandbox.accounts import Accounts
from freshline.sandbox.clock import SandboxClock
from freshline.sandbox.script import BadScript, Script
from freshline.sandbox.stage import OpenHouse, Stage
from freshline.spec import model

HEADER = (b"x-freshline-sandbox", b"scripted edges; nothing is refreshed")
BODY_LIMIT = 1 << 20
CENTURY_SECONDS = 100 * 365 * 86_400  # callers stay in the present, however far a test moves the clock
SLICES = 10_000  #: of scheduled prefetches that one look catches up on; the next goes on
KEY_ID, SECRET = "testid", "testsecret"  # what the vendor's own samples use


class Sandbox:
    """One service in memory. Give it to any ASGI server, or use :func:`running`.

    :param script: what it begins with: a list of rules, or an object of ``rules`` and ``accounts``
    :raises ValueError: the script has mistakes
    """

    def __init__(
        self, key_id: str = KEY_ID, secret: str = SECRET, limits: Limits | None = None, script: Any = None
    ) -> None:
        self.key_id, self.secret = key_id, secret
        self._limits = replace(limits or Limits(), rates=_no_rates(), window_seconds=CENTURY_SECONDS)
        self.clock, self.script = SandboxClock(), Script()
        self._first_rules, self._first_accounts = _parts(script)
        self._routes: Mapping[str, ASGIApp] = {
            "/sandbox/rules": _told("PUT", self._set_rules),
            "/sandbox/accounts": _told("PUT", self._set_accounts),
            "/sandbox/clock": _told("POST", self._set_clock),
            "/sandbox/reset": _told("POST", self._reset),
        }
        self.reset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], HEADER]
            await send(message)

        if scope["type"] == "http" and scope["path"] == "/":
            await self._catch_up()
        await self._app(scope, receive, marked)

    def reject(self, fault: Fault, query: bytes, lines: list[tuple[bytes, bytes]], limit: str) -> Raw:
        status, headers, content = self._app.reject(fault, query, lines, limit)
        return status, [*headers, HEADER], content

    async def _catch_up(self) -> None:
        """Scheduled prefetches that were due until now, each as of its moment, so that slices follow each other."""
        desk = self._app.desk
        for _ in range(SLICES):
            due = desk.schedule.due(self.clock.now())
            if not due:
                return
            await run_due(replace(desk, ambient=Moment(max(due[0].due, self._began))))

    def rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """What shall become of tasks from now on.

        :raises BadScript: with every mistake there is
        """
        self.script.replace(script.read(list(rules)))

    def accounts(self, accounts: Sequence[Mapping[str, Any]]) -> None:
        """Who may call from now on, and whose which domain is.

        :raises BadAccounts: they contradict themselves
        """
        self._house.furnish(self._read_accounts(list(accounts)))

    def reset(self) -> None:
        """As it began: nothing but its script."""
        self.rules(self._first_rules)
        self._house = OpenHouse(self._read_accounts(self._first_accounts))
        self._began = self.clock.now()
        stage = Stage(self.script, self.clock)
        self._app = App(
            model.load(),
            stage,
            self._house,
            self.clock,
            limits=self._limits,
            routes=self._routes,
            nonces=Forgetful(CENTURY_SECONDS, self._limits.nonces),
        )

    def _read_accounts(self, value: Any) -> Accounts:
        return accounts.read(value, accounts.Key(self.key_id, self.secret))

    def _set_accounts(self, value: Any) -> None:
        self.accounts(value if isinstance(value, list) else [value])

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


class Forgetful(Nonces):
    """Begins anew when it is full: with a century's window none would ever be let go, and no call taken any more."""

    def burn(self, key_id: str, nonce: str, *, said: int, now: float, monotonic: float) -> bool:
        if not super().burn(key_id, nonce, said=said, now=now, monotonic=monotonic):
            super().__init__(self._window_seconds, self._capacity)
            super().burn(key_id, nonce, said=said, now=now, monotonic=monotonic)
        return True


class Moment(SandboxClock):
    """The time at which something was due, for what is done as if it were then."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self._stopped = at


def _parts(given: Any) -> tuple[Any, Any]:
    """Rules and accounts of a script.

    :raises BadScript: it has other parts
    """
    if given is None or isinstance(given, list):
        return given or [], []
    if not isinstance(given, dict) or not given.keys() <= {"rules", "accounts"}:
        raise BadScript("a script is a list of rules, or an object of rules and accounts")
    rules, who = given.get("rules", []), given.get("accounts", [])
    if not isinstance(rules, list) or not isinstance(who, list):
        raise BadScript("rules and accounts are lists")
    return rules, who


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
        except RecursionError:
            status, said = 400, "too many brackets in each other"
        except (BadScript, ValueError) as error:
            status, said = 400, str(error)
        content = f"{said}\n".encode("utf-8", "backslashreplace")  # of half a surrogate pair, which JSON can write
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
    config = uvicorn.Config(sandbox, http=connections(sandbox), lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="freshline sandbox", daemon=True)
    thread.start()
    try:
        yield "{}:{}".format(*sock.getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()
