"""The lines a gate speaks (docs/gates.md), in both directions. Pure: bytes in, values out.

What a driver writes, a gate reads back as the same value, and the other way round. Whatever is not the protocol raises
:class:`BadLines`; the drivers turn that into ``Fault.GARBAGE``, a gate into ``400 bad``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from urllib.parse import unquote_to_bytes

from freshline.domain.action import Command, Verb
from freshline.domain.run import Commands, Run, of_commands
from freshline.drivers.base import Adrift, Applied, Batch, Clock, Fault, Gate, Lapse, Lease, Trouble

STATUS = "/freshline/status"
BATCH = "/freshline/batch"
FLUSH = "/freshline/flush"
FRESH = "/freshline/fresh"
KEY_HEADER = "freshline-key"
CLOCK_HEADER = "freshline-clock"
LEASE_HEADER = "freshline-lease"

VERSION = "1"
NUMBER_DIGITS = 16
NUMBER_LIMIT = 1 << 53  #: positions fit a double, which is what a gate in Lua counts with
ALIKE = 64  #: batches, and short answers to them, that are kept: what is told to one gate is told to the others
SAID_LIMIT = 300  #: characters of an answer that are kept as evidence

_VERBS = frozenset(map(str, Verb))
_ESCAPES = re.compile(rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})+\Z")
_CLOCK = re.compile(r"([0-9a-z]{1,64}) ([0-9]{1,15})\Z")
_TOKEN = re.compile(r"[!-~]{1,253}\Z")  # a host may be that long; names and marks of logs are shorter


class BadLines(ValueError):
    """Not the protocol. The text says where it is not."""


# What goes to a gate


def batch_body(batch: Batch) -> bytes:
    return b"".join(batch_parts(batch))


def batch_parts(batch: Batch) -> tuple[bytes, bytes]:
    """The same in two: what differs from gate to gate, and the runs, which are the same bytes for all of them."""
    head = _batch_line(batch.log, batch.after, batch.upto, batch.mark, batch.live)
    told = batch.commands
    return head, told.once(_told) if isinstance(told, Commands) else _told(of_commands(told))


@lru_cache(maxsize=ALIKE)
def _batch_line(log: str, after: int, upto: int, mark: str, live: bool) -> bytes:
    return f"batch {_word(log)} {after} {upto} {_word(mark)} {int(live)}\n".encode("ascii")


def _told(runs: Iterable[Run]) -> bytes:
    return b"".join([*chain.from_iterable((_run_line(run), run.lines) for run in runs), b"end\n"])


def _run_line(run: Run) -> bytes:
    return f"run {run.first} {run.count} {int(run.force)} {run.verb} {_word(run.host)}\n".encode("ascii")


def flush_body(log: str, position: int, mark: str) -> bytes:
    return _body([f"flush {_word(log)} {position} {_word(mark)}"])


def lease_value(lease: Lease) -> str:
    """For :data:`LEASE_HEADER`."""
    return f"{lease.clock.boot} {lease.clock.milliseconds} {round(lease.seconds * 1000)} {lease.position}"


def unescape(field: str) -> bytes:
    raw = field.encode("ascii", "replace")
    if not _ESCAPES.match(raw):
        raise BadLines(f"{field[:80]!r} is not percent-encoded")
    return unquote_to_bytes(raw)


# What a gate reads


def read_batch(body: bytes) -> Batch:
    lines = _lines(body)
    match lines[0].split(" "):
        case ["batch", log, after, upto, mark, ("0" | "1") as live]:
            first, last = _number(after), _number(upto)
        case _:
            raise BadLines("the first line is no batch")
    if last < first:
        raise BadLines("upto lies before after")
    commands: list[Command] = []
    reached = first
    rest = iter(lines[1:])
    for line in rest:
        commands += _read_run(line, rest, reached, last)
        reached = commands[-1].position
    return Batch(_token(log), first, last, _token(mark), live == "1", tuple(commands))


def _read_run(line: str, rest: Iterator[str], after: int, upto: int) -> Iterator[Command]:
    """
    :param rest: the lines that follow, of which it takes its own
    """
    match line.split(" "):
        case ["run", first_, count_, ("0" | "1") as force, verb, host] if verb in _VERBS:
            first, count = _number(first_), _number(count_)
        case _:
            raise BadLines(f"{line[:80]!r} is no run")
    if not (after < first <= upto and 0 < count <= upto - first + 1):
        raise BadLines(f"{count} rows from {first} do not rise in ({after}, {upto}]")
    for position in range(first, first + count):
        if (what := next(rest, None)) is None:
            raise BadLines(f"{position - first} rows of a run of {count}")
        yield Command(position, force == "1", Verb(verb), _token(host), unescape(what))


def read_flush(body: bytes) -> tuple[str, int, str]:
    """Log, position, mark."""
    match [line.split(" ") for line in _lines(body)]:
        case [["flush", log, position, mark]]:
            return _token(log), _number(position), _token(mark)
        case _:
            raise BadLines("no flush")


# What a gate answers, and a driver reads


def status_body(kind: str, gate: Gate) -> bytes:
    rows = {
        "gate": f"{kind} {VERSION}",
        "log": gate.log or "-",
        "position": gate.position,
        "mark": gate.mark or "-",
        "synced": int(gate.synced),
        "lapse": gate.lapse,
        **gate.detail,
    }
    return "".join(f"{name} {value}\n" for name, value in rows.items()).encode("ascii")


def read_status(body: bytes, clock: str = "") -> Gate:
    rows: dict[str, str] = {}
    for line in _text(body).splitlines():
        name, _, value = line.partition(" ")
        rows[name] = value
    try:
        kind, version = rows.pop("gate").split(" ")
        log, mark = _token(rows.pop("log")), _token(rows.pop("mark"))
        position, synced = _number(rows.pop("position")), rows.pop("synced")
    except KeyError as error:
        raise BadLines(f"no line {error}") from None
    except ValueError as error:
        raise BadLines(str(error)) from None
    if version != VERSION or synced not in ("0", "1"):
        raise BadLines(f"{kind} speaks version {version!r}, synced is {synced!r}")
    lapse = rows.pop("lapse", Lapse.SERVE)
    if lapse not in list(Lapse):
        raise BadLines(f"lapse is {lapse[:80]!r}")
    bound = None if log == "-" else log
    return Gate(bound, position, None if mark == "-" else mark, synced == "1", read_clock(clock), Lapse(lapse), rows)


def read_kind(body: bytes) -> str:
    """Which kind of server the gate is in, by its status."""
    match _text(body).partition("\n")[0].split(" "):
        case ["gate", kind, _]:
            return _token(kind)
        case _:
            raise BadLines("no line 'gate'")


def read_clock(value: str) -> Clock | None:
    """Of :data:`CLOCK_HEADER`; of a gate that has no clock it is empty."""
    if not value:
        return None
    if (found := _CLOCK.match(value)) is None:
        raise BadLines(f"{value[:80]!r} is no clock")
    return Clock(found[1], int(found[2]))


def read_answer(status: int, body: bytes, clock: str = "") -> Applied | Adrift | Trouble:
    """The answer to a batch or a flush."""
    answer = _alike(status, body) if len(body) <= SAID_LIMIT else _read_answer(status, body)
    if not isinstance(answer, Applied):
        return answer
    return Applied(answer.position, answer.mark, answer.refused, answer.said, read_clock(clock))


def _read_answer(status: int, body: bytes) -> Applied | Adrift | Trouble:
    lines = _text(body).splitlines()
    said = spoken(f"{status} {lines[0] if lines else ''}".strip())
    match status, (lines[0].split(" ") if lines else []):
        case 200, ["ok", position, mark]:
            refused = tuple(map(_refusal, lines[1:]))
            return Applied(_number(position), _token(mark), refused, said)
        case 409, ["behind", _, _] | ["other", _]:
            return Adrift(said)
        case 400, ["bad", *_]:
            return Trouble(Fault.FAILED, said)
        case 500, ["failed", *_]:
            return Trouble(Fault.FAILED, said)
        case 403, _:
            return Trouble(Fault.DENIED, "403")
        case _:
            raise BadLines(f"not a gate's answer: {said!r}")


_alike = lru_cache(maxsize=ALIKE)(_read_answer)  #: a thousand gates that are told the same answer the same


def spoken(text: str) -> str:
    """What a gate said, fit to be kept and shown: one line, of a bounded length, with nothing a terminal would obey."""
    if len(text) <= SAID_LIMIT and text.isprintable():  # the end of a line is not
        return text
    line, *_ = text[: 2 * SAID_LIMIT].splitlines() or [""]
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)[:SAID_LIMIT]


def is_number(text: str) -> bool:
    """Whether it is one that a gate may say; ``isdigit`` alone takes U+00B2, and thousands of digits."""
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS


def _refusal(line: str) -> tuple[int, str]:
    match line.split(" ", 2):
        case ["refused", position, why]:
            return _number(position), why
        case _:
            raise BadLines(f"{line[:80]!r} is no refusal")


def _body(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\nend\n").encode("ascii")


def _lines(body: bytes) -> list[str]:
    """Every line before ``end``."""
    text = _text(body)
    if not text.endswith("\nend\n"):
        raise BadLines("cut off: no end")
    return text[: -len("\nend\n")].split("\n")


def _text(body: bytes) -> str:
    try:
        return body.decode("ascii")
    except UnicodeDecodeError:
        raise BadLines("not ASCII") from None


def _number(text: str) -> int:
    if not (is_number(text) and int(text) <= NUMBER_LIMIT):
        raise BadLines(f"{text[:80]!r} is no position")
    return int(text)


def _token(text: str) -> str:
    if not _TOKEN.match(text):
        raise BadLines(f"{text[:80]!r} is no name")
    return text


def _word(text: str) -> str:
    assert _TOKEN.match(text), f"{text!r} does not fit a field of a line"
    return text
