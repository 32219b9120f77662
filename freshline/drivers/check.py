"""Is a gate what it says it is? Asked from outside, the way an operator would try it.

What is the matter with the edge is told apart from what is the matter with the object that was chosen to try it with.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.domain.target import Target
from freshline.drivers.base import Driver, Fault, Fetched, FetchOutcome, Gate, Presence, Trouble
from freshline.drivers.http import Client, Reply
from freshline.drivers.lines import KEY_HEADER

VISIT_SECONDS = 10.0
NOT_THROUGH = "did not pass through the gate"  # gates/nginx/lua/freshline/fetch.lua
NOT_YET = "not tried: it takes none until the service has told it where it stands"
CHOICE = "choice of URL"  #: the check that fails through no fault of the edge
CHOOSE = "choose one that answers 200 and may be cached"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    ok: bool
    said: str


async def check_edge(edge: Edge, drive: Callable[[Edge], Driver], target: Target | None) -> list[Finding]:
    """Every finding, in order; later ones are left out where an earlier one makes them pointless.

    :param target: an object to be fetched and probed, or nothing
    """
    driver = drive(edge)
    try:
        gate = await driver.status()
        findings = [_installed(gate)]
        if isinstance(gate, Trouble):
            return findings
        findings.append(await _wants_its_secret(edge, drive))
        findings.append(await _out_of_reach(edge))
        if target is not None and gate.log and gate.synced:
            findings += await _object(driver, target)
        elif target is not None:
            findings.append(Finding("fetches", True, NOT_YET))
        return findings
    finally:
        await driver.close()


def _installed(gate: Gate | Trouble) -> Finding:
    if isinstance(gate, Trouble):
        return Finding("installed", False, f"{gate.fault}: {gate.said}")
    bound = f"stands at {gate.position} of log {gate.log}" if gate.log else "bound to no log yet"
    state = "" if gate.synced else ", its old cache out of use until it has caught up"
    return Finding("installed", True, bound + state)


async def _wants_its_secret(edge: Edge, drive: Callable[[Edge], Driver]) -> Finding:
    stranger = drive(replace(edge, secret=secrets.token_urlsafe(32)))
    try:
        answer = await stranger.status()
    finally:
        await stranger.close()
    if isinstance(answer, Gate):
        return Finding("wants its secret", False, "it answered a stranger")
    refused = answer.fault is Fault.DENIED
    return Finding(
        "wants its secret", refused, "a wrong one is refused" if refused else f"{answer.fault}: {answer.said}"
    )


async def _out_of_reach(edge: Edge) -> Finding:
    """Visitors must not reach it, not even with the secret."""
    reply = await _visit(edge, "/freshline/status", {"host": "freshline.invalid", KEY_HEADER: edge.secret})
    if isinstance(reply, Trouble):
        return Finding("out of visitors' reach", False, f"the site does not answer: {reply.fault}: {reply.said}")
    exposed = reply.status == 200 and reply.body.startswith(b"gate ")
    return Finding("out of visitors' reach", not exposed, "the site answers for the gate" if exposed else "yes")


async def _object(driver: Driver, target: Target) -> list[Finding]:
    """Brought into the cache, the gate says that it is there; of one that nobody asked for it does not."""
    never = replace(target, query=f"freshline-check={secrets.token_hex(8)}")
    findings = [await _fetches(driver, target)]
    if findings[0].ok:
        findings.append(await _probes(driver, target))
    return [*findings, await _makes_nothing_up(driver, never)]


async def _fetches(driver: Driver, target: Target) -> Finding:
    fetched = await driver.fetch(_fetch(target))
    match fetched:
        case Trouble(fault, said):
            return Finding("fetches", False, f"{fault}: {said}")
        case Fetched(FetchOutcome.STORED):
            size = f", {fetched.bytes} bytes" if fetched.bytes else ""
            return Finding("fetches", True, f"the object is in the cache{size}")
        case Fetched(said=said) if NOT_THROUGH in said:
            return Finding("fetches", False, said)
        case Fetched(FetchOutcome.ORIGIN_TIMEOUT):
            return Finding(CHOICE, False, f"its origin says nothing in time; {CHOOSE}")
        case Fetched(status=0, said=said):
            return Finding("fetches", False, said)
        case Fetched(status=status) if 200 <= status <= 299:
            why = f"it answers {status} and is not stored, because it may not be or because it broke off"
            return Finding(CHOICE, False, f"{why}; {CHOOSE}")
        case Fetched(status=status):
            return Finding(CHOICE, False, f"it answers {status}; {CHOOSE}")


async def _probes(driver: Driver, target: Target) -> Finding:
    probed = await driver.probe(_fetch(target))
    if isinstance(probed, Trouble):
        return Finding("probes", False, f"{probed.fault}: {probed.said}")
    if probed.presence is not Presence.STORED:
        return Finding("probes", False, f"says that what it has just brought is {probed.presence}")
    age = "" if probed.stamp is None else f", fetched at position {probed.stamp} or later"
    return Finding("probes", True, f"says that the object is there{age}")


async def _makes_nothing_up(driver: Driver, never: Target) -> Finding:
    probed = await driver.probe(_fetch(never))
    if isinstance(probed, Trouble):
        return Finding("does not make things up", False, f"{probed.fault}: {probed.said}")
    absent = probed.presence is Presence.ABSENT
    return Finding("does not make things up", absent, f"says that an object nobody asked for is {probed.presence}")


def _fetch(target: Target) -> Fetch:
    return Fetch(0, target.scheme or "http", target.domain, target.request_target())


async def _visit(edge: Edge, target: str, headers: dict[str, str]) -> Reply | Trouble:
    host, _, port = edge.site.rpartition(":")
    client = Client(host.strip("[]"), int(port))
    try:
        return await client.request("GET", target, headers, seconds=VISIT_SECONDS)
    finally:
        await client.close()
