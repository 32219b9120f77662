"""Orders of the operator to the running service, over a socket that only the service's own user can open.

``POST /retry/<task>`` and ``POST /cancel/<task>`` answer 200 and ``{"rows": {"eu1": 3}}``: how many rows of which edge
that concerns. 404: there is no such task; 409: it does not apply to this one; both with ``{"said": why}``.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from freshline.api.asgi import ASGIApp, Receive, Scope, Send, say
from freshline.domain.task import Task

NAME = "control.sock"  #: in data_dir
LONGEST = 100  #: bytes of a socket's path, which Linux has little room for

_ORDER = re.compile(r"/(retry|cancel)/([1-9][0-9]{0,15})\Z")


class Orders(Protocol):
    def retry(self, task: Task) -> dict[str, int]: ...

    def cancel(self, task: Task) -> dict[str, int]: ...


def listen(home: Path) -> socket.socket:
    """:raises OSError: the path is too long, or not ours to write to"""
    path = home.absolute() / NAME
    if len(str(path).encode()) > LONGEST:
        raise OSError(f"{path}: longer than the {LONGEST} bytes that a socket's path may have")
    path.unlink(missing_ok=True)  # of a service that was killed; whoever holds the log's lock owns it
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    path.chmod(0o600)
    sock.listen()
    return sock


def control(orders: Orders, task: Callable[[int], Task | None]) -> ASGIApp:
    def answer(method: str, path: str) -> tuple[int, dict[str, Any]]:
        found = _ORDER.match(path)
        if found is None or method != "POST":
            return 404, {"said": f"{method} {path} is no order"}
        order, id_ = found[1], int(found[2])
        if (known := task(id_)) is None:
            return 404, {"said": f"there is no task {id_}, or it is no longer kept"}
        if order == "cancel" and not known.wish.kind.is_prefetch:
            return 409, {"said": f"task {id_} is a refresh: what is stale cannot be left stale"}
        rows = orders.retry(known) if order == "retry" else orders.cancel(known)
        if not rows:
            why = "nothing of it has failed" if order == "retry" else "all of it has begun or ended"
            return 409, {"said": f"task {id_}: {why}"}
        return 200, {"rows": rows}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, said = answer(scope["method"], scope["path"])
        body = json.dumps(said).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await say(send, status, headers, body)

    return app
