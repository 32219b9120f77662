"""The API over a log in memory, called without a network: an App, its inventory in plain dicts, a clock that is set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from freshline.access.limits import Limits
from freshline.ambient import Ambient
from freshline.api.app import App, Settings
from freshline.domain.edge import Edge, Progress
from freshline.domain.media import Media, Play
from freshline.domain.source import Source
from freshline.domain.topology import Topology
from freshline.inventory.base import AccessKey, Account, Domain, Taken
from freshline.inventory.principals import Principals
from freshline.inventory.vault import KEY_BYTES, Vault
from freshline.log.memory import MemoryLog
from freshline.schedule.base import Job, Plan, Schedule, State
from freshline.schedule.memory import MemorySchedule
from freshline.spec import model
from freshline.spec.model import Operation
from freshline.wire import signature
from freshline.wire.signature import Signed

HOST = "127.0.0.1:18999"
NOON = 1_795_262_400.0  #: 2026-11-21T12:00:00Z
MADE = int(NOON) - 86_400  #: when the domains were
JOB = Job("job-1", "1", 123, "job", MADE, ("http://e.com/a", "http://e.com/b", "http://e.com/c"))
PLAN = Plan("plan-1", "job-1", MADE, None, 60, 2, State.WAITING, int(NOON) + 3600)
STOPPED = replace(PLAN, id="plan-2", status=State.STOPPED)
UNTHROTTLED = Limits(rates={op.action: 1e9 for op in model.load()})


class Clock(Ambient):
    def __init__(self, now: float = NOON) -> None:
        self.seconds = now
        self._nonces = 0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def nonce(self) -> str:
        self._nonces += 1
        return f"nonce-{self._nonces}"


@dataclass
class Books:
    """An inventory as plain dicts: account 1 is the caller's, account 2 somebody else's."""

    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, AccessKey] = field(default_factory=dict)
    names: dict[str, Domain] = field(default_factory=dict)
    machines: list[Edge] = field(default_factory=list)
    principals: Principals = field(default_factory=Principals)
    library: dict[str, Media] = field(default_factory=dict)
    tokens: Vault = field(default_factory=lambda: Vault(bytes(KEY_BYTES)))
    _topology: Topology | None = None

    def account(self, id_: str) -> Account | None:
        return self.accounts.get(id_)

    def access_key(self, id_: str) -> AccessKey | None:
        return self.keys.get(id_)

    def domain(self, name: str) -> Domain | None:
        return self.names.get(name)

    def domain_by_id(self, id_: int) -> Domain | None:
        return next((domain for domain in self.names.values() if domain.id == id_), None)

    def media(self, id_: str) -> Media | None:
        return self.library.get(id_)

    def domains(self, account: str) -> Sequence[Domain]:
        return sorted((d for d in self.names.values() if d.account == account), key=lambda d: d.name)

    def edges(self, group: str | None = None) -> Sequence[Edge]:
        return [edge for edge in self.machines if group is None or edge.group == group]

    @property
    def topology(self) -> Topology:
        if self._topology is None or list(self._topology.edges.values()) != self.machines:
            self._topology = Topology(self.machines)
        return self._topology

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
        if name in self.names:
            raise Taken(name)
        number = max((domain.id for domain in self.names.values()), default=0) + 1
        domain = Domain(name, account, group, True, number, MADE, MADE, type_, scope, tuple(sources))
        self.names[name] = domain
        return domain

    def change_domain(
        self,
        name: str,
        *,
        online: bool | None = None,
        group: str | None = None,
        sources: Sequence[Source] | None = None,
    ) -> None:
        old = self.names[name]
        self.names[name] = replace(
            old,
            online=old.online if online is None else online,
            group=group or old.group,
            sources=old.sources if sources is None else tuple(sources),
            modified=MADE + 1,
        )

    def remove_domain(self, name: str) -> None:
        del self.names[name]


def books() -> Books:
    out = Books()
    for account, key, secret in (("1", "testid", "testsecret"), ("2", "otherid", "othersecret")):
        out.accounts[account] = Account(account, f"account {account}")
        out.keys[key] = AccessKey(key, account, secret)
    for name in ("img.test", "example.com", "e.com", *(f"d{n}.test" for n in range(12))):
        out.add_domain(name, "1", "main")
    out.add_domain("far.test", "1", "far")
    out.add_domain("off.test", "1", "main")
    out.names["off.test"] = replace(out.names["off.test"], online=False)
    out.add_domain("foreign.test", "2", "main")
    out.names["e.com"] = replace(out.names["e.com"], id=123)  # as the captured calls have it
    for name, group in (("a", "main"), ("b", "main"), ("c", "far")):
        out.machines.append(Edge(name, "scripted", group, "127.0.0.1:1", "127.0.0.1:2", "secret"))
    for account, host, id_ in (("1", "img.test", "film"), ("2", "foreign.test", "theirs")):
        slices = tuple(f"http://{host}/{id_}/{n}.ts" for n in range(20))
        plays = (
            Play(f"http://{host}/{id_}.mp4", "mp4", "HD", "video"),
            Play(f"http://{host}/{id_}.m3u8", "m3u8", "HD", "video", slices),
        )
        out.library[id_] = Media(id_, account, plays)
    return out


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json;charset=utf-8"
        return json.loads(self.content)

    @property
    def xml(self) -> ElementTree.Element:
        assert self.headers["content-type"] == "text/xml;charset=utf-8"
        return ElementTree.fromstring(self.content)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and message, after a look at the envelope."""
        body = self.json
        assert list(body) == ["RequestId", "HostId", "Code", "Message", "Recommend"]
        assert body["RequestId"] == self.headers["x-acs-request-id"]
        assert body["Code"] in body["Recommend"]
        return self.status, body["Code"], body["Message"]


