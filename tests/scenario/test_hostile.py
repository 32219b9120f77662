"""Bad input from a caller: a clear error of the contract, nothing stored, nothing sent to an edge."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from freshline.cli.client import ApiError, Client
from freshline.cli.credentials import Credentials
from freshline.inventory.sqlite import SqliteInventory
from tests.scenario.stack import Stack
from tests.servers.base import SITE, CacheServer, until

MALFORMED = "InvalidObjectPath.Malformed"

BAD_REFRESHES: dict[str, tuple[dict[str, str], str]] = {
    "CR LF in a URL": ({"ObjectPath": f"http://{SITE}/a\r\nX: y"}, MALFORMED),
    "a bare CR": ({"ObjectPath": f"http://{SITE}/a\rb"}, MALFORMED),
    "NUL": ({"ObjectPath": f"http://{SITE}/a\0b"}, MALFORMED),
    "a space": ({"ObjectPath": f"http://{SITE}/a b"}, MALFORMED),
    "a scheme of its own": ({"ObjectPath": f"ftp://{SITE}/a"}, MALFORMED),
    "a user name": ({"ObjectPath": f"http://me@{SITE}/a"}, MALFORMED),
    "too long": ({"ObjectPath": f"http://{SITE}/" + "a" * 1100}, MALFORMED),
    "a wildcard domain": ({"ObjectPath": "http://*.test/a"}, "InvalidExtensiveDomain.ValueNotSupported"),
    "somebody else's domain": ({"ObjectPath": "http://theirs.test/a"}, "InvalidDomain.NotFound"),
    "one bad line among good": ({"ObjectPath": f"http://{SITE}/a\nhttp://theirs.test/a"}, "InvalidDomain.NotFound"),
    "a directory that is none": ({"ObjectPath": f"http://{SITE}/a", "ObjectType": "Directory"}, MALFORMED),
    "an unknown type": ({"ObjectPath": f"http://{SITE}/a", "ObjectType": "Folder"}, "InvalidObjectType.Malformed"),
    "a look-behind": ({"ObjectPath": f"http://{SITE}/(?<=a)b", "ObjectType": "Regex"}, MALFORMED),
    "a back-reference": ({"ObjectPath": f"http://{SITE}/(a)\\1", "ObjectType": "Regex"}, MALFORMED),
    "a pattern that explodes": (
        {"ObjectPath": f"http://{SITE}/((a{{1,99}}){{1,99}}){{1,99}}", "ObjectType": "Regex"},
        MALFORMED,
    ),
    "an open bracket": ({"ObjectPath": f"http://{SITE}/[a", "ObjectType": "Regex"}, MALFORMED),
    "100,000 lines": ({"ObjectPath": "\n".join(f"{SITE}/{n}" for n in range(100_000))}, "SingleRequest.OverLimit"),
    "10 MB": ({"ObjectPath": "a" * 10_000_000}, "RequestEntityTooLarge"),
    "nothing": ({"ObjectPath": "\n\n"}, "MissingObjectPath"),
}


@pytest.fixture
def untouched(stack: Stack, caches: list[CacheServer]) -> Callable[[], None]:
    """Whether the log is still empty, and the gates where they were."""

    def look() -> None:
        assert "freshline_log_head 0.0" in stack.look("/metrics")
        assert stack.client.call("DescribeRefreshTasks", {})["TotalCount"] == 0
        quota = stack.client.call("DescribeRefreshQuota", {})
        assert quota["UrlRemain"] == quota["UrlQuota"]

    return look


def test_bad_refreshes_change_nothing(stack: Stack, untouched: Callable[[], None]) -> None:
    """Each is refused with its own code, and not a row, a unit or a byte comes of it."""
    for name, (params, code) in BAD_REFRESHES.items():
        with pytest.raises(ApiError) as refused:
            stack.client.call("RefreshObjectCaches", params)
        assert refused.value.code == code, name
        assert 400 <= refused.value.status < 500, name

    untouched()


def test_quotes_and_patterns_reach_the_gates_as_data(stack: Stack, caches: list[CacheServer]) -> None:
    """What means something to a cache's own language is just a path to it."""
    odd = [
        '/"&&obj.ttl>0s',
        "/'); freshline.flush()--",
        "/%0d%0aX:%20y",
        "/%00",
        "/$uri;{}",
        "/é/%e9/%C3%A9",
        "/a%2F..%2Fb",
    ]
    paths = [path.replace(" ", "%20") for path in odd]

    stack.refresh(*paths).until_complete()
    stack.refresh("/(a+)+$", type="Regex").until_complete()
    stack.refresh("/.*(x+x+)+y", type="Regex").until_complete()
    stack.refresh_tag('a"b').until_complete()

    for cache in caches:
        assert cache.get("/" + "a" * 200).status in (200, 404)


