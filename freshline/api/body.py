"""Taking in a request body, within bounds.

A body that is too large is refused, but still drained up to a point: a client that is cut off while it sends reads no
answer at all, only a broken pipe.
"""

from __future__ import annotations

import asyncio

from freshline.api.asgi import Message, Receive
from freshline.domain.errors import Fault, Refused

DRAINED = 16  #: times the limit is read and thrown away before the caller is cut off


class Gone(Exception):
    """The caller hung up."""


async def read(receive: Receive, limit_bytes: int, limit_seconds: float) -> bytes:
    """The whole body.

    :raises Refused: it is too large, or did not arrive in time
    :raises Gone: the caller hung up
    """
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit_bytes:
        return body
    try:
        async with asyncio.timeout(limit_seconds):
            return await _rest(receive, message, limit_bytes)
    except TimeoutError:
        raise Refused(Fault.BODY_TOO_SLOW) from None


async def _rest(receive: Receive, message: Message, limit_bytes: int) -> bytes:
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body", False) and size <= DRAINED * limit_bytes:
        message = await _next(receive)
        part = message.get("body", b"")
        size += len(part)
        if size <= limit_bytes:
            parts.append(part)
        else:
            parts.clear()
    if size > limit_bytes:
        raise Refused(Fault.BODY_TOO_LARGE, limit=str(limit_bytes))
    return b"".join(parts)


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message