class Service:
    def __init__(self, limits: Limits = UNTHROTTLED, settings: Settings | None = None, **more: Any) -> None:
        self.clock = Clock()
        self.books = books()
        self.log = MemoryLog()
        self.schedule: Schedule = MemorySchedule()
        self.schedule.add_job(JOB)
        self.schedule.add_plan(PLAN)
        self.schedule.add_plan(STOPPED)
        self.app = App(
            model.load(), self.log, self.books, self.clock,
            limits=limits, settings=settings, schedule=self.schedule, **more,
        )  # fmt: skip

    async def call(self, action: str, key: str = "testid", secret: str = "testsecret", **params: str) -> Answer:
        """A signed V3 call with its parameters in the query."""
        return await self.send(self.signed(action, key, secret, **params))

    async def ask(self, operation: Operation, **params: str) -> Answer:
        """The same of any product's operation, by a method it takes."""
        return await self.send(
            self.signed(operation.action, version=operation.product.version, method=max(operation.methods), **params)
        )

    def signed(
        self,
        action: str,
        key: str = "testid",
        secret: str = "testsecret",
        *,
        version: str = "2018-05-10",
        method: str = "POST",
        token: str = "",
        **params: str,
    ) -> Signed:
        return signature.sign_v3(
            method,
            HOST,
            action,
            version,
            params,
            key_id=key,
            secret=secret,
            now=self.clock.now(),
            nonce=self.clock.nonce(),
            token=token,
        )

    def signed_v1(
        self,
        method: str = "GET",
        form: Mapping[str, str] | None = None,
        *,
        key: str = "testid",
        secret: str = "testsecret",
        **params: str,
    ) -> Signed:
        return signature.sign_v1(
            method,
            HOST,
            {"Version": "2018-05-10", **params},
            key_id=key,
            secret=secret,
            now=self.clock.now(),
            nonce=self.clock.nonce(),
            form=form,
        )

    async def send(self, signed: Signed) -> Answer:
        headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers.items()]
        return await self.raw(signed.method, signed.target.encode(), headers, signed.body)

    async def raw(
        self,
        method: str,
        target: bytes = b"/",
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        piece: int = 1 << 16,
    ) -> Answer:
        """A request as the server would hand it over, its body in pieces."""
        path, _, query = target.partition(b"?")
        pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": at < len(pieces)} for at, part in enumerate(pieces, 1)
        ]
        scope = {
            "type": "http",
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": list(headers),
            "scheme": "http",
        }
        sent: list[Any] = []

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, content = sent
        head = {name.decode(): value.decode() for name, value in start["headers"]}
        assert int(head["content-length"]) == len(content["body"])
        return Answer(start["status"], head, content["body"])

    async def refresh(self, *lines: str, **params: str) -> int:
        """The id of a refresh that is taken."""
        answer = await self.call("RefreshObjectCaches", ObjectPath="\n".join(lines), **params)
        assert answer.status == 200, answer.content
        return int(answer.json["RefreshTaskId"].split(",")[0])

    async def push(self, *lines: str, **params: str) -> int:
        answer = await self.call("PushObjectCache", ObjectPath="\n".join(lines), **params)
        assert answer.status == 200, answer.content
        return int(answer.json["PushTaskId"].split(",")[0])

    async def settle(self, *edges: str, cursor: int, **progress: Any) -> None:
        for edge in edges:
            await self.log.settle(edge, Progress(cursor=cursor, begun=cursor, **progress))
