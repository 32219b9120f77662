"""Who may do what: accounts, services, users and their policies, as callers meet them."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.access.limits import Limits
from freshline.access.policy import parse
from freshline.api import authorization
from freshline.api.app import Settings
from freshline.api.authorization import DIAGNOSIS
from freshline.api.peer import Peers
from freshline.domain import target
from freshline.domain.errors import Fault
from freshline.inventory.base import AccessKey, Account
from freshline.inventory.principals import User
from freshline.operations.submit import READERS
from freshline.setting import split_networks
from freshline.spec import model
from freshline.wire.request import Request
from tests.service import UNTHROTTLED, Answer, Service
from tests.ways import OPERATIONS, least

FORBIDDEN = "User not authorized to operate on the specified resource, or this API doesn't support RAM."


def statement(effect: str, action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, "Condition": condition}


def with_user(*statements: dict[str, Any], settings: Settings | None = None, limits: Limits = UNTHROTTLED) -> Service:
    """A service whose account 1 has a user, ``anna``, with one policy."""
    service = Service(limits, settings)
    principals = service.books.principals
    document = json.dumps({"Version": "1", "Statement": list(statements)})
    principals.policies["1", "hers"] = parse(document, "hers")
    principals.add(User("2000", "1", "anna", ("hers",)))
    service.books.keys["anna"] = AccessKey("anna", "1", "annasecret", user="2000")
    return service


async def by_anna(service: Service, action: str, **params: str) -> Answer:
    return await service.call(action, "anna", "annasecret", **params)


async def refreshed(service: Service, *lines: str, **params: str) -> int:
    """The status of a refresh by anna."""
    return (await by_anna(service, "RefreshObjectCaches", ObjectPath="\n".join(lines), **params)).status


async def test_denied() -> None:
    """Who was denied what and by what kind of policy is in the answer; by which one, only the operator can read."""
    service = with_user(statement("Allow", "cdn:Describe*"))
    answer = await by_anna(service, "RefreshObjectCaches", ObjectPath="http://img.test/a")
    body = answer.json
    detail = body.pop("AccessDeniedDetail")
    sealed = b64decode(detail.pop("EncodedDiagnosticMessage"))
    diagnosis = json.loads(service.books.tokens.unlock(sealed, DIAGNOSIS))

    assert (answer.status, body["Code"], body["Message"]) == (403, "Forbidden.RAM", FORBIDDEN)
    assert list(body) == ["RequestId", "HostId", "Code", "Message", "Recommend"]
    assert detail == {
        "AuthAction": "cdn:RefreshObjectCaches",
        "AuthPrincipalType": "SubUser",
        "AuthPrincipalOwnerId": "1",
        "AuthPrincipalDisplayName": "2000",
        "NoPermissionType": "ImplicitDeny",
        "PolicyType": "AccountLevelIdentityBasedPolicy",
    }
    assert diagnosis["RequestId"] == body["RequestId"]
    assert diagnosis["AuthResource"] == "acs:cdn:*:1:domain/img.test"
    assert diagnosis["AuthPrincipal"] == "acs:ram::1:user/anna"
    assert service.log.head == 0


async def test_denied_explicitly_in_xml() -> None:
    """The same in XML, and which statement it was."""
    service = with_user(statement("Allow", "*"), statement("Deny", "cdn:*quota"))
    answer = await by_anna(service, "DescribeRefreshQuota", Format="XML")
    detail = answer.xml.find("AccessDeniedDetail")
    assert detail is not None
    sealed = b64decode(detail.findtext("EncodedDiagnosticMessage") or "")
    diagnosis = json.loads(service.books.tokens.unlock(sealed, DIAGNOSIS))

    assert answer.status == 403
    assert [child.tag for child in answer.xml][-1] == "AccessDeniedDetail"
    assert detail.findtext("NoPermissionType") == "ExplicitDeny"
    assert (diagnosis["Policy"], diagnosis["Statement"]) == ("hers", 2)


async def test_status_is_a_setting() -> None:
    """Some of the vendor's services say 400."""
    service = with_user(statement("Deny", "*"), settings=Settings(forbidden_status=400))

    assert (await by_anna(service, "DescribeRefreshQuota")).status == 400


