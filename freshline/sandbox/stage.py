"""Scripted edges: a log whose edges come along as the script says, computed whenever somebody looks.

Nothing runs in the background, so a test that moves the clock sees at once what has happened until then.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from urllib.parse import quote

from freshline.ambient import Ambient
from freshline.domain.edge import Edge, Evidence, Progress
from freshline.domain.errors import Fault, Refused
from freshline.domain.media import SLICES, Media, Play
from freshline.domain.ranges import Range, Ranges
from freshline.domain.source import Source
from freshline.domain.task import Reason, Task, Wish
from freshline.domain.topology import Topology
from freshline.inventory.base import AccessKey, Account, Domain, Taken
from freshline.inventory.principals import Principals
from freshline.inventory.vault import KEY_BYTES, Vault
from freshline.log.base import Spend
from freshline.log.memory import MemoryLog
from freshline.sandbox.accounts import Accounts
from freshline.sandbox.script import Rule, Script

EDGES = 160  #: so that a percentage such as 99.37% is a count of edges like any other
GROUP = "sandbox"
MEDIA_ID = 64  #: characters
NO_MEDIA = "sandbox-unknown"  #: a media id with this in it is nobody's
OPENED = 1_546_300_800  #: when its domains were made, as they say: 2019-01-01


@dataclass(frozen=True, slots=True)
class Act:
    """Rows that share a fate."""

    first: int
    last: int
    rule: Rule
    at: float  #: when they were accepted

    def settled(self, edge: int, now: float) -> bool:
        """Edges follow each other evenly, so that ``Process`` grows."""
        seconds = self.rule.after_ms / 1000
        reached = EDGES if self.rule.outcome == "complete" else min(round(EDGES * self.rule.at), EDGES - 1)
        return edge < reached and now >= self.at + seconds * (edge + 1) / reached

    def failed(self, now: float) -> bool:
        return self.rule.outcome == "failed" and now >= self.end

    def over(self, now: float) -> bool:
        """Complete on every edge."""
        return self.rule.outcome == "complete" and now >= self.end

    @property
    def end(self) -> float:
        return self.at + self.rule.after_ms / 1000


PUT_OFF = (Fault.RATE, Fault.MINUTE_SPENT)  #: where the service says when to come again


class Stage(MemoryLog):
    """The reference log, with edges that are only told of."""

    def __init__(self, script: Script, clock: Ambient) -> None:
        super().__init__()
        self._script, self._clock = script, clock
        self._open: list[Act] = []  #: what may still change
        self._past = Ranges()  #: what is complete on every edge
        self._seen = -1.0
        self._edges: list[Progress] = []

    async def append(self, wishes: Sequence[Wish], spends: Sequence[Spend] = (), *, now: float) -> list[Task]:
        """:raises Refused: the script refuses one of the URLs"""
        rules = [[self._script.rule_for(path) for path in wish.paths] for wish in wishes]
        for rule in (rule for of_wish in rules for rule in of_wish):
            if rule.refuse is not None:
                raise Refused(rule.refuse, retry_after_seconds=1.0 if rule.refuse in PUT_OFF else None)
        tasks = await super().append(wishes, spends, now=now)
        for task, of_wish in zip(tasks, rules, strict=True):
            self._open += _acts(task, of_wish, now)
        self._seen = -1.0
        return tasks

    def progress(self, edge: str) -> Progress | None:
        now = self._clock.now()
        if now != self._seen:
            self._look(now)
        return self._edges[int(edge.removeprefix("edge-"))]

    @property
    def moved(self) -> int:
        """The clock may have moved them."""
        self._moved += 1
        return self._moved

    def evidence(self, edge: str, first: int, last: int | None = None) -> list[Evidence]:
        return [
            Evidence(edge, position, position, float(task.created), end, "scripted")
            for position in range(first, (first if last is None else last) + 1)
            if (task := self.task_of(position)) and (end := self._end_of(position, task)) is not None
        ]

    def _end_of(self, position: int, task: Task) -> float | None:
        act = next((act for act in self._open if act.first <= position <= act.last), None)
        if act is None:
            return float(task.created)
        return act.end if self._clock.now() >= act.end else None

    def task_of(self, position: int) -> Task | None:
        return next(iter(self.read(position - 1, 1)), None)

    def _look(self, now: float) -> None:
        self._past |= Ranges((act.first, act.last) for act in self._open if act.over(now))
        self._open = [act for act in self._open if not act.over(now)]
        self._edges = [self._edge(number, now) for number in range(EDGES)]
        self._seen = now

    def _edge(self, number: int, now: float) -> Progress:
        settled = self._past | Ranges((act.first, act.last) for act in self._open if act.settled(number, now))
        cursor = settled.run_after(0)
        failed: dict[Reason, list[Range]] = {}
        for act in self._open:
            if act.failed(now) and not act.settled(number, now):
                failed.setdefault(act.rule.description, []).append((act.first, act.last))
        runs = tuple((reason, Ranges(ranges)) for reason, ranges in failed.items())
        begun = self.head if any(now > act.at for act in self._open) or not self._open else cursor
        return Progress(cursor, settled.beyond(cursor), begun, runs)


def _acts(task: Task, rules: Sequence[Rule], now: float) -> list[Act]:
    """Neighbouring rows under one rule are one act."""
    acts: list[Act] = []
    for at, rule in enumerate(rules):
        if acts and acts[-1].rule is rule:
            acts[-1] = Act(acts[-1].first, task.id + at, rule, now)
        else:
            acts.append(Act(task.id + at, task.id + at, rule, now))
    return acts


class OpenHouse:
    """An inventory that has whatever domain it is asked about: its owner is who claims it (sandbox/accounts.py)."""

    def __init__(self, who: Accounts) -> None:
        self._domains: dict[str, Domain] = {}
        self._made = 0
        self._edges = [Edge(f"edge-{number}", "scripted", GROUP, "-:0", "-:0", "") for number in range(EDGES)]
        self.furnish(who)

    def furnish(self, who: Accounts) -> None:
        """Other people from now on. A domain that is there goes to whoever claims it now."""
        self._who = who
        sites = {
            name: Domain(name, account, GROUP, True, number, OPENED, OPENED) for account, name, number in who.sites
        }
        others = {name: replace(domain, account=who.owner(name)) for name, domain in self._domains.items()}
        self._domains = sites | {name: domain for name, domain in others.items() if name not in sites}

    @property
    def principals(self) -> Principals:
        return self._who.principals

    @cached_property
    def tokens(self) -> Vault:
        return Vault(secrets.token_bytes(KEY_BYTES))

    def account(self, id_: str) -> Account | None:
        return self._who.accounts.get(id_)

    def access_key(self, id_: str) -> AccessKey | None:
        return self._who.keys.get(id_)

    def domain(self, name: str) -> Domain | None:
        if name not in self._domains:
            self.add_domain(name, self._who.owner(name), GROUP)
        return self._domains[name]

    def domain_by_id(self, id_: int) -> Domain | None:
        return next((domain for domain in self._domains.values() if domain.id == id_), None)

    def media(self, id_: str) -> Media | None:
        """Any id is there, with two streams, but one that says it is not."""
        if NO_MEDIA in id_ or len(id_) > MEDIA_ID:
            return None
        at = f"http://play.sandbox.test/{quote(id_, safe='')}"
        slices = tuple(f"{at}/{number}.ts" for number in range(SLICES))
        plays = Play(f"{at}/hd.mp4", "mp4", "HD", "video"), Play(f"{at}/hd.m3u8", "m3u8", "HD", "video", slices)
        return Media(id_, self._who.owner("play.sandbox.test"), plays)

    def domains(self, account: str) -> Sequence[Domain]:
        mine = (domain for domain in self._domains.values() if domain.account == account)
        return sorted(mine, key=lambda domain: domain.name)

    def edges(self, group: str | None = None) -> Sequence[Edge]:
        return self._edges

    @cached_property
    def topology(self) -> Topology:
        return Topology(self._edges)

    def add_domain(
        self,
        name: str,
        account: str,
        group: str,
        *,
        type_: str = "web",
        scope: str = "global",
        sources: Sequence[Source] = (),
    ) -> Domain:
        if name in self._domains:
            raise Taken(name)
        sites = {number for _, _, number in self._who.sites}
        self._made = next(number for number in count(self._made + 1) if number not in sites)
        domain = Domain(name, account, group, True, self._made, OPENED, OPENED, type_, scope, tuple(sources))
        self._domains[name] = domain
        return domain

    def change_domain(
        self,
        name: str,
        *,
        online: bool | None = None,
        group: str | None = None,
        sources: Sequence[Source] | None = None,
    ) -> None:
        domain = self._domains[name]
        self._domains[name] = replace(
            domain,
            online=domain.online if online is None else online,
            sources=domain.sources if sources is None else tuple(sources),
        )

    def remove_domain(self, name: str) -> None:
        del self._domains[name]
