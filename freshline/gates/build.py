"""Building a gate that is a library for the server on this machine: the programs it takes, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

BUILD_SECONDS = 120


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
