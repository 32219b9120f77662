"""A cache without a gate, driven by what it has itself: PURGE, and in Varnish BAN.

What such a server answers is not proven. It does not see the fetch under way, forgets what it was told when it was
down, and cannot say where it stands; so a task that is Complete was *answered* by it, and its evidence says so
(docs/gates.md, Without a gate). What it cannot do at all is refused, and fails the task.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable

from freshline.domain.action import Command, Fetch, Verb
from freshline.domain.edge import Edge
from freshline.drivers.base import (
    Adrift,
    Applied,
    Batch,
    Fault,
    Fetched,
    FetchOutcome,
    Gate,
    Lease,
    Probed,
    Trouble,
)
from freshline.drivers.http import Client, Reply
from freshline.drivers.lines import KEY_HEADER
from freshline.drivers.patience import USUAL, Patience

NOBODY = "freshline.invalid"  #: a host that no site has (RFC 6761 section 6.4)
AT_ONCE = 32  #: requests under way to one server
REFUSED = frozenset([400, 413, 414, 431])  #: of one request that the server does not like; the others go on
DONE = frozenset([200, 201, 202, 204, 404])  #: 404: it has none
HOW_TO_FLUSH = "cannot be flushed whole: empty its cache, then remove it and add it again"

_ESCAPED = frozenset(b'"#%<>\\^`{|}')  #: of what is printable; with a bare # a server would read no further
_RUNS = re.compile(rb"([!$&-;=?-\[\]_a-z~]+)|([^!$&-;=?-\[\]_a-z~]+)")  #: what is written as it is, and what is not
_PARTS = re.compile(rb"\\?.", re.DOTALL)  #: of a pattern: a byte, and one that is escaped
_UNFIT = re.compile(rb"[^!#-~]")
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_-~")


class PurgeDriver:
    """Single files, by PURGE of their URL under the site's name."""

    def __init__(self, edge: Edge, patience: Patience = USUAL) -> None:
        self._edge, self._patience = edge, patience
        # Of what visitors get the status is all that counts; it may be any object, where a range is not understood.
        self._door, self._site = _client(edge.gate), _client(edge.site, discard=True)
        self._stands = Gate(None, 0, None, True)

    def stand(self, log: str, position: int, mark: str) -> None:
        """It cannot say where it stands, so it stands where it was left."""
        self._stands = Gate(log, position, mark, True)

    async def status(self, lease: Lease | None = None) -> Gate | Trouble:
        """Whether it takes a PURGE at all, of what nobody has."""
        reply = await self._ask(self._door, "PURGE", "/freshline/status", NOBODY)
        if isinstance(reply, Trouble):
            return reply
        return self._stands if reply.status in DONE else _no(reply, "PURGE")

    async def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift | Trouble:
        asked = {command.position: self._request(command) for command in batch.commands}
        refused = {position: f"{self._edge.kind} cannot" for position, it in asked.items() if it is None}
        said: Counter[int] = Counter()
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(position: int, host: str, method: str, target: str, headers: dict[str, str]) -> Trouble | None:
            async with turn:
                reply = await self._ask(self._door, method, target, host, headers)
            if isinstance(reply, Trouble):
                return reply
            said[reply.status] += 1
            if reply.status in REFUSED:
                refused[position] = f"{method} answered {reply.status}"
                return None
            return None if reply.status in DONE else _no(reply, method)

        done = await asyncio.gather(*(one(at, *request) for at, request in asked.items() if request is not None))
        if (trouble := next((each for each in done if each is not None), None)) is not None:
            return trouble
        self._stands = Gate(batch.log, batch.upto, batch.mark, True)
        counts = ", ".join(f"{count} x {status}" for status, count in sorted(said.items())) or "nothing to ask"
        return Applied(batch.upto, batch.mark, tuple(sorted(refused.items())), f"answered, not proven: {counts}")

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied | Trouble:
        return Trouble(Fault.FAILED, f"{self._edge.name} {HOW_TO_FLUSH}")

    async def probe(self, what: Fetch) -> Probed | Trouble:
        return Trouble(Fault.FAILED, "a server without a gate cannot say what it has")

    async def fetch(self, what: Fetch) -> Fetched | Trouble:
        """The last byte, which most servers answer only when they have the others (EDGES 5); it cannot tell us."""
        headers = {name.lower(): value for name, value in what.headers} | {"range": "bytes=-1"}
        if any(_breaks_out(text) for header in headers.items() for text in header):
            return Fetched(FetchOutcome.OTHER, 0, 0, "a header that is none")
        reply = await self._ask(
            self._site, "GET", what.target, what.host, headers, seconds=self._patience.fetch_seconds
        )
        if isinstance(reply, Trouble):
            return reply
        said = f"answered {reply.status}, not proven"
        if reply.status in (200, 206):
            return Fetched(FetchOutcome.STORED, reply.status, 0, said)
        if reply.status == 504:
            return Fetched(FetchOutcome.ORIGIN_TIMEOUT, 0, 0, said)
        outcome = FetchOutcome.ORIGIN_STATUS if reply.status >= 500 else FetchOutcome.OTHER
        return Fetched(outcome, reply.status, 0, said)

    async def close(self) -> None:
        await self._door.close()
        await self._site.close()

    def _request(self, command: Command) -> tuple[str, str, str, dict[str, str]] | None:
        """Host, method, target and headers; nothing where it cannot be said."""
        if command.verb is not Verb.FILE:
            return None
        return command.host, "PURGE", _target(command.what), {}

    async def _ask(
        self,
        client: Client,
        method: str,
        target: str,
        host: str,
        headers: Iterable[tuple[str, str]] | dict[str, str] = (),
        seconds: float | None = None,
    ) -> Reply | Trouble:
        ours = {"host": host, KEY_HEADER: self._edge.secret} if client is self._door else {"host": host}
        seconds = self._patience.probe_seconds if seconds is None else seconds
        return await client.request(method, target, {**dict(headers), **ours}, seconds=seconds)


