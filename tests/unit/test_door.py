"""The gates' own listener, by itself and under sanitizers: several fetches in one request, and what people do to it."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from freshline.gates import core
from tests.servers.base import free_port, until

SECRET = "secret-of-the-harness"
FETCHES = 64
BOUND = 4096  #: ERRANDS in door.c
FETCH = "/freshline/fetch"


def _compile(program: Path, *sanitizers: str) -> Path | None:
    flags = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-fno-sanitize-recover=all"]
    command = ["gcc", *flags, *sanitizers, f"-I{core.HERE}", "-o", program, Path(__file__).with_name("door_harness.c")]
    command += [*core.SOURCES, *core.DOOR_SOURCES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr:
        return None  # the sanitizer's library is a package of its own
    assert done.returncode == 0, done.stderr
    return program


class Door:
    def __init__(self, program: Path, fetches: int) -> None:
        self.port = free_port()
        command = [program, f"127.0.0.1:{self.port}", SECRET, str(fetches)]
        environment = {**os.environ, "TSAN_OPTIONS": "atexit_sleep_ms=0"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        assert self._process.stdout is not None and self._process.stdout.readline() == "open\n"
        connection = self.connect()
        connection.request("POST", "/freshline/flush", b"flush log 0 mark\nend\n", {"freshline-key": SECRET})
        assert connection.getresponse().status == 200  # before, it takes no fetches
        connection.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, *targets: str) -> tuple[int, list[str]]:
        connection = self.connect()
        try:
            return ask(connection, fetches(*targets))
        finally:
            connection.close()

    def lives(self) -> bool:
        return self.ask("/now") == (200, [told("/now")])

    def let_go(self) -> None:
        """What it holds is answered."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """
        :raises AssertionError: it died, or a sanitizer found something
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("door") / "harness"
    built = _compile(made, f"-fsanitize={request.param}") or _compile(made)
    assert built is not None
    return built


@pytest.fixture
def door(program: Path) -> Iterator[Door]:
    made = Door(program, FETCHES)
    yield made
    made.close()


def fetches(*targets: str) -> bytes:
    return "".join([*(f"fetch http a.test {target}\n" for target in targets), "end\n"]).encode()


def head(body: bytes, version: str = "1.1") -> bytes:
    return (
        f"POST {FETCH} HTTP/{version}\r\nhost: gate\r\nfreshline-key: {SECRET}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()


def told(target: str) -> str:
    return f"fetched stored 200 7 {target} 0"


def ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, list[str]]:
    connection.request("POST", FETCH, body, {"freshline-key": SECRET})
    answer = connection.getresponse()
    return answer.status, answer.read().decode().splitlines()


def test_several_are_answered_one_by_one(door: Door) -> None:
    """Each when it has ended, behind its number; the connection is good for the next request, also for one fetch."""
    connection = door.connect()
    body = fetches("/in/900", "/now", "/in/300", "/breaks", "/now")
    connection.request("POST", FETCH, body, {"freshline-key": SECRET})
    answer = connection.getresponse()
    first = [answer.readline().decode().strip() for _ in range(3)]
    assert sorted(first) == [f"2 {told('/now')}", "4 failed it broke", f"5 {told('/now')}"]
    rest = answer.read().decode().splitlines()
    assert rest == [f"3 {told('/in/300')}", f"1 {told('/in/900')}"]

    assert ask(connection, fetches("/now")) == (200, [told("/now")])
    status, lines = ask(connection, fetches(*["/now"] * FETCHES))
    assert (status, sorted(lines)) == (200, sorted(f"{n + 1} {told('/now')}" for n in range(FETCHES)))
    connection.request("GET", "/freshline/status", headers={"freshline-key": SECRET})
    assert f"fetches {FETCHES}" in connection.getresponse().read().decode().splitlines()


def test_answers_that_come_together_leave_together(door: Door) -> None:
    """One chunk has all that ended within a millisecond: it is one wake-up of whoever reads it."""
    with door.dial() as sock:
        body = fetches(*["/now"] * 30)
        sock.sendall(head(body) + body)
        seen = b""
        while not seen.endswith(b"\r\n0\r\n\r\n"):
            seen += sock.recv(65536)

    heads = [line for line in seen.split(b"\r\n") if line and len(line) < 5]
    assert len(heads) <= 3, "a chunk or two, and the last"


def test_a_header_that_may_not_go_out_is_that_fetchs_trouble(door: Door) -> None:
    """The others go."""
    body = b"fetch http a.test /now\nheader range x\nfetch http a.test /now\nheader x-a b\nend\n"

    assert ask(door.connect(), body) == (
        200,
        ["1 fetched other 0 0 a header that may not be set", f"2 {told('/now')}"],
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"end\n", "cut off: no end"),
        (b"\nend\n", "no fetch"),
        (b"header a b\nfetch http a.test /now\nend\n", "no fetch"),
        (b"fetch http a.test /now\nprobe http a.test /now\nend\n", "no header line"),
        (b"fetch http a.test /now\nfetch http a.test now\nend\n", "no path"),
        (b"fetch http a.test /now\nfetch http a.test /\xff\nend\n", "no path"),
        (b"fetch http a.test /now\n" * 65 + b"end\n", "more than 64"),
        (b"fetch http a.test /now\nheader a %zz\nend\n", "a header that is not percent-encoded"),
        (b"fetch http a.test /now\n" + b"header a b\n" * 65 + b"end\n", "too many headers"),
    ],
)
def test_what_is_no_list_begins_nothing(door: Door, body: bytes, why: str) -> None:
    """Said with 400, on a connection that is kept."""
    connection = door.connect()

    assert ask(connection, body) == (400, [f"bad {why}"])
    assert ask(connection, fetches("/now")) == (200, [told("/now")])


