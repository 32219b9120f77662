"""The nginx gate: a module in C for what visitors meet, Lua for what it is told, and configuration for one server.

    files = render(Settings(secret=..., gate="10.0.0.5:9101", site="127.0.0.1:80", module=str(build(directory)), ...))
    files["load.conf"], files["http.conf"], files["site.conf"], files["gate.conf"]
    lua_files()                         # what has to lie in Settings.lua on the server

The module reaches into nginx, so it fits one version and is built where it runs. Built here, it is kept under a name
that tells its source and that version, and built again when either moves. To be built elsewhere, it goes there as
:func:`sources`, with a script that does what :func:`build` does.

The server's user must be able to write where the journal lies. ``ttl_seconds`` must exceed ``inactive=`` of
``proxy_cache_path``: what a rule put out of reach has to be gone before the rule is.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from freshline.gates import LAPSES, core, fill
from freshline.gates.build import Missing, bundle, kept, program, run

HERE = Path(str(files(__name__)))
LUA = HERE / "lua"  #: the gate's own code
PARTS = ("state", "table", "tags", "epoch")
SOURCES = (
    *(HERE / f"{name}.c" for name in ("module", "visit", *PARTS)),
    *(path for path in core.SOURCES if path.name in ("canonical.c", "lease.c")),
    *core.PATTERN_SOURCES,
)
HEADERS = (
    *(HERE / f"{name}.h" for name in ("visit", *PARTS)),
    LUA / "freshline" / "shared.h",
    *(path for path in core.HEADERS if path.name not in ("gate.h", "flights.h")),
    *core.PATTERN_HEADERS,
)
SCRIPT = "build.sh"
PROGRAM = "ngx_http_freshline_module.so"  #: what the script makes, beside itself
PACKAGES = "gcc libc6-dev nginx-dev"
NGINX = Path("/usr/share/nginx/src")  #: where Debian's nginx-dev has it
FLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong"),
    # Bsymbolic: after an upgrade the one before is still there, with functions of the same names.
    *("-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-Bsymbolic", "-Wl,-z,relro", "-Wl,-z,now"),
)
LIBRARIES = ("-lpcre2-8",)
INCLUDES = tuple(
    f"-isystem{NGINX}/src/{name}"
    for name in ("core", "event", "event/modules", "os/unix", "http", "http/modules", "http/v2")
)
#: A shell's words, run with a directory: leaves there what Debian's nginx was configured to, as ngx_auto_config.h.
CONFIGURE = f'cd {NGINX} && . ./conf_flags && ./configure "${{NGX_CONF_FLAGS[@]}}" --builddir="$1"'

DAY_SECONDS = 86_400
#: What stands in a file under one lapse only.
BLOCKS = {
    "NOT_STORED": (
        "bypass",
        """
# What is fetched without a lease is not stored either. Where a server or a location of yours has directives of these
# names, add $freshline_lapsed to them; else it is stored, and never used.
proxy_cache_bypass $freshline_lapsed;
proxy_no_cache $freshline_lapsed;""",
    ),
    "REFUSED": (
        "refuse",
        """
if ($freshline_lapsed) { set $freshline_nothing ""; return 503 $freshline_nothing; }""",
    ),
}
TEMPLATES = ("load.conf", "http.conf", "site.conf", "gate.conf")

_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~+=@,/-]*\Z")
_LUA = re.compile(r"/[A-Za-z0-9._~+=@,/ -]*\Z")  # it stands between quotes
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})\Z")
_SIZE = re.compile(r"[1-9][0-9]{0,8}[km]\Z")
_LEVELS = re.compile(r"[12](?::[12]){0,2}\Z")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one nginx is told."""

    secret: str
    gate: str  #: the gate's own ``host:port``
    site: str  #: where the gate reaches the site over HTTP: ``host:port``; best what this nginx itself listens to
    cache_path: str  #: as in proxy_cache_path
    journal: str  #: a file in a directory that nginx's user may write to
    module: str  #: where :func:`build` or the script has put the module on that server
    levels: str = "1:2"  #: as in proxy_cache_path
    lua: str = str(LUA)  #: where the gate's Lua lies on that server
    site_tls: str | None = None  #: where it reaches the site over TLS; without it https cannot be prefetched
    rules_size: str = "64m"  #: 34 bytes a rule: 1,900,000; the system gives the memory as it is used
    tags_size: str = "64m"  #: 24 bytes for a URL and 8 for each of its tags: 1,500,000 with two
    ttl_seconds: int = 21 * DAY_SECONDS
    fetch_seconds: int = 600  #: a site that says nothing for so long is given up by a prefetch
    body_bytes: int = 64 << 20
    patterns_per_host: int = 500  #: beyond it the whole host is refreshed
    match_limit: int = 20_000  #: steps of one pattern on one URL
    start_ms: int = 1_000  #: the master reads the journal for so long; then visitors are served, and a worker reads on
    lapse: str = "serve"  #: what visitors get without a lease, one of LAPSES


