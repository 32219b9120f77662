"""Getting a gate's files to where they go: built for this machine or bundled, printed or written, and what is next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Protocol

from freshline.cli.output import as_json, fail


class Compiled(Protocol):
    """A gate that is a program: a module of :mod:`freshline.gates`, with what :mod:`freshline.gates.build` names."""

    SCRIPT: str
    PROGRAM: str
    PACKAGES: str

    def build(self, target_dir: Path) -> Path: ...

    def sources(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Program:
    """What a gate runs."""

    at: Path  #: on the cache machine
    sources: Mapping[str, str]  #: what it is built from there; empty where it was built here
    building: str  #: lines of the note that say how


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where one gate's files go."""

    to: Path | None  #: here; None: nowhere, they are printed
    where: Path  #: on the cache machine
    json: bool

    @classmethod
    def planned(cls, to: Path | None, installed_at: Path | None, usual: Path, *, json: bool) -> Delivery:
        if installed_at is not None and not installed_at.is_absolute():
            fail(f"--installed-at {str(installed_at)!r}: must be an absolute path", 2)
        return cls(to, installed_at or (to.absolute() if to else usual), json)

    def program(self, gate: Compiled, *, no_build: bool, again: str = "") -> Program:
        """Build it, in ``to``; or where that cannot be, or is not wanted, say how to on the cache machine.

        :param again: when it has to be built anew there
        """
        built = None if no_build else self._build(gate)
        if built is not None:
            return Program(self.where / built.name if self.to else built, {}, "")
        building = f"""
#   apt install {gate.PACKAGES}
#   sh {quote(f"{self.where}/{gate.SCRIPT}")}      # builds {gate.PROGRAM} there{again}"""
        return Program(self.where / gate.PROGRAM, gate.sources(), building)

    def _build(self, gate: Compiled) -> Path | None:
        from freshline.gates.build import CannotBuild, Missing

        try:
            if self.to:
                _directory(self.to.absolute())
            return gate.build((self.to or Path("freshline-gate")).absolute())
        except Missing as error:
            if self.to is None:
                fail(f"{error}; or --to DIR writes what is needed to build it elsewhere")
            return None
        except CannotBuild as error:
            fail(str(error))
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")

    def copying(self) -> str:
        """How they get from here to the cache machine."""
        if self.to is None:
            return f"# into {self.where} of the cache machine"
        there = quote(str(self.where))
        return f"""# onto the cache machine, if it is another one:
#   ssh root@CACHE mkdir -p {there} && scp -r {quote(str(self.to))}/* root@CACHE:{there}/"""

    def deliver(
        self, files: Mapping[str, str], secrets: tuple[str, ...], note: str, readers: str | None = None
    ) -> None:
        """Write or print them, and then the note.

        :param secrets: a file with one of these in it is for its owner, and the group ``readers``
        """
        if self.to is None:
            if self.json:
                as_json({"files": files, "next": note.strip()})
                return
            for name, text in files.items():
                print(f"# ---- {name}\n{text}")
        else:
            try:
                for name, text in files.items():
                    _directory((self.to / name).parent)
                    private = any(secret in text for secret in secrets)
                    _write(self.to / name, text, readers if private else None, private=private)
            except OSError as error:
                fail(f"{error.filename}: {error.strerror}")
            if self.json:
                as_json({"wrote": [str(self.to / name) for name in files], "next": note.strip()})
                return
            print("\n".join(f"wrote {self.to / name}" for name in files))
        print(note)


def _directory(path: Path) -> None:
    """One of ours is for the cache's user to enter, whatever our umask; one that was there keeps its mode."""
    if not path.is_dir():
        _directory(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _write(path: Path, text: str, readers: str | None, *, private: bool) -> None:
    """Whole or not at all; a secret is for the owner, and for one group where there is need and right to let it in."""
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as out:
        os.fchmod(out.fileno(), 0o600 if private else 0o644)
        group = _group(readers) if readers and os.geteuid() == 0 else None
        if group is not None:
            os.fchown(out.fileno(), -1, group)
            os.fchmod(out.fileno(), 0o640)
        out.write(text)
    new.replace(path)


def _group(name: str) -> int | None:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
