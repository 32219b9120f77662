"""Is a gate what it says it is? Asked from outside, the way an operator would try it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.domain.target import BadTarget, parse
from freshline.drivers.base import Driver, Fault, Fetched, FetchOutcome, Gate, Presence, Probed, Trouble
from freshline.drivers.http import Client, Reply
from freshline.drivers.lines import KEY_HEADER

VISIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    ok: bool
    said: str


async def check_edge(edge: Edge, drive: Callable[[Edge], Driver], url: str | None) -> list[Finding]:
    """Every finding, in order; later ones are left out where an earlier one makes them pointless.

    :param url: an object to be fetched and probed, or nothing
    """
    driver = drive(edge)
    try:
        findings = [await _installed(driver)]
        if not findings[0].ok:
            return findings
        findings.append(await _wants_its_secret(edge, drive))
        findings.append(await _out_of_reach(edge))
        if url is not None:
            findings += await _honest(edge, driver, url)
        return findings
    finally:
        await driver.close()


async def _installed(driver: Driver) -> Finding:
    gate = await driver.status()
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
    refused = answer.fault is Fault.WRONG_SECRET
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


async def _honest(edge: Edge, driver: Driver, url: str) -> list[Finding]:
    """What the gate says of an object, held against what a visitor sees."""
    try:
        target = parse(url)
    except BadTarget as error:
        return [Finding("honest", False, f"{url}: {error}")]
    what = Fetch(0, target.scheme or "http", target.domain, target.request_target())
    fetched = await driver.fetch(what)
    if not isinstance(fetched, Fetched):
        return [Finding("fetches", False, f"{fetched.fault}: {fetched.said}")]
    stored = fetched.outcome is FetchOutcome.STORED
    findings = [Finding("fetches", stored, f"{fetched.outcome}, {fetched.status}: {fetched.said}")]
    probed = await driver.probe(what)
    if not isinstance(probed, Probed):
        return [*findings, Finding("probes", False, f"{probed.fault}: {probed.said}")]
    is_there = probed.presence is Presence.STORED
    findings.append(Finding("probes", is_there == stored, f"{probed.presence}: {probed.said}"))
    never = replace(what, target=f"{target.path}?freshline-check={secrets.token_hex(8)}")
    absent = await driver.probe(never)
    ok = isinstance(absent, Probed) and absent.presence is Presence.ABSENT
    findings.append(Finding("does not make things up", ok, f"an object nobody asked for is {absent.said}"))
    return findings


async def _visit(edge: Edge, target: str, headers: dict[str, str]) -> Reply | Trouble:
    host, _, port = edge.site.rpartition(":")
    client = Client(host.strip("[]"), int(port))
    try:
        return await client.request("GET", target, headers, seconds=VISIT_SECONDS)
    finally:
        await client.close()