def test_a_door_for_one_takes_one(program: Path) -> None:
    """As before there was a list: and its status says nothing of several."""
    door = Door(program, 0)
    try:
        assert door.ask("/now", "/now") == (400, ["bad more than 1"])
        assert door.ask("/now") == (200, [told("/now")])
        connection = door.connect()
        connection.request("GET", "/freshline/status", headers={"freshline-key": SECRET})
        assert "fetches" not in connection.getresponse().read().decode()
    finally:
        door.close()


def test_one_who_speaks_http_1_0_is_told_until_the_end(door: Door) -> None:
    """No chunks, which it would not know: the answer ends with the connection."""
    with door.dial() as sock:
        body = fetches("/now", "/in/50")
        sock.sendall(head(body, "1.0") + body)
        seen = b""
        while piece := sock.recv(65536):
            seen += piece

    assert seen.partition(b"\r\n\r\n")[2].decode().splitlines() == [f"1 {told('/now')}", f"2 {told('/in/50')}"]


def test_a_request_that_comes_in_bytes_is_answered(door: Door) -> None:
    """However it is cut."""
    body = fetches("/now", "/in/20", "/now")
    with door.dial() as sock:
        for byte in head(body) + body:
            sock.sendall(bytes([byte]))
        answer = http.client.HTTPResponse(sock)
        answer.begin()

        assert len(answer.read().decode().splitlines()) == 3


def test_a_second_request_waits_for_the_first(door: Door) -> None:
    """Sent ahead, it is answered behind it, and no line of the first comes among its own."""
    first, second = fetches("/in/60", "/now"), fetches("/now", "/in/1")
    seen = b""
    with door.dial() as sock:
        sock.sendall(head(first) + first + head(second) + second)
        while seen.count(b"\r\n0\r\n\r\n") < 2:
            seen += sock.recv(65536)
    said = [line for line in seen.decode().splitlines() if " fetched " in line]

    assert said == [f"2 {told('/now')}", f"1 {told('/in/60')}", f"1 {told('/now')}", f"2 {told('/in/1')}"]


def test_nobody_hears_the_answers_of_one_who_hung_up(door: Door) -> None:
    """Fetches go on to their end, and whoever comes next, in the same place, is told of its own alone."""
    for _ in range(20):
        with door.dial() as sock:
            body = fetches(*(f"/in/{n}/gone" for n in range(30, 90)))
            sock.sendall(head(body) + body)
    for _ in range(40):
        status, lines = door.ask("/in/5", "/in/9", "/now")
        assert status == 200
        assert sorted(lines) == sorted([f"1 {told('/in/5')}", f"2 {told('/in/9')}", f"3 {told('/now')}"])


def test_one_who_reads_nothing_holds_up_nobody(door: Door) -> None:
    """What it is told waits for it, and others are answered meanwhile."""
    body = fetches(*["/long/1"] * FETCHES)
    silent = []
    for _ in range(5):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", door.port))
        sock.sendall((head(body) + body) * 3)
        silent.append(sock)
    began = time.monotonic()
    for _ in range(20):
        assert door.ask("/now", "/in/1")[0] == 200

    assert time.monotonic() - began < 10
    for sock in silent:
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert len(answer.read().splitlines()) == FETCHES
        sock.close()


def test_what_is_under_way_is_bounded(door: Door) -> None:
    """Also for those who ask and hang up; later there is room again."""
    body = fetches(*["/hold"] * FETCHES)
    for _ in range(BOUND // FETCHES):
        with door.dial() as sock:
            sock.sendall(head(body) + body)
            sock.settimeout(0.02)
            with pytest.raises(TimeoutError):
                sock.recv(1)
    assert door.ask("/now") == (500, ["failed too much is under way"])
    door.let_go()

    until(door.lives)


def test_many_at_once_are_each_answered_once(door: Door) -> None:
    """Requests of any size over connections that are kept, some hung up on; no number twice, none left out."""

    def caller(seed: int) -> None:
        dice = random.Random(seed)
        connection = door.connect()
        for _ in range(25):
            targets = [
                dice.choice(["/now", f"/in/{dice.randrange(20)}", "/breaks"]) for _ in range(dice.randint(2, 64))
            ]
            if dice.random() < 0.2:
                connection.request("POST", FETCH, fetches(*targets), {"freshline-key": SECRET})
                connection.close()
                continue
            status, lines = ask(connection, fetches(*targets))
            assert status == 200
            assert sorted(int(line.split()[0]) for line in lines) == list(range(1, len(targets) + 1))
            for line in lines:
                number, said = line.split(" ", 1)
                target = targets[int(number) - 1]
                assert said == ("failed it broke" if target == "/breaks" else told(target))

    with ThreadPoolExecutor(8) as callers:
        for done in [callers.submit(caller, seed) for seed in range(8)]:
            done.result()
    assert door.lives()
