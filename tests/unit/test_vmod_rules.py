"""The C that gates share, by itself and under sanitizers, held against the same rules told in Python."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshline.domain.action import Command, Verb
from freshline.domain.target import canonical_path
from freshline.drivers.base import Batch
from freshline.drivers.lines import batch_body, flush_body
from freshline.gates import core

LOG = "log"


class Gate:
    """The harness: one process, one line asked and one answered."""

    def __init__(self, program: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, restore_signals=False
        )

    def ask(self, *words: str | int | bytes) -> list[str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        line = " ".join((word.hex() or "-") if isinstance(word, bytes) else str(word) for word in words)
        stdin.write(line + "\n")
        stdin.flush()
        answer = stdout.readline().split()
        assert answer, f"died of {line[:200]!r}"
        return answer

    def tell(self, *words: str | int | bytes) -> tuple[int, str]:
        status, text = self.ask(*words)
        return int(status), bytes.fromhex(text).decode()

    def batch(self, after: int, upto: int, *commands: Command) -> tuple[int, str]:
        return self.tell("batch", batch_body(Batch(LOG, after, upto, "m", True, commands)))

    def flush(self, position: int = 0) -> None:
        assert self.tell("flush", flush_body(LOG, position, "m")) == (200, f"ok {position} m\n")

    def stamp(self) -> tuple[str, int]:
        life, position = self.ask("stamp", "-")
        return life, int(position)

    def judge(self, stamp: tuple[str, int], url: bytes, tags: str = "", host: bytes = b"h.test") -> str:
        return self.ask("judge", *stamp, host, url, tags.encode())[0]

    def close(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(20)


def _compile(program: Path, *sanitizers: str) -> Path:
    flags = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-fno-sanitize-recover=all"]
    command = ["gcc", *flags, *sanitizers, f"-I{core.HERE}", "-o", program, Path(__file__).with_name("vmod_harness.c")]
    command += [*core.SOURCES, *core.DISK_SOURCES, core.HERE / "errand.c"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("vmod") / "harness"
    return _compile(made, "-fsanitize=address,undefined")


@pytest.fixture
def rules(program: Path) -> Iterator[Gate]:
    """A gate bound to the log, at position 0."""
    running = Gate(program)
    running.flush()
    yield running
    assert running.close() == 0, "a sanitizer objected"


# Canonical forms

PIECES = st.sampled_from(
    ["/", "//", ".", "..", "a", "b", "%2e", "%2F", "%61", "%", "%4", "%zz", "%00", "%C3%A9", "é", "?", "*"]
)
SPELLINGS = st.lists(PIECES, max_size=12).map(lambda pieces: "".join(pieces).encode())


@given(raw=st.one_of(SPELLINGS, st.binary(max_size=40)))
@settings(max_examples=2000, deadline=None)
def test_urls_have_one_spelling_in_c_and_python(canonical: Gate, raw: bytes) -> None:
    """Whatever bytes a visitor sends, the gate names them as the controller would."""
    path, mark, query = raw.partition(b"?")
    size, whole = canonical.ask("url", raw)

    expected = canonical_path(path)
    assert int(size) == len(expected)
    assert bytes.fromhex(whole) == expected + mark + unquote_to_bytes(query)


@pytest.fixture(scope="module")
def canonical(program: Path) -> Iterator[Gate]:
    running = Gate(program)
    yield running
    assert running.close() == 0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("WWW.Test", "www.test"),
        ("www.test:8080", "www.test"),
        ("www.test.", "www.test"),
        ("www.test.:80", "www.test"),
        ("www.test:junk", "www.test"),
        ("www.test:80:80", "www.test"),
        ("www.test:80.", "www.test"),
        ("me@www.test", "www.test"),
        ("[::1]:80", "[::1]"),
    ],
)
def test_hosts_have_one_spelling(canonical: Gate, raw: str, expected: str) -> None:
    """Case, port and trailing dot say nothing about which site is meant."""
    assert bytes.fromhex(canonical.ask("host", raw.encode())[0]).decode() == expected


# The table against a model

HOSTS = ["a.test", "b.test"]
PATHS = ["/", "/x", "/d/", "/d/x", "/d/e/", "/d/e/y", "/dx", "/d/e/f/g/z"]
QUERIES = ["", "?q=1", "?q=2", "?"]
TAGS = ["red", "blue", "green"]
PATTERNS = ["/d/.*y", "/x$", "/d.*q=1", "/(x|d/x)", "/d/[a-z]+/"]


def _any_command(dice: random.Random, position: int) -> Command:
    verb = dice.choice(list(Verb))
    what = {
        Verb.FILE: lambda: dice.choice(PATHS) + dice.choice(QUERIES),
        Verb.PATH: lambda: dice.choice(PATHS),
        Verb.DIR: lambda: dice.choice(PATHS),
        Verb.REGEX: lambda: dice.choice(PATTERNS),
        Verb.TAG: lambda: dice.choice(TAGS),
    }[verb]()
    return Command(position, dice.random() < 0.5, verb, dice.choice(HOSTS), what.encode())


def _covers(command: Command, host: str, path: str, query: str, tags: list[str]) -> bool:
    what = command.what.decode()
    match command.verb:
        case _ if command.host != host:
            return False
        case Verb.FILE:
            return what == path + query
        case Verb.PATH:
            return what == path
        case Verb.DIR:
            return path.startswith(what)
        case Verb.TAG:
            return what in tags
        case Verb.REGEX:
            return any(re.match(what, subject) for subject in (path, path + query))


def _verdict(log: list[Command], stamp: int, host: str, path: str, query: str, tags: list[str]) -> str:
    newer = [command for command in log if command.position > stamp and _covers(command, host, path, query, tags)]
    if any(command.force for command in newer):
        return "gone"
    return "revalidate" if newer else "fresh"


def _any_thing(dice: random.Random) -> tuple[str, str, str, list[str]]:
    return dice.choice(HOSTS), dice.choice(PATHS), dice.choice(QUERIES), dice.sample(TAGS, dice.randrange(3))


@pytest.mark.parametrize("seed", range(10))
def test_the_table_decides_as_the_log_does(rules: Gate, seed: int) -> None:
    """Among random commands, objects and stamps, the verdict is that of reading the whole log."""
    dice = random.Random(seed)
    log: list[Command] = []
    position = 0
    for _ in range(60):
        upto = position + dice.randrange(1, 8)
        commands = [_any_command(dice, at) for at in range(position + 1, upto + 1) if dice.random() < 0.5]
        assert rules.batch(position, upto, *commands) == (200, f"ok {upto} m\n")
        position = upto
        log += commands
        life, now = rules.stamp()
        assert now == position
        for _ in range(25):
            host, path, query, tags = _any_thing(dice)
            stamp = dice.randrange(position + 1)
            said = rules.judge((life, stamp), (path + query).encode(), ", ".join(tags), host.encode())

            assert said == _verdict(log, stamp, host, path, query, tags), (stamp, host, path, query, tags)


@pytest.mark.parametrize("seed", range(5))
def test_a_full_table_forgets_towards_fetching(rules: Gate, seed: int) -> None:
    """With room for a handful of rules an object is never found fresher than the whole log says."""
    dice = random.Random(seed)
    severity = ["fresh", "revalidate", "gone"].index
    rules.ask("bounds", 5, 1000)
    log: list[Command] = []
    for position in range(1, 300):
        log.append(_any_command(dice, position))
        assert rules.batch(position - 1, position, log[-1])[0] == 200
        life, _ = rules.stamp()
        host, path, query, tags = _any_thing(dice)
        stamp = dice.randrange(position + 1)
        said = rules.judge((life, stamp), (path + query).encode(), " ".join(tags), host.encode())

        assert severity(said) >= severity(_verdict(log, stamp, host, path, query, tags))
        assert rules.judge((life, position), (path + query).encode(), "", host.encode()) == "fresh"
    kept = dict(line.split(" ", 1) for line in rules.tell("status", "-")[1].splitlines())
    assert int(kept["rules"]) <= 5 and int(kept["dropped"]) > 0


def test_old_rules_go_and_leave_a_floor(rules: Gate) -> None:
    """A rule past its age is dropped with the next batch; what it covered stays covered, what is newer stays fresh."""
    rules.ask("bounds", 100, 60)
    life, _ = rules.stamp()
    rules.batch(
        0,
        1,
        Command(1, True, Verb.FILE, "h.test", b"/a"),
    )
    rules.ask("now", 100)
    rules.batch(1, 2, Command(2, True, Verb.FILE, "h.test", b"/b"))

    assert "rules 1\n" in rules.tell("status", "-")[1]
    assert rules.judge((life, 0), b"/a") == "gone"
    assert rules.judge((life, 1), b"/a") == "fresh"
    assert rules.judge((life, 1), b"/b") == "gone"


def test_many_rules_are_found_and_go_together(rules: Gate) -> None:
    """Thousands of rules are each found; past their age all go with one batch, and leave a floor."""
    rules.ask("bounds", 100_000, 60)
    life, _ = rules.stamp()
    count = 5_000
    rules.batch(0, count, *(Command(n, True, Verb.FILE, "h.test", b"/%d" % n) for n in range(1, count + 1)))
    found = {rules.judge((life, n - 1), b"/%d" % n) for n in range(1, count + 1)}
    beside = {rules.judge((life, n), b"/%d" % n) for n in range(1, count + 1, 7)}
    rules.ask("now", 100)
    rules.batch(count, count + 1, Command(count + 1, True, Verb.FILE, "h.test", b"/last"))

    assert (found, beside) == ({"gone"}, {"fresh"})
    assert "rules 1\n" in rules.tell("status", "-")[1]
    assert rules.judge((life, count - 1), b"/other") == "gone"
    assert rules.judge((life, count), b"/other") == "fresh"


def test_a_pattern_refreshed_again_moves_to_the_front(rules: Gate) -> None:
    """The same pattern twice is one rule with the newer position."""
    life, _ = rules.stamp()
    for position in (1, 2, 3):
        rules.batch(position - 1, position, Command(position, True, Verb.REGEX, "h.test", b"/a.*"))

    assert "regexes 1\n" in rules.tell("status", "-")[1]
    assert rules.judge((life, 2), b"/abc") == "gone"
    assert rules.judge((life, 3), b"/abc") == "fresh"


# The protocol

GOOD = b"batch log 0 5 m 1\nrun 1 1 1 file h.test\n/a\nend\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"end\n",
        b"\nend\n",
        GOOD[:-1],
        GOOD[:-4],
        GOOD[:20],
        GOOD.replace(b"run", b"ran"),
        GOOD.replace(b"1 1 1 file", b"6 1 1 file"),
        GOOD.replace(b"1 1 1 file", b"0 1 1 file"),
        GOOD.replace(b"1 1 1 file", b"1 0 1 file"),
        GOOD.replace(b"1 1 1 file", b"1 2 1 file"),
        GOOD.replace(b"1 1 1 file", b"1 6 1 file"),
        GOOD.replace(b"1 1 1 file", b"1 9007199254740992 1 file"),
        GOOD.replace(b"1 1 1 file", b"1 99999999999999999 1 file"),
        GOOD.replace(b"1 1 1 file", b"1 1 2 file"),
        GOOD.replace(b"1 1 1 file", b"1 1 1 flie"),
        GOOD.replace(b"1 1 1 file", b"1 1 1  file"),
        GOOD.replace(b"h.test\n/a", b"h.test"),
        GOOD.replace(b"h.test\n/a", b"h.test\n"),
        GOOD.replace(b"h.test", b"h.test "),
        GOOD.replace(b"h.test", b"h.test x"),
        GOOD.replace(b"/a", b"/a\n/b"),
        GOOD.replace(b"/a", b"/a b"),
        GOOD.replace(b"/a", b"/a%"),
        GOOD.replace(b"/a", b"/a%4"),
        GOOD.replace(b"/a", b"/a\xc3\xa9"),
        GOOD.replace(b"end", b"run 1 1 1 file h.test\n/b\nend"),
        GOOD.replace(b"0 5 m 1", b"5 0 m 1"),
        GOOD.replace(b"0 5 m 1", b"0 5 m 2"),
        GOOD.replace(b"0 5 m 1", b"0 5 m"),
        GOOD.replace(b"0 5 m 1", b"0 99999999999999999 m 1"),
    ],
)
def test_what_is_no_batch_changes_nothing(rules: Gate, body: bytes) -> None:
    """400, and the gate stands where it stood with the rules it had."""
    status, text = rules.tell("batch", body)

    assert status == 400 and text.startswith("bad ")
    assert rules.stamp()[1] == 0
    assert "rules 0\n" in rules.tell("status", "-")[1]
    assert rules.tell("batch", GOOD) == (200, "ok 5 m\n")


@given(
    body=st.lists(
        st.sampled_from(
            [b"batch", b"run", b"log", b" ", b"0", b"1", b"5", b"m", b"\n", b"end\n", b"file", b"h", b"/a", b"%41"]
        ),
        max_size=40,
    )
)
@settings(max_examples=1000, deadline=None)
def test_no_body_harms_the_gate(canonical: Gate, body: list[bytes]) -> None:
    """Garbage is answered, not read beyond."""
    status, text = canonical.tell("batch", b"".join(body))

    assert status in (200, 400, 409) and text.endswith("\n")
    status, text = canonical.tell("flush", b"".join(body))
    assert status == 400


ERRAND_PIECES = [b"header ", b"x-a ", b"host ", b"freshline-key ", b" ", b"%", b"%0a", b"%4", b"\n", b"end\n"]
ERRAND_PIECES += [b"fetch ", b"fetch http h.test /a\n", b"\nfetch http h.test /a\nheader a b\n"]
ERRAND = b"fetch https h.test /a?b\nheader accept text/%%25\n%send\n"


@given(
    lines=st.lists(
        st.one_of(
            st.sampled_from(ERRAND_PIECES),
            st.binary(max_size=8),
        ),
        max_size=30,
    )
)
@settings(max_examples=400, deadline=None)
def test_no_errand_harms_the_gate(canonical: Gate, lines: list[bytes]) -> None:
    """Of a fetch's lines too, garbage is answered and not read beyond, behind a good head or without one."""
    for body in (b"".join(lines), ERRAND % b"".join(lines)):
        first, second = canonical.ask("fetch", body)

        assert (first == "bad" and bytes.fromhex(second)) or int(first) <= 64

    assert canonical.ask("fetch", ERRAND % b"") == ["1", "-"]
    assert canonical.ask("fetch", ERRAND % b"header host a\n")[0] == "2"
    for more, said in ((2, ["1", "-"]), (3, ["bad", b"more than 3".hex()])):
        assert canonical.ask("fetch", ERRAND % (b"fetch http h.test /b\nheader a b\n" * more)) == said


