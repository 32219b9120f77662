"""The Traffic Server gate: building the plugin it is, and filling in its configuration.

    build(Path("/usr/lib/trafficserver/modules"))
    render(Settings(secret=..., gate="10.0.0.7:9101", journal="/var/lib/freshline-gate/journal"), plugin, conf)

A plugin is built against Traffic Server's headers and fits the servers of that major version. Built here, it is kept
under a name that tells its source and that version. To be built elsewhere, it goes there as :func:`sources`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from freshline.gates import LAPSES, core, fill
from freshline.gates.build import Missing, bundle, kept, program, run

HERE = Path(__file__).parent
SOURCES = (
    HERE / "lanes.c",
    HERE / "peek.c",
    HERE / "plugin.c",
    HERE / "trips.c",
    *(path for path in core.SOURCES if path.name != "flights.c"),
    *core.DISK_SOURCES,
    *core.DOOR_SOURCES,
    *core.PATTERN_SOURCES,
)
HEADERS = (
    HERE / "lanes.h",
    HERE / "peek.h",
    HERE / "plugin.h",
    *(path for path in core.HEADERS if path.name != "flights.h"),
    *core.DISK_HEADERS,
    *core.DOOR_HEADERS,
    *core.PATTERN_HEADERS,
)
SCRIPT = "build.sh"
CONF = "freshline.conf"
PROGRAM = "freshline.so"  #: what the script makes, beside itself
PACKAGES = "gcc libc6-dev trafficserver-dev libpcre2-dev"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread")
LIBRARIES = ("-lpcre2-8",)
INCLUDE = Path("/usr/include")

RULES = 1_000_000  #: rules a gate keeps before it lets go of the oldest
AGE_SECONDS = 30 * 86_400  #: how long it keeps them

_SECRET = re.compile(r"[!-~]{16,256}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~+=@,/-]{1,900}\Z")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})\Z")
_VERSION = re.compile(r'#define\s+TS_VERSION_STRING\s+"([0-9.]+)"')


@dataclass(frozen=True, slots=True)
class Settings:
    """What one Traffic Server is told."""

    secret: str
    gate: str  #: the gate's own ``host:port``
    journal: str  #: a file in a directory that the server's user may write to
    lapse: str = "serve"  #: what visitors get while the gate holds no lease: one of :data:`freshline.gates.LAPSES`
    rules: int = RULES
    age_seconds: int = AGE_SECONDS
    fetch_seconds: int = 600  #: an origin that says nothing for so long is given up by a prefetch


def build(target_dir: Path) -> Path:
    """The plugin for the Traffic Server on this machine, from ``target_dir`` if it was built there before.

    :raises Missing: a package is, named in the text
    :raises CannotBuild: the compiler's own words
    """
    compiler = program("gcc", "gcc")
    if not (INCLUDE / "pcre2.h").exists():
        raise Missing("PCRE2's development files are missing: apt install libpcre2-dev")
    version = _version()

    def make(library: Path) -> None:
        includes = [f"-I{HERE}", f"-I{core.HERE}"]
        run([compiler, *FLAGS, *includes, "-o", library.name, *map(str, SOURCES), *LIBRARIES], library.parent)

    return kept(target_dir, f"freshline-{version}-*.so", f"{version} {FLAGS} {LIBRARIES}", (*SOURCES, *HEADERS), make)


def sources() -> dict[str, str]:
    """What :data:`SCRIPT` builds the plugin from, and the script: each file by its name beside freshline.conf."""
    values = {
        "FLAGS": " ".join(FLAGS),
        "SOURCES": " ".join(path.name for path in SOURCES),
        "LIBRARIES": " ".join(LIBRARIES),
        "LIBRARY": PROGRAM,
    }
    return bundle(HERE / SCRIPT, values, (*SOURCES, *HEADERS))


def render(settings: Settings, plugin: Path, conf: Path) -> str:
    """The text of freshline.conf. It holds the secret: keep the file from other users.

    :param plugin: where the library will lie, on that server
    :param conf: where this file will lie
    :raises ValueError: a setting is not what it should be
    """
    s = settings
    if not _SECRET.match(s.secret):
        raise ValueError("the secret must be 16 to 256 printable ASCII characters without spaces")
    for name, path in {"journal": s.journal, "plugin": str(plugin), "conf": str(conf)}.items():
        if not _PATH.match(path):
            raise ValueError(f"{name} is not an absolute path without spaces: {path!r}")
    found = _ADDRESS.match(s.gate)
    if not found or not 0 < int(found[1]) < 65536:
        raise ValueError(f"gate is not host:port: {s.gate!r}")
    if s.lapse not in LAPSES:
        raise ValueError(f"lapse is {s.lapse!r}: must be one of {', '.join(LAPSES)}")
    for name, value, most in (
        ("rules", s.rules, 100_000_000),
        ("age_seconds", s.age_seconds, 2**32 - 1),
        ("fetch_seconds", s.fetch_seconds, 86_400),
    ):
        if not 1 <= value <= most:
            raise ValueError(f"{name} is {value}: must be 1 to {most}")
    values = {
        "PLUGIN": plugin,
        "CONF": conf,
        "GATE": s.gate,
        "SECRET": s.secret,
        "JOURNAL": s.journal,
        "LAPSE": s.lapse,
        "RULES": s.rules,
        "AGE_SECONDS": s.age_seconds,
        "FETCH_SECONDS": s.fetch_seconds,
    }
    return fill((HERE / CONF).read_text(), values)


def _version() -> str:
    try:
        found = _VERSION.search((INCLUDE / "ts" / "apidefs.h").read_text())
    except OSError:
        found = None
    if found is None:
        raise Missing("Traffic Server's development files are missing: apt install trafficserver-dev")
    return found[1]
