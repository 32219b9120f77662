"""Probes and fetches of a gate that is told by lines (docs/gates.md, "Probe and fetch"), and asks the server itself."""

from __future__ import annotations

from freshline.domain.action import Fetch
from freshline.domain.run import escape
from freshline.drivers import lines
from freshline.drivers.base import Fault, Fetched, FetchOutcome, Presence, Probed, Trouble
from freshline.drivers.gate import GateDriver, understood
from freshline.drivers.http import Reply

REDIRECTS = "redirects to "
OUTCOMES = {
    "stored": FetchOutcome.STORED,
    "origin-timeout": FetchOutcome.ORIGIN_TIMEOUT,
    "origin-status": FetchOutcome.ORIGIN_STATUS,
    "other": FetchOutcome.OTHER,
}


class ErrandDriver(GateDriver):
    """Sends the gate on an errand to its server's own front door."""

    async def probe(self, what: Fetch) -> Probed | Trouble:
        reply = await self._ask("POST", "/freshline/probe", _body("probe", what), self._patience.probe_seconds)
        return understood(reply, _probed)

    async def fetch(self, what: Fetch) -> Fetched | Trouble:
        reply = await self._ask("POST", "/freshline/fetch", _body("fetch", what), self._patience.fetch_seconds)
        return understood(reply, _fetched)


def _body(verb: str, what: Fetch) -> bytes:
    headers = [f"header {_escaped(name)} {_escaped(value)}" for name, value in what.headers]
    return "\n".join([f"{verb} {what.scheme} {what.host} {what.target}", *headers, "end", ""]).encode("ascii")


def _probed(reply: Reply) -> Probed | Trouble:
    said = _said(reply)
    match said.split(" "):
        case ["stored", stamp] if lines.is_number(stamp):
            return Probed(Presence.STORED, int(stamp), said)
        case ["absent"]:
            return Probed(Presence.ABSENT, None, said)
        case _:
            return _failure(reply, said)


def _fetched(reply: Reply) -> Fetched | Trouble:
    said = _said(reply)
    match said.split(" ", 4):
        case ["fetched", outcome, status, size, why] if (
            outcome in OUTCOMES and lines.is_number(status) and lines.is_number(size)
        ):
            location = why.removeprefix(REDIRECTS) if why.startswith(REDIRECTS) else ""
            return Fetched(OUTCOMES[outcome], int(status), int(size), why, location)
        case _:
            return _failure(reply, said)


def _said(reply: Reply) -> str:
    return lines.spoken(reply.body.decode("ascii", "replace"))


def _failure(reply: Reply, said: str) -> Trouble:
    if reply.status in (400, 500) and said.startswith(("bad ", "failed ")):
        return Trouble(Fault.FAILED, f"{reply.status} {said}")
    raise lines.BadLines(f"not a gate's answer: {said!r}")


def _escaped(text: str) -> str:
    return escape(text.encode()).decode()
