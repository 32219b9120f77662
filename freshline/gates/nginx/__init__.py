"""The nginx gate: Lua and configuration, filled in for one server.

    files = render(Settings(secret=..., gate="10.0.0.5:9101", site="127.0.0.1:80", cache_path="/var/cache/nginx", ...))
    files["http.conf"], files["site.conf"], files["gate.conf"]
    lua_files()                         # what has to lie in Settings.lua on the server

The server's user must be able to write where the journal lies. ``ttl_seconds`` must exceed ``inactive=`` of
``proxy_cache_path``: what a rule put out of reach has to be gone before the rule is.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from freshline.gates import LAPSES

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
TEMPLATES = ("http.conf", "site.conf", "gate.conf")
LUA = Path(str(files(__name__))) / "lua"  #: the gate's own code

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
    site: str  #: where the gate reaches the site over HTTP: ``host:port``
    cache_path: str  #: as in proxy_cache_path
    journal: str  #: a file in a directory that nginx's user may write to
    levels: str = "1:2"  #: as in proxy_cache_path
    lua: str = str(LUA)  #: where the gate's Lua lies on that server
    site_tls: str | None = None  #: where it reaches the site over TLS; without it https cannot be prefetched
    rules_size: str = "160m"  #: 128 bytes a rule: 1,250,000; the system gives the memory as it is used
    tags_size: str = "64m"  #: 128 or 256 bytes for a URL with some tags: 260,000 at least
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
    return {str(path.relative_to(LUA)): path.read_text("utf-8") for path in sorted(LUA.rglob("*.lua"))}


def _filled(name: str, values: dict[str, str]) -> str:
    text = (files(__name__) / name).read_text("utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], text)


def _address(name: str, value: str) -> tuple[str, int]:
    found = _ADDRESS.match(value)
    if not found or not 0 < int(found[1]) < 65536:
        raise ValueError(f"{name} is not host:port: {value!r}")
    return value.rpartition(":")[0], int(found[1])


def _lua_address(name: str, value: str) -> str:
    host, port = _address(name, value)
    return f'{{"{host}", {port}}}'
