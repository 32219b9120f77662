"""Heads that are known but for what differs in every call: nothing is read otherwise than a parser would."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.errors import Refused
from freshline.wire import signature
from freshline.wire.request import Request
from freshline.wire.shape import Shape, learn
from tests.running import Running, running

FORM = {"TaskId": "1,22,333"}
MORE = {"user-agent": "SDK (Linux; 100%s) %b", "accept": "application/json"}


def call(
    nonce: str, params: dict[str, str] | None = None, form: dict[str, str] | None = None, *, host: str = "cdn.test",
    action: str = "DescribeRefreshTaskById", secret: str = "testsecret", at: float = 1_456_231_584.0, token: str = "",
) -> bytes:  # fmt: skip
    """A signed one, as it is sent."""
    made = signature.sign_v3(
        "POST", host, action, "2018-05-10", params or {}, key_id="testid", secret=secret, now=at, nonce=nonce,
        form=form, token=token,
    )  # fmt: skip
    headers = made.headers | MORE | {"content-length": str(len(made.body))}
    lines = [f"{made.method} {made.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + made.body


class Parsed:
    """What httptools reads, one message only."""

    def __init__(self, whole: bytes) -> None:
        self.url = self.body = b""
        self.headers: dict[bytes, bytes] = {}
        self.messages = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(whole)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.lower() not in self.headers
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1

    @property
    def method(self) -> str:
        method: bytes = self.parser.get_method()
        return method.decode()

    def shape(self, whole: bytes) -> Shape | None:
        return learn(self.method, self.url[2:], self.headers, whole)


@given(st.data())
def test_a_known_head_reads_as_a_parser_reads_it(data: st.DataObject) -> None:
    """Whatever bytes come: either they are left to the parser, or it would read one request and the same."""
    first = call("0" * 8, form=FORM)
    shape = Parsed(first).shape(first)
    assert shape is not None
    ids = st.dictionaries(st.just("TaskId"), st.text("0123456789,", min_size=1, max_size=12), min_size=1)
    other = call(data.draw(st.text("0aZ-.: ,=\t", min_size=8, max_size=8)), form=data.draw(ids))
    for at, with_ in data.draw(st.lists(st.tuples(st.integers(0, 800), st.binary(max_size=3)), max_size=2)):
        other = other[:at] + with_ + other[at + len(with_) :]

    headers = shape.read(other)

    if headers is not None:
        read = Parsed(other)
        assert (read.method, read.url[2:], read.messages) == (shape.method, shape.query, 1)
        assert (read.headers, read.body) == (headers, shape.body(other))


def test_another_call_of_the_same_caller_is_known() -> None:
    first, other = call("n1", form=FORM), call("n2", form={"TaskId": "9,99,999"}, at=1_456_231_600.0)
    shape = Parsed(first).shape(first)

    assert shape is not None and shape.read(other) == Parsed(other).headers
    assert shape.read(other + other) is shape.read(other[:-1]) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"x-acs-date: ", b"X-Folded: a\r\n x-acs-date: "),
        (b"Signature=", b"Signature= "),
        (b"user-agent: ", b"user-agent: " + b"a" * 5000),
    ],
)
def test_an_odd_head_is_left_to_the_parser(old: bytes, new: bytes) -> None:
    """Where it is not plain which bytes are a value."""
    whole = call("n1", form=FORM)
    headers = Parsed(whole).headers
    odd = whole.replace(old, new)

    assert odd != whole and learn("POST", b"", headers, odd) is None


@pytest.mark.parametrize(
    "authorization",
    [
        b"ACS3-HMAC-SHA256 Credential=a,Signature=b,SignedHeaders=Signature=c",
        b"ACS3-HMAC-SHA256 Credential=a,SignedHeaders=b",
        b"ACS3-HMAC-SHA256 Signature=b",
        b"Signature=b",
    ],
)
def test_a_signature_that_is_not_the_last_of_its_header_makes_no_shape(authorization: bytes) -> None:
    whole = b"GET / HTTP/1.1\r\nauthorization: %b\r\n\r\n" % authorization

    assert Parsed(whole).shape(whole) is None


def test_a_body_in_chunks_is_left_to_the_parser() -> None:
    whole = call("n1").replace(b"content-length: 0", b"transfer-encoding: chunked") + b"0\r\n\r\n"
    parsed = Parsed(whole)

    assert parsed.messages == 1 and parsed.shape(whole) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda nonce: call(nonce, form=FORM),
        lambda nonce: call(nonce, {"TaskId": "1,2 %s", "A": "%b"}),
        lambda nonce: call(nonce, form=FORM, token="%token"),
        lambda nonce: call(nonce, {"Action": "X"}, form=FORM, action=" "),
        lambda nonce: call(nonce, form={"Action": "DescribeRefreshQuota"}, action=""),
    ],
)
def test_what_is_claimed_and_signed_is_the_same(make: Callable[[str], bytes]) -> None:
    """Of a head that is read for the first time, of one that is known, and of one that was read before."""
    first = make("00")
    shape = Parsed(first).shape(first)
    assert shape is not None
    for nonce in ("01", "02", "03"):
        parsed = Parsed(make(nonce))
        requests = [Request("POST", parsed.url[2:], parsed.headers, parsed.body, shape=each) for each in (None, shape)]

        assert _read(requests[0]) == _read(requests[1])


def _read(request: Request) -> object:
    try:
        return signature.read(request), signature.string_to_sign_v3(request), request.params, request.signed_headers
    except Refused as refused:
        return refused.fault


def test_a_connection_that_knows_the_head_answers_as_a_new_one() -> None:
    """Any byte of a call changed, at the end of a connection that has had three of that head, and on one of its own."""
    dice = random.Random(1)
    with running() as service:

        def quota(number: int) -> bytes:
            return call(f"{number:08}", {"A": "b"}, host="a", action="DescribeRefreshQuota", at=time.time())

        for at in range(len(quota(0))):
            flip = 1 << dice.randrange(8)
            odd, also = (
                whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :] for whole in (quota(5 * at), quota(5 * at + 1))
            )
            known = [quota(5 * at + more) for more in (2, 3, 4)]

            assert _answers(service, [*known, odd])[3:] == _answers(service, [also]), odd


def test_a_call_counts_once_on_a_connection_that_knows_it() -> None:
    """And a signature has to be right there, too."""
    with running() as service:
        asked = [
            call(f"n{at}", form=FORM, at=time.time(), secret="wrong" if at == 4 else "testsecret") for at in range(6)
        ]

        assert _answers(service, [*asked, asked[5]]) == [200, 200, 200, 200, 400, 200, 400]


@pytest.mark.parametrize("before", [b"content-length: %d\r\n\r\n", b"x: "], ids=["body", "head"])
def test_a_call_in_another_is_none(before: bytes) -> None:
    """Though it stands there whole, in a piece of its own, and has a head that the connection knows."""
    with running() as service, socket.create_connection(_place(service), timeout=10) as connection:
        for at in range(4):
            connection.sendall(call(f"n{at}", form=FORM, at=time.time()))
            assert b'"Tasks"' in _next(connection, b"")[0]
        hidden = call("n4", form=FORM, at=time.time())
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\n" + before.replace(b"%d", b"%d" % len(hidden)))
        time.sleep(0.1)  # or both would be read as one
        connection.sendall(hidden)
        answer, rest = _next(connection, b"")
        connection.sendall(hidden)

        assert b'"Tasks"' not in answer
        assert b'"Tasks"' in _next(connection, rest)[0]


def test_what_waits_for_the_disk_and_what_does_not_are_answered_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that knows both heads, sent without waiting for answers, and sent one by one."""
    with running() as service:
        append = service.log.append

        async def slow_disk(*arguments: Any, **more: Any) -> Any:
            await asyncio.sleep(0.1)
            return await append(*arguments, **more)

        monkeypatch.setattr(service.log, "append", slow_disk)

        def asked(at: int) -> bytes:
            refresh, to = at % 3 == 0, {"form": {"ObjectPath": f"http://img.test/{at}"}}
            return (
                call(f"{at:04}", action="RefreshObjectCaches", at=time.time(), **to)
                if refresh
                else (call(f"{at:04}", form={"TaskId": str(at // 3 + 1)}, at=time.time()))
            )

        with socket.create_connection(_place(service), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            said = []
            for at in range(12):
                connection.sendall(asked(at))
                said.append(_next(connection, b"")[0])
            for at in range(12, 18):
                connection.sendall(asked(at))
                time.sleep(0.01)  # each is read by itself
            rest = b""
            for _ in range(12, 18):
                answer, rest = _next(connection, rest)
                said.append(answer)

        told = [json.loads(answer) for answer in said]
        assert [each.get("RefreshTaskId") or each["Tasks"][0]["TaskId"] for each in told] == [
            str(at // 3 + 1) for at in range(18)
        ]


def test_a_connection_that_is_used_is_not_closed() -> None:
    """However long ago it was that a call waited for the disk."""
    with running(keep_alive_seconds=1) as service, socket.create_connection(_place(service), timeout=10) as connection:
        for at in range(8):
            action = "RefreshObjectCaches" if at == 3 else "DescribeRefreshQuota"
            form = {"ObjectPath": "http://img.test/a"}
            connection.sendall(call(f"{at:04}", action=action, form=form, at=time.time()))
            assert _next(connection, b"")[0]
            time.sleep(0.4 if at > 3 else 0)

        begun = time.monotonic()
        assert connection.recv(1) == b"" and time.monotonic() - begun < 5


_ANSWER = re.compile(rb"(?s)HTTP/1.1 ...(?:(?!\r\n\r\n).)*content-length: (\d+)(?:(?!\r\n\r\n).)*\r\n\r\n")


def _place(service: Running) -> tuple[str, int]:
    host, _, port = service.address.partition(":")
    return host, int(port)


def _next(connection: socket.socket, raw: bytes) -> tuple[bytes, bytes]:
    """The content of the next answer, and what came after it."""
    while (head := _ANSWER.match(raw)) is None or len(raw) < head.end() + int(head[1]):
        more = connection.recv(1 << 16)
        assert more, raw
        raw += more
    end = head.end() + int(head[1])
    return raw[head.end() : end], raw[end:]


def _answers(service: Running, requests: list[bytes]) -> list[int]:
    """The status of each; one that gets none ends the connection."""
    found = []
    with socket.create_connection(_place(service), timeout=10) as connection:
        for at, request in enumerate(requests, 1):
            connection.sendall(request)
            if at == len(requests):
                connection.shutdown(socket.SHUT_WR)
            raw = b""
            while (head := _ANSWER.match(raw)) is None or len(raw) < head.end() + int(head[1]):
                if not (more := connection.recv(1 << 16)):
                    return found
                raw += more
            found.append(int(raw[9:12]))
    return found