@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_operation_asks(name: str) -> None:
    """No operation is open to a user without a policy, and each is to one with its action alone."""
    op = OPERATIONS[name]
    action = f"{op.product.service}:{op.action}"
    for statements, expected in (
        ([statement("Deny", "sts:*")], Fault.FORBIDDEN),
        ([statement("Allow", action)], None),
        ([statement("Allow", "*"), statement("Deny", action.upper())], Fault.FORBIDDEN),
        ([statement("Allow", "*", f"acs:{op.product.service}:*:1:*")], None),
        ([statement("Allow", "*", f"acs:{op.product.service}:*:2:*")], Fault.FORBIDDEN),
    ):
        service = with_user(*statements)
        signed = service.signed(
            op.action, "anna", "annasecret", version=op.product.version, method=max(op.methods), **least(op)
        )
        answer = await service.send(signed)
        assert (answer.status, answer.json.get("Code")) == (
            (200, None) if expected is None else op.faults[expected][:2]
        ), statements


async def test_domains() -> None:
    """Every domain a call names has to be allowed, in whatever way it is written."""
    service = with_user(statement("Allow", "cdn:*", ["acs:cdn:*:*:domain/img.test", "acs:cdn:*:1:domain/d?.test"]))

    assert await refreshed(service, "http://img.test/a", "HTTPS://IMG.test:80/b", "d1.test/c,d", "") == 200
    assert await refreshed(service, "http://img.test/.*", ObjectType="Regex") == 200
    assert await refreshed(service, "http://img.test/a", "http://d10.test/b") == 403
    assert await refreshed(service, "http://e.com/img.test") == 403
    assert await refreshed(service, "http://img.test@e.com/") == 403
    assert await refreshed(service, "http://img.test/a\r\nhttp://e.com/") == 403
    assert await refreshed(service, "img.test", "*.test/a") == 403
    assert await refreshed(service, *(f"x{n}.test/" for n in range(1500))) == 403
    assert (await by_anna(service, "RefreshObjectCaches")).status == 403
    assert (await by_anna(service, "PushObjectCache", ObjectPath="http://img.test/a")).status == 200
    assert (await by_anna(service, "PushObjectCache", ObjectPath="http://e.com/a")).status == 403


async def test_a_domain_that_is_denied() -> None:
    """No spelling of a line, and no number of spellings, gets around a Deny."""
    denied = statement("Deny", "*", "acs:cdn:*:*:domain/img.test")
    service = with_user(statement("Allow", "*"), denied)
    many = replace(UNTHROTTLED, urls_per_call=5000, per_call=UNTHROTTLED.per_call | {"url": 5000})
    crowded = with_user(statement("Allow", "*"), denied, limits=many)

    assert await refreshed(service, "http://img.test/a") == 403
    assert await refreshed(service, "HTTPS://IMG.test:8443/a") == 403
    assert await refreshed(service, "http\u017f://img.test/x|/.*", ObjectType="Regex") == 400
    assert await refreshed(crowded, *(f"img.test:{port}/a" for port in range(1, 1500))) == 403
    assert await refreshed(crowded, *(f"e.com:{port}/a" for port in range(1, 1500))) == 200


async def test_domains_that_are_asked_about() -> None:
    """Tasks of a domain may be listed by who may touch that domain; tasks of all, by who may touch all."""
    service = with_user(statement("Allow", "cdn:*", "acs:cdn:*:*:domain/img.test"))
    of = {"ObjectType": "file"}

    assert (await by_anna(service, "DescribeRefreshTasks", DomainName="img.test", **of)).status == 200
    assert (await by_anna(service, "DescribeRefreshTasks", DomainName="img.test,e.com", **of)).status == 403
    assert (await by_anna(service, "DescribeRefreshTasks")).status == 403
    assert (await by_anna(service, "DescribeRefreshTaskById", TaskId="1")).status == 403


async def test_numbers() -> None:
    """A number is one number however it is written."""
    op = next(op for op in OPERATIONS.values() if op.resource.endswith("/{SiteId}"))
    asked = {
        text: [*authorization.resources(op, "1", Request("GET", b"SiteId=" + text))]
        for text in (b"7", b"007", b"x", b"")
    }

    assert asked[b"7"] == asked[b"007"] == [f"acs:{op.product.service}:*:1:site/7"]
    assert asked[b"x"] == asked[b""] == [f"acs:{op.product.service}:*:1:site/*"]


LINES = st.lists(
    st.sampled_from(["http://", "HTTPS://", "ftp://", "img.test", "E.com", ":80", "/", "?", "a.*", "#", "@", ",", "\r",
                     "*", "//", " ", "http:", "http\u017f://", "\u212a", "é", "\x00", "x" * 260]),
    max_size=7,
).map("".join)  # fmt: skip