def render(settings: Settings) -> dict[str, str]:
    """Each file of the gate by its name. Whatever could break out of its place is refused.

    :raises ValueError: a setting is not what it should be
    """
    s = settings
    for name, pattern in (
        ("secret", _SECRET),
        ("cache_path", _PATH),
        ("journal", _PATH),
        ("lua", _LUA),
        ("module", _LUA),
        ("levels", _LEVELS),
        ("rules_size", _SIZE),
        ("tags_size", _SIZE),
    ):
        if not pattern.match(getattr(s, name)):
            raise ValueError(f"{name} is not of the form {pattern.pattern}")
    if min(s.ttl_seconds, s.fetch_seconds, s.body_bytes, s.patterns_per_host, s.match_limit, s.start_ms) < 1:
        raise ValueError("a limit below 1")
    if s.lapse not in LAPSES:
        raise ValueError(f"lapse {s.lapse!r} is none of {', '.join(LAPSES)}")
    _address("gate", s.gate)
    values = {
        "LUA": s.lua,
        "MODULE": s.module,
        "SECRET": s.secret,
        "GATE": s.gate,
        "SITE": _lua_address("site", s.site),
        "SITE_TLS": "nil" if s.site_tls is None else _lua_address("site_tls", s.site_tls),
        "JOURNAL": s.journal,
        "IDENTITY": hashlib.sha256(f"{s.cache_path} {s.levels}".encode()).hexdigest()[:16],
        "CACHE_PATH": s.cache_path.rstrip("/"),
        "LEVELS": s.levels.replace(":", ", "),
        "RULES_SIZE": s.rules_size,
        "TAGS_SIZE": s.tags_size,
        "TTL_SECONDS": str(s.ttl_seconds),
        "FETCH_SECONDS": str(s.fetch_seconds),
        "BODY_BYTES": str(s.body_bytes),
        "PATTERNS": str(s.patterns_per_host),
        "MATCH_LIMIT": str(s.match_limit),
        "START_MS": str(s.start_ms),
        "LAPSE": s.lapse,
        **{name: text if s.lapse == lapse else "" for name, (lapse, text) in BLOCKS.items()},
    }
    return {name: _filled(name, values) for name in TEMPLATES}


def lua_files() -> dict[str, str]:
    """The gate's code: each file by its name in the directory that lua_package_path names."""
    code = sorted(path for path in LUA.rglob("*") if path.suffix in (".lua", ".h"))
    return {str(path.relative_to(LUA)): path.read_text("utf-8") for path in code}


def build(target_dir: Path) -> Path:
    """The module for the nginx on this machine, from ``target_dir`` if it was built there before.

    :raises Missing: a package is, named in the text
    :raises CannotBuild: the compiler's own words
    """
    compiler, shell = program("gcc", "gcc"), program("bash", "bash")
    flags = NGINX / "conf_flags"
    if not flags.exists():
        raise Missing("nginx's source is missing: apt install nginx-dev")

    def make(to: Path) -> None:
        with tempfile.TemporaryDirectory() as asked:  # nginx's configure takes no path with a space in it
            run([shell, "-c", CONFIGURE, "configure", asked], to.parent)
            includes = [*INCLUDES, f"-isystem{asked}", f"-I{HERE}", f"-I{LUA / 'freshline'}", f"-I{core.HERE}"]
            run([compiler, *FLAGS, *includes, "-o", to.name, *map(str, SOURCES), *LIBRARIES], to.parent)

    version = NGINX / "src" / "core" / "nginx.h"
    return kept(target_dir, "ngx_http_freshline_module-*.so", f"{FLAGS}", (*SOURCES, *HEADERS, version, flags), make)


def sources() -> dict[str, str]:
    """What :data:`SCRIPT` builds the module from, and the script: each file by its name beside the gate's others."""
    values = {
        "NGINX": str(NGINX),
        "CONFIGURE": CONFIGURE,
        "FLAGS": " ".join(FLAGS),
        "INCLUDES": " ".join(INCLUDES),
        "SOURCES": " ".join(path.name for path in SOURCES),
        "LIBRARIES": " ".join(LIBRARIES),
        "PROGRAM": PROGRAM,
    }
    return bundle(HERE / SCRIPT, values, (*SOURCES, *HEADERS))


def _filled(name: str, values: dict[str, str]) -> str:
    text = (HERE / name).read_text("utf-8")
    return fill(text, values)


def _address(name: str, value: str) -> tuple[str, int]:
    found = _ADDRESS.match(value)
    if not found or not 0 < int(found[1]) < 65536:
        raise ValueError(f"{name} is not host:port: {value!r}")
    return value.rpartition(":")[0], int(found[1])


def _lua_address(name: str, value: str) -> str:
    host, port = _address(name, value)
    return f'{{"{host}", {port}}}'
