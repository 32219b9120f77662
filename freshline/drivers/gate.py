"""What every driver of a gate shares: where it stands, batches and flushes. Probe and fetch are each server's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from freshline.domain.edge import Edge
from freshline.drivers import lines
from freshline.drivers.base import Adrift, Applied, Batch, Fault, Gate, Lease, Trouble
from freshline.drivers.http import Client, Reply
from freshline.drivers.patience import USUAL, Patience

T = TypeVar("T")


class GateDriver:
    """Speaks docs/gates.md to one edge."""

    def __init__(self, edge: Edge, patience: Patience = USUAL) -> None:
        self._patience = patience
        self._kind = edge.kind
        host, _, port = edge.gate.rpartition(":")
        self._client = Client(host.strip("[]"), int(port))
        self._headers = {"host": edge.gate, lines.KEY_HEADER: edge.secret}

    async def status(self, lease: Lease | None = None) -> Gate | Trouble:
        reply = await self._ask("GET", lines.STATUS, b"", self._patience.status_seconds, lease)
        return understood(reply, partial(_gate, kind=self._kind))

    async def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift | Trouble:
        body, tail = lines.batch_parts(batch)
        reply = await self._ask("POST", lines.BATCH, body, self._patience.batch_seconds, lease, tail)
        return understood(reply, _answer)

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied | Trouble:
        reply = await self._ask(
            "POST", lines.FLUSH, lines.flush_body(log, position, mark), self._patience.batch_seconds, lease
        )
        answer: Applied | Adrift | Trouble = understood(reply, _answer)
        return Trouble(Fault.GARBAGE, answer.said) if isinstance(answer, Adrift) else answer

    async def close(self) -> None:
        await self._client.close()

    async def _ask(
        self,
        method: str,
        target: str,
        body: bytes,
        seconds: float,
        lease: Lease | None = None,
        tail: bytes = b"",
        each: Callable[[bytes], None] | None = None,
    ) -> Reply | Trouble:
        headers = self._headers if lease is None else {**self._headers, lines.LEASE_HEADER: lines.lease_value(lease)}
        return await self._client.request(method, target, headers, body, tail, seconds=seconds, each=each)


def understood(reply: Reply | Trouble, read: Callable[[Reply], T | Trouble], answer_header: str = "") -> T | Trouble:
    """What the gate's answer means, where it is one.

    :param answer_header: where it is a header, the status is not the gate's own: an origin may answer 403 as well
    """
    if isinstance(reply, Trouble):
        return reply
    if reply.status == 403 and answer_header not in reply.headers:
        return Trouble(Fault.WRONG_SECRET, "403")
    try:
        return read(reply)
    except lines.BadLines as error:
        return Trouble(Fault.GARBAGE, f"{reply.status}: {error}"[: lines.SAID_LIMIT])


def _gate(reply: Reply, kind: str) -> Gate | Trouble:
    if reply.status == 500:
        return Trouble(Fault.FAILED, lines.spoken(reply.body.decode("ascii", "replace")))
    if reply.status != 200:
        raise lines.BadLines("not a gate's answer")
    if (found := lines.read_kind(reply.body)) != kind:
        return Trouble(Fault.WRONG_KIND, f"is a gate of {found}, and the inventory says {kind}")
    return lines.read_status(reply.body, reply.headers.get(lines.CLOCK_HEADER, ""))


def _answer(reply: Reply) -> Applied | Adrift | Trouble:
    return lines.read_answer(reply.status, reply.body, reply.headers.get(lines.CLOCK_HEADER, ""))
