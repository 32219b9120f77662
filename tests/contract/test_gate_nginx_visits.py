"""How nginx's gate comes to its own site: without a socket where it listens to it itself, through one elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from freshline.drivers.base import Fetched, FetchOutcome
from tests.servers.base import SECRET, SITE, free_port, get, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.steered import Steered, fetches
from tests.servers.wire import Wire

Make = Callable[..., tuple[Nginx, Steered]]
SEEN = '"$remote_addr $server_addr $server_port $scheme $server_protocol $host"'


class Crowded(Nginx):
    """With room for few."""

    def configure(self) -> None:
        super().configure()
        file = self.root / "nginx.conf"
        file.write_text(file.read_text().replace("worker_connections 512", "worker_connections 24"))


class Wide(Nginx):
    """With more listeners."""

    more = ""

    def configure(self) -> None:
        super().configure()
        file = self.root / "nginx.conf"
        file.write_text(file.read_text().replace(f"listen {self.site};", f"listen {self.site}; {self.more}"))


class Watched(Nginx):
    """Under valgrind."""

    @property
    def found(self) -> str:
        return "".join(file.read_text() for file in self.root.glob("valgrind.*"))

    def _command(self) -> list[str]:
        return ["valgrind", "-q", "--smc-check=all", f"--log-file={self.root}/valgrind.%p", *super()._command()]


@pytest.fixture
def make(tmp_path: Path, origin: Origin) -> Iterator[Make]:
    """Starts an nginx of some settings, bound to a log."""
    with ExitStack() as end:

        def start(location: str = "", kind: type[Nginx] = Nginx, **settings: object) -> tuple[Nginx, Steered]:
            server = kind(tmp_path, origin, location=location, settings=settings)
            server.start()
            end.callback(server.stop)
            log = Steered(server).bind()
            end.callback(log.close)
            return server, log

        yield start


def connections(address: str) -> int:
    """To there, from here, that were not closed long ago."""
    port = int(address.rpartition(":")[2])
    text = [Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6")]
    rows = [line.split() for each in text for line in each.splitlines()[1:]]
    return sum(int(remote.partition(":")[2], 16) == port for _, _, remote, *_ in rows)


def test_a_site_of_its_own_is_come_to_as_by_a_visitor_without_a_socket(origin, make):
    """Whatever the site looks at is what a visitor from this machine would have brought."""
    nginx, log = make(f"proxy_set_header x-seen {SEEN};")
    origin.serves("/visited")
    origin.serves("/fetched")
    nginx.get("/visited")
    before = connections(nginx.site)
    assert log.fetch("/fetched").outcome is FetchOutcome.STORED
    assert connections(nginx.site) == before

    visited, fetched = (asked.headers for asked in origin.log)
    assert fetched["x-seen"] == visited["x-seen"]
    nginx.get("/fetched").hit("v1")


@pytest.mark.parametrize(
    ("listen", "host"), [("0.0.0.0:{port}", "127.0.0.1"), ("[::1]:{port}", "[::1]"), ("[::]:{port}", "[::1]")]
)
def test_whichever_of_its_listeners_it_is(origin, make, monkeypatch, listen, host):
    """One for every address, and one that is not the first."""
    port = free_port()
    monkeypatch.setattr(Wide, "more", f"listen {listen.format(port=port)};")
    nginx, log = make(f"proxy_set_header x-seen {SEEN};", kind=Wide, site=f"{host}:{port}")
    origin.serves("/visited")
    origin.serves("/fetched")
    get(f"{host.strip('[]')}:{port}", "/visited")
    before = connections(f"{host}:{port}")
    assert log.fetch("/fetched").outcome is FetchOutcome.STORED

    visited, fetched = (asked.headers for asked in origin.log)
    assert fetched["x-seen"] == visited["x-seen"] and str(port) in fetched["x-seen"]
    assert connections(f"{host}:{port}") == before
    nginx.get("/fetched").hit("v1")


@pytest.mark.parametrize("ways", ["proxy_protocol", "http2"])
def test_a_listener_that_speaks_otherwise_is_not_come_through_without_a_socket(make, monkeypatch, ways):
    """Nor through one: it is no door for a gate that speaks plain HTTP/1.1, and the answer says so."""
    port = free_port()
    monkeypatch.setattr(Wide, "more", f"listen 127.0.0.1:{port} {ways};")
    _, log = make(kind=Wide, site=f"127.0.0.1:{port}")

    assert log.fetch("/a").outcome is FetchOutcome.OTHER
    assert log.status().synced


def test_a_site_elsewhere_is_come_to_through_a_socket(origin, make, tmp_path):
    """Behind whatever stands before it."""
    nginx = Nginx(tmp_path, origin)
    before = Wire(nginx.site).start()
    nginx.settings["site"] = before.address
    nginx.start()
    log = Steered(nginx).bind()
    origin.serves("/a")
    origin.serves("/b", "v1" * 50_000, chunked=True)
    try:
        assert [log.fetch(path).outcome for path in ("/a", "/b")] == [FetchOutcome.STORED] * 2
        origin.refuses("/b")
        nginx.get("/b").hit("v1" * 50_000)
        before.refuses()
        assert "does not answer" in log.fetch("/c").said
    finally:
        log.close()
        nginx.stop()
        before.stop()


@pytest.mark.parametrize(
    "location",
    [
        "lingering_close always;",
        "limit_rate 20k;",
        "sendfile on; tcp_nopush on; aio threads;",
        "keepalive_timeout 0;",
        "postpone_output 0; chunked_transfer_encoding off;",
        "gzip on; gzip_min_length 1; gzip_types text/plain; gzip_proxied any;",
        "proxy_buffer_size 1k; proxy_buffers 2 1k; proxy_busy_buffers_size 1k;",
        "proxy_max_temp_file_size 0;",
    ],
)
def test_however_the_site_answers_it_is_stored_and_the_next_finds_it(origin, make, location):
    """Ways of sending are nothing to one who reads nothing; none of them keeps a fetch from its end."""
    nginx, log = make(location)
    origin.serves("/plain", "p" * 10_000)
    origin.serves("/chunked", "c" * 10_000, chunked=True)
    for path in ("/plain", "/chunked"):
        fetched = log.fetch(path, ("Accept-Encoding", "gzip"))
        assert (fetched.outcome, fetched.status, fetched.bytes) == (FetchOutcome.STORED, 200, 10_000), fetched
        origin.refuses(path)
        assert "already" in log.fetch(path).said
    nginx.get("/plain").hit("p" * 10_000)
    nginx.get("/chunked").hit("c" * 10_000)


def test_what_is_answered_without_the_cache_is_not_stored(origin, make):
    """The site's own answer, an empty one, one that breaks off: each is told as it is."""
    nginx, log = make("if ($uri = /own) { return 200 here; } if ($uri = /shut) { return 444; }")
    origin.serves("/cut", "c" * 10_000, cut=True)
    origin.serves("/never", age=None)
    workers = set(nginx.workers())
    said = {path: log.fetch(path) for path in ("/own", "/shut", "/cut", "/never")}

    assert {fetched.outcome for fetched in said.values()} == {FetchOutcome.OTHER}
    assert said["/own"].said.startswith("not stored") and said["/never"].said.startswith("not stored")
    assert said["/shut"].said == "the site said nothing: closed"
    assert said["/cut"].said.startswith("cut off"), said["/cut"]
    assert workers <= set(nginx.workers()), "one of them died"


