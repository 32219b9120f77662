"""What every call goes through before anyone looks at what it wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from freshline.access.limits import Limits
from freshline.api.app import Settings
from freshline.domain.task import Task
from freshline.inventory.base import AccessKey, Account
from freshline.wire import signature
from freshline.wire.render import Format
from freshline.wire.signature import Signed
from tests.service import HOST, NOON, UNTHROTTLED, Answer, Service

QUOTA = {"Action": "DescribeRefreshQuota", "Format": "JSON"}


def without(signed: Signed, name: str) -> Signed:
    head, _, query = signed.target.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not pair.startswith(f"{name}="))
    return replace(signed, target=f"{head}?{kept}")


@pytest.mark.parametrize(
    "name",
    ["Action", "Version", "AccessKeyId", "Timestamp", "SignatureNonce", "SignatureMethod", "SignatureVersion",
     "Signature"],
)  # fmt: skip
async def test_v1_needs(name: str) -> None:
    """Each common parameter is asked for by name."""
    service = Service()
    answer = await service.send(without(service.signed_v1(**QUOTA), name))

    assert answer.error == (400, f"Missing{name}", f"{name} is mandatory for this action.")


@pytest.mark.parametrize(
    ("header", "param"),
    [("x-acs-action", "Action"), ("x-acs-version", "Version"), ("x-acs-date", "Timestamp"),
     ("x-acs-signature-nonce", "SignatureNonce")],
)  # fmt: skip
async def test_v3_needs(header: str, param: str) -> None:
    """Each common header is asked for by the parameter's name."""
    service = Service(settings=Settings(default_format=Format.JSON))
    signed = service.signed("DescribeRefreshQuota")
    del signed.headers[header]

    assert (await service.send(signed)).error == (400, f"Missing{param}", f"{param} is mandatory for this action.")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PURGE"])
async def test_method(method: str) -> None:
    """GET and POST are all there is."""
    answer = await Service().raw(method, b"/?Format=JSON")

    assert answer.error == (400, "UnsupportedHTTPMethod", "This http method is not supported.")


async def test_preflight() -> None:
    """A browser's question before a call from another site is answered."""
    answer = await Service().raw("OPTIONS", b"/", [(b"access-control-request-method", b"POST")])

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_path() -> None:
    """There is one path."""
    answer = await Service().raw("GET", b"/api?Format=JSON")

    assert answer.error[:2] == (404, "InvalidAction.NotFound")


async def test_routes() -> None:
    """Other applications may sit at other paths."""

    async def probe(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    assert (await Service(routes={"/healthz": probe}).raw("GET", b"/healthz")).status == 204


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"Action": "DescribeNothing"}, (404, "InvalidAction.NotFound")),
        ({"Version": "2001-01-01"}, (400, "InvalidVersion")),
        ({"SignatureMethod": "HMAC-SHA256"}, (400, "InvalidSignatureMethod")),
        ({"SignatureVersion": "2.0"}, (400, "InvalidSignatureVersion")),
        ({"SignatureType": "OTHER"}, (400, "InvalidSignatureType")),
        ({"SignatureType": "BEARERTOKEN", "BearerToken": "x"}, (400, "InvalidSignatureMethod")),
        ({"AccessKeyId": "nobody"}, (404, "InvalidAccessKeyId.NotFound")),
        ({"AccessKeyId": "STS.x"}, (400, "MissingSecurityToken")),
        ({"AccessKeyId": "STS.x", "SecurityToken": "t"}, (400, "InvalidSecurityToken.Malformed")),
        ({"SecurityToken": "t"}, (400, "InvalidSecurityToken.MismatchWithAccessKey")),
        ({"AccessKeyId": "x" * 5000}, (404, "InvalidAccessKeyId.NotFound")),
        ({"SignatureNonce": "x" * 257}, (400, "InvalidSignatureNonce")),
        ({"Timestamp": "now"}, (400, "InvalidTimeStamp.Format")),
        ({"Timestamp": "2026-11-21T11:44:59Z"}, (400, "InvalidTimeStamp.Expired")),
        ({"Timestamp": "2026-11-21T12:15:01Z"}, (400, "InvalidTimeStamp.Expired")),
        ({"Timestamp": "2026-11-21T12:14:59.257Z"}, (200, None)),
        ({"Timestamp": "2026-11-21T11:45:00Z"}, (200, None)),
        ({"SignatureNonce": "1234567"}, (200, None)),
        ({"Unknown": "1", "OwnerId": "5", "RegionId": "cn-hangzhou", "ObjectType": "none"}, (200, None)),
    ],
)
async def test_common_parameters(params: dict[str, str], expected: tuple[int, str | None]) -> None:
    """Signed rightly, and still wrong; or odd, and still right."""
    service = Service()
    answer = await service.send(service.signed_v1(**{**QUOTA, **params}))

    assert (answer.status, answer.json.get("Code")) == expected


