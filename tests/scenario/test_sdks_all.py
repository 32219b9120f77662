"""The official SDKs, unmodified, through every operation and every error a client can provoke.

Made from the tables, like tests/unit/test_faults.py, and by the same ways (tests/ways.py); only that a real server
answers, and that it is an SDK who asks. An operation that an SDK does not have, or an error that it cannot provoke,
is named here with the reason, or fails.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import uvicorn

from freshline.access.limits import Limits
from freshline.api.app import Settings
from freshline.api.asgi import Receive, Scope, Send
from freshline.api.connection import connections
from freshline.domain.errors import Fault
from freshline.inventory import session
from freshline.inventory.session import Session
from freshline.log.base import LogUnavailable
from freshline.spec import model
from freshline.spec.model import Operation
from tests import ways
from tests.scenario.test_sdks import node_modules
from tests.sdks import Caller, Common, Lacks, Legacy, Node, Outcome, Python, Sdk
from tests.service import NOON, UNTHROTTLED, Answer, Service
from tests.unit.test_roles import DEPLOY, furnish
from tests.ways import WAYS, declared, least

__all__ = ["node_modules"]

CENTURY_SECONDS = 100 * 365 * 86_400  #: SDKs have the world's clock, and these services one of their own
SPEC = model.load()

#: What an SDK is older, or newer, than.
NOT_IN = {
    ("legacy", "2018-05-10", "RefreshObjectCacheByCacheTag"),
    ("python", "2017-03-21", "DescribeRefreshTasks"),
    ("node", "2018-01-15", "RefreshErObjectCachesByCacheTag"),
}
BY_ID = {"ObjectPath", "DomainName", "ObjectType", "Status", "StartTime", "EndTime"}
#: Parameters that documents have, and no request class of any SDK.
WORDLESS = {
    "AddVodDomain": {"ResourceGroupId"},
    "UpdateVodDomain": {"ResourceGroupId"},
    "DescribeCdnService": {"InternetChargeType"},
    "DescribeDcdnService": {"InternetChargeType"},
    "DescribePreloadDetailById": {"DomainName"},
    "DescribeRefreshTaskById": BY_ID,
    "DescribeDcdnRefreshTaskById": BY_ID,
    "RefreshErObjectCaches": {"Stations"},
    "RefreshErObjectCachesByCacheTag": {"ObjectType", "Stations"},
    "RefreshObjectCacheByCacheTag": {"ObjectType", "Stations"},
    "RefreshDcdnObjectCacheByCacheTag": {"ObjectType", "Stations"},
}
BY_HAND = "requests that are written by hand"  #: a parameter twice, bytes that are no text
UNREADABLE = re.compile(r"\w+ that is no (JSON|list or object)\Z")  #: SDKs write that JSON themselves
ROOT, ANNA = Caller(), Caller("anna", "annasecret")
STS_LEAST = {"AssumeRole": {"RoleArn": DEPLOY, "RoleSessionName": "ci"}, "GetCallerIdentity": {}}


class Door:
    """One server for all tests, before the service of the moment."""

    def __init__(self) -> None:
        self.address = ""
        self.service: Service | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.service is not None
        await self.service.app(scope, receive, send)

    def reject(self, fault: Fault, query: bytes, lines: list[tuple[bytes, bytes]], limit: str) -> Any:
        assert self.service is not None
        return self.service.app.reject(fault, query, lines, limit)

    def at_once(self, *request: Any) -> Any:
        assert self.service is not None
        return self.service.app.at_once(*request)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    door = Door()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        door.address = "{}:{}".format(*listener.getsockname())
        config = uvicorn.Config(
            door, http=connections(door), loop="uvloop", lifespan="off", log_level="error", access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield door
        server.should_exit = True
        thread.join()


@contextmanager
def node_process(address: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    command = ["node", str(home / "sdk.js"), address]
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


SDKS = ["python-v3", "python-v1", "legacy", "common", "node-v3", "node-v1"]


@pytest.fixture(scope="module", params=SDKS)
def sdk(request: pytest.FixtureRequest, door: Door) -> Iterator[Sdk]:
    kind, _, signing = request.param.partition("-")
    if kind == "node":
        with node_process(door.address, request.getfixturevalue("node_modules")) as process:
            yield Node(process, signing)
    else:
        yield {"python": Python(signing), "legacy": Legacy(), "common": Common()}[kind]


class Told(Service):
    """A service behind the door, asked by an SDK."""

    def __init__(self, door: Door, sdk: Sdk, limits: Limits = UNTHROTTLED, **more: Any) -> None:
        super().__init__(replace(limits, window_seconds=CENTURY_SECONDS), **more)
        self._door, self._sdk = door, sdk
        self.said: Outcome | None = None

    async def ask(self, operation: Operation, caller: Caller = ROOT, **params: str) -> Answer:
        self._door.service = self
        params.pop("Format", None)  # every SDK has its own mind about that
        self.said = said = self._sdk.call(self._door.address, operation, params, caller)
        return Answer(said.status, {}, b"")

    def signed_v1(self, *_: Any, **params: str) -> Any:
        raise Lacks("requests that are written by hand")


@dataclass
class Teller:
    """Makes services that the SDK asks, and remembers the last."""

    door: Door
    sdk: Sdk
    made: Told | None = None

    def __call__(self, limits: Limits = UNTHROTTLED, **more: Any) -> Told:
        self.made = Told(self.door, self.sdk, limits, **more)
        return self.made

    def last(self) -> Outcome | None:
        return self.made and self.made.said


@pytest.fixture(scope="module")
def told(door: Door, sdk: Sdk) -> Teller:
    return Teller(door, sdk)


def of(sdk: Sdk) -> list[Operation]:
    """The operations of its products."""
    return [op for op in SPEC if sdk.has(op) and not _misses(sdk, op)]


def _misses(sdk: Sdk, op: Operation) -> bool:
    return (sdk.name.partition("-")[0], op.product.version, op.action) in NOT_IN


def test_every_operation_has_an_sdk() -> None:
    """None is served that no client of the vendor's asks for; and what an SDK is said not to have it has not."""
    sdks: list[Sdk] = [Python("v3"), Legacy(), Common()]

    for op in SPEC:
        assert any(sdk.has(op) and not _misses(sdk, op) for sdk in sdks), op.action
        for sdk in sdks:
            if sdk.has(op) and _misses(sdk, op):
                with pytest.raises(Lacks):
                    sdk.call("127.0.0.1:1", op, {}, Caller())


