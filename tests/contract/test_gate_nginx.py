"""What the nginx gate keeps beyond the contract of all: its journal, its bounds, and nginx's own stale ways."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from freshline.domain.action import Verb
from freshline.drivers.base import Applied, Fault, FetchOutcome, Lease, Presence, Trouble
from tests.contract.streaming import until_it_stands
from tests.servers.base import SECRET, SITE, send, until
from tests.servers.nginx import WORKERS, Nginx, children
from tests.servers.origin import Origin
from tests.servers.steered import Steered
from tests.servers.wallclock import WallClock

Make = Callable[..., tuple[Nginx, Steered]]


@pytest.fixture
def make(tmp_path: Path, origin: Origin) -> Iterator[Make]:
    """Starts an nginx of some settings, bound to a log."""
    made: list[tuple[Nginx, Steered]] = []

    def start(location: str = "", **settings: object) -> tuple[Nginx, Steered]:
        server = Nginx(tmp_path, origin, location=location, settings=settings)
        server.start()
        made.append((server, Steered(server).bind()))
        return made[-1]

    yield start
    for server, log in made:
        log.close()
        server.stop()


@pytest.fixture
def wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """What servers that are started from here on go by."""
    clock = WallClock(tmp_path / "clock")
    clock.set(0)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    return clock


def never_again(nginx: Nginx, target: str, old: str, **headers: str) -> None:
    for _ in range(12):
        seen = nginx.get(target, headers=headers)
        assert not seen.body.startswith(old), seen


def waiting(nginx: Nginx) -> int:
    """How many requests of visitors it has begun and not ended."""
    port = int(nginx.site.rpartition(":")[2])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(local.partition(":")[2], 16) == port and state == "01" for _, local, _, state, *_ in rows)


@pytest.mark.parametrize("host", ["me@www.test", "www.test?x", "www%2etest", f"{'x' * 300}@www.test"])
def test_what_is_called_as_no_site_is_fetched_whenever_anything_is_newer(origin, make, host):
    """nginx keeps objects of hosts that no refresh can name, and an origin may take them for the site."""
    nginx, log = make()
    origin.serves("/a", "v1")

    def ask():
        return send(nginx.site, "GET", "/a", {"Host": host})

    ask()
    ask().hit("v1")
    for n, command in enumerate([(Verb.DIR, b"/"), (Verb.FILE, b"/b"), (Verb.TAG, b"t")], 2):
        origin.serves("/a", f"v{n}")
        log.refresh(*command)

        ask().fetched(f"v{n}")
        ask().hit(f"v{n}")


# The journal


def test_the_old_cache_is_of_use_again_once_caught_up(origin, make):
    """After a restart what was not refreshed is a hit again, and what was is not."""
    nginx, log = make()
    for target in ("/a", "/b", "/c"):
        origin.serves(target, "v1")
        nginx.get(target)
    log.refresh(Verb.FILE, b"/b")
    nginx.stop()
    log.accept((Verb.DIR, b"/c"))
    nginx.start()
    log.catch_up()
    origin.refuses("/a")
    origin.serves("/b", "v2")
    origin.serves("/c", "v2")

    nginx.get("/a").hit("v1")
    nginx.get("/b").fetched("v2")
    nginx.get("/c").fetched("v2")


def test_before_it_has_caught_up_the_old_cache_is_not_looked_at(origin, make):
    """An edge that starts is unsynced, and asks the origin for what lies on its disk."""
    nginx, log = make()
    origin.serves("/a", "v1")
    nginx.get("/a")
    nginx.restart()

    nginx.get("/a").fetched("v1")
    assert log.probe("/a").presence is Presence.STORED


def test_the_journal_of_another_cache_is_none(origin, make):
    """Put beside this one, it leaves a gate with no log, and nothing of the old cache is served, ever."""
    nginx, log = make()
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/a")
    nginx.get("/a")
    nginx.stop()
    text = nginx.journal.read_bytes()
    nginx.journal.write_bytes(text.replace(text.split()[4], b"0123456789abcdef", 1))
    origin.serves("/a", "v2")
    nginx.start()
    never_again(nginx, "/a", "v1")

    assert log.status().log is None
    log.catch_up()
    never_again(nginx, "/a", "v1")


def test_what_cannot_be_written_is_not_acknowledged(origin, make):
    """A journal that cannot be written fails the batch; when it can, the same batch goes through."""
    nginx, log = make()
    origin.serves("/a", "v1")
    nginx.get("/a")
    kept = nginx.journal.rename(nginx.root / "kept")
    nginx.journal.mkdir()
    batch = log.accept((Verb.FILE, b"/a"))
    refused = log.apply(batch)
    assert log.status().position == 0
    nginx.journal.rmdir()
    kept.rename(nginx.journal)
    origin.serves("/a", "v2")
    answer = log.apply(batch)

    assert isinstance(refused, Trouble) and refused.fault is Fault.FAILED
    assert isinstance(answer, Applied) and answer.position == 1
    nginx.get("/a").fetched("v2")


def test_a_journal_lost_under_a_running_gate(origin, make):
    """If the journal disappears while it runs, nothing old is served after the next start."""
    nginx, log = make()
    origin.serves("/a", "v1")
    nginx.get("/a")
    nginx.journal.unlink()
    log.refresh(Verb.FILE, b"/a")
    origin.serves("/a", "v2")
    nginx.restart()
    log.catch_up()

    never_again(nginx, "/a", "v1")


def test_a_long_journal_is_read_while_visitors_are_served(origin, make):
    """The master reads for a moment, a worker reads on; until then nobody is told where it stands, nor is it fresh."""
    nginx, log = make(start_ms=1)
    origin.serves("/a", "v1")
    nginx.get("/a")
    log.refresh(Verb.FILE, b"/a")
    for n in range(30):
        log.applied(*((Verb.FILE, f"/many/{n}/{k}".encode()) for k in range(2_000)))
    log.refresh(Verb.REGEX, rb"/last")
    origin.serves("/a", "v2")
    nginx.restart()
    nginx.get("/a").fetched("v2")
    gate = until_it_stands(log)
    log.catch_up()

    assert (gate.position, gate.synced, gate.detail["rules"]) == (60_002, False, "60002")
    never_again(nginx, "/a", "v1")
    assert log.refresh(Verb.FILE, b"/a").position == 60_003


@pytest.mark.parametrize("n", range(4))
def test_killed_while_it_is_compacted(origin, make, n):
    """A journal is whole after kill -9 at any moment of its compaction, and what was answered is in it."""
    nginx, log = make()
    paths = [f"/some/longer/path/of/an/object/{k}".encode() for k in range(6_000)]
    while int(log.status().detail["journal_bytes"]) < 1_050_000:
        log.applied(*((Verb.FILE, path) for path in paths))
    log.refresh(Verb.FILE, b"/last")
    time.sleep(0.03 * n)
    nginx.kill()
    nginx.start()
    gate = log.status()

    assert (gate.position, gate.detail["rules"]) == (log.position, "6001")


def test_no_rule_ends_early_or_lives_for_ever_because_the_date_is_set(origin, wall_clock, make):
    """Ahead by more than a rule's life: it still covers. Back: it stays for as long as what it covers. Then it goes."""
    nginx, log = make(ttl_seconds=2)
    origin.serves("/a", "v1")
    nginx.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.FILE, b"/a")
    begun = time.monotonic()
    wall_clock.set(+30)
    ahead = [nginx.get("/a").body for _ in range(12)]
    log.refresh(Verb.FILE, b"/b")
    kept = log.status().detail["rules"]
    assert time.monotonic() - begun < 2, "too slow to tell"
    wall_clock.set(-30)
    time.sleep(2.5)
    log.refresh(Verb.FILE, b"/c")
    log.refresh(Verb.FILE, b"/d")
    back = log.status().detail["rules"]
    wall_clock.set(+40)

    def gone() -> bool:
        log.refresh(Verb.FILE, b"/e")
        return int(log.status().detail["rules"]) <= 2

    until(gone)
    assert ahead == ["v2"] * 12
    assert (kept, back) == ("2", "4")
    assert nginx.get("/a").status == 200


