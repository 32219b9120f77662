"""Roles: who may take them, what a session may do, and for how long."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from freshline.access.policy import parse
from freshline.inventory.base import AccessKey, Account
from freshline.inventory.principals import Role, User
from tests.service import Answer, Service
from tests.unit.test_authorization import statement

DEPLOY = "acs:ram::1:role/deploy"


def house(*of_anna: dict[str, Any], may: str = "cdn:*") -> Service:
    """Account 1 has anna, who may take roles, and the role deploy, which may do all of the CDN."""
    return furnish(Service(), *of_anna, may=may)


def furnish(service: Service, *of_anna: dict[str, Any], may: str = "cdn:*") -> Service:
    principals = service.books.principals
    for name, statements in (("hers", of_anna or (statement("Allow", "sts:*"),)), ("its", (statement("Allow", may),))):
        document = json.dumps({"Version": "1", "Statement": list(statements)})
        principals.policies["1", name] = parse(document, name)
    principals.add(User("2000", "1", "anna", ("hers",)))
    principals.add(Role("3000", "1", "deploy", ("acs:ram::1:root",), ("its",)))
    principals.add(Role("3001", "2", "deploy", ("acs:ram::1:user/anna",), ("AliyunCDNFullAccess",), 7200))
    principals.add(Role("3002", "2", "closed", ("acs:ram::2:root",)))
    service.books.keys["anna"] = AccessKey("anna", "1", "annasecret", user="2000")
    return service


async def taken(
    service: Service, role: str = DEPLOY, key: str = "anna", secret: str = "annasecret", **more: str
) -> Answer:
    params = {"RoleArn": role, "RoleSessionName": "ci", **more}
    return await service.send(service.signed("AssumeRole", key, secret, version="2015-04-01", **params))


async def by(
    service: Service, credentials: dict[str, str], action: str, version: str = "2018-05-10", **params: str
) -> Answer:
    signed = service.signed(
        action, credentials["AccessKeyId"], credentials["AccessKeySecret"], version=version,
        token=credentials["SecurityToken"], **params,
    )  # fmt: skip
    return await service.send(signed)


async def test_a_role_is_taken() -> None:
    """The answer is as the SDK reads it, and what it holds works, signed in either way."""
    service = house()
    answer = await taken(service)
    body, credentials = answer.json, answer.json["Credentials"]

    assert list(body) == ["RequestId", "AssumedRoleUser", "Credentials"]
    assert body["AssumedRoleUser"] == {"Arn": f"{DEPLOY}/ci", "AssumedRoleId": "3000:ci"}
    assert credentials.keys() == {"SecurityToken", "AccessKeyId", "AccessKeySecret", "Expiration"}
    assert credentials["AccessKeyId"].startswith("STS.")
    assert credentials["Expiration"] == "2026-11-21T13:00:00Z"

    key, secret, token = (credentials[name] for name in ("AccessKeyId", "AccessKeySecret", "SecurityToken"))
    v1 = service.signed_v1(key=key, secret=secret, Action="DescribeRefreshQuota", Format="JSON", SecurityToken=token)
    assert (await by(service, credentials, "RefreshObjectCaches", ObjectPath="http://img.test/a")).status == 200
    assert (await service.send(v1)).status == 200
    other = await by(service, credentials, "RefreshObjectCaches", ObjectPath="http://foreign.test/a")
    assert other.error[1] == "InvalidDomain.NotFound"


async def test_in_xml() -> None:
    """Objects in objects."""
    answer = await taken(house(), Format="XML")

    assert answer.xml.tag == "AssumeRoleResponse"
    assert answer.xml.findtext("AssumedRoleUser/Arn") == f"{DEPLOY}/ci"
    assert (answer.xml.findtext("Credentials/AccessKeyId") or "").startswith("STS.")


async def test_a_session_is_its_role() -> None:
    """It may do what the role may, in the role's account, whatever its taker may."""
    service = house(may="cdn:Describe*")
    credentials = (await taken(service)).json["Credentials"]
    denied = await by(service, credentials, "RefreshObjectCaches", ObjectPath="http://img.test/a")
    detail = denied.json["AccessDeniedDetail"]
    who = (await by(service, credentials, "GetCallerIdentity", "2015-04-01")).json
    elsewhere = (await taken(service, "acs:ram::2:role/deploy")).json["Credentials"]

    assert (await by(service, credentials, "DescribeRefreshQuota")).status == 200
    assert denied.status == 403
    assert (detail["AuthPrincipalType"], detail["AuthPrincipalDisplayName"]) == ("AssumedRoleUser", "deploy:ci")
    assert (who["IdentityType"], who["Arn"], who["PrincipalId"]) == ("AssumedRoleUser", f"{DEPLOY}/ci", "3000:ci")
    assert (await by(service, elsewhere, "RefreshObjectCaches", ObjectPath="foreign.test/a")).status == 200
    assert (await by(service, elsewhere, "RefreshObjectCaches", ObjectPath="img.test/a")).status == 404