async def test_timestamp_spelt_otherwise() -> None:
    """Some clients say TimeStamp."""
    service = Service()
    signed = without(service.signed_v1(**QUOTA, TimeStamp="2026-11-21T12:00:00Z"), "Timestamp")
    right = signature._hmac_v1(
        "testsecret", signature.string_to_sign_v1(signature.Request("GET", signed.target.partition("?")[2].encode()))
    )
    answer = await service.raw(
        "GET", without(signed, "Signature").target.encode() + b"&Signature=" + right.replace(b"+", b"%2B")
    )

    assert answer.status == 200


async def test_inactive_key_and_suspended_account() -> None:
    """A disabled key is known but no good; a suspended account is let in no further."""
    service = Service()
    service.books.keys["testid"] = AccessKey("testid", "1", "testsecret", active=False)
    inactive = await service.call("DescribeRefreshQuota")
    service.books.keys["testid"] = AccessKey("testid", "1", "testsecret")
    service.books.accounts["1"] = Account("1", "one", enabled=False)
    suspended = await service.call("DescribeRefreshQuota")
    del service.books.accounts["1"]
    orphan = await service.call("DescribeRefreshQuota")

    assert inactive.error == (400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
    assert suspended.error == (403, "OperationDenied.Suspended", "Your CDN service is suspended.")
    assert orphan.error[1] == "InvalidAccessKeyId.NotFound"


async def test_strangers_burn_no_nonces() -> None:
    """A nonce in a wrongly signed call stays good for its owner; once used it is used, under any timestamp."""
    service = Service()
    signed = service.signed("DescribeRefreshQuota")
    forged = replace(signed, headers={**signed.headers, "Authorization": signed.headers["Authorization"][:-1] + "x"})

    assert (await service.send(forged)).error[1] == "SignatureDoesNotMatch"
    assert (await service.send(signed)).status == 200
    assert (await service.send(signed)).error[1] == "SignatureNonceUsed"
    assert (await service.send(forged)).error[1] == "SignatureNonceUsed"
    service.clock.seconds += 60
    again = signature.sign_v3(
        "POST", HOST, "DescribeRefreshQuota", "2018-05-10", {}, key_id="testid", secret="testsecret",
        now=service.clock.now(), nonce=signed.headers["x-acs-signature-nonce"],
    )  # fmt: skip
    assert (await service.send(again)).error[1] == "SignatureNonceUsed"


async def test_no_room_for_nonces() -> None:
    """When nonces cannot be remembered calls are put off, not let through unremembered."""
    service = Service(replace(UNTHROTTLED, nonces=1))

    assert (await service.call("DescribeRefreshQuota")).status == 200
    assert (await service.call("DescribeRefreshQuota")).error[:2] == (503, "ServiceUnavailable")


async def test_rates() -> None:
    """Thirty calls a second to DescribeRefreshTaskById, for each account; a second later it goes on."""
    service = Service(Limits())
    answers = [await service.call("DescribeRefreshTaskById", TaskId="1") for _ in range(31)]
    other = await service.call("DescribeRefreshTaskById", "otherid", "othersecret", TaskId="1")
    service.clock.seconds += 1
    later = await service.call("DescribeRefreshTaskById", TaskId="1")

    assert [answer.status for answer in answers] == [200] * 30 + [429]
    assert answers[-1].error == (429, "TooManyRequests", "Too many requests, please try again later")
    assert 0 < int(answers[-1].headers["x-acs-retry-after"]) <= 34  # milliseconds
    assert (other.status, later.status) == (200, 200)


async def test_rate_of_an_operation_without_a_row() -> None:
    """Where the table has no row for it, the gateway's own words are used."""
    answer = [await Service(Limits(rates={"DescribeRefreshQuota": 1})).call("DescribeRefreshQuota") for _ in range(1)]
    service = Service(Limits(rates={"DescribeRefreshQuota": 1}))
    await service.call("DescribeRefreshQuota")

    assert answer[0].status == 200
    assert (await service.call("DescribeRefreshQuota")).error == (
        400, "Throttling.User", "Request was denied due to user flow control.",
    )  # fmt: skip


async def test_refused_before_it_counts() -> None:
    """Bad signatures spend nobody's rate."""
    service = Service(Limits(rates={"DescribeRefreshQuota": 1}))
    for _ in range(3):
        await service.call("DescribeRefreshQuota", secret="wrong")

    assert (await service.call("DescribeRefreshQuota")).status == 200


@pytest.mark.parametrize(
    ("format_", "expected"),
    [("JSON", "json"), ("json", "json"), ("XML", "xml"), ("xMl", "xml"), ("None", "xml"), ("", "xml")],
)
async def test_format_v1(format_: str, expected: str) -> None:
    """Format in any case; anything else is the default."""
    service = Service()
    good = await service.send(service.signed_v1(Action="DescribeRefreshQuota", Format=format_))
    bad = await service.send(service.signed_v1(Action="Nothing", Format=format_))

    assert expected in good.headers["content-type"]
    assert expected in bad.headers["content-type"]


async def test_format_v3() -> None:
    """V3 calls get JSON, unless they accept XML."""
    service = Service()
    signed = service.signed("DescribeRefreshQuota")

    assert "json" in (await service.send(signed)).headers["content-type"]
    signed = service.signed("DescribeRefreshQuota")
    signed.headers["accept"] = "application/xml"
    assert (await service.send(signed)).xml.tag == "DescribeRefreshQuotaResponse"


async def test_error_in_xml() -> None:
    """The envelope in XML, with whatever the caller wrote kept from breaking it."""
    answer = await Service().raw("GET", b"/", [(b"host", b"a&<b>]]>\x01")])

    assert answer.status == 400
    assert [child.tag for child in answer.xml] == ["RequestId", "HostId", "Code", "Message", "Recommend"]
    assert answer.xml.findtext("Code") == "MissingAction"
    assert answer.xml.findtext("HostId") == "a&<b>]]>\ufffd"


async def test_tls_when_asked_for() -> None:
    """An operation that the contract has over https only is refused over http, if the operator says so."""
    tag = {"DomainName": "img.test", "CacheTag": "red"}
    strict = await Service(settings=Settings(enforce_protocols=True)).call("RefreshObjectCacheByCacheTag", **tag)
    lax = await Service().call("RefreshObjectCacheByCacheTag", **tag)

    assert strict.error == (400, "InvalidProtocol.NeedSsl", "Your request is denied as lack of ssl protect.")
    assert lax.status == 200


@pytest.mark.parametrize("placing", ["query", "form", "both"])
@pytest.mark.parametrize("piece", [1, 1 << 16])
async def test_parameters_anywhere(placing: str, piece: int) -> None:
    """Query, form, or both, in one piece or byte by byte."""
    service = Service()
    business = {
        "ObjectPath": "http://img.test/a b".replace(" ", "%20") + "\r\nhttps://img.test/b\n",
        "ObjectType": "File",
    }
    params, form = {"Action": "RefreshObjectCaches", "Format": "JSON"}, dict[str, str]()
    (params if placing == "query" else form).update(business)
    if placing == "both":
        params["ObjectType"] = form.pop("ObjectType")
    signed = service.signed_v1("POST", form, **params)
    headers = [(b"content-type", b"application/x-www-form-urlencoded;charset=UTF-8")]
    answer = await service.raw("POST", signed.target.encode(), headers, signed.body, piece)

    assert answer.json.keys() == {"RefreshTaskId", "RequestId"}


async def test_all_in_the_form() -> None:
    """Older Node clients put everything into the body, the signature too."""
    service = Service()
    signed = service.signed_v1("POST", **QUOTA)
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]

    assert (await service.raw("POST", b"/", headers, signed.target.partition("?")[2].encode())).status == 200