# The bounds


def test_more_rules_than_there_is_room_for(origin, make):
    """A full memory costs the whole cache, said in the log, and never leaves anything old, also after a restart."""
    nginx, log = make(rules_size="128k")
    origin.serves("*", "v1")
    nginx.get("/full/0")
    nginx.get("/other")
    origin.serves("*", "v2")
    log.applied(*((Verb.FILE, f"/full/{n}".encode()) for n in range(4_000)))

    assert int(log.status().detail["collapses"]) >= 1
    assert "no room for more rules" in nginx.errors
    nginx.get("/full/0").fetched("v2")
    nginx.get("/other").fetched("v2")
    nginx.get("/other").hit("v2")
    nginx.restart()
    log.catch_up()
    never_again(nginx, "/full/0", "v1")
    nginx.get("/other").hit("v2")


def test_more_patterns_than_a_host_has_room_for(origin, make):
    """Too many patterns are replaced by a refresh of the whole host; none of them is forgotten."""
    nginx, log = make(patterns_per_host=5)
    targets = [f"/p/{n}.x" for n in range(12)]
    origin.serves("*", "v1")
    for target in targets:
        nginx.get(target)
    origin.serves("*", "v2")
    for n in range(12):
        log.refresh(Verb.REGEX, rf"/p/{n}\.x".encode())

        nginx.get(targets[n]).fetched("v2")
    for target in targets:
        nginx.get(target)
        nginx.get(target).hit("v2")
    nginx.restart()
    log.catch_up()
    for target in targets:
        nginx.get(target).hit("v2")