def test_a_site_that_says_nothing_for_too_long_is_given_up(origin, make):
    """And what it says later is stored all the same: nginx has not given it up."""
    nginx, log = make(fetch_seconds=1)
    origin.serves("/a")
    with origin.holding("/a", "headers") as held:
        fetched = log.fetch("/a")
        assert (fetched.outcome, fetched.said) == (FetchOutcome.OTHER, "the site said nothing: timeout")
        held.release()
    until(lambda: log.probe("/a").said.startswith("stored"))

    origin.refuses("/a")
    nginx.get("/a").hit("v1")


def test_a_service_that_goes_away_leaves_its_fetches_to_their_end(origin, make):
    """What was begun is stored, and no worker dies of it."""
    nginx, log = make()
    workers = set(nginx.workers())
    for n in range(8):
        origin.serves(f"/{n}")
    body = "".join(f"fetch http {SITE} /{n}\n" for n in range(8)) + "end\n"
    head = (
        f"POST /freshline/fetch HTTP/1.1\r\nHost: g\r\nfreshline-key: {SECRET}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, _, port = nginx.gate.rpartition(":")
    with ExitStack() as stack:
        held = [stack.enter_context(origin.holding(f"/{n}", "headers")) for n in range(8)]
        with socket.create_connection((host, int(port))) as service:
            service.sendall((head + body).encode())
            for each in held:
                each.wait()
        for each in held:
            each.release()
    until(lambda: all(log.probe(f"/{n}").said.startswith("stored") for n in range(8)))

    assert workers <= set(nginx.workers()), "one of them died"


def test_a_reload_waits_for_the_fetches_that_are_under_way(origin, make):
    """The old worker brings it, and says so."""
    nginx, log = make()
    origin.serves("/a")
    with ThreadPoolExecutor(2) as pool, origin.holding("/a", "body") as held:
        fetched = pool.submit(log.fetch, "/a")
        held.wait()
        reloaded = pool.submit(nginx.reload)
        held.release()
        assert fetched.result().outcome is FetchOutcome.STORED
        reloaded.result()

    nginx.get("/a").hit("v1")


def test_a_worker_without_room_answers_for_each_of_them(origin, make):
    """Those that found no connection are told to have failed; the rest are stored, and later there is room again."""
    _, log = make(kind=Crowded)
    wanted = fetches(*(f"/{n}" for n in range(64)))
    for fetch in wanted:
        origin.serves(fetch.target)
    log.status()
    answers = log.fetch_all(wanted)

    stored = [
        at for at, each in enumerate(answers) if isinstance(each, Fetched) and each.outcome is FetchOutcome.STORED
    ]
    assert 0 < len(stored) < len(wanted)
    assert all(log.probe(f"/{at}").said.startswith("stored") for at in stored)
    for at in range(len(wanted)):
        assert log.fetch(f"/{at}").outcome is FetchOutcome.STORED


def test_no_visit_touches_memory_that_is_not_its_own(origin, make, monkeypatch):
    """However it ends, and whether anybody waits for it still."""
    monkeypatch.setattr("tests.servers.nginx.WORKERS", 1)
    nginx, log = make("if ($uri = /shut) { return 444; }", kind=Watched, fetch_seconds=1)
    origin.serves("/large", "l" * 300_000, chunked=True)
    origin.serves("/cut", "c" * 10_000, cut=True)
    origin.serves("/varies", vary="Accept-Language")
    origin.serves("/held")
    for path in ("/large", "/large", "/cut", "/varies", "/shut", "/missing"):
        log.fetch(path)
    for n in range(40):
        origin.serves(f"/{n}")
    log.status()
    answers = log.fetch_all(fetches(*(f"/{n}" for n in range(40))))
    with origin.holding("/held", "headers") as held:
        assert "timeout" in log.fetch("/held").said
        held.release()
    until(lambda: log.probe("/held").said.startswith("stored"))
    nginx.stop()

    assert {each.said for each in answers} == {"fetched"}
    assert nginx.found == ""
    nginx.start()