def test_another_account_sees_nothing(stack: Stack) -> None:
    """Its ids look like ids that never were."""
    task = stack.refresh("/a")
    inventory = SqliteInventory.open(stack.home / "inventory.db")
    stranger = inventory.add_access_key(inventory.add_account("strangers").id)
    inventory.close()
    theirs = Client(f"http://{stack.address}", Credentials(stranger.id, stranger.secret))

    found = _soon(lambda: theirs.call("DescribeRefreshTaskById", {"TaskId": task.id}))

    assert found["Tasks"] == [] and found["TotalCount"] == 0
    assert theirs.call("DescribeRefreshTasks", {"TaskId": task.id})["TotalCount"] == 0
    with pytest.raises(ApiError, match=r"InvalidDomain\.NotFound"):
        theirs.call("RefreshObjectCaches", {"ObjectPath": f"http://{SITE}/a"})


def test_a_wrong_secret_and_a_replay_are_refused(stack: Stack, untouched: Callable[[], None]) -> None:
    """A signature is good for one call."""
    wrong = Client(f"http://{stack.address}", Credentials(stack.key.id, "x" * 30))
    with pytest.raises(ApiError, match="SignatureDoesNotMatch"):
        wrong.call("RefreshObjectCaches", {"ObjectPath": f"http://{SITE}/a"})
    url = stack.client.signed_url("DescribeRefreshQuota", {}).partition(stack.address)[2]
    assert b"200 OK" in _raw(
        stack, f"GET {url} HTTP/1.1\r\nHost: {stack.address}\r\nConnection: close\r\n\r\n".encode()
    )

    again = _raw(stack, f"GET {url} HTTP/1.1\r\nHost: {stack.address}\r\nConnection: close\r\n\r\n".encode())

    assert b"SignatureNonceUsed" in again
    untouched()


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x00" * 4096,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET /?Action=\xff\xfe&a=%FF%FE HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["NULs", "TLS", "a long header", "a negative length", "bad chunks", "not UTF-8", "PURGE"],
)
def test_bytes_that_are_no_call_do_no_harm(bytes_: bytes, stack: Stack, untouched: Callable[[], None]) -> None:
    """They get a 4xx or a closed connection; the service goes on."""
    answer = _raw(stack, bytes_)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    untouched()


def test_a_caller_who_says_nothing_holds_nobody_up(stack: Stack) -> None:
    """Half a request on many connections, and others are answered all the same."""
    host, _, port = stack.address.partition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(200)]
    for each in silent:
        each.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nObjectPath=")

    assert stack.client.call("DescribeRefreshQuota", {})["UrlRemain"]
    for each in silent:
        each.close()


def test_a_gate_refuses_strangers(stack: Stack, caches: list[CacheServer]) -> None:
    """Without its secret a gate does nothing, and from the site's side there is no gate."""
    for cache in caches:
        for address in (cache.edge.gate, cache.edge.site):
            for key in ("", "freshline-key: wrong\r\n"):
                head = f"POST /freshline/flush HTTP/1.1\r\nHost: {SITE}\r\n{key}Content-Length: 0\r\n"
                answer = _send(address, f"{head}Connection: close\r\n\r\n".encode())
                assert b"ok " not in answer


def _soon(call: Callable[[], dict[str, object]]) -> dict[str, object]:
    """The service sees a change of the inventory within a second."""
    answers: list[dict[str, object]] = []

    def taken() -> bool:
        try:
            answers.append(call())
        except ApiError as error:
            assert error.code == "InvalidAccessKeyId.NotFound"
        return bool(answers)

    until(taken)
    return answers[0]


def _raw(stack: Stack, bytes_: bytes) -> bytes:
    return _send(stack.address, bytes_)


def _send(address: str, bytes_: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    out = b""
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        try:
            sock.sendall(bytes_)
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                out += piece
        except ConnectionError:
            pass
    return out


def test_heads_are_bounded(stack: Stack) -> None:
    """Bytes, lines: nobody is known yet, so nobody may fill our memory."""
    begin = b"GET / HTTP/1.1\r\nHost: a\r\n"

    assert _raw(stack, begin + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n").startswith(b"HTTP/1.1 431")
    assert _raw(stack, begin + b"X: " + b"y" * (3 << 20)).startswith(b"HTTP/1.1 431")
    assert stack.client.call("DescribeRefreshQuota", {})["UrlRemain"]


def test_an_answer_waits_for_no_edge_that_was_flushed(stack: Stack, caches: list[CacheServer]) -> None:
    """An edge that lost its memory with a long backlog is brought up to date beside everything else."""
    caches[0].kill()
    for batch in range(20):
        stack.refresh(*(f"/{batch}/{n}" for n in range(1000)))
    caches[0].start()

    for _ in range(50):
        began = time.monotonic()
        stack.client.call("DescribeRefreshTasks", {})
        assert time.monotonic() - began < 5
    stack.until_fresh()
