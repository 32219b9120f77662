"""The Squid gate: building the helper it is made of, and filling in what Squid and the helper are told.

The helper is plain C and fits any Squid; it is built where it runs, for its C library and PCRE2. Built here, it is kept
under a name that tells its source. To be built elsewhere, it goes there as :func:`sources`, with a script that does
what :func:`build` does.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from freshline.gates import LAPSES, core, fill
from freshline.gates.build import Missing, bundle, kept, program, run

HERE = Path(__file__).parent
PARTS = (
    "settings",
    "keep",
    "duty",
    "epoch",
    "tags",
    "door",
    "learn",
    "visit",
    "exchange",
    "hear",
    "object",
    "peek",
    "listen",
)
SOURCES = (
    *(HERE / f"{name}.c" for name in ("main", *PARTS)),
    *(path for path in core.SOURCES if path.name != "flights.c"),
    *core.JOURNAL_SOURCES,
    *core.PATTERN_SOURCES,
)
HEADERS = (
    *(HERE / f"{name}.h" for name in PARTS),
    *(path for path in core.HEADERS if path.name != "flights.h"),
    *core.JOURNAL_HEADERS,
    *core.PATTERN_HEADERS,
)
SCRIPT = "build.sh"
PROGRAM = "freshline-squid"  #: what the script makes, beside itself
PACKAGES = "gcc libc6-dev libpcre2-dev"
USER = "proxy"  #: Debian's Squid runs as that user and group
FLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-D_FORTIFY_SOURCE=2", "-fstack-protector-strong", "-pthread"),
)
LIBRARIES = ("-lpcre2-8",)

CONCURRENCY = 10_000  #: requests that may wait for the helper at once
RULES_LIMIT = 100_000_000
JOURNAL_LIMIT = 100
TO_ROOT = "../" * 15 + ".."  #: from where Squid has its error pages: it looks for them nowhere else

_SECRET = re.compile(r"[!#-~]{16,256}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~+=@,/-]{1,4000}\Z")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})\Z")
_LOOPBACK = re.compile(r"(?:127(?:\.[0-9]{1,3}){3}|\[::1\]):[0-9]{1,5}\Z")

_PEEK = """
# Whether an object is there, the helper asks by datagrams, too, which cost Squid least. Nobody from elsewhere may.
udp_incoming_address {host}
icp_port {port}
acl freshline_near src 127.0.0.0/8
icp_access allow freshline_near
log_icp_queries off
"""

_REFUSE = """
# lapse refuse: who has no key, as there is no lease, is refused, so that a load balancer moves on.
acl freshline_refused src all
miss_access deny !freshline_keyed !freshline_door freshline_refused
deny_info 503:{refused} freshline_refused
reply_header_add Retry-After 1 !freshline_keyed !freshline_door
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one Squid and its helper are told."""

    secret: str
    gate: str  #: the gate's own ``host:port``
    home: str  #: where gate.conf and refused.html will lie
    helper: str  #: the program
    journal: str  #: a file in a directory that Squid's user may write to
    door: str = "127.0.0.1:9180"  #: where Squid listens for the helper, on the loopback interface
    rules: int = 1_000_000  #: how many it keeps; where it lets go of some, their hosts' objects are fetched anew
    tags: int = 500_000  #: URLs whose tags are remembered; what is forgotten here is refreshed too often
    fetch_seconds: int = 600  #: a site that says nothing for so long is given up by a prefetch
    lapse: str = "serve"  #: what visitors get without a lease


def render(settings: Settings) -> dict[str, str]:
    """Each file of the gate by its name. Whatever could break out of its place is refused.

    :raises ValueError: a setting is not what it should be
    """
    s = settings
    if not _SECRET.match(s.secret):
        raise ValueError("the secret must be 16 to 256 printable ASCII characters without spaces and quotes")
    for name in ("home", "helper", "journal"):
        if not _PATH.match(getattr(s, name)):
            raise ValueError(f"{name} {getattr(s, name)!r} is no absolute path of letters, digits and ._~+=@,-")
    for name in ("gate", "door"):
        found = _ADDRESS.match(getattr(s, name))
        if not found or not 0 < int(found[1]) < 65536:
            raise ValueError(f"{name} is not host:port: {getattr(s, name)!r}")
    if not _LOOPBACK.match(s.door):
        raise ValueError(f"door {s.door!r} is not on the loopback interface")
    if s.door.rpartition(":")[2] == s.gate.rpartition(":")[2]:
        raise ValueError("gate and door need ports of their own")
    if len(s.journal) > JOURNAL_LIMIT:
        raise ValueError(f"journal {s.journal!r} is longer than {JOURNAL_LIMIT} bytes")  # a socket lies beside it
    if not 1 <= s.rules <= RULES_LIMIT or not 1 <= s.tags <= RULES_LIMIT:
        raise ValueError(f"{s.rules} rules, {s.tags} tags: at least one, at most a hundred million")
    if not 1 <= s.fetch_seconds <= 86_400:
        raise ValueError(f"fetch_seconds {s.fetch_seconds}: at least one, at most a day")
    if s.lapse not in LAPSES:
        raise ValueError(f"lapse {s.lapse!r} is none of {', '.join(LAPSES)}")
    door_host, _, door_port = s.door.rpartition(":")
    values = {
        "HELPER": s.helper,
        "SETTINGS": f"{s.home.rstrip('/')}/gate.conf",
        "CONCURRENCY": str(CONCURRENCY),
        "DOOR": s.door,
        "DOORPORT": door_port,
        "EXTRAS": "" if s.lapse == "serve" else "%lp",  # who asks matters where a visitor may lack a lease
        "TOKEN": token(s.secret),
        # Datagrams to ::1 can come from nowhere else than ::1, which Squid takes for itself.
        "PEEK": "" if s.door.startswith("[") else _PEEK.format(host=door_host, port=door_port),
        "LAPSE": _REFUSE.format(refused=f"{TO_ROOT}{s.home.rstrip('/')}/refused.html") if s.lapse == "refuse" else "",
    }
    text = (HERE / "squid.conf").read_text("utf-8")
    told = {
        "secret": s.secret,
        "token": token(s.secret),
        "journal": s.journal,
        "gate": s.gate,
        "door": s.door,
        "rules": s.rules,
        "tags": s.tags,
        "fetch_seconds": s.fetch_seconds,
        "lapse": s.lapse,
    }
    return {
        "squid.conf": fill(text, values),
        "gate.conf": "".join(f"{name} {value}\n" for name, value in told.items()),
        "refused.html": "%o",  # what is never there: Squid takes an empty file for a missing one
    }


def token(secret: str) -> str:
    """What Squid and its helper show each other: it stands in both their files, and tells nothing of the secret."""
    return hashlib.sha256(f"freshline squid {secret}".encode()).hexdigest()[:32]


def build(target_dir: Path) -> Path:
    """The helper for this machine, from ``target_dir`` if it was built there before.

    :raises Missing: a package is, named in the text
    :raises CannotBuild: the compiler's own words
    """
    compiler = program("gcc", PACKAGES)
    if not Path("/usr/include/pcre2.h").exists():
        raise Missing("PCRE2's headers are missing: apt install libpcre2-dev")

    def make(helper: Path) -> None:
        includes = [f"-I{HERE}", f"-I{core.HERE}"]
        run([compiler, *FLAGS, *includes, "-o", helper.name, *map(str, SOURCES), *LIBRARIES], helper.parent)

    return kept(target_dir, f"{PROGRAM}-*", f"{FLAGS} {LIBRARIES}", (*SOURCES, *HEADERS), make)


def sources() -> dict[str, str]:
    """What :data:`SCRIPT` builds the helper from, and the script: each file by its name beside squid.conf."""
    values = {
        "FLAGS": " ".join(FLAGS),
        "SOURCES": " ".join(path.name for path in SOURCES),
        "LIBRARIES": " ".join(LIBRARIES),
        "HELPER": PROGRAM,
        "USER": USER,
    }
    return bundle(HERE / SCRIPT, values, (*SOURCES, *HEADERS))
