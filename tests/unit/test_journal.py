"""The journal of the gates in C: what was told is known after a restart, whatever became of the file."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshline.domain.action import Command, Verb
from freshline.drivers.base import Batch
from freshline.drivers.lines import batch_body, flush_body
from tests.servers.base import until
from tests.unit import test_vmod_rules
from tests.unit.test_vmod_rules import LOG, Gate, _any_command, _any_thing, _verdict

HOST = "h.test"

program = test_vmod_rules.program  # the fixture


class Remembering(Gate):
    """A gate with a journal, which can be killed and comes back."""

    def __init__(self, program: Path, journal: Path) -> None:
        super().__init__(program, "disk")
        self.program, self.journal = program, journal
        said = self.ask("remember", str(journal).encode())
        assert said == ["ok"], bytes.fromhex(said[0])

    def killed(self) -> Remembering:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)
        return Remembering(self.program, self.journal)

    def status(self) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in self.tell("status", "-")[1].splitlines())

    def told(self, upto: int, *commands: Command, after: int | None = None, live: bool = True) -> tuple[int, str]:
        at = int(self.status()["position"]) if after is None else after
        return self.tell("batch", batch_body(Batch(LOG, at, upto, f"m{upto}", live, commands)))


@pytest.fixture
def gate(program: Path, tmp_path: Path) -> Iterator[Remembering]:
    """Bound to the log at position 0, its journal in a directory of its own."""
    running = Remembering(program, tmp_path / "journal")
    assert running.tell("flush", flush_body(LOG, 0, "m0"))[0] == 200
    yield running
    running._process.kill()


def file(position: int, what: str) -> Command:
    return Command(position, True, Verb.FILE, HOST, what.encode())


@pytest.mark.parametrize("seed", range(4))
def test_restarts_change_no_verdict(gate: Remembering, seed: int) -> None:
    """Killed now and then, it decides as reading the whole log would, about objects of before and after."""
    dice = random.Random(seed)
    log: list[Command] = []
    life, _ = gate.stamp()
    for position in range(1, 80):
        log.append(_any_command(dice, position))
        assert gate.told(position, log[-1])[0] == 200
        if dice.random() < 0.1:
            gate = gate.killed()
            assert (gate.status()["position"], gate.status()["mark"]) == (str(position), f"m{position}")
            assert gate.told(position, after=position)[0] == 200
        host, path, query, tags = _any_thing(dice)
        stamp = dice.randrange(position + 1)

        said = gate.judge((life, stamp), (path + query).encode(), ", ".join(tags), host.encode())
        assert said == _verdict(log, stamp, host, path, query, tags)
    gate._process.kill()


def test_what_was_cached_is_out_of_use_until_it_has_caught_up(gate: Remembering) -> None:
    """A batch that is not the head of the log does not put it back to use, and one that is does."""
    gate.told(1, file(1, "/a"))
    before = gate.stamp()
    gate = gate.killed()
    assert gate.status()["synced"] == "0"
    meanwhile = gate.stamp()
    assert meanwhile[0] != before[0]
    gate.told(2, file(2, "/b"), live=False)

    assert gate.judge(before, b"/c") == "gone"
    assert gate.judge(meanwhile, b"/c") == "fresh"
    assert gate.judge(meanwhile, b"/b") == "gone"
    gate.told(2, after=2)
    assert gate.status()["synced"] == "1"
    assert gate.stamp() == (before[0], 2)
    assert [gate.judge(before, url) for url in (b"/b", b"/c")] == ["gone", "fresh"]
    gate._process.kill()


def _harmed(gate: Remembering, whole: bytes, harmed: bytes, commits: dict[int, int]) -> None:
    """Never more than it was told, and what it says it knows it does know."""
    gate.journal.write_bytes(harmed)
    again = Remembering(gate.program, gate.journal)
    status = again.status()
    position = int(status["position"])
    if status["log"] == "-":
        assert again.told(5, after=4)[0] == 409
    else:
        assert position in commits.values()
        assert again.told(4, *(file(at, f"/{at}") for at in range(position + 1, 5)))[0] == 200
        again = again.killed()
        assert again.told(4, after=4)[0] == 200
        life, _ = again.stamp()
        for at in range(1, 5):
            assert again.judge((life, at - 1), f"/{at}".encode()) == "gone"
            assert again.judge((life, at), f"/{at}".encode()) == "fresh"
    again._process.kill()
    again._process.wait(20)


def test_a_journal_that_is_torn_or_rotten_holds_up_to_there(gate: Remembering) -> None:
    """Cut anywhere, or with any byte changed, it is believed as far as it is whole, and goes on from there."""
    commits = {gate.journal.stat().st_size: 0}
    for at in range(1, 5):
        gate.told(at, file(at, f"/{at}"))
        commits[gate.journal.stat().st_size] = at
    whole = gate.journal.read_bytes()
    gate._process.kill()
    gate._process.wait(20)
    dice = random.Random(7)

    for size in sorted(dice.sample(range(len(whole)), 25)) + list(commits):
        _harmed(gate, whole, whole[:size], commits)
    for at in dice.sample(range(len(whole)), 25):
        _harmed(gate, whole, whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :], commits)


def test_a_journal_is_written_anew_before_it_grows_for_ever(gate: Remembering) -> None:
    """What was superseded goes; what was dropped for want of room leaves its floor behind, there as in memory."""
    gate.ask("bounds", 50, 10_000)
    life, _ = gate.stamp()
    largest = last = 0
    for upto in range(1000, 80_001, 1000):
        gate.told(upto, *(file(at, f"/{'x' * 20}{at % 60}") for at in range(upto - 999, upto + 1)))
        last = gate.journal.stat().st_size
        largest = max(largest, last)
    assert last < largest < 6 << 20

    def never_too_fresh(running: Remembering) -> None:
        said = set()
        for stamp in range(80_000 - 130, 80_001, 3):
            for n in range(0, 60, 7):
                verdict = running.judge((life, stamp), f"/{'x' * 20}{n}".encode())
                newest = max(at for at in range(79_941, 80_001) if at % 60 == n)
                assert verdict == "gone" or newest <= stamp
                said.add(verdict)
        assert said == {"gone", "fresh"}

    never_too_fresh(gate)
    gate = gate.killed()
    gate.told(80_000, after=80_000)
    never_too_fresh(gate)
    gate._process.kill()


def test_a_full_disk_acknowledges_nothing(gate: Remembering) -> None:
    """What could not be written is not applied, and is taken when there is room again; nothing else is lost."""
    gate.told(1, file(1, "/a"))
    pid = gate._process.pid
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (10, unlimited[1]))
    status, text = gate.told(2, file(2, "/b"))

    assert (status, text.split(" ")[0]) == (500, "failed")
    assert gate.tell("flush", flush_body(LOG, 7, "m7"))[0] == 500
    life, position = gate.stamp()
    assert position == 1
    assert gate.judge((life, 1), b"/b") == "fresh"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    assert gate.told(2, file(2, "/b"))[0] == 200
    gate = gate.killed()
    gate.told(2, after=2)
    assert [gate.judge((life, stamp), b"/b") for stamp in (1, 2)] == ["gone", "fresh"]
    assert gate.judge((life, 0), b"/a") == "gone"
    gate._process.kill()


def test_a_journal_that_was_taken_away_takes_the_cache_with_it(gate: Remembering) -> None:
    """Deleting it flushes the edge, at the next batch at the latest."""
    gate.told(1, file(1, "/a"))
    old = gate.stamp()
    gate.journal.unlink()
    gate.told(2, file(2, "/b"))

    assert gate.judge(old, b"/c") == "gone"
    new = gate.stamp()
    gate = gate.killed()
    assert gate.told(2, after=2)[0] == 200
    assert [gate.judge(stamp, b"/c") for stamp in (old, new)] == ["gone", "fresh"]
    gate._process.kill()


def test_more_hosts_than_there_is_room_for(gate: Remembering) -> None:
    """Everything cached before is out of use, also after a restart."""
    old = gate.stamp()
    hosts = 65_536 + 10
    for upto in range(1, hosts, 20_000):
        last = min(upto + 19_999, hosts)
        commands = (Command(at, True, Verb.FILE, f"h{at}.test", b"/a") for at in range(upto, last + 1))
        assert gate.told(last, *commands)[0] == 200

    new = gate.stamp()
    assert gate.judge(old, b"/c") == "gone" and gate.judge(new, b"/c") == "fresh"
    gate = gate.killed()
    assert gate.told(last, after=last)[0] == 200
    assert gate.judge(old, b"/c") == "gone" and gate.judge(new, b"/c") == "fresh"
    gate._process.kill()


def test_a_journal_keeps_its_rules_while_it_cannot_be_begun_anew(gate: Remembering) -> None:
    """With too many hosts and a disk that fails, what is stored is still of the old life, and stays refreshed."""
    old = gate.stamp()
    first = (Command(at, True, Verb.FILE, f"h{at}.test", b"/a") for at in range(1, 65_537))
    assert gate.told(65_536, *first)[0] == 200
    in_the_way = gate.journal.with_name("journal.new")
    in_the_way.mkdir()
    assert gate.told(65_537, Command(65_537, True, Verb.FILE, "one-more.test", b"/a"))[0] == 500
    in_the_way.rmdir()
    resource.prlimit(gate._process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    assert gate.told(65_538, file(65_538, "/" + "x" * 8192))[0] == 500
    gate = gate.killed()
    at = int(gate.status()["position"])
    gate.told(at, after=at)

    assert gate.judge(old, b"/a", host=b"h1.test") == "gone"
    gate._process.kill()


def test_a_journal_with_a_line_that_is_no_rule_is_none(gate: Remembering) -> None:
    """Another version's command, say: a rule less would be a stale object more."""
    gate.told(1, file(1, "/a"))
    assert gate.ask("append", 2, "m2", b"2 1 prefix h.test /b\n") == ["ok"]
    gate = gate.killed()

    assert gate.status()["log"] == "-"
    gate._process.kill()


def test_one_process_has_the_journal(gate: Remembering) -> None:
    """Another waits until it has ended: so a server that is restarted in haste finds all that its predecessor wrote."""
    gate.told(1, file(1, "/a"))
    heir = Gate(gate.program, "disk")
    assert heir._process.stdin is not None
    heir._process.stdin.write(f"remember {str(gate.journal).encode().hex()}\n")
    heir._process.stdin.flush()
    until(lambda: f"{gate.journal}.lock" in str(_open_files(heir._process.pid)))
    gate.told(2, file(2, "/b"))
    gate._process.kill()
    assert heir._process.stdout is not None and heir._process.stdout.readline() == "ok\n"

    assert "position 2\n" in heir.tell("status", "-")[1]
    heir._process.kill()


def _open_files(pid: int) -> list[Path]:
    return [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
