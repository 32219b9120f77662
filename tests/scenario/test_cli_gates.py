"""What ``freshline gate`` writes, taken to another place and used there, with nothing of ours but those files."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freshline.domain.edge import Edge
from freshline.drivers.base import Gate, Trouble
from freshline.drivers.varnish import VarnishDriver
from freshline.gates import nginx as nginx_gate
from freshline.gates import varnish as varnish_gate
from freshline.inventory.sqlite import SqliteInventory
from tests.scenario.said import Said
from tests.servers.base import free_port, listens, until
from tests.servers.nginx import MODULES, module

NGINX_FILES = {
    "load.conf": 0o644,
    "http.conf": 0o600,
    "gate.conf": 0o644,
    "site.conf": 0o644,
    **{f"lua/{name}": 0o644 for name in nginx_gate.lua_files()},
}
NGINX_BUNDLE = {**NGINX_FILES, **dict.fromkeys(nginx_gate.sources(), 0o644)}
BUNDLE = {"freshline.vcl", *varnish_gate.sources()}
ROOT = os.geteuid() == 0

Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command on a machine with an inventory of two edges."""
    environ = {"PATH": os.environ["PATH"], "FRESHLINE_SERVICE_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}

    def run(*arguments: object, **more: str) -> Said:
        command = [sys.executable, "-m", "freshline", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env={**environ, **more}, timeout=60, umask=0o077)
        return Said(done.returncode, done.stdout, done.stderr)

    for name, kind in (("n1", "nginx"), ("v1", "varnish")):
        gate, site = (f"127.0.0.1:{free_port()}" for _ in range(2))
        run("edge", "add", name, "--kind", kind, "--gate", gate, "--site", site).fine()
    return run


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that Varnish's own users can get to."""
    root = Path(tempfile.mkdtemp(prefix="fg-"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


def modes(of: Path) -> dict[str, int]:
    return {str(path.relative_to(of)): stat.S_IMODE(path.stat().st_mode) for path in of.rglob("*") if path.is_file()}


# -- nginx ----------------------------------------------------------------------------------------------------------


NGINX_CONF = """
pid {root}/nginx.pid; error_log {root}/error.log;
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
{at_the_top}
events {{ }}
http {{
    access_log off; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
    uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
    proxy_cache_path {root}/cache levels=1:2 keys_zone=pages:1m use_temp_path=off;
    {included}
    server {{ listen {site}; {in_server} location / {{ proxy_pass http://127.0.0.1:9; proxy_cache pages; }} }}
}}
"""


def nginx_says(said: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Of a configuration with the lines that were printed."""
    at_the_top = re.search(r"# at the top of nginx.conf: +(include \".*\";)", said)
    included = re.search(r"# in http \{\}: +(.*)", said)
    in_server = re.search(r"# in each server \{\} that caches: +(include \".*\";)", said)
    assert at_the_top and included and in_server, said
    conf = root / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(
            root=root,
            modules=MODULES,
            site=f"127.0.0.1:{free_port()}",
            at_the_top=at_the_top[1],
            included=included[1],
            in_server=in_server[1],
        )
    )
    tested = ["nginx", "-t", "-e", str(root / "error.log"), "-p", str(root), "-c", str(conf)]
    return subprocess.run(tested, capture_output=True, text=True, timeout=60)


def nginx_takes(said: str, root: Path) -> None:
    done = nginx_says(said, root)
    assert done.returncode == 0, done.stderr


def test_the_nginx_gate_stands_on_its_own(cli: Cli, tmp_path: Path) -> None:
    """Moved to where it was said to be installed, it passes `nginx -t`; nothing in it points back to this machine."""
    there = tmp_path / "cache machine" / "gate"
    there.parent.mkdir()
    paths = ["--cache-path", tmp_path / "cache", "--journal", tmp_path / "journal"]

    said = cli("gate", "nginx", "n1", "--to", tmp_path / "made", "--installed-at", there, *paths).fine().out
    (tmp_path / "made").rename(there)

    assert modes(there) == {**NGINX_FILES, next(there.glob("*.so")).name: 0o755}
    assert stat.S_IMODE((there / "lua").stat().st_mode) == 0o755
    assert f"scp -r {tmp_path}/made/* root@CACHE:'{there}'/" in said
    assert str(nginx_gate.LUA) not in "".join((there / name).read_text() for name in NGINX_FILES)
    nginx_takes(said, tmp_path)


def test_the_nginx_gate_is_built_there(cli: Cli, tmp_path: Path) -> None:
    """Where the module is missing nginx says so; built by its own script it is taken, and nothing else is left."""
    there = tmp_path / "cache machine"
    made = ["gate", "nginx", "n1", "--no-build", "--to", tmp_path / "made", "--installed-at", there]
    said = cli(*made, "--cache-path", tmp_path / "cache", "--journal", tmp_path / "journal").fine().out
    (tmp_path / "made").rename(there)
    assert f"sh '{there}/build.sh'" in said
    missing = nginx_says(said, tmp_path)

    done = built(there)

    assert missing.returncode == 1 and f'"{there}/{nginx_gate.PROGRAM}" failed' in missing.stderr
    assert (done.returncode, done.stderr) == (0, ""), done
    assert modes(there) == {**NGINX_BUNDLE, nginx_gate.PROGRAM: 0o755}
    nginx_takes(said, tmp_path)


def test_a_module_for_another_nginx_is_refused(cli: Cli, tmp_path: Path) -> None:
    """nginx names the version that the module is for; a module that http.conf does not name is refused as well."""
    to = tmp_path / "gate"
    paths = ["--cache-path", tmp_path / "cache", "--journal", tmp_path / "journal"]
    said = cli("gate", "nginx", "n1", "--no-build", "--to", to, *paths).fine().out
    code = module().read_bytes()
    version = re.findall(r"#define nginx_version +(\d+)", (nginx_gate.NGINX / "src/core/nginx.h").read_text())[0]
    (to / nginx_gate.PROGRAM).write_bytes(
        code.replace(int(version).to_bytes(8, "little"), (int(version) + 1).to_bytes(8, "little"))
    )
    other = nginx_says(said, tmp_path)
    shutil.copy(module(), to / nginx_gate.PROGRAM)
    shutil.copy(module(), tmp_path / "another.so")
    (to / "load.conf").write_text(f'load_module "{tmp_path}/another.so";')
    assert nginx_says(said, tmp_path).returncode == 0  # -t runs no Lua
    started = subprocess.run(
        ["nginx", "-e", str(tmp_path / "error.log"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert other.returncode == 1 and f"version {int(version) + 1} instead of {version}" in other.stderr
    assert started.returncode == 1 and "load_module names another file than http.conf" in started.stderr


def test_the_nginx_gate_is_written_over(cli: Cli, tmp_path: Path) -> None:
    """Into a directory that is there: what had other modes gets the right ones, what was in the files goes."""
    to = tmp_path / "my gate"
    to.mkdir()
    (to / "http.conf").write_text("old")
    (to / "http.conf").chmod(0o644)
    paths = ["--no-build", "--cache-path", tmp_path / "cache", "--journal", tmp_path / "journal", "--inactive", "1d12h"]

    said = cli("gate", "nginx", "n1", "--to", to, *paths).fine().out

    assert modes(to) == NGINX_BUNDLE
    shutil.copy(module(), to / nginx_gate.PROGRAM)
    nginx_takes(said, tmp_path)
    wrote = cli("gate", "nginx", "n1", "--to", to, *paths, "--json").fine().json["wrote"]
    assert sorted(wrote) == sorted(str(to / name) for name in NGINX_BUNDLE)


def test_the_nginx_gate_is_printed(cli: Cli, tmp_path: Path) -> None:
    """What is to be included, for people; with --json every file."""
    (tmp_path / "bin").mkdir()
    cli("gate", "nginx", "n1", PATH=str(tmp_path / "bin")).refused(1, "gcc is missing", "--to DIR")
    cli("gate", "nginx", "n1", "--no-build").refused(2, "--no-build goes with --to")
    files = cli("gate", "nginx", "n1", "--no-build", "--json").fine().json["files"]

    assert set(files) == set(NGINX_BUNDLE)
    assert 'lua_package_path "/etc/nginx/freshline/lua/?.lua;;";' in files["http.conf"]
    assert f'load_module "/etc/nginx/freshline/{nginx_gate.PROGRAM}";' in files["load.conf"]


@pytest.mark.parametrize(("path", "word"), [("here", "--installed-at 'here'"), ("/a;b", "lua"), ('/a"b', "lua")])
def test_a_place_that_is_none_is_refused(cli: Cli, tmp_path: Path, path: str, word: str) -> None:
    """Relative, or nothing that may stand in a configuration: exit 2 before a file is written."""
    cli("gate", "nginx", "n1", "--to", tmp_path / "x", "--installed-at", path).refused(2, word)

    assert not (tmp_path / "x").exists()


# -- varnish --------------------------------------------------------------------------------------------------------


def varnish_takes(said: str, root: Path) -> Path:
    include = re.search(r"# at the top of your VCL.*:   (include .*;)", said)
    assert include, said
    vcl = root / "site.vcl"
    vcl.write_text(f'vcl 4.1;\n{include[1]}\nbackend default {{ .host = "127.0.0.1"; }}\n')
    (root / "n").mkdir()
    command = ["varnishd", "-C", "-f", str(vcl), "-n", str(root / "n")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return vcl


def built(directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(directory / "build.sh")]
    environ = {"PATH": "/usr/bin:/bin", **more}
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd="/", timeout=120)


def test_the_varnish_gate_is_built_here(cli: Cli, place: Path) -> None:
    """The include line that is printed compiles, in the jail that varnishd has by default; others cannot read it."""
    said = cli("gate", "varnish", "v1", "--to", place / "gate").fine().out

    assert modes(place / "gate")["freshline.vcl"] == (0o640 if ROOT else 0o600)
    assert len(modes(place / "gate")) == 2
    varnish_takes(said, place)


async def test_the_varnish_gate_is_built_there(cli: Cli, tmp_path: Path, place: Path) -> None:
    """Moved, built by its own script and started, it answers whoever has its secret."""
    there = place / "cache machine"
    made = ["gate", "varnish", "v1", "--no-build", "--to", place / "made", "--installed-at", there]
    said = cli(*made).fine().out
    assert set(modes(place / "made")) == BUNDLE
    (place / "made").rename(there)

    done = built(there)

    assert (done.returncode, done.stderr) == (0, ""), done
    assert set(modes(there)) == BUNDLE | {varnish_gate.PROGRAM}
    assert modes(there)["freshline.vcl"] == (0o640 if ROOT else 0o600)
    vcl = varnish_takes(said, place)
    inventory = SqliteInventory.open(tmp_path / "data" / "inventory.db")
    edge = inventory.edge("v1")
    inventory.close()
    assert edge
    status = await asked_where_it_stands(edge, vcl)
    assert not isinstance(status, Trouble), status
    assert status.log is None


async def asked_where_it_stands(edge: Edge, vcl: Path) -> Gate | Trouble:
    listeners = ["-a", edge.site, "-a", f"freshline={edge.gate},HTTP"]
    command = ["varnishd", "-F", "-f", str(vcl), "-n", str(vcl.parent / "n"), "-s", "malloc,32m", *listeners]
    process = await asyncio.create_subprocess_exec(
        *command, *(["-j", "none"] * ROOT), stderr=asyncio.subprocess.DEVNULL
    )
    driver = VarnishDriver(edge)
    try:
        until(lambda: process.returncode is not None or listens(edge.gate))
        return await driver.status()
    finally:
        await driver.close()
        process.terminate()
        await process.wait()


def test_without_varnish_here_it_is_built_there(cli: Cli, tmp_path: Path, place: Path) -> None:
    """No Varnish on the service's machine: --to writes what the cache machine needs; without --to that is said."""
    (tmp_path / "bin").mkdir()
    nothing = {"PATH": str(tmp_path / "bin")}

    cli("gate", "varnish", "v1", **nothing).refused(1, "pkg-config is missing", "--to DIR")
    cli("gate", "varnish", "v1", "--no-build").refused(2, "--no-build goes with --to")
    said = cli("gate", "varnish", "v1", "--to", place / "gate", **nothing).fine().out

    assert set(modes(place / "gate")) == BUNDLE
    assert f"sh {place}/gate/build.sh" in said
    assert built(place / "gate").returncode == 0


PROGRAMS = {"pkg-config": "exit 0", "gcc": "exit 0", "python3": "exit 0"}


@pytest.mark.parametrize(
    ("programs", "package"),
    [
        ({}, "pkg-config"),
        ({"pkg-config": "exit 0"}, "gcc"),
        ({"pkg-config": "exit 0", "gcc": "exit 0"}, "python3"),
        ({**PROGRAMS, "pkg-config": "exit 1"}, "libvarnishapi-dev"),
        ({**PROGRAMS, "gcc": "exit 1"}, "libc6-dev"),
    ],
)
def test_the_script_names_what_is_missing(cli: Cli, tmp_path: Path, programs: dict[str, str], package: str) -> None:
    """One line with Debian's package, and nothing half-made is left."""
    cli("gate", "varnish", "v1", "--no-build", "--to", tmp_path / "gate").fine()
    path = tmp_path / "bin"
    path.mkdir()
    for name, script in programs.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    for name in ("sh", "dirname"):
        (path / name).symlink_to(f"/usr/bin/{name}")

    done = built(tmp_path / "gate", PATH=str(path))

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and f"apt install {package}" in done.stderr
    assert set(modes(tmp_path / "gate")) == BUNDLE


def test_a_bundle_in_another_place_says_so(cli: Cli, place: Path) -> None:
    """It is built all the same, and the line to change is named."""
    cli("gate", "varnish", "v1", "--no-build", "--to", place, "--installed-at", "/etc/varnish/freshline").fine()

    done = built(place)

    assert done.returncode == 0
    assert "freshline.vcl names another place" in done.stderr