@pytest.mark.parametrize("size", [(4 << 20) + 1, 10 << 20, 100 << 20])
async def test_body_too_large(size: int) -> None:
    """Read to its end and refused; past all reason it is not even read."""
    answer = await Service().raw("POST", b"/?Format=JSON", body=bytes(size), piece=1 << 20)

    assert answer.error == (413, "RequestEntityTooLarge", "The request body exceeds the limit of 4194304 bytes.")


async def test_body_too_slow() -> None:
    """A body that does not come is not waited for."""
    service = Service(replace(UNTHROTTLED, body_seconds=0.01))
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": b"x", "more_body": True}]

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await service.app(scope, receive, send)

    assert sent[0]["status"] == 408


async def test_hung_up() -> None:
    """A caller who hangs up while sending is answered nothing."""

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await Service().app(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}, receive, send
    )


async def test_log_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing can be stored the caller is told to come back, and the minute's allowance is not spent."""
    service = Service(replace(UNTHROTTLED, per_minute={"url": 1}))
    await service.log.close()
    answer = await service.call("RefreshObjectCaches", ObjectPath="http://img.test/a")
    again = await service.call("RefreshObjectCaches", ObjectPath="http://img.test/a")

    assert answer.error[:2] == again.error[:2] == (503, "ServiceUnavailable")


