"""What every driver of a gate shares: where it stands, batches and flushes. Probe and fetch are each server's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from freshline.domain.edge import Edge
from freshline.drivers import lines
from freshline.drivers.base import Adrift, Applied, Batch, Fault, Gate, Lease, Trouble
from freshline.drivers.http import Client, Reply, opening
from freshline.drivers.patience import USUAL, Patience
from freshline.drivers.status import StatusReader

logger = logging.getLogger("freshline.delivery")

T = TypeVar("T")


class GateDriver:
    """Speaks docs/gates.md to one edge."""

    def __init__(self, edge: Edge, patience: Patience = USUAL) -> None:
        self._patience = patience
        host, _, port = edge.gate.rpartition(":")
        self._client = Client(host.strip("[]"), int(port))
        self._headers = {"host": edge.gate, lines.KEY_HEADER: edge.secret}
        self._openings = {
            target: opening(method, target, self._headers)
            for method, target in (("GET", lines.STATUS), ("POST", lines.BATCH), ("POST", lines.FLUSH))
        }
        self._status = StatusReader(edge.kind)

    # -- :class:`freshline.drivers.base.Prompt`
    def ask(self, lease: Lease | None, done: Callable[[Gate | Trouble], None]) -> None:
        head = self._openings[lines.STATUS] + _leased(lease) + b"\r\n"
        self._client.send(head, b"", telling(self._status.read, done), seconds=self._patience.status_seconds)

    def tell(self, batch: Batch, lease: Lease | None, done: Callable[[Applied | Adrift | Trouble], None]) -> None:
        body, tail = lines.batch_parts(batch)
        self._post(lines.BATCH, body, tail, lease, telling(_answer, done))

    def _post(
        self, target: str, body: bytes, tail: bytes, lease: Lease | None, done: Callable[[Reply | Trouble], None]
    ) -> None:
        length = b"content-length: %d\r\n\r\n" % (len(body) + len(tail))
        head = b"".join((self._openings[target], _leased(lease), length, body))
        self._client.send(head, tail, done, seconds=self._patience.batch_seconds)

    # -- :class:`freshline.drivers.base.Driver`
    async def status(self, lease: Lease | None = None) -> Gate | Trouble:
        return await _awaited(lambda done: self.ask(lease, done))

    async def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift | Trouble:
        return await _awaited(lambda done: self.tell(batch, lease, done))

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied | Trouble:
        body = lines.flush_body(log, position, mark)
        answer: Applied | Adrift | Trouble = await _awaited(
            lambda done: self._post(lines.FLUSH, body, b"", lease, telling(_answer, done))
        )
        return Trouble(Fault.GARBAGE, answer.said) if isinstance(answer, Adrift) else answer

    async def close(self) -> None:
        await self._client.close()

    async def _ask(
        self, method: str, target: str, body: bytes, seconds: float, each: Callable[[bytes], None] | None = None
    ) -> Reply | Trouble:
        return await self._client.request(method, target, self._headers, body, seconds=seconds, each=each)


def _leased(lease: Lease | None) -> bytes:
    return b"" if lease is None else f"{lines.LEASE_HEADER}: {lines.lease_value(lease)}\r\n".encode("ascii")


def telling(
    read: Callable[[Reply], T], done: Callable[[T | Trouble], None], answer_header: str = ""
) -> Callable[[Reply | Trouble], None]:
    """What hears a reply and says what it means. A fault of ours in reading it is told as the edge's trouble.

    :param answer_header: see :func:`understood`
    """

    def told(reply: Reply | Trouble) -> None:
        try:
            answer = understood(reply, read, answer_header)
        except Exception as error:
            logger.exception("a driver broke")
            answer = Trouble(Fault.FAILED, f"driver: {error!r}")
        done(answer)

    return told


async def _awaited(send: Callable[[Callable[[T], None]], None]) -> T:
    waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    send(lambda answer: None if waiter.done() else waiter.set_result(answer))
    return await waiter


def understood(reply: Reply | Trouble, read: Callable[[Reply], T | Trouble], answer_header: str = "") -> T | Trouble:
    """What the gate's answer means, where it is one.

    :param answer_header: where it is a header, the status is not the gate's own: an origin may answer 403 as well
    """
    if isinstance(reply, Trouble):
        return reply
    if reply.status == 403 and answer_header not in reply.headers:
        return Trouble(Fault.DENIED, "403")
    try:
        return read(reply)
    except lines.BadLines as error:
        return Trouble(Fault.GARBAGE, f"{reply.status}: {error}"[: lines.SAID_LIMIT])


def _answer(reply: Reply) -> Applied | Adrift | Trouble:
    return lines.read_answer(reply.status, reply.body, reply.headers.get(lines.CLOCK_HEADER, ""))
