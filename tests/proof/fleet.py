"""Caches of every kind there is a gate for, in two tiers, with networks between them that can be cut.

The tiers are data: a kind of server that :mod:`tests.servers` gets finds its place by its name in ``KINDS``.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from freshline.domain.edge import Edge
from tests.proof.link import Link
from tests.proof.origin import Origin
from tests.proof.universe import HOSTS
from tests.servers.authority import Authority
from tests.servers.base import CacheServer, leave
from tests.servers.nginx import Nginx
from tests.servers.wallclock import WallClock

GROUP = "proof"
KNOWN = ("nginx", "varnish", "trafficserver", "squid")
KINDS = tuple(kind for kind in KNOWN if importlib.util.find_spec(f"tests.servers.{kind}") is not None)
TIMED = ("nginx", "trafficserver", "squid")  #: may live under libfaketime, which Varnish's memory allocator cannot
LAPSES = ("serve", "bypass", "refuse")
READ_TIMEOUT_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One edge on paper."""

    name: str
    kind: str
    parents: tuple[str, ...] = ()
    guest: bool = False  #: it is not there at first, and comes and goes


def flat(kinds: Sequence[str]) -> list[Place]:
    return [Place(f"{kind}-1", kind) for kind in kinds]


def tiers(kinds: Sequence[str] = KINDS) -> list[Place]:
    """Two shields, a child of each kind, some with one parent and some with both, and a guest."""
    shields = ("nginx-l2", "varnish-l2")
    parents = {"nginx": shields, "varnish": shields[:1], "trafficserver": shields[1:], "squid": shields}
    places = [Place("nginx-l2", "nginx"), Place("varnish-l2", "varnish")]
    places += [Place(f"{kind}-1", kind, parents[kind]) for kind in kinds]
    return [*places, Place("guest", "nginx", shields, guest=True)]


@dataclass(eq=False)
class Member:
    """One edge in life."""

    number: int  #: in the recording of reads
    place: Place
    server: CacheServer
    gate: Link  #: between the service and its gate
    up: Link  #: between it and what it fetches from
    clock: WallClock | None = None  #: it lives under one of its own
    secure: str = ""  #: where visitors get the same over TLS
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  #: one fault of its process at a time
    up_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    gate_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    duty_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    declared: bool = False

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def site(self) -> str:
        return self.server.edge.site

    def edge(self) -> Edge:
        """As the operator declares it: the service reaches the gate over the link."""
        return replace(
            self.server.edge, name=self.name, group=GROUP, gate=self.gate.address, parents=self.place.parents
        )

    async def do(self, what: str) -> None:
        """One of the server's own methods; they take their time."""
        await asyncio.to_thread(getattr(self.server, what))

    @property
    def dead(self) -> bool:
        """Its first process is gone."""
        try:
            return Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    def signal(self, how: signal.Signals) -> None:
        """To every process of it."""
        for pid in tree(self.server.pid):
            _signal(pid, how)

    def kill_worker(self, dice: random.Random) -> None:
        """One of its processes, not the first; where there is no other, none."""
        workers = tree(self.server.pid)[1:]
        if workers:
            _signal(dice.choice(workers), signal.SIGKILL)

    async def fresh(self) -> bool:
        """What a load balancer that asks is told."""
        try:
            async with asyncio.timeout(2):
                host, _, port = self.server.edge.gate.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    writer.write(b"GET /freshline/fresh HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
                    return (await reader.read(64)).startswith(b"HTTP/1.1 200")
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False


class Fleet:
    def __init__(self, home: Path, origin: Origin, places: Sequence[Place], dice: random.Random, blind: str) -> None:
        """
        :param blind: the kind of server whose gates do not judge what is looked up; empty: all do
        """
        self._home, self._origin, self._dice = home, origin, dice
        self._places, self._blind = places, blind
        self.members: list[Member] = []
        authority = Authority(home)
        self.trusted = authority.file
        self._certificate = home / "certificate.pem", home / "key.pem"
        for file, text in zip(self._certificate, authority.issue(*HOSTS)[1:], strict=True):
            file.write_bytes(text)

    def __getitem__(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    async def start(self) -> None:
        """All but the guests."""
        above = {parent for place in self._places for parent in place.parents}
        leaves = [place for place in self._places if place.name not in above and not place.guest]
        timed = self._dice.choice([place for place in leaves if place.kind in TIMED] or [None])
        for number, place in enumerate(self._places):
            parents = [self[name].site for name in place.parents] or [self._origin.address]
            up = Link(f"above {place.name}", parents, self._dice)
            await up.start()
            server = make(place.kind, self._home / place.name, up, self._dice.choice(LAPSES), place.kind == self._blind)
            clock = WallClock(self._home / f"{place.name}.clock") if place is timed else None
            if clock is not None:
                clock.set(0)
                clock.file.chmod(0o644)
                server.environment = clock.environment
            gate = Link(f"gate of {place.name}", [server.edge.gate], self._dice)
            await gate.start()
            secure = server.listens_for_tls(*self._certificate) if isinstance(server, Nginx) else ""
            self.members.append(Member(number, place, server, gate, up, clock, secure))
        await asyncio.gather(*(member.do("start") for member in self.members if not member.place.guest))

    async def stop(self) -> None:
        for member in self.members:
            await member.gate.stop()
            await member.up.stop()
        stops = (asyncio.to_thread(leave, member.server) for member in self.members)
        for trouble in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(trouble, BaseException):
                raise trouble

    def parents(self) -> list[Member]:
        """Edges that others fetch through."""
        return [member for member in self.members if any(member.name in other.place.parents for other in self.members)]

    def leaves(self) -> list[Member]:
        """Edges that nobody fetches through, guests aside."""
        above = {parent for member in self.members for parent in member.place.parents}
        return [member for member in self.members if member.name not in above and not member.place.guest]


def make(kind: str, home: Path, above: Any, lapse: str, blind: bool) -> CacheServer:
    """
    :param above: has the address and port that it fetches from
    """
    home.mkdir()
    home.chmod(0o755)
    module = importlib.import_module(f"tests.servers.{kind}")
    server: CacheServer = getattr(module, kind.title())(
        home, above, lapse=lapse, read_timeout_seconds=READ_TIMEOUT_SECONDS, **({"blind": True} if blind else {})
    )
    return server


def tree(pid: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    found, at = [pid], 0
    while at < len(found):
        try:
            children = Path(f"/proc/{found[at]}/task/{found[at]}/children").read_text().split()
        except OSError:
            children = []
        found += map(int, children)
        at += 1
    return found


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