def test_the_same_pattern_over_and_over_takes_one_place(origin, make):
    """A pattern refreshed again counts anew, and takes no more room."""
    nginx, log = make(patterns_per_host=5)
    origin.serves("/kept", "v1")
    nginx.get("/kept")
    for n in range(12):
        origin.serves("/p/x", f"v{n}")
        log.refresh(Verb.REGEX, rb"/p/.")
        nginx.get("/p/x").fetched(f"v{n}")
        nginx.get("/p/x").hit(f"v{n}")

    nginx.get("/kept").hit("v1")


def test_two_at_once_are_applied_one_after_the_other(origin, make):
    """The same batches from two controllers at once: every one is applied, and both are told so."""
    nginx, log = make()
    batches = [log.accept(*((Verb.FILE, f"/{k}/{n}".encode()) for n in range(3_000))) for k in range(6)]
    origin.serves("*", "v1")
    nginx.get("/5/2999")

    async def twice() -> list[object]:
        one, two = nginx.driver(), nginx.driver()
        out: list[object] = []
        for batch in batches:
            out += await asyncio.gather(one.apply(batch), two.apply(batch))
        await one.close()
        await two.close()
        return out

    answers = log.run(twice())
    origin.serves("*", "v2")

    assert all(isinstance(answer, Applied) for answer in answers)
    assert log.status().position == 18_000
    nginx.get("/5/2999").fetched("v2")


def test_a_body_beyond_the_limit_is_refused(make):
    """The gate says how large a batch may be."""
    _, log = make(body_bytes=10_000)
    answer = log.apply(log.accept(*((Verb.FILE, b"/" + b"x" * 50) for _ in range(200))))

    assert isinstance(answer, Trouble)
    assert log.status().position == 0


# Tags


def test_tags_in_several_lines(origin, make):
    """A tag header that comes in several lines is read whole."""
    nginx, log = make()
    origin.serves("/a", "v1", headers={"Cache-Tag": "blue", "cache-tag": "red"})
    nginx.get("/a")
    log.refresh(Verb.TAG, b"green")
    nginx.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.TAG, b"red")

    nginx.get("/a").fetched("v2")


def test_tags_the_site_hides(origin, make):
    """Where the site hides the tag header from visitors too much is refreshed, never too little."""
    nginx, log = make("proxy_hide_header Cache-Tag;")
    origin.serves("/a", "v1", headers={"Cache-Tag": "blue", "cache-tag": "red"})
    nginx.get("/a")
    origin.serves("/a", "v2")
    log.refresh(Verb.TAG, b"red")

    nginx.get("/a").fetched("v2")


def test_forgotten_tags_are_any_tag(origin, make):
    """Tag memory that overflows refreshes too much, also where a remembered variant hides one that was forgotten."""
    nginx, log = make(tags_size="16k")
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    nginx.get("/a", headers={"Accept-Language": "en"})
    origin.serves("*", "v1", tags="many of them and each of some length")
    for n in range(400):
        nginx.get(f"/more/{n}")
    assert int(log.status().detail["tag_evictions"]) > 0
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    nginx.get("/a", headers={"Accept-Language": "fr"})
    origin.serves("/a", "v2", tags="red", vary="Accept-Language")
    log.refresh(Verb.TAG, b"red")

    never_again(nginx, "/a", "v1 en", **{"Accept-Language": "en"})