async def test_every_operation(sdk: Sdk, told: Teller) -> None:
    """The least that it takes, by its own request class, and an answer in its own type with every field it knows."""
    for op in of(sdk):
        service, caller = told(), Caller()
        if op.product.service == "sts":
            furnish(service)
            caller = ANNA
        await service.ask(op, caller, **(STS_LEAST[op.action] if op.product.service == "sts" else least(op)))
        said = service.said
        assert said is not None and said.status == 200, (op.action, said)

        fields = {field.name for field in op.result.fields}
        if said.known is not None:
            assert fields <= said.known, op.action
        assert fields <= said.body.keys(), op.action


@pytest.mark.parametrize("sdk", [name for name in SDKS if not name.endswith("v1")], indirect=True)
async def test_every_error(sdk: Sdk, told: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that an operation's table declares, as the SDK's own exception with code, status and message.

    How a call is signed makes no difference to what it asks for.
    """
    monkeypatch.setattr(ways, "Service", told)
    told_of = 0
    for op in of(sdk):
        for fault in declared(op) if op.product.service != "sts" else ():
            try:
                await WAYS[fault](op, "JSON")
            except Lacks as lacks:
                what = str(lacks)
                assert (
                    what == BY_HAND or UNREADABLE.match(what) or set(what.split(",")) <= WORDLESS.get(op.action, set())
                ), (op.action, fault, what)
                continue
            is_row(told.last(), op, fault)
            told_of += 1

    assert told_of > 50


STS_ERRORS = {
    Fault.ROLE_ARN_WRONG: {"RoleArn": "deploy"},
    Fault.ROLE_UNKNOWN: {"RoleArn": "acs:ram::1:role/nobody"},
    Fault.ROLE_UNTRUSTING: {"RoleArn": "acs:ram::2:role/closed"},
    Fault.ROLE_FOR_USERS: {},
    Fault.SESSION_NAME_WRONG: {"RoleSessionName": "x y"},
    Fault.DURATION_WRONG: {"DurationSeconds": "899"},
    Fault.POLICY_WRONG: {"Policy": "{}"},
    Fault.POLICY_TOO_LONG: {"Policy": " " * 2049},
}


@pytest.mark.parametrize("sdk", ["python-v3", "python-v1"], indirect=True)
async def test_every_error_of_a_role(sdk: Sdk, told: Teller) -> None:
    """AssumeRole refuses as its table says. The other SDKs are of other products."""
    op = SPEC.products["2015-04-01"].operations["AssumeRole"]
    assert sdk.has(op)
    assert STS_ERRORS.keys() >= op.own_faults
    for fault, params in STS_ERRORS.items():
        service = told()
        furnish(service)
        caller = Caller() if fault is Fault.ROLE_FOR_USERS else ANNA
        await service.ask(op, caller, **{**STS_LEAST["AssumeRole"], **params})
        is_row(service.said, op, fault, role=params.get("RoleArn", ""))


async def test_every_error_of_who_calls(sdk: Sdk, told: Teller) -> None:
    """Keys, sessions, clocks, policies, and troubles of ours, in each product's SDK."""
    ops = {op.product.version: op for op in of(sdk) if op.handler in ("refresh", "purge")}
    for op in ops.values():
        for fault, (prepare, caller) in CALLERS.items():
            service = told()
            if fault is Fault.TIMESTAMP_EXPIRED:
                service.app._authentication._window_seconds = 900
            given = prepare(service) or caller
            await service.ask(op, given, **least(op))
            said = service.said
            if fault is Fault.SIGNATURE_WRONG and sdk.name == "legacy":
                # The SDK finds its own string to sign in the answer, and so knows that the secret is wrong.
                assert said is not None and said.code == "InvalidAccessKeySecret"
            else:
                is_row(said, op, fault, string_to_sign="")


def _session(service: Told, ends: float) -> Caller:
    furnish(service)
    made = Session("STS.x", "secret", "3000", "ci", int(ends))
    return Caller(made.key_id, made.secret, session.seal(made, service.books.tokens))


def _inactive(service: Told) -> None:
    service.books.keys["testid"] = replace(service.books.keys["testid"], active=False)


def _broken(trouble: Exception) -> Callable[[Told], None]:
    async def append(*_: Any, **__: Any) -> Any:
        raise trouble

    def prepare(service: Told) -> None:
        patch.object(service.log, "append", append).start()  # for as long as there is that service

    return prepare


def _as_it_is(service: Told) -> None: ...


CALLERS: dict[Fault, tuple[Callable[[Told], Caller | None], Caller]] = {
    Fault.KEY_UNKNOWN: (_as_it_is, Caller("nobody")),
    Fault.KEY_INACTIVE: (_inactive, Caller()),
    Fault.TIMESTAMP_EXPIRED: (lambda service: service.clock.__setattr__("seconds", 0.0), Caller()),
    Fault.SIGNATURE_WRONG: (_as_it_is, Caller(secret="wrong")),
    Fault.TOKEN_MISMATCH: (_as_it_is, Caller(token="AAAA")),
    Fault.TOKEN_MALFORMED: (_as_it_is, Caller("STS.x", "secret", "AAAA")),
    Fault.TOKEN_EXPIRED: (lambda service: _session(service, NOON - 1), Caller()),
    Fault.FORBIDDEN: (lambda service: furnish(service) and None, ANNA),
    Fault.UNAVAILABLE: (_broken(LogUnavailable("the disk is full")), Caller()),
    Fault.INTERNAL: (_broken(ZeroDivisionError()), Caller()),
}


async def test_over_https_only(sdk: Sdk, told: Teller) -> None:
    """Where that is enforced, over http it is refused."""
    for op in of(sdk):
        if "http" not in op.protocols and op.product.service != "sts":
            service = told(settings=Settings(enforce_protocols=True))
            await service.ask(op, **least(op))
            is_row(service.said, op, Fault.NEEDS_TLS)


def is_row(said: Outcome | None, op: Operation, fault: Fault, **words: str) -> None:
    row, words = op.faults[fault], {"title": op.product.title, "param": "", **words}
    where = (op.product.version, op.action, fault)
    assert said is not None
    assert (said.status, said.code) == (row.status, row.code.format_map(words)), (where, said)
    assert row.message.format_map(words) in said.message, (where, said)
