"""Varnish with freshline's gate in it (freshline/gates/varnish).

Probes go to the gate's listener under the site's own name, so the operator's VCL treats them as it treats a visitor;
the gate answers in a header, and no body ever comes here. Fetches go there in the same way, or, where the gate takes
several in one request, as lines: then it is the gate that asks its own server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from freshline.domain.action import Fetch
from freshline.drivers import lines
from freshline.drivers.base import Asked, Fetched, FetchOutcome, Presence, Probed, Trouble
from freshline.drivers.errand import ErrandDriver
from freshline.drivers.gate import telling, understood
from freshline.drivers.http import Reply, opening

PROBE_HEADER = "freshline-probe"
PRESENCE_HEADER = "freshline-presence"
FETCH_HEADER = "freshline-fetch"

#: What would make another request of it, or half a one.
NOT_SENT = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "freshline-fetch",
        "freshline-key",
        "freshline-probe",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

OUTCOMES = {
    "stored": FetchOutcome.STORED,
    "timeout": FetchOutcome.ORIGIN_TIMEOUT,
    "status": FetchOutcome.ORIGIN_STATUS,
}


class VarnishDriver(ErrandDriver):
    """Refreshes by batches; fetches by lines where the gate says how many it takes, else one by one."""

    async def probe(self, what: Fetch) -> Probed | Trouble:
        return understood(await self._head(what, PROBE_HEADER, self._patience.probe_seconds), _probed, PRESENCE_HEADER)

    async def fetch(self, what: Fetch) -> Fetched | Trouble:
        if self.fetches_at_once > 1:
            return await super().fetch(what)
        for name, value in what.headers:
            if (why := _refusal(name, value)) is not None:
                return Fetched(FetchOutcome.OTHER, 0, 0, why)
        return understood(await self._head(what, FETCH_HEADER, self._patience.fetch_seconds), _fetched, FETCH_HEADER)

    def fetch_then(self, what: Fetch, done: Callable[[Fetched | Trouble], None]) -> Asked:
        """:class:`freshline.drivers.base.Direct`"""
        if self.fetches_at_once > 1:
            return super().fetch_then(what, done)
        for name, value in what.headers:
            if (why := _refusal(name, value)) is not None:
                return Later(asyncio.get_running_loop().call_soon(done, Fetched(FetchOutcome.OTHER, 0, 0, why)))
        head = opening("HEAD", what.target, self._asking(what, FETCH_HEADER)) + b"\r\n"
        told = telling(_fetched, done, FETCH_HEADER)
        return self._client.send(head, b"", told, head_only=True, seconds=self._patience.fetch_seconds)

    async def _head(self, what: Fetch, errand: str, seconds: float) -> Reply | Trouble:
        return await self._client.request("HEAD", what.target, self._asking(what, errand), seconds=seconds)

    def _asking(self, what: Fetch, errand: str) -> Mapping[str, str]:
        asked = {name.lower(): value for name, value in what.headers if _refusal(name, value) is None}
        ours = {"host": what.host, lines.KEY_HEADER: self._headers[lines.KEY_HEADER], errand: "1"}
        if what.scheme == "https":
            ours["x-forwarded-proto"] = "https"  # Varnish speaks no TLS: this is how it learns what the visitor spoke
        return {**asked, **ours}


@dataclass(frozen=True, slots=True)
class Later:
    """An answer that is known already."""

    handle: asyncio.Handle

    def abandon(self) -> None:
        self.handle.cancel()


def _refusal(name: str, value: str) -> str | None:
    """``None`` if the header may go out."""
    if not _NAME.match(name):
        return "a header name that is none"
    if name.lower() in NOT_SENT:
        return f"header {name} may not be set"
    if _CONTROL.search(value):
        return f"a control character in header {name}"
    return None


def _probed(reply: Reply) -> Probed:
    said = _said(reply, PRESENCE_HEADER)
    match said.split(" "):
        case [presence, stamp] if presence in list(Presence) and (stamp == "-" or lines.is_number(stamp)):
            return Probed(Presence(presence), None if stamp == "-" else int(stamp), said)
        case _:
            raise lines.BadLines(f"{said!r} is no answer to a probe")


def _fetched(reply: Reply) -> Fetched:
    said = _said(reply, FETCH_HEADER)
    match said.split(" "):
        case [outcome, status, *rest] if lines.is_number(status):
            size = int(rest[0]) if rest and lines.is_number(rest[0]) and outcome == "stored" else 0
            location = reply.headers.get("location", "") if outcome == "other" else ""
            found = OUTCOMES.get(outcome, FetchOutcome.OTHER)
            return Fetched(found, int(status), size, said, location)
        case _:
            raise lines.BadLines(f"{said!r} is no answer to a fetch")


def _said(reply: Reply, header: str) -> str:
    try:
        return lines.spoken(reply.headers[header])
    except KeyError:
        raise lines.BadLines(f"{reply.status} without {header}") from None