async def test_a_policy_for_the_session() -> None:
    """It may do what both allow: the role's policies, and the one it was begun with."""
    service = house(may="cdn:*")
    of_session = statement("Allow", "*", ["acs:cdn:*:*:domain/img.test", "acs:dcdn:*:*:*"])
    document = json.dumps({"Version": "1", "Statement": [of_session]}, indent=2)
    credentials = (await taken(service, Policy=document)).json["Credentials"]
    inside = await by(service, credentials, "RefreshObjectCaches", ObjectPath="http://img.test/a")
    outside = await by(service, credentials, "RefreshObjectCaches", ObjectPath="http://e.com/a")
    beyond = await by(service, credentials, "DescribeDcdnRefreshQuota", "2018-01-15")

    assert inside.status == 200
    assert outside.json["AccessDeniedDetail"]["PolicyType"] == "SessionPolicy"
    assert beyond.json["AccessDeniedDetail"]["PolicyType"] == "AccountLevelIdentityBasedPolicy"


async def test_it_ends() -> None:
    """When it says, to the second; and at once when the role is gone, even if there is one of its name again."""
    service = house()
    credentials = (await taken(service, DurationSeconds="900")).json["Credentials"]
    service.clock.seconds += 899
    assert (await by(service, credentials, "DescribeRefreshQuota")).status == 200
    service.clock.seconds += 1
    late = await by(service, credentials, "DescribeRefreshQuota")
    assert late.error == (400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")

    credentials = (await taken(service)).json["Credentials"]
    principals = service.books.principals
    old = principals.by_id.pop("3000")
    assert isinstance(old, Role)
    principals.add(replace(old, id="3009"))
    assert (await by(service, credentials, "DescribeRefreshQuota")).error[1] == "InvalidAccessKeyId.NotFound"


async def test_wrong_tokens() -> None:
    """No token, another's, a changed one, one beside a lasting key, and a key that stands twice and differs."""
    service = house()
    one, other = (await taken(service)).json["Credentials"], (await taken(service)).json["Credentials"]
    changed = {**one, "SecurityToken": one["SecurityToken"].swapcase()}
    lasting = {"AccessKeyId": "testid", "AccessKeySecret": "testsecret", "SecurityToken": one["SecurityToken"]}
    wrong = {**one, "AccessKeySecret": "x"}
    twice = service.signed(
        "DescribeRefreshQuota", one["AccessKeyId"], one["AccessKeySecret"], token=one["SecurityToken"]
    )
    twice.headers["x-acs-accesskey-id"] = "testid"

    async def code(credentials: dict[str, str]) -> str:
        code: str = (await by(service, credentials, "DescribeRefreshQuota")).error[1]
        return code

    assert await code({**one, "SecurityToken": ""}) == "MissingSecurityToken"
    assert await code({**one, "SecurityToken": other["SecurityToken"]}) == "InvalidSecurityToken.MismatchWithAccessKey"
    assert await code(changed) == "InvalidSecurityToken.Malformed"
    assert await code(lasting) == "InvalidSecurityToken.MismatchWithAccessKey"
    assert await code(wrong) == "SignatureDoesNotMatch"
    assert (await service.send(twice)).error[1] == "InvalidSecurityToken.MismatchWithAccessKey"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"RoleArn": "deploy"}, (400, "InvalidParameter.RoleArn")),
        ({"RoleArn": "acs:ram::1:user/anna"}, (400, "InvalidParameter.RoleArn")),
        ({"RoleArn": "acs:ram::1:role/deploy/x"}, (400, "InvalidParameter.RoleArn")),
        ({"RoleArn": "acs:ram::1:role/nobody"}, (404, "EntityNotExist.Role")),
        ({"RoleArn": "acs:ram::2:role/nobody"}, (403, "NoPermission")),
        ({"RoleArn": "acs:ram::2:role/closed"}, (403, "NoPermission")),
        ({"RoleArn": ""}, (400, "MissingRoleArn")),
        ({"RoleSessionName": "x"}, (400, "InvalidParameter.RoleSessionName")),
        ({"RoleSessionName": "x y"}, (400, "InvalidParameter.RoleSessionName")),
        ({"RoleSessionName": "x" * 65}, (400, "InvalidParameter.RoleSessionName")),
        ({"RoleSessionName": ""}, (400, "MissingRoleSessionName")),
        ({"DurationSeconds": "899"}, (400, "InvalidParameter.DurationSeconds")),
        ({"DurationSeconds": "3601"}, (400, "InvalidParameter.DurationSeconds")),
        ({"DurationSeconds": "an hour"}, (400, "InvalidParameter.DurationSeconds")),
        ({"Policy": "{}"}, (400, "InvalidParameter.PolicyGrammar")),
        ({"Policy": "[" * 2048}, (400, "InvalidParameter.PolicyGrammar")),
        ({"Policy": " " * 2049}, (400, "InvalidParameter.PolicySize")),
        ({"RoleArn": "acs:ram::2:role/deploy", "DurationSeconds": "7200"}, (200, None)),
        ({"RoleArn": "ACS:ram::1:role/deploy"}, (400, "InvalidParameter.RoleArn")),
        ({"RoleArn": "acs:ram::1:role/DEPLOY", "RoleSessionName": "a@b.c-d_e"}, (200, None)),
    ],
)
async def test_what_is_asked_for(params: dict[str, str], expected: tuple[int, str | None]) -> None:
    """Every mistake by its name; and nobody learns which roles another account has."""
    answer = await taken(house(), **{"role": DEPLOY, **params} if "RoleArn" not in params else params)

    assert (answer.status, answer.json.get("Code")) == expected


