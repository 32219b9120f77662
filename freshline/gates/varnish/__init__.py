"""The Varnish gate: building the library it is made of, and filling in the VCL that loads it.

The library reaches into varnishd (that is how a lookup can be guarded at all), so it fits one version of Varnish and is
built where it runs. Built here, it is kept under a name that tells its source and that version, and built again when
either moves. To be built elsewhere, it goes there as :func:`sources`, with a script that does what :func:`build` does.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from freshline.gates import LAPSES, core, fill
from freshline.gates.build import Missing, bundle, kept, program, run

HERE = Path(__file__).parent
SOURCES = (
    *(HERE / name for name in ("vmod_freshline.c", "visits.c", "visit.c", "steps.c")),
    *core.SOURCES,
    *core.ERRAND_SOURCES,
)
HEADERS = (*(HERE / name for name in ("visits.h", "visit.h", "steps.h")), *core.HEADERS, *core.ERRAND_HEADERS)
INTERFACE = HERE / "vmod_freshline.vcc"
SCRIPT = "build.sh"
PROGRAM = "libvmod_freshline.so"  #: what the script makes, beside itself
PACKAGES = "gcc pkg-config libvarnishapi-dev"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-Wl,-z,nodelete")

RULES = 1_000_000  #: rules a gate keeps before it lets go of the oldest
AGE_SECONDS = 30 * 86_400  #: how long it keeps them

_SECRET = re.compile(r"[!#-~]{16,256}\Z")  # what stands in a VCL string as it is
_LIBRARY = re.compile(r"/[!#-~ ]+\Z")


def build(target_dir: Path) -> Path:
    """The library for the Varnish on this machine, from ``target_dir`` if it was built there before.

    :raises Missing: a package is, named in the text
    :raises CannotBuild: the compiler's own words
    """
    modversion = _pkg_config("--modversion")
    compiler = program("gcc", "gcc")

    def make(library: Path) -> None:
        where = library.parent
        (where / "config.h").touch()  # vmodtool's output includes it and needs nothing from it
        run([sys.executable, _pkg_config("--variable=vmodtool"), "--strict", "-o", "vcc_if", str(INTERFACE)], where)
        includes = ["-I.", f"-I{core.HERE}", f"-I{HERE}", *_pkg_config("--cflags").split()]
        run([compiler, *FLAGS, *includes, "-o", library.name, "vcc_if.c", *map(str, SOURCES)], where)

    name = f"libvmod_freshline-{modversion}-*.so"
    return kept(target_dir, name, f"{modversion} {FLAGS}", (*SOURCES, *HEADERS, INTERFACE), make)


def sources() -> dict[str, str]:
    """What :data:`SCRIPT` builds the library from, and the script: each file by its name beside freshline.vcl."""
    values = {
        "FLAGS": " ".join(FLAGS),
        "INTERFACE": INTERFACE.name,
        "SOURCES": " ".join(path.name for path in SOURCES),
        "LIBRARY": PROGRAM,
    }
    return bundle(HERE / SCRIPT, values, (*SOURCES, *HEADERS, INTERFACE))


def render(
    library: Path, secret: str, *, rules: int = RULES, age_seconds: int = AGE_SECONDS, lapse: str = "serve"
) -> str:
    """The text of freshline.vcl. It holds the secret: keep the file from other users.

    :raises ValueError: a value that has no place in VCL
    """
    if not _SECRET.match(secret):
        raise ValueError("the secret must be 16 to 256 printable ASCII characters without spaces and quotes")
    if not _LIBRARY.match(str(library)):
        raise ValueError(f"{library} is no absolute path that VCL can name")
    if not 1 <= rules <= 100_000_000:
        raise ValueError(f"{rules} rules: at least one, at most a hundred million")
    if age_seconds < 1:
        raise ValueError("rules are kept for a second at least")
    if lapse not in LAPSES:
        raise ValueError(f"lapse {lapse!r} is none of {', '.join(LAPSES)}")
    values = {"LIBRARY": library, "SECRET": secret, "RULES": rules, "AGE_SECONDS": age_seconds, "LAPSE": lapse}
    return fill((HERE / "freshline.vcl").read_text(), values)


def _pkg_config(question: str) -> str:
    pkg_config = program("pkg-config", "pkg-config")
    asked = subprocess.run([pkg_config, question, "varnishapi"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise Missing("Varnish's development files are missing: apt install libvarnishapi-dev")
    return asked.stdout.strip()