class BanDriver(PurgeDriver):
    """Varnish: what a PURGE does not reach is a BAN with a pattern in ``x-ban-url`` or ``x-ban-tag``."""

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied | Trouble:
        reply = await self._ask(self._door, "BAN", "/", self._edge.site, {"x-ban-all": "1"})
        if isinstance(reply, Trouble):
            return reply
        if reply.status not in DONE:
            return _no(reply, "BAN")
        self._stands = Gate(log, position, mark, True)
        return Applied(position, mark, (), "banned everything; answered, not proven")

    def _request(self, command: Command) -> tuple[str, str, str, dict[str, str]] | None:
        match command.verb:
            case Verb.FILE:
                return super()._request(command)
            case Verb.TAG:
                return command.host, "BAN", "/", {"x-ban-tag": f"(?:^|[,\\x20]){_quoted(command.what)}(?:[,\\x20]|$)"}
            case Verb.DIR:
                pattern = f"^{_quoted_url(command.what)}"
            case Verb.PATH:
                pattern = f"^{_quoted_url(command.what)}(?:\\?|$)"
            case Verb.REGEX:
                pattern = f"^(?:{_spelled(command.what)})"
        return command.host, "BAN", "/", {"x-ban-url": pattern}


def _no(reply: Reply, method: str) -> Trouble:
    fault = Fault.DENIED if reply.status == 403 else Fault.FAILED
    return Trouble(fault, f"{method} answered {reply.status}")


def _client(address: str, *, discard: bool = False) -> Client:
    host, _, port = address.rpartition(":")
    return Client(host.strip("[]"), int(port), discard=discard)


def _target(canonical: bytes) -> str:
    """In the spelling that browsers use, and prefetches: a server that has no gate takes what it is told literally."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte not in _ESCAPED else f"%{byte:02X}" for byte in canonical)


def _quoted(what: bytes) -> str:
    """A pattern for exactly these bytes, with nothing in it that means anything to a ban's own grammar."""
    return "".join(chr(byte) if byte in _KEPT else f"\\x{byte:02x}" for byte in what)


def _quoted_url(what: bytes) -> str:
    """Likewise, of a URL as visitors write it: what has to be escaped there is, and by some visitors is not."""
    out = ""
    for kept, run in _RUNS.findall(what):
        encoded = "".join(f"%{byte:02x}" for byte in run)
        out += f"(?i:{encoded}|{_quoted(run)})" if run else _quoted(kept)
    return out


def _spelled(pattern: bytes) -> str:
    """A caller's pattern, on one line and without blanks and quotes, escaped or not."""
    parts = (part.removeprefix(b"\\") if _UNFIT.search(part) else part for part in _PARTS.findall(pattern))
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x22 else f"\\x{byte:02x}" for byte in b"".join(parts))


def _breaks_out(text: str) -> bool:
    return re.search(r"[\x00-\x1f\x7f]", text) is not None