def test_tags_learned_after_the_refresh(origin, make):
    """A tag that an old fetch brings after its refresh still takes what that fetch stores."""
    nginx, log = make()
    origin.serves("/a", "v1", tags="blue", vary="Accept-Language")
    for _ in range(12):
        nginx.get("/a", headers={"Accept-Language": "en"})
    origin.serves("/a", "v1", tags="red", vary="Accept-Language")
    with ThreadPoolExecutor(1) as visitors, origin.holding("/a", "headers") as held:
        old = visitors.submit(nginx.get, "/a", headers={"Accept-Language": "fr"})
        held.wait()
        origin.lets_pass("/a")
        log.refresh(Verb.TAG, b"red")
        for _ in range(12):
            nginx.get("/a", headers={"Accept-Language": "en"})
        origin.serves("/a", "v2", tags="red", vary="Accept-Language")
        held.release()
        old.result()

    never_again(nginx, "/a", "v1 fr", **{"Accept-Language": "fr"})


@pytest.mark.parametrize("vary", [None, "Accept-Language"])
def test_who_waited_for_a_fetch_is_not_given_what_was_refreshed_meanwhile(origin, make, vary):
    """proxy_cache_lock: a tag that only the awaited answer tells of, refreshed before the waiting began, counts."""
    nginx, log = make("proxy_cache_lock on; proxy_cache_lock_timeout 20s; proxy_cache_lock_age 20s;")
    english = {"Accept-Language": "en"}
    origin.serves("/a", "v0", tags="blue", vary=vary)
    nginx.get("/a", headers={"Accept-Language": "de"})  # from now on it is known, and not as red
    if not vary:
        nginx.purge()
    origin.serves("/a", "v1", tags="red", vary=vary)
    with ThreadPoolExecutor(5) as visitors, origin.holding("/a", "headers") as held:
        old = visitors.submit(nginx.get, "/a", headers=english)
        held.wait()
        origin.serves("/a", "v2", tags="red", vary=vary)
        origin.lets_pass("/a")
        log.refresh(Verb.TAG, b"red")
        late = [visitors.submit(nginx.get, "/a", headers=english) for _ in range(4)]
        until(lambda: waiting(nginx) == 1 + 4)
        held.release()
        assert old.result().body.startswith("v1")
        seen = [each.result() for each in late]

    assert [(each.status, each.body) for each in seen if each.body.startswith("v1")] == []
    for each in seen:
        assert each.body.startswith("v2") or (each.status == 503 and "cache-control" not in each.headers), each
    never_again(nginx, "/a", "v1", **english)
    nginx.get("/a", headers=english).hit("v2 en" if vary else "v2")


# nginx's own ways


def test_stale_while_the_origin_is_away_is_not_what_was_refreshed(origin, make):
    """proxy_cache_use_stale does not reach back over a refresh."""
    nginx, log = make("proxy_cache_use_stale error timeout updating http_500;")
    origin.serves("/a", "v1")
    nginx.get("/a")
    log.refresh(Verb.FILE, b"/a")
    origin.stop()

    assert nginx.get("/a").status == 502


def test_a_background_update_in_flight_never_becomes_a_hit(origin, make):
    """An expired object that is being renewed behind the scenes is refreshed like any other."""
    nginx, log = make("proxy_cache_use_stale updating; proxy_cache_background_update on;")
    origin.serves("/a", "v1", age=1, tags="red")
    nginx.get("/a")
    until(lambda: log.probe("/a").presence is Presence.ABSENT)
    with ThreadPoolExecutor(1) as visitors, origin.holding("/a", "headers") as held:
        stale = visitors.submit(nginx.get, "/a")  # its connection ends with the update
        held.wait()
        origin.serves("/a", "v2", tags="red")
        origin.lets_pass("/a")
        log.refresh(Verb.TAG, b"red")
        nginx.get("/a").fetched("v2")
        never_again(nginx, "/a", "v1")
        held.release()
        assert (stale.result().body, stale.result().cache) == ("v1", "STALE")

    never_again(nginx, "/a", "v1")