@given(LINES, st.sampled_from(sorted(READERS)))
def test_reads_lines_as_the_handlers_do(line: str, kind: Any) -> None:
    """Whatever a handler makes of a line, it is for that domain that permission was asked."""
    op = OPERATIONS["2018-05-10.RefreshObjectCaches"]
    asked = authorization.resources(op, "1", Request("GET", b"", {b"authorization": b""}))
    assert list(asked) == ["acs:cdn:*:1:domain/*"]
    for each in line.replace("\r\n", "\n").split("\n"):
        try:
            domain = READERS[kind](each)
        except (target.BadTarget, UnicodeError):
            continue
        assert authorization._named("lines", line) == [domain]


async def test_conditions() -> None:
    """The address, the time and the way a call comes are what policies can ask for."""
    here = statement("Allow", "*", IpAddress={"acs:SourceIp": "10.0.0.0/8"})
    early = statement("Allow", "*", DateLessThan={"acs:CurrentTime": "2026-11-21T12:00:01Z"})
    secure = statement("Allow", "*", Bool={"acs:SecureTransport": "true"})
    strong = statement("Allow", "*", Bool={"acs:MFAPresent": "true"})
    late = with_user(early)

    assert (await by_anna(with_user(here), "DescribeRefreshQuota")).status == 403
    assert (await by_anna(late, "DescribeRefreshQuota")).status == 200
    late.clock.seconds += 1
    assert (await by_anna(late, "DescribeRefreshQuota")).status == 403
    assert (await by_anna(with_user(secure), "DescribeRefreshQuota")).status == 403
    assert (await by_anna(with_user(strong), "DescribeRefreshQuota")).status == 403


async def test_the_account_itself() -> None:
    """No policy limits the account, and none reaches into another one."""
    service = with_user(statement("Deny", "*"))

    assert (await service.call("DescribeRefreshQuota")).status == 200


async def test_a_policy_of_another_account() -> None:
    """Names of policies are the account's own."""
    service = with_user(statement("Allow", "*"))
    service.books.principals.add(User("2001", "2", "bert", ("hers", "AliyunCDNReadOnlyAccess")))
    service.books.keys["bert"] = AccessKey("bert", "2", "bertsecret", user="2001")

    assert (await service.call("DescribeRefreshQuota", "bert", "bertsecret")).status == 200
    denied = await service.call("RefreshObjectCaches", "bert", "bertsecret", ObjectPath="http://foreign.test/")
    assert denied.status == 403


async def test_a_user_that_is_gone() -> None:
    """A key whose user is gone is no key."""
    service = with_user(statement("Allow", "*"))
    service.books.principals.by_id.clear()

    assert (await by_anna(service, "DescribeRefreshQuota")).error[:2] == (404, "InvalidAccessKeyId.NotFound")


@pytest.mark.parametrize("name", [product.version for product in model.load().products.values()])
async def test_services(name: str) -> None:
    """A service that is not opened, or was taken away, is refused in its name; the others are not."""
    op = next(op for op in model.load() if op.product.version == name)
    service, of = Service(), op.product
    service.books.accounts["1"] = Account("1", "one", closed=frozenset({of.service}))
    closed = await service.ask(op, **(least(op) if op in OPERATIONS.values() else {}))
    service.books.accounts["1"] = Account("1", "one", suspended=frozenset({of.service}))
    suspended = await service.ask(op, **(least(op) if op in OPERATIONS.values() else {}))
    service.books.accounts["1"] = Account("1", "one", closed=frozenset({"other"}), suspended=frozenset({"another"}))

    assert closed.error == (403, "OperationDenied", f"Your account does not open {of.title} service yet.")
    assert suspended.error == (403, "OperationDenied.Suspended", f"Your {of.title} service is suspended.")
    assert (await service.call("DescribeRefreshQuota")).status == 200


# -- where calls come from --------------------------------------------------------------
PROXIES = split_networks("10.0.0.0/8, 2001:db8::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "unknown, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "fe80::1%" + "x" * 100_000, "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8::1", "2001:0db8::0002", "2001:db8::2"),
    ],
)
def test_source(peer: str, forwarded: str, source: str) -> None:
    """Proxies are believed from the right, as far as they are trusted; with none trusted, nobody is."""
    scope = {"client": (peer, 1), "scheme": "http"}
    headers = {b"x-forwarded-for": forwarded.encode(), b"x-forwarded-proto": b"https"}

    assert Peers(PROXIES).source(scope, headers) == source
    assert Peers().source(scope, headers) == peer.removeprefix("::ffff:")
    assert Peers(PROXIES).secure(scope, headers) is (peer != "192.0.2.1")
    assert not Peers().secure(scope, headers)
    assert Peers().secure({**scope, "scheme": "https"}, {})


def test_source_unknown() -> None:
    """On a socket without addresses there is none."""
    assert Peers(PROXIES).source({"client": None}, {b"x-forwarded-for": b"10.0.0.1"}) == ""