async def test_our_own_trouble(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is answered in the envelope without a word about it; the operator finds it by the request's id."""
    service = Service()

    async def broken(*_: Any, **__: Any) -> Sequence[Task]:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(service.log, "append", broken)
    answer = await service.call("RefreshObjectCaches", ObjectPath="http://img.test/a")

    assert answer.error == (500, "InternalError", "The request processing has failed due to some unknown error.")
    assert b"secret of the house" not in answer.content
    assert answer.json["RequestId"] in caplog.text and "the secret of the house" in caplog.text


async def test_observed() -> None:
    """Every answer is reported by action and status; what is no action of ours has no name."""
    seen: list[tuple[str, int]] = []
    service = Service(observe=lambda action, status, seconds: seen.append((action, status)))
    await service.call("DescribeRefreshQuota")
    await service.call("DescribeRefreshTaskById", TaskId="x")
    await service.call("Nothing" * 100)

    assert seen == [("DescribeRefreshQuota", 200), ("DescribeRefreshTaskById", 400), ("-", 404)]


async def test_headers() -> None:
    """What the vendor's gateway sends beside the body."""
    answer: Answer = await Service().call("DescribeRefreshQuota")

    assert answer.headers["x-acs-request-id"] == answer.json["RequestId"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-max-age"] == "172800"
    assert answer.json["RequestId"] == answer.json["RequestId"].upper()


async def test_lifespan() -> None:
    """The server's start and stop are acknowledged."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await Service().app({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert NOON == 1_795_262_400
