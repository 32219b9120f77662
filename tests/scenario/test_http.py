"""What SDKs never send, and proxies, scripts and strangers do."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

from freshline.wire import signature
from tests.running import Running, running


@pytest.fixture
def service() -> Iterator[Running]:
    with running() as service:
        yield service


def target(nonce: str = "n", **params: str) -> str:
    """A signed V1 request target."""
    return signature.sign_v1(
        "POST",
        "",
        {"Version": "2018-05-10", "Format": "JSON", **params},
        key_id="testid",
        secret="testsecret",
        now=time.time(),
        nonce=nonce,
    ).target


def speak(service: Running, *parts: bytes) -> list[tuple[int, bytes]]:
    """Send bytes as they are; status and body of every answer until the server closes."""
    host, _, port = service.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        raw = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    answers = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        length = re.search(rb"content-length: (\d+)", head)
        size = int(length[1]) if length else len(raw)
        answers.append((status, raw[:size]))
        raw = raw[size:]
    return answers


def post(request_target: str, *headers: str, body: bytes = b"", close: bool = True) -> bytes:
    lines = [f"POST {request_target} HTTP/1.1", "Host: cdn.test", *headers, *(["Connection: close"] if close else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def test_absolute_form(service: Running) -> None:
    """A request as sent to a proxy names the whole URL."""
    ((status, body),) = speak(
        service, post(f"http://cdn.test{target(Action='DescribeRefreshQuota')}", "Content-Length: 0")
    )

    assert (status, json.loads(body)["UrlQuota"]) == (200, "10000")


def test_a_long_query(service: Running) -> None:
    """A thousand URLs in the request line, as older SDKs send them."""
    urls = [f"http://img.test/{'é' * 60}/{number}" for number in range(1000)]
    asked = target(Action="RefreshObjectCaches", ObjectPath="\n".join(urls))
    ((status, body),) = speak(service, post(asked, "Content-Length: 0"))

    assert len(asked) > 200_000
    assert (status, json.loads(body).get("RefreshTaskId")) == (200, "1")
    assert service.log.head == 1000


def test_chunked_in_slow_pieces(service: Running) -> None:
    """A body in chunks that cut names and escapes in two."""
    signed = signature.sign_v3(
        "POST", "cdn.test", "RefreshObjectCaches", "2018-05-10", {}, key_id="testid", secret="testsecret",
        now=time.time(), nonce="n", form={"ObjectPath": "http://img.test/é", "ObjectType": "File"},
    )  # fmt: skip
    headers = [f"{name}: {value}" for name, value in signed.headers.items() if name != "host"]
    chunks = [b"1\r\n%c\r\n" % byte for byte in signed.body]
    ((status, body),) = speak(service, post("/", *headers, "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n")

    assert (status, json.loads(body)["RefreshTaskId"]) == (200, "1")
    assert service.log.read(0, 1)[0].wish.paths == ("http://img.test/é",)


def test_pipelined(service: Running) -> None:
    """Several requests at once on one connection are answered in their order."""
    requests = [
        post(target(nonce, Action="DescribeRefreshTaskById", TaskId="x"), "Content-Length: 0", close=nonce == "3")
        for nonce in "123"
    ]

    assert [status for status, _ in speak(service, b"".join(requests))] == [400] * 3


def test_quick_and_slow_ones_in_order(service: Running) -> None:
    """Whether a request is answered as it is read or waits for the disk, and its body comes late or there is none."""
    asked = [
        {"Action": "RefreshObjectCaches", "ObjectPath": "http://img.test/a"},
        {"Action": "DescribeRefreshTaskById", "TaskId": "1"},
        {"Action": "RefreshObjectCaches", "ObjectPath": "http://img.test/b"},
        *({"Action": "DescribeRefreshTaskById", "TaskId": str(number % 2 + 1)} for number in range(40)),
    ]
    requests = [post(target(str(n), **params), "Content-Length: 0", close=False) for n, params in enumerate(asked)]
    late = post(target("late", Action="DescribeRefreshQuota"), "Content-Length: 3", close=False)
    last = post(target("last", Action="DescribeRefreshTaskById", TaskId="2"), "Content-Length: 0")
    answers = speak(service, b"".join(requests) + late, b"a", b"=b" + last)
    said = [json.loads(body) for _, body in answers]
    told = [body.get("RefreshTaskId") or [row["TaskId"] for row in body.get("Tasks", [])] for body in said]

    assert {status for status, _ in answers} == {200}
    assert told == ["1", ["1"], "2", *([str(number % 2 + 1)] for number in range(40)), [], ["2"]]


def test_an_idle_connection_is_closed() -> None:
    """Some time after its last call, however often there was one before."""
    with running(keep_alive_seconds=1) as service:
        host, _, port = service.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            for nonce in "abc":
                connection.sendall(post(target(nonce, Action="DescribeRefreshQuota"), "Content-Length: 0", close=False))
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
                asked = time.monotonic()
                time.sleep(0.4)
            assert connection.recv(1) == b""

        assert 0.9 < time.monotonic() - asked < 5


@pytest.mark.parametrize("more", [b"\r\n", b"x"], ids=["a stray line end", "the rest of a body"])
def test_what_comes_after_an_answer_holds_no_connection(more: bytes) -> None:
    """A body that was answered early, and goes on a byte at a time; a line end after a request."""
    with running(keep_alive_seconds=1) as service:
        host, _, port = service.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            length = "Content-Length: 0" if more == b"\r\n" else "Content-Length: 9"
            connection.sendall(post("/nowhere", length, close=False))
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 404")
            connection.sendall(more)
            told = time.monotonic()
            while connection.recv(1 << 16):
                pass

        assert time.monotonic() - told < 5


def test_lines_after_a_body_without_end(service: Running) -> None:
    """They are looked at by nobody, so there is a bound to them; a few do no harm."""
    chunked = post(target(Action="DescribeRefreshQuota"), "Transfer-Encoding: chunked")
    assert [status for status, _ in speak(service, chunked + b"0\r\n", b"x: y\r\n" * 9, b"\r\n")] == [200]

    host, _, port = service.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(chunked + b"0\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(1_000):
                connection.sendall(b"x: " + b"y" * 10_000 + b"\r\n")
                time.sleep(0.001)


def test_requests_without_end(service: Running) -> None:
    """Whoever sends requests and reads no answer is read no further: what they send stays with them."""
    host, _, port = service.address.partition(":")
    many = b"GET /?Action=X HTTP/1.1\r\nHost: a\r\n\r\n" * 10_000
    taken = 0
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(2)
        with pytest.raises(TimeoutError):
            while taken < 100 * len(many):
                taken += connection.send(many)

    assert taken < 40 * len(many)
    assert speak(
        service, f"GET {target('after', Action='X')} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    )


@pytest.mark.parametrize("size", [5 << 20, 10 << 20])
def test_a_large_body_is_answered(service: Running, size: int) -> None:
    """The caller reads why, and does not just find the connection broken."""
    connection = http.client.HTTPConnection(service.address, timeout=30)
    connection.request("POST", "/?Format=JSON", b"x" * size)
    response = connection.getresponse()

    assert (response.status, json.loads(response.read())["Code"]) == (413, "RequestEntityTooLarge")
    connection.request("GET", "/?Format=JSON")
    assert json.loads(connection.getresponse().read())["Code"] == "MissingAction"
    connection.close()


def test_a_hundred_thousand_lines(service: Running) -> None:
    """Too many is too many, and said quickly."""
    body = b"ObjectPath=" + b"img.test%2Fa%0A" * 100_000
    form = {"ObjectPath": "img.test/a\n" * 100_000}
    signed = signature.sign_v1(
        "POST", "", {"Version": "2018-05-10", "Format": "JSON", "Action": "RefreshObjectCaches"}, key_id="testid",
        secret="testsecret", now=time.time(), nonce="n", form=form,
    )  # fmt: skip
    assert signed.body == body
    connection = http.client.HTTPConnection(service.address, timeout=30)
    connection.request("POST", signed.target, body, {"content-type": "application/x-www-form-urlencoded"})
    answer = json.loads(connection.getresponse().read())
    connection.close()

    assert answer["Code"] == "SingleRequest.OverLimit"
    assert service.log.head == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /?a=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST http://x?Format=JSON HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ],
)
def test_no_request_at_all(service: Running, raw: bytes) -> None:
    """What is not HTTP never gets past the web server, which goes on serving."""
    answers = speak(service, raw + b"GET /?Format=JSON HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answers and all(status in (400, 404) for status, _ in answers)
    assert speak(service, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0][0] == 400


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "MalformedRequest"),
        (b"GET /?Format=JSON HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n", 400, "MalformedRequest"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "MalformedRequest"),
        (b"GET /?Format=JSON HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431, "RequestHeaderTooLarge"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "MalformedRequest"),
        (b"GET /?a=\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "MalformedRequest"),
        (b"GET http://x?Format=JSON HTTP/1.1\r\nHost: x\r\n\r\n", 400, "MissingAction"),
        (b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "MissingAction"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, "InvalidAction.NotFound"),
    ],
)
def test_every_answer_is_the_contract_s(service: Running, raw: bytes, status: int, code: str) -> None:
    """Also to what is no HTTP, or no request of ours: an envelope with a code, in the format that could be read."""
    host, _, port = service.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(raw)
        answer = b""
        while b"</Error>" not in answer and not answer.endswith(b"}"):
            piece = connection.recv(1 << 16)
            assert piece, answer
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")

    assert int(head.split(b" ")[1]) == status
    if b"Format=JSON" in raw:
        envelope = json.loads(body)
        assert list(envelope) == ["RequestId", "HostId", "Code", "Message", "Recommend"]
        assert (envelope["Code"], f"x-acs-request-id: {envelope['RequestId']}" in head.decode()) == (code, True)
    else:
        assert f"<Code>{code}</Code>" in body.decode()