def test_a_revalidation_in_flight_never_becomes_a_hit(origin, make):
    """The same for proxy_cache_revalidate."""
    nginx, log = make("proxy_cache_revalidate on;")
    origin.serves("/a", "v1", age=1, headers={"ETag": '"1"'})
    nginx.get("/a")
    until(lambda: nginx.get("/a").cache == "EXPIRED")
    origin.serves("/a", "v2", headers={"ETag": '"2"'})
    log.refresh(Verb.FILE, b"/a")

    nginx.get("/a").fetched("v2")
    nginx.get("/a").hit("v2")


def test_a_fetch_waits_for_what_is_renewed_behind_the_scenes(origin, make):
    """A prefetch of an expired object is not content with the old answer."""
    nginx, log = make("proxy_cache_use_stale updating; proxy_cache_background_update on;")
    origin.serves("/a", "v1", age=1)
    nginx.get("/a")
    until(lambda: log.probe("/a").presence is Presence.ABSENT)
    origin.serves("/a", "v2")

    assert log.fetch("/a").outcome is FetchOutcome.STORED
    nginx.get("/a").hit("v2")


def test_an_internal_redirect_keeps_the_key_and_the_word(origin, make):
    """error_page within the site neither confuses a fetch nor shows the origin what is ours."""
    _, log = make("proxy_intercept_errors on; error_page 404 = /instead;")
    origin.serves("/instead", "v1")
    fetched = log.fetch("/missing")

    assert fetched.status == 200
    assert [name for asked in origin.log for name in asked.headers if name.startswith("freshline")] == []


def test_workers_that_die_take_nothing_with_them(origin, make):
    """What the workers share outlives each of them."""
    nginx, log = make()
    origin.serves("/a", "v1")
    log.refresh(Verb.FILE, b"/a")
    nginx.get("/a")
    old = nginx.workers()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(nginx.workers()) - set(old)) >= WORKERS)
    gate = log.status()

    assert (gate.position, gate.synced) == (1, True)
    nginx.get("/a").hit("v1")


def test_it_is_not_replaced_on_the_fly(origin, make):
    """Of two masters with one address for their gates each would be told half. The second ends, the first goes on, also
    with reloads."""
    nginx, log = make()
    nginx.stop()
    with nginx.daemon() as pid:
        os.kill(pid, signal.SIGUSR2)
        until(lambda: re.search("new binary process [0-9]+ exited with code 1", nginx.errors))
        assert f"another nginx has {nginx.journal}; one that runs cannot be replaced on the fly" in nginx.errors
        before = children(pid)
        for version in ("v1", "v2"):
            origin.serves("/a", version)
            log.refresh(Verb.FILE, b"/a")
            for _ in range(12):
                assert nginx.get("/a").body == version
            os.kill(pid, signal.SIGHUP)
            until(lambda before=before: children(pid) and not set(before) & set(children(pid)))
            before = children(pid)


def test_another_nginx_does_not_start_with_its_journal(tmp_path, origin, make):
    """It says whose it is, also when it is only told to reload; and starts once the first has ended."""
    nginx, _ = make()
    other, _ = make()
    other.settings["journal"] = str(nginx.journal)
    other.configure()
    os.kill(other.pid, signal.SIGHUP)
    until(lambda: f"another nginx has {nginx.journal}" in other.errors)
    origin.serves("/a", "v1")
    other.get("/a").fetched("v1")
    other.stop()
    with pytest.raises(AssertionError, match="another nginx has"):
        other.start()
    nginx.stop()
    other.start()


def test_more_memory_after_a_reload(origin, make):
    """A reload that changes the size of the memory reads the rules again from the journal."""
    nginx, log = make(rules_size="1m")
    origin.serves("/a", "v1")
    origin.serves("/b", "v1")
    nginx.get("/a")
    nginx.get("/b")
    origin.serves("/a", "v2")
    log.refresh(Verb.FILE, b"/a")
    nginx.settings["rules_size"] = "2m"
    nginx.reload()
    never_again(nginx, "/a", "v1")
    log.catch_up()

    never_again(nginx, "/a", "v1")
    assert log.status().synced
    nginx.get("/b").hit("v1")