async def test_who_may() -> None:
    """Not the account itself; not a user whose policies say nothing of it; a session, where it is trusted."""
    service = house(statement("Allow", "sts:AssumeRole", "acs:ram::*:role/de*"), may="sts:*")
    root = await taken(service, key="testid", secret="testsecret")
    denied = await taken(service, "acs:ram::1:role/other")
    credentials = (await taken(service)).json["Credentials"]
    again = await by(service, credentials, "AssumeRole", "2015-04-01", RoleArn=DEPLOY, RoleSessionName="again")

    assert root.error == (403, "NoPermission", "Roles may not be assumed by root accounts.")
    assert denied.status == 403
    assert denied.json["Message"] == (
        "You are not authorized to do this action. Resource: acs:ram::1:role/other Action: sts:AssumeRole"
    )
    assert denied.json["AccessDeniedDetail"]["AuthAction"] == "sts:AssumeRole"
    assert again.status == 200


async def test_who_one_is() -> None:
    """Everybody may ask, policies or not."""
    service = house(statement("Deny", "*"))

    async def who(key: str, secret: str) -> dict[str, str]:
        answer = await service.send(service.signed("GetCallerIdentity", key, secret, version="2015-04-01"))
        body: dict[str, str] = answer.json
        return body

    root, anna = await who("testid", "testsecret"), await who("anna", "annasecret")
    assert (root["IdentityType"], root["Arn"], root["AccountId"]) == ("Account", "acs:ram::1:root", "1")
    assert (anna["IdentityType"], anna["Arn"], anna["UserId"]) == ("RAMUser", "acs:ram::1:user/anna", "2000")


async def test_a_suspended_account_has_no_sessions() -> None:
    """What holds for its keys holds for these."""
    service = house()
    credentials = (await taken(service)).json["Credentials"]
    service.books.accounts["1"] = Account("1", "one", enabled=False)

    assert (await by(service, credentials, "DescribeRefreshQuota")).error[1] == "OperationDenied.Suspended"
