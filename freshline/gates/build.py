"""Building a gate that is a program for the server on this machine, or what it takes to build it on another.

A gate of this kind is a module with ``PROGRAM``, what its ``SCRIPT`` makes beside itself; ``PACKAGES``, Debian's that
this takes; ``build``, which makes it here; and ``sources``, what it is made from elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from freshline.gates import fill

BUILD_SECONDS = 120


def own_cache() -> Path:
    """Where what is built for this machine can stay for good: nginx's part takes a while."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshline"


class CannotBuild(Exception):
    """The compiler would not, or :class:`Missing`. The text says what to do about it."""


class Missing(CannotBuild):
    """A program or a header that the build needs is not on this machine."""


def program(name: str, package: str) -> str:
    """Where it is.

    :raises Missing: it is not; the text names the Debian package
    """
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is missing: apt install {package}")
    return found


def run(command: Sequence[str], where: Path) -> None:
    """Run one step in that directory.

    :raises CannotBuild: with the program's own words
    """
    try:
        done = subprocess.run(
            command,
            cwd=where,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise CannotBuild(f"{command[0]} took more than {BUILD_SECONDS} s") from None
    if done.returncode != 0:
        raise CannotBuild(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")


def kept(target_dir: Path, name: str, recipe: str, files: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """The program in ``target_dir``, as it was made there before, or made now.

    :param name: with a ``*`` where a digest of what it is made from goes
    :param recipe: whatever else than the files makes it another one
    :param make: makes it at a path, in a directory of its own
    :raises CannotBuild: it would not
    """
    digest = hashlib.sha256(recipe.encode())
    for path in files:
        digest.update(path.read_bytes())
    program = target_dir.absolute() / name.replace("*", digest.hexdigest()[:16])
    if program.exists():
        return program
    target_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target_dir) as scratch:
        made = Path(scratch) / program.name
        make(made)
        made.chmod(0o755)  # the server reads it as another user
        made.replace(program)
    return program


def bundle(script: Path, values: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """The script, its ``@NAME@`` filled in, and what it builds from: each file by its name beside the gate's others."""
    text = fill(script.read_text(), values)
    return {script.name: text, **{f"src/{path.name}": path.read_text() for path in files}}