def test_tags_of_before_a_reload_that_changed_their_memory(origin, make):
    """What an old worker fetches while it goes is not judged by what only the new ones know of its URL's tags."""
    nginx, log = make("proxy_intercept_errors on; error_page 404 = /instead;", tags_size="1m")
    french, english = {"Accept-Language": "fr"}, {"Accept-Language": "en"}
    origin.serves("/a", "gone", status=404, age=None)
    origin.serves("/instead", "v1", tags="red", vary="Accept-Language")
    old = set(nginx.workers())
    with ThreadPoolExecutor(2) as pool, origin.holding("/a", "headers") as held:
        visit = pool.submit(nginx.get, "/a", headers=french)
        held.wait()
        nginx.settings["tags_size"] = "2m"
        reload = pool.submit(nginx.reload)
        until(lambda: len(old & set(nginx.workers())) == 1)
        log.refresh(Verb.FILE, b"/a")
        held.release()
        visit.result().fetched("v1 fr")
        reload.result()
    origin.serves("/a", "v1", vary="Accept-Language")
    for _ in range(12):
        nginx.get("/a", headers=english)
    origin.serves("/a", "v2", tags="red", vary="Accept-Language")
    log.refresh(Verb.TAG, b"red")

    never_again(nginx, "/a", "v1 fr", **french)


def test_a_reload_that_fails_leaves_the_tags_as_they_were(origin, make):
    """It has set up other memory for them by then; nobody goes by that, and nobody is served by the origin for it."""
    nginx, log = make(tags_size="1m")
    origin.serves("/a", "v1", tags="red")
    origin.serves("/b", "v1", tags="blue")
    log.refresh(Verb.FILE, b"/a")
    nginx.get("/a")
    nginx.get("/b")
    nginx.settings["tags_size"] = "2m"
    nginx.configure()
    file = nginx.root / "nginx.conf"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"listen {nginx.site};"
        file.write_text(file.read_text().replace(listen, f"{listen} listen 127.0.0.1:{taken.getsockname()[1]};"))
        os.kill(nginx.pid, signal.SIGHUP)
        until(lambda: "still could not bind" in nginx.errors)
    for _ in range(12):
        nginx.get("/a").hit("v1")
    log.refresh(Verb.TAG, b"blue")
    for _ in range(12):
        nginx.get("/a").hit("v1")

    log.refresh(Verb.TAG, b"red")
    origin.serves("/a", "v2", tags="red")
    never_again(nginx, "/a", "v1")


# Without a lease


def test_a_location_with_directives_of_its_own_serves_nothing_stored_either(origin, make):
    """Where a location's own proxy_no_cache hides the gate's, what is stored without a lease is for nobody."""
    nginx, log = make(
        "proxy_cache_bypass $arg_a; proxy_no_cache $arg_a; proxy_cache_lock on; proxy_cache_use_stale updating error;"
    )
    origin.serves("/a", "v1")
    nginx.get("/a")
    nginx.lapse = "bypass"
    nginx.reload()
    for version in ("v2", "v3"):
        origin.serves("/a", version)
        nginx.get("/a").fetched(version)
    origin.stop()
    assert nginx.get("/a").status == 502
    log.status(Lease(log.status().clock, 60, 0))

    nginx.get("/a").hit("v1")


@pytest.mark.parametrize(
    "location",
    [
        "rewrite ^/b$ /a break;",
        "rewrite ^ /a last;",
        "return 200 mine;",
        "if ($arg_x = '') { rewrite ^ /a break; }",
        "error_page 503 /sorry;",
        "error_page 503 =200 /sorry; proxy_intercept_errors on; recursive_error_pages on;",
        "access_by_lua_block { ngx.exit(200) }",
        "header_filter_by_lua_block { ngx.header.x = 1 }",
        "auth_basic realm; auth_basic_user_file /none;",
    ],
)
def test_whatever_a_location_does_a_visitor_is_refused(origin, make, location):
    """Rewrites, returns, error pages and Lua of the operator's do not get in between."""
    nginx, _ = make(location, lapse="refuse")
    origin.serves("*", "v1")
    for target in ("/a", "/b", "/sorry"):
        seen = nginx.get(target)

        assert (seen.status, seen.body, seen.headers.get("retry-after")) == (503, "", "1"), seen
    assert origin.log == []


