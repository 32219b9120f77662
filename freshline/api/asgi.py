"""The words between a web server and an application (ASGI 3.0)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


async def say(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> None:
    """A whole answer. Where the service stops while whoever asked does not read, it is left unsaid."""
    with suppress(asyncio.CancelledError):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
