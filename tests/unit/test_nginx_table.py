"""What nginx's gate keeps in shared memory, by itself and under sanitizers: rules told in Python as well, and kills."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from freshline.domain.target import canonical_path
from freshline.gates import core, nginx

HOSTS = (b"a.test", b"b.test")
SEGMENTS = (b"a", b"b", b"c.x", b"d-1")
ROOMY, SMALL = 4 << 20, 256 << 10
TAGS = 16 << 10
KILLS = 250

Rule = tuple[str, bytes, bytes]  # verb, host, what


class Table:
    """One process: one line asked and one answered."""

    def __init__(self, program: Path, rules: int) -> None:
        self._process = subprocess.Popen(
            [program, str(rules), str(TAGS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, *words: object) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(" ".join((word.hex() or "-") if isinstance(word, bytes) else str(word) for word in words) + "\n")
        stdin.flush()
        answer = stdout.readline().strip()
        assert answer, f"died of {words!r}"
        return answer

    def batch(self, *rules: tuple[int, Rule]) -> None:
        self.ask("begin", "-")
        for position, (verb, host, what) in rules:
            assert self.ask("put", position, verb[0], host, what) == "1"
        self.ask("publish", "-")

    def look(self, host: bytes, url: bytes) -> int:
        return int(self.ask("look", host, url))

    def close(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(20)


def _compile(program: Path, *sanitizers: str) -> Path | None:
    flags = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all", *sanitizers]
    includes = [f"-I{place}" for place in (nginx.HERE, nginx.LUA / "freshline", core.HERE)]
    sources = [path for path in nginx.SOURCES if path.name not in ("module.c", "visit.c")]  # nginx's own parts
    harness = Path(__file__).with_name("nginx_harness.c")
    command = ["gcc", *flags, *includes, "-o", program, harness, *sources, *nginx.LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr:
        return None  # the sanitizer's library is a package of its own
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nginx") / "harness"
    built = _compile(made, "-fsanitize=address,undefined") or _compile(made)
    assert built is not None
    return built


@pytest.fixture(params=[ROOMY])
def table(program: Path, request: pytest.FixtureRequest) -> Iterator[Table]:
    running = Table(program, request.param)
    yield running
    assert running.close() == 0, "a sanitizer objected"


def covers(rule: Rule, host: bytes, url: bytes) -> bool:
    """Of all but tags."""
    verb, of, what = rule
    raw, mark, query = url.partition(b"?")
    path = canonical_path(raw)
    whole = path + mark + query
    if of != host:
        return False
    match verb:
        case "file":
            return what == whole
        case "path":
            return what == path
        case "dir":
            return path.startswith(what)
        case "regex":
            return any(re.match(what, subject) for subject in (path, whole))
        case _:
            return False


def some_url(dice: random.Random) -> bytes:
    path = b"/" + b"/".join(dice.choices(SEGMENTS, k=dice.randrange(4)))
    return path + dice.choice((b"", b"", b"/", b"?q=1"))


def some_rule(dice: random.Random) -> Rule:
    host, url = dice.choice(HOSTS), some_url(dice)
    path = url.partition(b"?")[0]
    match dice.choice(("file", "path", "dir", "prefix", "regex", "tag")):
        case "prefix":
            return "dir", host, path  # mostly within a name
        case "dir":
            return "dir", host, path.rstrip(b"/") + b"/"
        case "regex":
            return "regex", host, dice.choice((re.escape(path), path.replace(b"/", b"/.", 1) + b"*", rb"/[a-c].*x"))
        case "tag":
            return "tag", host, dice.choice((b"red", b"blue"))
        case verb:
            return verb, host, path if verb == "path" else url


@pytest.mark.parametrize("seed", range(6))
def test_the_newest_rule_that_covers_a_url(table: Table, seed: int) -> None:
    """After any batches, drops and repeats the answer is the position that the same rules have in Python."""
    dice = random.Random(seed)
    rules: dict[Rule, int] = {}
    objects = {(host, some_url(dice)): dice.choice((b"red", b"blue", b"green")) for host in HOSTS for _ in range(12)}
    learnt: dict[tuple[bytes, bytes], int] = {}
    newest_tag = dict.fromkeys(HOSTS, 0)
    position = 0
    for _ in range(60):
        batch = [(position := position + 1, some_rule(dice)) for _ in range(dice.randrange(1, 8))]
        table.batch(*batch)
        for at, rule in batch:
            rules[rule] = at
            if rule[0] == "tag":
                newest_tag[rule[1]] = at
            if rule[0] == "dir" and rule[2] == b"/":  # says all that patterns before it said
                rules = {other: p for other, p in rules.items() if p >= at or other[1] != rule[1] or not pattern(other)}
        for rule in dice.sample(sorted(rules), k=min(len(rules), dice.randrange(3))):
            verb, host, what = rule
            at = rules.pop(rule)
            assert table.ask("live", at - 1, verb[0], host, what) == "0"
            assert table.ask("live", at, verb[0], host, what) == "1"
            table.ask("drop", at, verb[0], host, what)
        for (host, url), carried in objects.items():
            expected = max((at for rule, at in rules.items() if covers(rule, host, url)), default=0)
            if newest_tag[host] and (host, url) in learnt:
                expected = max(expected, learnt[host, url], rules.get(("tag", host, carried), 0))
            elif newest_tag[host]:
                expected = max(expected, newest_tag[host])

            assert table.look(host, url) == expected, (host, url, rules)
            if dice.random() < 0.2:
                table.ask("learn", expected, host, url, carried)
                learnt[host, url] = max(expected, learnt.get((host, url), 0))


def pattern(rule: Rule) -> bool:
    return rule[0] == "regex" or (rule[0] == "dir" and not rule[2].endswith(b"/"))


def test_a_journal_is_read_as_batches_are(table: Table) -> None:
    """Lines as the journal has them, escapes and all; one that is none ends it."""
    lines = "".join(f"{n} file a.test {quote(f'/ü {n}')}\n" for n in range(1, 500))
    table.ask("begin", "-")

    assert table.ask("load", lines.encode()) == "499"
    table.ask("publish", "-")
    assert table.look(b"a.test", "/ü 77".encode()) == 77
    assert table.ask("rules", "-") == "499"
    for bad in ("x file a.test /a\n", "1 file a.test\n", "1 file a.test /a", "9999999999999999 file a.test /a\n"):
        assert table.ask("load", bad.encode()) == "-1"


@pytest.mark.parametrize("table", [SMALL], indirect=True)
def test_what_is_let_go_of_makes_room(table: Table) -> None:
    """The same room takes as many rules again after they were dropped or cleared, patterns as well."""
    for turn in range(5):
        table.ask("begin", "-")
        for n in range(3_000):
            assert table.ask("put", turn * 10_000 + n + 1, "f", b"a.test", b"/%d/%d" % (turn, n)) == "1"
        for n in range(200):
            assert table.ask("put", turn * 10_000 + 5_000 + n, "r", b"a.test", b"/%d/" % n + b"x" * n) == "1"
        table.ask("publish", "-")
        if turn == 3:
            table.ask("clear", "-")
        for n in range(3_000):
            table.ask("drop", turn * 10_000 + n + 1, "f", b"a.test", b"/%d/%d" % (turn, n))

    assert table.ask("rules", "-") == "200"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("table", [SMALL], indirect=True)
def test_processes_that_are_killed_leave_it_whole(table: Table, seed: int) -> None:
    """Writers, readers and learners are killed at any moment: whoever goes on reads nothing older than was answered."""
    said = table.ask("kill", KILLS, seed)
    found = re.fullmatch(r"0 stale of (\d+), (\d+) batches, (\d+) learnt, \d+ evicted", said)

    assert found, said
    assert all(int(count) > KILLS for count in found.groups())
