"""Every request that a real SDK once sent is understood, byte for byte as it was on the wire."""

from __future__ import annotations

import pytest

from freshline.access.limits import Limits
from freshline.domain.errors import Fault, Refused
from freshline.wire import signature, times
from tests.golden.capture import NAMES, Capture, load
from tests.service import Service

BEARER = "py-new-cdn9.2.0-bearer.DescribeRefreshQuota"
A_SPACE = "InvalidObjectPath.Malformed"  # the captured URLs hold one

ENDINGS = {
    "node-cdn5.0.0-v2.RefreshObjectCaches": A_SPACE,
    "node-cdn5.0.0.PushObjectCache": A_SPACE,
    "node-cdn5.0.0.RefreshObjectCaches": A_SPACE,
    "py-legacy-cdn3.8.8.RefreshObjectCaches": A_SPACE,
    "py-legacy-common.RefreshObjectCaches": A_SPACE,
    "py-new-cdn9.2.0-async.RefreshObjectCaches": A_SPACE,
    "py-new-cdn9.2.0-v2.RefreshObjectCaches": A_SPACE,
    "py-new-cdn9.2.0.PushObjectCache": A_SPACE,
    "py-new-cdn9.2.0.RefreshObjectCaches": A_SPACE,
    "py-legacy-sts.DescribeRefreshQuota": "InvalidSecurityToken.Malformed",
    "py-new-cdn9.2.0-sts.DescribeRefreshQuota": "InvalidSecurityToken.MismatchWithAccessKey",
    "py-new-cdn9.2.0-v2sts.DescribeRefreshQuota": "InvalidSecurityToken.MismatchWithAccessKey",
    BEARER: "InvalidSignatureMethod",
    "py-new-cdn9.2.0.DescribeRefreshTasks": "InvalidTime",  # it asks for 2020
    "py-new-retry.DescribeRefreshTaskById": "InvalidTaskId.Malformed",
    "py-new-dcdn3.1.0.RefreshDcdnObjectCaches": A_SPACE,
    "py-new-esa3.16.0.PurgeCaches": A_SPACE,
    "py-new-scdn1.0.5.RefreshScdnObjectCaches": A_SPACE,
    "py-new-vod3.12.1.RefreshVodObjectCaches": A_SPACE,
}


def test_a_capture_is_there_for_every_ending() -> None:
    """The table of endings speaks of captures that exist."""
    assert len(NAMES) == 36
    assert ENDINGS.keys() <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != BEARER])
def test_signature(name: str) -> None:
    """The signature is right with the secret it was made with, and with no other."""
    request = load(name).request
    claim = signature.read(request)

    signature.check(request, claim, "testsecret")
    with pytest.raises(Refused) as refused:
        signature.check(request, claim, "testsecret2")
    assert refused.value.fault is Fault.SIGNATURE_WRONG


@pytest.mark.parametrize("name", NAMES)
async def test_ending(name: str) -> None:
    """A capture sent to the service on its day ends well, or in the one error that it must end in."""
    capture = load(name)
    service = Service(Limits())
    service.clock.seconds = _sent_at(capture)
    answer = await service.raw(capture.request.method, capture.target, capture.lines, capture.request.body)

    if name in ENDINGS:
        assert answer.error[1] == ENDINGS[name]
    elif name == "py-legacy-doaction.DescribeRefreshQuota":  # Format=None
        assert answer.xml.tag == "DescribeRefreshQuotaResponse"
    else:
        assert answer.status == 200
        assert "Code" not in answer.json


async def test_replay() -> None:
    """A capture is good once."""
    capture = load("py-new-cdn9.2.0.DescribeRefreshQuota")
    service = Service(Limits())
    service.clock.seconds = _sent_at(capture)
    first = await service.raw("POST", capture.target, capture.lines)
    second = await service.raw("POST", capture.target, capture.lines)

    assert first.status == 200
    assert second.error == (400, "SignatureNonceUsed", "Specified signature nonce was used already.")


async def test_late_replay() -> None:
    """A capture is no good once the clock window has passed, even to a service that has not seen it."""
    capture = load("py-new-cdn9.2.0.DescribeRefreshQuota")
    service = Service(Limits())
    service.clock.seconds = _sent_at(capture) + 15 * 60 + 1
    answer = await service.raw("POST", capture.target, capture.lines)

    assert answer.error[1] == "InvalidTimeStamp.Expired"


def _sent_at(capture: Capture) -> float:
    text = capture.request.header(b"x-acs-date") or capture.request.param(b"Timestamp")
    return float(times.read(text))
