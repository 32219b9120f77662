"""Nonces on file, so that a captured call cannot be replayed after a restart.

Writing one is a store into memory that is the file's, and no wait for the disk: what is written survives the end of the
process, however it ends, and not that of the machine. So a file says in which run of the machine it was written. If
that was another one, or writing failed, nobody knows what is missing; then all that was signed before this process
began is refused. That costs callers whose clocks are slow their first calls, and only after a power failure.

Two files, each of one life: the older is dropped when the newer is that old. What is dropped leaves its newest
timestamp behind, which may still be ahead where the wall clock was set back; so does a start that refused what came
before it.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ENTRY = struct.Struct(">QQ")  #: timestamp and mark
HORIZON = 0  #: in the place of a mark: what was signed at or before the timestamp may have been used
STRETCH = 1 << 16  #: bytes of the file that are mapped at once
SHORT = "a part of it could not be written"
LATEST = 253_402_300_800  #: no timestamp of a call is as late: the year 10000
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

LOGGER = logging.getLogger(__name__)


class Burnt:
    def __init__(self, directory: Path, life_seconds: int, *, now: float, monotonic: float, known: bool) -> None:
        """Read what there is, and begin to write.

        :param life_seconds: how long a nonce matters
        :param now: Unix seconds
        :param known: there were calls before, so there has to be a file
        :raises OSError: the files cannot be read or made
        """
        self._newer, self._older = directory / "nonces", directory / "nonces.old"
        self._life_seconds = life_seconds
        self.began, self._turn_at = monotonic, monotonic + life_seconds
        self._run = _run_of_the_machine()
        self.found: list[tuple[int, int]] = []  #: timestamps and marks that may still matter
        self.horizon = 0  #: what was signed at or before this time may have been used
        whole = True
        for path in (self._older, self._newer):
            whole &= self._read(path, int(now) - life_seconds)
        if not whole or (known and not self._newer.exists()):
            self.horizon = max(self.horizon, int(now) - 1)
            LOGGER.warning("calls signed before this moment are refused: the machine or the disk lost which were used")
        self._stretch: mmap.mmap | None = None  #: the end of the newer file; what is not yet written of it is zeros
        self._at = 0  #: where in it the next entry goes
        self._file, self._base = -1, 0  #: and where in the file it begins
        self._dropped = self.horizon  #: the newest timestamp that neither file tells of
        self._newest = [0, max((said for said, _ in self.found), default=0)]  #: of the older file and the newer
        self._begin(self.found)  # what is left goes into the one file; the other is no longer needed
        self._older.unlink(missing_ok=True)

    def add(self, said: int, mark: int, monotonic: float) -> None:
        if self._stretch is None:
            return
        said = max(said, 0)
        try:
            if monotonic >= self._turn_at:
                self._turn(monotonic)
            elif self._at == STRETCH:
                self._map_more()
            self._stretch[self._at : self._at + ENTRY.size] = ENTRY.pack(said, mark)
            self._at += ENTRY.size
        except OSError as trouble:
            LOGGER.warning("nonces are no longer kept, calls could be replayed after a restart: %s", trouble)
            self._give_up()
        if said > self._newest[1]:
            self._newest[1] = said

    def close(self) -> None:
        if self._stretch is not None:
            self._stretch.close()
            self._stretch = None
            os.close(self._file)

    def _turn(self, monotonic: float) -> None:
        self._turn_at = monotonic + self._life_seconds
        self._newer.replace(self._older)
        self._dropped = max(self._dropped, self._newest[0])
        self._newest = [self._newest[1], 0]
        self._begin(())

    def _begin(self, entries: Sequence[tuple[int, int]]) -> None:
        """Another file in the place of the newer, whole at every moment: killed in between, the one before is there."""
        new = self._newer.with_name("nonces.new")
        content = b"".join([self._run, *(ENTRY.pack(*each) for each in ((self._dropped, HORIZON), *entries))])
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, content)
            at = len(content) % STRETCH
            stretch = _map(file, len(content) - at)
            new.replace(self._newer)
        except OSError:
            os.close(file)
            raise
        self.close()
        self._file, self._base, self._stretch, self._at = file, len(content) - at, stretch, at

    def _map_more(self) -> None:
        self._base += STRETCH
        self._stretch, self._at = _map(self._file, self._base), 0

    def _give_up(self) -> None:
        """A file without its head tells the next process that something is missing."""
        if self._stretch is not None:
            try:
                os.ftruncate(self._file, 0)
            except OSError:  # the disk that brought us here may not do that either; one that is not there tells as much
                with suppress(OSError):
                    self._newer.unlink()
            self.close()

    def _read(self, path: Path, since: int) -> bool:
        """Take in what still matters of a file. False: there is more than it says."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return True
        head, entries = content[: len(self._run)], content[len(self._run) :]
        entries = entries[: len(entries) // ENTRY.size * ENTRY.size]
        whole = head == self._run
        for said, mark in ENTRY.iter_unpack(entries):
            if said >= LATEST:
                whole = False
            elif mark == HORIZON or said < since:
                self.horizon = max(self.horizon, said)
            else:
                self.found.append((said, mark))
        return whole


def _write(file: int, what: bytes) -> None:
    """:raises OSError: not all of it could be written"""
    if os.write(file, what) != len(what):
        raise OSError(SHORT)


def _map(file: int, offset: int) -> mmap.mmap:
    """One stretch of a file to write into. The disk gives it first: a store into what it has not would end the process.

    :raises OSError: it does not
    """
    os.posix_fallocate(file, offset, STRETCH)
    return mmap.mmap(file, STRETCH, offset=offset)


def _run_of_the_machine() -> bytes:
    """16 bytes that differ after each start of the machine; where nobody tells, after each start of ours."""
    try:
        name = BOOT_ID.read_bytes()
    except OSError:
        name = os.urandom(16)
    return hashlib.blake2b(name, digest_size=16).digest()
