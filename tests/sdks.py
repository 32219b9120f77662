"""The official SDKs as callers: any operation by its name, parameters by the contract's names, answers as our tests
compare them.

Each SDK is used as its documents say, unmodified: its own request class, its own client, its own exceptions. What an
SDK has no word for it cannot send; then it :class:`Lacks`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

from freshline.spec.model import Operation

PACKAGES = {  # of the SDKs of today, by version
    "2018-05-10": "cdn20180510",
    "2018-01-15": "dcdn20180115",
    "2017-11-15": "scdn20171115",
    "2017-03-21": "vod20170321",
    "2024-09-10": "esa20240910",
    "2015-04-01": "sts20150401",
}
PLAIN = (str, int, bool, "str", "int", "bool")  #: some SDKs put off their annotations
NODE = ("2018-05-10", "2018-01-15")  #: versions whose Node SDK is tried


class Lacks(Exception):
    """The SDK cannot say this; ``args[0]`` is what it has no word for."""


@dataclass(frozen=True)
class Caller:
    key: str = "testid"
    secret: str = "testsecret"
    token: str = ""


@dataclass(frozen=True)
class Outcome:
    """An answer as its SDK gives it."""

    status: int
    code: str = ""
    message: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    known: frozenset[str] | None = None  #: fields of the body that the SDK's type has; ``None``: it has no type


class Sdk(Protocol):
    name: str

    def has(self, op: Operation) -> bool:
        """Whether it is an SDK of the operation's product and version."""
        ...

    def call(self, address: str, op: Operation, params: Mapping[str, str], caller: Caller) -> Outcome:
        """:raises Lacks:"""
        ...


# -- alibabacloud_*: Python, all products of today --------------------------------------
@dataclass(frozen=True)
class Python:
    signing: str

    @property
    def name(self) -> str:
        return f"python-{self.signing}"

    def has(self, op: Operation) -> bool:
        return op.product.version in PACKAGES

    def call(self, address: str, op: Operation, params: Mapping[str, str], caller: Caller) -> Outcome:
        package = f"alibabacloud_{PACKAGES[op.product.version]}"
        models = importlib.import_module(f"{package}.models")
        client = _python_client(package, address, self.signing, caller)
        method = getattr(client, _snake(op.action), None)
        if method is None:
            raise Lacks(op.action)
        make = getattr(models, f"{op.action}Request", None)  # some take nothing
        try:
            answer = method(_request(make, params)) if make is not None else method()
        except AlibabaCloudException as error:
            return Outcome(error.status_code, error.code, error.message)
        known = frozenset(_fields(type(answer.body)))
        return Outcome(answer.status_code, body=answer.body.to_map(), known=known)


@cache
def _python_client(package: str, address: str, signing: str, caller: Caller) -> Any:
    config = Config(
        access_key_id=caller.key,
        access_key_secret=caller.secret,
        security_token=caller.token or None,
        endpoint=address,
        protocol="http",
    )
    if signing == "v1":
        config.signature_algorithm = "v2"  # sic: the SDK's own name for it
    return importlib.import_module(f"{package}.client").Client(config)


def _request(make: Any, params: Mapping[str, str]) -> Any:
    types, fields = inspect.signature(make.__init__).parameters, _fields(make)
    given: dict[str, Any] = {}
    for name, text in params.items():
        if name not in fields:
            raise Lacks(name)
        value: Any = text
        if types[fields[name]].annotation not in PLAIN:  # lists and objects, which it writes as JSON itself
            try:
                value = json.loads(text)
            except ValueError:
                raise Lacks(f"{name} that is no JSON") from None
            if not isinstance(value, list | dict):
                raise Lacks(f"{name} that is no list or object")
        given[name] = value
    return make().from_map(given)


@cache
def _fields(type_: Any) -> dict[str, str]:
    """The contract's names that a type of the SDK has, and its own for them."""
    source = inspect.getsource(type_.from_map)
    found: dict[str, str] = {}
    for theirs, own in re.findall(r"m\.get\('([^']+)'\)(?=[^\n]*\n(?:[^\n]*\n)??\s+self\.(\w+))", source):
        found.setdefault(theirs, own)
    return found


def _snake(action: str) -> str:
    return "".join(f"_{ch.lower()}" if ch.isupper() else ch for ch in action).lstrip("_")


# -- aliyun-python-sdk-cdn: Python, V1 --------------------------------------------------
@dataclass(frozen=True)
class Legacy:
    name: str = "legacy"

    def has(self, op: Operation) -> bool:
        return op.product.version == "2018-05-10"

    def call(self, address: str, op: Operation, params: Mapping[str, str], caller: Caller) -> Outcome:
        module = f"aliyunsdkcdn.request.v{op.product.version.replace('-', '')}.{op.action}Request"
        if importlib.util.find_spec(module) is None:
            raise Lacks(op.action)
        request = getattr(importlib.import_module(module), f"{op.action}Request")()
        request.set_endpoint(address)
        for name, text in params.items():
            setter = getattr(request, f"set_{name}", None)
            if setter is None:
                raise Lacks(name)
            setter(text)
        return _do(request, caller)


@dataclass(frozen=True)
class Common:
    """The same SDK's request for anything: for what has no SDK of its own, by name."""

    name: str = "common"

    def has(self, op: Operation) -> bool:
        return op.product.version == "2014-11-11" or (op.product.version, op.action) == (
            "2017-03-21",
            "DescribeRefreshTasks",
        )

    def call(self, address: str, op: Operation, params: Mapping[str, str], caller: Caller) -> Outcome:
        request = CommonRequest(domain=address, version=op.product.version, action_name=op.action)
        request.set_method(max(op.methods))
        request.set_protocol_type("http")
        for name, text in params.items():
            request.add_query_param(name, text)
        return _do(request, caller)


def _do(request: Any, caller: Caller) -> Outcome:
    token = StsTokenCredential(caller.key, caller.secret, caller.token) if caller.token else None
    keys = {} if token else {"ak": caller.key, "secret": caller.secret}
    client = AcsClient(region_id="cn-hangzhou", credential=token, auto_retry=False, timeout=30, **keys)
    try:
        return Outcome(200, body=json.loads(client.do_action_with_exception(request)))
    except ServerException as error:
        return Outcome(error.get_http_status(), error.get_error_code(), error.get_error_msg())


# -- @alicloud/*: Node --------------------------------------------------------------------
@dataclass(frozen=True)
class Node:
    """Through tests/node/sdk.js, one process for all calls."""

    process: subprocess.Popen[str]
    signing: str

    @property
    def name(self) -> str:
        return f"node-{self.signing}"

    def has(self, op: Operation) -> bool:
        return op.product.version in NODE

    def call(self, address: str, op: Operation, params: Mapping[str, str], caller: Caller) -> Outcome:
        assert self.process.stdin is not None and self.process.stdout is not None
        asked = {
            "sdk": PACKAGES[op.product.version],
            "call": op.action[0].lower() + op.action[1:],
            "params": dict(params),
            "key": caller.key,
            "secret": caller.secret,
            "token": caller.token or None,
            "signing": "v2" if self.signing == "v1" else "",
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        if "lacks" in said:
            raise Lacks(said["lacks"])
        if "error" in said:
            error = said["error"]
            return Outcome(error["statusCode"], error["code"], error["message"])
        return Outcome(200, body=said["body"])