def test_a_row_the_gate_cannot_do_is_refused_and_the_rest_done(rules: Gate) -> None:
    """One bad pattern does not hold up its batch."""
    life, _ = rules.stamp()
    status, text = rules.batch(
        0,
        3,
        Command(1, True, Verb.REGEX, "h.test", b"/(a"),
        Command(2, True, Verb.FILE, "h.test", b"/b"),
        Command(3, True, Verb.FILE, "h.test", b"nowhere"),
    )

    lines = text.splitlines()
    assert (status, lines[0]) == (200, "ok 3 m")
    assert [line.split(" ")[:2] for line in lines[1:]] == [["refused", "1"], ["refused", "3"]]
    assert rules.judge((life, 0), b"/b") == "gone"


def test_lookups_and_batches_at_once(tmp_path: Path) -> None:
    """No data race between those who judge and the one who adds."""
    running = Gate(_compile(tmp_path / "harness", "-fsanitize=thread"))

    assert running.ask("storm", 2000) == ["ok"]
    assert running.close() == 0


# Leases

FIELDS = st.one_of(st.integers(-5, 10**20).map(str), st.sampled_from(["", " ", "-", "0x1", "1.", "1e3", "+1", "\t"]))


@given(fields=st.lists(FIELDS, max_size=5), end=st.sampled_from(["", " ", "x"]))
@settings(max_examples=500, deadline=None)
def test_only_a_lease_is_a_lease(canonical: Gate, fields: list[str], end: str) -> None:
    """Of all lines that begin with its name a gate takes those of three numbers that fit it, and no other."""
    canonical.flush(3)
    canonical.ask("lapse", 1)
    held = canonical.ask("lapsed", "-") == ["0"]
    boot, now = canonical.ask("clock", "-")
    canonical.ask("renew", " ".join([boot, *fields]).encode() + end.encode())
    good = (
        len(fields) == 3
        and not end
        and all(re.fullmatch("[0-9]{1,15}", field) for field in fields)
        and int(fields[0]) <= int(now) + 1_000  # this test's own time
        and int(fields[1]) <= 86_400_000
        and int(fields[2]) <= 3
    )

    if canonical.ask("lapsed", "-") == ["0"]:
        assert held or good


def test_a_lease_lapses_by_the_policy(rules: Gate) -> None:
    """Under serve nothing lapses; under the others all does that is not leased."""
    boot, now = rules.ask("clock", "-")
    without = [rules.ask("lapse", lapse) and rules.ask("lapsed", "-") for lapse in (0, 1, 2)]
    stale = rules.tell("fresh", "-")
    rules.ask("renew", f"{boot} {now} 60000 0".encode())
    leased = [rules.ask("lapse", lapse) and rules.ask("lapsed", "-") for lapse in (0, 1, 2)]

    assert (without, leased) == ([["0"], ["1"], ["1"]], [["0"]] * 3)
    assert (stale, rules.tell("fresh", "-")) == ((503, "not fresh\n"), (200, "fresh\n"))
