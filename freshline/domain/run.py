"""Rows as gates are told them: runs of one kind, force and host, whose lines are made for a thousand rows at once.

Rows lie in the log as the callers wrote them, and go to a gate one a line, canonical and escaped (docs/gates.md).
Nearly all are written alike, so the lines of a run are made by a few passes over all their bytes. Rows that are not so
are looked at one by one, and come out the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import overload
from urllib.parse import unquote_to_bytes

from freshline.domain.action import VERBS, Command, Verb, what
from freshline.domain.task import Kind, Rows

_PLAIN = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x25)
_UNPLAIN = re.compile(rb"[^!-$&-~]")
_ODD = re.compile(rb"%[0-9A-Fa-f]{2}|[^!-$&-~\n]")
_URLS = frozenset([Kind.FILE, Kind.DIRECTORY, Kind.IGNORE_PARAMS])
_ESCAPED = {bytes([byte]): bytes([byte]) if byte in _PLAIN else b"%%%02X" % byte for byte in range(256)}
_HEX = "0123456789ABCDEFabcdef"
#: What is found by ``_ODD``, as it is told: a byte, or the escape of one.
_TOLD = _ESCAPED | {f"%{a}{b}".encode(): _ESCAPED[bytes([int(a + b, 16)])] for a in _HEX for b in _HEX}


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring rows with the same force, verb and host."""

    first: int  #: position
    count: int
    force: bool
    verb: Verb
    host: str
    lines: bytes  #: of each row what it is about: canonical, escaped, ended by LF

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def within(self, after: int, upto: int) -> Run:
        """The rows in ``(after, upto]``, of which it has some."""
        first, last = max(self.first, after + 1), min(self.last, upto)
        if (first, last) == (self.first, self.last):
            return self
        lines = self.lines.split(b"\n")[first - self.first : last - self.first + 1]
        return replace(self, first=first, count=last - first + 1, lines=b"\n".join([*lines, b""]))

    def commands(self) -> Iterator[Command]:
        for at, line in enumerate(self.lines.split(b"\n")[:-1]):
            yield Command(self.first + at, self.force, self.verb, self.host, unquote_to_bytes(line))


class Commands(Sequence[Command]):
    """Some runs, told to many gates: what is made of all of them is made once."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(runs)
        self._count = sum(run.count for run in self.runs)
        self._made: bytes | None = None
        self._make: Callable[[Sequence[Run]], bytes] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Command]:
        return chain.from_iterable(run.commands() for run in self.runs)

    @overload
    def __getitem__(self, at: int) -> Command: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Command]: ...

    def __getitem__(self, at: int | slice) -> Command | Sequence[Command]:
        return list(self)[at]

    def once(self, make: Callable[[Sequence[Run]], bytes]) -> bytes:
        """``make`` of these runs. Only what was made last is kept."""
        if self._made is None or self._make is not make:
            self._made, self._make = make(self.runs), make
        return self._made


def of_rows(alike: Iterable[Rows]) -> Iterator[Run]:
    """The refreshes among rows of the log, in order."""
    kind, force, host, first, paths = Kind.FILE, True, "", 0, list[str]()
    for rows in alike:
        wish = rows.wish
        if wish.kind.is_prefetch:
            continue
        forced = wish.force or wish.kind is Kind.FILE  # Force has no effect on File (CONTRACT 1.1)
        if (wish.kind, forced, wish.domain, rows.first) != (kind, force, host, first + len(paths)):
            if paths:
                yield Run(first, len(paths), force, VERBS[kind], host, lines_of(kind, host, paths))
            kind, force, host, first, paths = wish.kind, forced, wish.domain, rows.first, []
        paths += wish.paths
    if paths:
        yield Run(first, len(paths), force, VERBS[kind], host, lines_of(kind, host, paths))


def of_commands(commands: Iterable[Command]) -> Iterator[Run]:
    """Single commands, in order, as runs."""
    held: list[Command] = []
    for command in commands:
        if held and (command.position, command.force, command.verb, command.host) != (
            held[-1].position + 1,
            held[0].force,
            held[0].verb,
            held[0].host,
        ):
            yield _of_alike(held)
            held = []
        held.append(command)
    if held:
        yield _of_alike(held)


def _of_alike(commands: Sequence[Command]) -> Run:
    lines = b"".join(escape(command.what) + b"\n" for command in commands)
    first = commands[0]
    return Run(first.position, len(commands), first.force, first.verb, first.host, lines)


def lines_of(kind: Kind, host: str, paths: Sequence[str]) -> bytes:
    """What rows of one kind and host are about, as the lines of a run.

    :param paths: as the callers wrote them, and as they were taken (:func:`freshline.domain.target.parse`)
    """
    text = "\n" + "\n".join(paths)
    if kind not in _URLS or text.count("\n") != len(paths):
        return b"".join(escape(what(kind, path)) + b"\n" for path in paths)
    for start in (f"\nhttp://{host}/", f"\nhttps://{host}/", f"\n{host}/"):
        text = text.replace(start, "\n/")
    lines = text.encode()
    if len(lines.translate(None, _PLAIN)) != len(paths):
        lines = _ODD.sub(_told, lines)
    if text.count("\n/") == len(paths) and not _may_differ(kind, lines):
        return lines[1:] + b"\n"
    rows = lines.split(b"\n")
    for at, path in enumerate(paths, 1):
        if rows[at][:1] != b"/" or _may_differ(kind, rows[at]):
            rows[at] = escape(what(kind, path))
    return b"\n".join(rows[1:]) + b"\n"


def _may_differ(kind: Kind, decoded: bytes) -> bool:
    """Whether there may be something to fold, to resolve or to leave out."""
    return b"//" in decoded or b"/." in decoded or (kind is not Kind.FILE and b"?" in decoded)


def _told(odd: re.Match[bytes]) -> bytes:
    return _TOLD[odd[0]]


def escape(what: bytes) -> bytes:
    """As it stands in a line: printable ASCII as it is, ``%`` and all else as ``%XX``.

    >>> escape("/a b/é%".encode())
    b'/a%20b/%C3%A9%25'
    """
    return _UNPLAIN.sub(lambda odd: _ESCAPED[odd[0]], what)