def test_a_prefetch_that_is_redirected_within_the_site_is_not_refused(origin, make):
    """nginx begins a redirected request anew; it is the controller's all the same."""
    nginx, log = make("proxy_intercept_errors on; error_page 404 = /instead;", lapse="refuse")
    origin.serves("/instead", "v1")

    assert log.fetch("/missing").status == 200
    assert nginx.get("/instead").status == 503


def test_a_lease_that_comes_while_a_key_is_worked_out_is_not_for_that_key(origin, make):
    """One worker looks at old rules for as long as another is told of a refresh, and granted a lease for it."""
    nginx, log = make(lapse="bypass", match_limit=1_000_000_000)
    target = "/" + "a" * 37 + "!"  # takes the pattern below half a second, and does not match it

    def lease(seconds: float) -> Lease:
        clock = log.status().clock
        assert clock is not None
        return Lease(clock, seconds, log.position)

    for round_ in range(4):
        origin.serves(target, f"old {round_}")
        log.refresh(Verb.FILE, target.encode())
        log.status(lease(3600))
        nginx.get(target)
        nginx.get(target).hit(f"old {round_}")
        nginx.kill()
        nginx.start()
        log.catch_up()
        log.refresh(Verb.REGEX, b"/(a|aa)+$")
        origin.serves(target, f"new {round_}")
        granted = lease(3600)
        with ThreadPoolExecutor(1) as visitors:
            visit = visitors.submit(nginx.get, target)
            until(lambda visit=visit: visit.done() or waiting(nginx))
            batch = log.accept((Verb.FILE, target.encode()))
            log.apply(batch, replace(granted, position=batch.upto))

        visit.result().fetched(f"new {round_}")


def test_a_gate_that_emptied_itself_holds_no_lease(origin, make):
    """Out of room, all that was fetched is out of use and so is what it was promised."""
    nginx, log = make(rules_size="128k", lapse="bypass")
    log.status(Lease(log.status().clock, 60, 0))
    log.applied(*((Verb.FILE, f"/full/{n}".encode()) for n in range(4_000)))

    assert int(log.status().detail["collapses"]) >= 1
    assert log.status().detail["lease"] == "0"
    origin.serves("/a", "v1")
    for _ in range(12):
        nginx.get("/a").fetched("v1")


def test_a_body_that_cannot_be_read_is_refused(make):
    """Without a length, too long, or for nobody: the status says which, and the gate goes on."""
    nginx, log = make()
    key = {"Host": nginx.gate, "freshline-key": SECRET}

    def asked(path: str, **headers: str) -> tuple[int, str]:
        seen = send(nginx.gate, "POST", path, {**key, **{name.replace("_", "-"): at for name, at in headers.items()}})
        return seen.status, seen.body

    assert asked("/freshline/batch") == (411, "bad no content-length\n")
    assert asked("/freshline/batch", content_length=str((64 << 20) + 1)) == (413, f"bad longer than {64 << 20}\n")
    assert asked("/freshline/nothing", content_length="0") == (404, "")
    assert log.status().log == log.log


# Several fetches in one request


def kept(server: Nginx, paths: list[str]) -> str | None:
    """What a gate that fetches these says of the connection that it was asked on."""
    at, _, port = server.gate.rpartition(":")
    connection = HTTPConnection(at, int(port), timeout=30)
    body = "".join(f"fetch http {SITE} {path}\n" for path in paths) + "end\n"
    connection.request("POST", "/freshline/fetch", body, {"freshline-key": SECRET})
    answer = connection.getresponse()
    assert answer.read().count(b" fetched stored 200 ") == len(paths)
    connection.close()
    return answer.getheader("connection")


def test_a_worker_with_several_lists_lets_go_of_a_connection(origin, make):
    """The service makes another, which comes to a worker that has none; or one would work and the others wait."""
    server, _ = make()
    origin.serves("*", "v1")
    lists = [[f"/{n}a", f"/{n}b"] for n in range(WORKERS + 1)]
    with origin.holding("*", "headers") as held, ThreadPoolExecutor(len(lists)) as pool:
        asked = [pool.submit(kept, server, paths) for paths in lists]
        held.wait(2 * len(lists))
        held.release()
        ends = {each.result() for each in asked}

    assert ends == {"keep-alive", "close"}
    assert kept(server, ["/c", "/d"]) == "keep-alive"
