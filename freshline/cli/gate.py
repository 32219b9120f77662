"""``gate``: the files that go into a cache server.

They stand on their own: the cache machine needs nothing of ours besides, and sees no secret but its own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from freshline.cli.caller import Flag
from freshline.cli.delivering import Delivery
from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import fail

if TYPE_CHECKING:
    from freshline.domain.edge import Edge

Lapse = Literal["serve", "bypass", "refuse"]

gate = App(name="gate", help="The files that go into a cache server.")

NGINX_HOME, VARNISH_HOME = Path("/etc/nginx/freshline"), Path("/etc/varnish/freshline")
SQUID_HOME = Path("/etc/squid/freshline")
TRAFFICSERVER_HOME = Path("/etc/trafficserver/freshline")


@gate.command
def nginx(
    name: str,
    /,
    *,
    cache_path: str = "/var/cache/nginx/site",
    levels: str = "1:2",
    journal: str = "/var/lib/freshline-gate/journal",
    site_tls: str | None = None,
    inactive: str = "10m",
    lapse: Lapse = "serve",
    to: Path | None = None,
    installed_at: Path | None = None,
    no_build: Flag = False,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Print, or write with --to, what goes into an nginx.

    The gate is a module that fits one version of nginx, and Lua. Where nginx's development files are, the module is
    built at once. Elsewhere --to writes what it is built from, and a build.sh that builds it on the cache machine.

    ```
    freshline gate nginx eu1 --to /etc/nginx/freshline
    freshline gate nginx eu1 --no-build --to eu1 --installed-at /etc/freshline
    ```

    Parameters
    ----------
    cache_path
        As in proxy_cache_path.
    levels
        As in proxy_cache_path.
    journal
        A file in a directory that nginx's user may write to.
    site_tls
        Where the site is reached over TLS, host:port; without it https URLs cannot be prefetched.
    inactive
        As in proxy_cache_path; rules are kept three times as long, and 21 days at least.
    lapse
        What visitors get while the gate holds no lease: `serve`, as ever; `bypass`, nothing stored; `refuse`, 503.
    to
        A directory for the module, or what it is built from, four files to include, one of them with the secret, and
        the gate's Lua.
    installed_at
        Where that directory will stand on the cache machine. Without it: where it stands here.
    no_build
        Write what is needed to build it elsewhere, even if it could be built here.
    """
    from freshline.gates import nginx as gates

    if no_build and to is None and not json:
        fail("--no-build goes with --to", 2)
    each = _edge(name, "nginx", place)
    delivery = Delivery.planned(to, installed_at, NGINX_HOME, json=json)
    where = delivery.where
    settings = gates.Settings(
        secret=each.secret,
        gate=each.gate,
        site=each.site,
        cache_path=cache_path,
        journal=journal,
        module=str(where / gates.PROGRAM),
        levels=levels,
        lua=str(where / "lua"),
        site_tls=site_tls,
        ttl_seconds=max(21 * 86_400, 3 * _seconds(inactive)),
        lapse=lapse,
    )
    try:
        gates.render(settings)  # refused before anything is built or made
        module = delivery.program(gates, no_build=no_build, again="; again after nginx was upgraded")
        files = gates.render(replace(settings, module=str(module.at)))
    except ValueError as error:
        fail(str(error), 2)
    note = f"""
{delivery.copying()}
# there, as root:
#   apt install nginx libnginx-mod-http-lua{module.building}
#   install -d -o www-data -m 750 {Path(journal).parent}      # the journal: nginx's workers write it
#   http.conf has the secret and stays root's alone (600); nginx's user must be able to read {where}/lua
# at the top of nginx.conf:         include "{where}/load.conf";   (behind modules-enabled)
# in http {{}}:                     include "{where}/http.conf"; include "{where}/gate.conf";
# in each server {{}} that caches:  include "{where}/site.conf";   (it sets proxy_cache_key)
#   nginx -t && systemctl restart nginx
# here:
#   freshline edge check {name}"""
    if to and not module.sources:
        note = f"""
# (not over the module of an nginx that runs: scp writes into the file that it has in use){note}"""
    lua = {f"lua/{file}": text for file, text in gates.lua_files().items()}
    if to is None and not json:
        note = f"\n# and the gate's Lua in {where}/lua: --to DIR writes all of it{note}"
        lua = {}
    delivery.deliver({**files, **lua, **module.sources}, (each.secret,), note)


@gate.command
def varnish(
    name: str,
    /,
    *,
    lapse: Lapse = "serve",
    to: Path | None = None,
    installed_at: Path | None = None,
    no_build: Flag = False,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Print, or write with --to, what goes into a Varnish.

    The gate is a library that fits one version of Varnish. Where Varnish's development files are, it is built at once.
    Elsewhere --to writes what it is built from, and a build.sh that builds it on the cache machine.

    ```
    freshline gate varnish eu2 --to /etc/varnish/freshline
    freshline gate varnish eu2 --no-build --to eu2 --installed-at /etc/freshline
    ```

    Parameters
    ----------
    lapse
        What visitors get while the gate holds no lease: `serve`, as ever; `bypass`, nothing stored; `refuse`, 503.
    to
        A directory for the library, or what it is built from, and the VCL. The VCL has the secret; where the group
        varnish exists it may read it.
    installed_at
        Where that directory will stand on the cache machine. Without it: where it stands here.
    no_build
        Write what is needed to build it elsewhere, even if it could be built here.
    """
    from freshline.gates import varnish as gates

    if no_build and to is None and not json:
        fail("--no-build goes with --to", 2)
    each = _edge(name, "varnish", place)
    delivery = Delivery.planned(to, installed_at, VARNISH_HOME, json=json)
    where = delivery.where
    library = delivery.program(gates, no_build=no_build, again="; again after Varnish was upgraded")
    try:
        files = {"freshline.vcl": gates.render(library.at, each.secret, lapse=lapse), **library.sources}
    except ValueError as error:
        fail(str(error))
    vcl = quote(f"{where}/freshline.vcl")
    note = f"""
{delivery.copying()}
# there, as root:{library.building}
#   chgrp varnish {vcl}; chmod 640 {vcl}      # its compiler's group
# at the top of your VCL, after `vcl 4.1;`:   include "{where}/freshline.vcl";
# beside the site's listener:                 varnishd -a :80 -a freshline={each.gate},HTTP ...
#   systemctl restart varnish      # once the listener is there, systemctl reload varnish is enough
# here:
#   freshline edge check {name}"""
    delivery.deliver(files, (each.secret,), note, readers="varnish")


@gate.command
def squid(
    name: str,
    /,
    *,
    journal: str = "/var/lib/freshline-gate/journal",
    door: str = "127.0.0.1:9180",
    lapse: Lapse = "serve",
    to: Path | None = None,
    installed_at: Path | None = None,
    no_build: Flag = False,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Print, or write with --to, what goes beside a Squid.

    The gate is a helper that Squid starts. Where PCRE2's headers are, it is built at once. Elsewhere --to writes what
    it is built from, and a build.sh that builds it on the cache machine.

    ```
    freshline gate squid eu3 --no-build --to eu3 --installed-at /etc/freshline
    ```

    Parameters
    ----------
    journal
        A file in a directory that Squid's user may write to.
    door
        A free address of the loopback interface there, where Squid takes the gate's own requests.
    lapse
        What visitors get while nobody tells the gate anything: serve, everything as before; bypass, nothing that is
        stored; refuse, 503.
    to
        A directory for the helper, or what it is built from, and two files with secrets. Where the group proxy exists
        it may read those.
    installed_at
        Where that directory will stand on the cache machine. Without it: where it stands here.
    no_build
        Write what is needed to build it elsewhere, even if it could be built here.
    """
    from freshline.gates import squid as gates

    if no_build and to is None and not json:
        fail("--no-build goes with --to", 2)
    each = _edge(name, "squid", place)
    delivery = Delivery.planned(to, installed_at, SQUID_HOME, json=json)
    where = delivery.where
    helper = delivery.program(gates, no_build=no_build)
    try:
        files = gates.render(
            gates.Settings(each.secret, each.gate, str(where), str(helper.at), journal, door, lapse=lapse)
        )
    except ValueError as error:
        fail(str(error), 2)
    secrets = " ".join(quote(f"{where}/{file}") for file in ("squid.conf", "gate.conf"))
    note = f"""
{delivery.copying()}
# there, as root:{helper.building}
#   chgrp {gates.USER} {secrets}; chmod 640 {secrets}
#   install -d -o {gates.USER} -m 750 {Path(journal).parent}      # the journal: Squid's user writes it
# as the first line of squid.conf:   include {where}/squid.conf
#   squid -k parse && systemctl restart squid
# here:
#   freshline edge check {name}"""
    private = (each.secret, gates.token(each.secret))
    delivery.deliver({**files, **helper.sources}, private, note, readers=gates.USER)


@gate.command
def trafficserver(
    name: str,
    /,
    *,
    journal: str = "/var/lib/freshline-gate/journal",
    fetch_seconds: int = 600,
    lapse: Lapse = "serve",
    to: Path | None = None,
    installed_at: Path | None = None,
    no_build: Flag = False,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Print, or write with --to, what goes into an Apache Traffic Server 9.

    The gate is a plugin. Where Traffic Server's development files are, it is built at once. Elsewhere --to writes what
    it is built from, and a build.sh that builds it on the cache machine.

    ```
    freshline gate trafficserver eu3 --to /etc/trafficserver/freshline
    freshline gate trafficserver eu3 --no-build --to eu3
    ```

    Parameters
    ----------
    journal
        A file in a directory that the server's user may write to.
    fetch_seconds
        An origin that says nothing for so long is given up by a prefetch.
    lapse
        What visitors get while the gate holds no lease: `serve`, as ever; `bypass`, nothing stored; `refuse`, 503.
    to
        A directory for the plugin, or what it is built from, and its configuration. That has the secret; where the
        group trafficserver exists it may read it.
    installed_at
        Where that directory will stand on the cache machine. Without it: where it stands here.
    no_build
        Write what is needed to build it elsewhere, even if it could be built here.
    """
    from freshline.gates import trafficserver as gates

    if no_build and to is None and not json:
        fail("--no-build goes with --to", 2)
    each = _edge(name, "trafficserver", place)
    delivery = Delivery.planned(to, installed_at, TRAFFICSERVER_HOME, json=json)
    where = delivery.where
    settings = gates.Settings(each.secret, each.gate, journal, lapse, fetch_seconds=fetch_seconds)
    conf = where / gates.CONF
    try:
        gates.render(settings, where / gates.PROGRAM, conf)  # refused before anything is built or made
    except ValueError as error:
        fail(str(error), 2)
    plugin = delivery.program(gates, no_build=no_build, again="; again after an upgrade")
    files = {gates.CONF: gates.render(settings, plugin.at, conf), **plugin.sources}
    note = f"""
{delivery.copying()}
# there, as root:{plugin.building}
#   chgrp trafficserver {conf}; chmod 640 {conf}      # the server's user reads it
#   install -d -o trafficserver -m 750 {Path(journal).parent}      # the journal: the server writes it
# the last line of plugin.config:   {plugin.at} {conf}
#   systemctl restart trafficserver
# here:
#   freshline edge check {name}"""
    delivery.deliver(files, (each.secret,), note, readers="trafficserver")


def _edge(name: str, kind: str, place: Place) -> Edge:
    with place.inventory() as inventory:
        found = inventory.edge(name)
    if found is None:
        fail(f"there is no edge {name}; declare it with `freshline edge add {name} --kind {kind} …`", 2)
    if found.kind != kind:
        fail(f"{name} is declared as {found.kind}, not {kind}", 2)
    return found


def _seconds(text: str) -> int:
    """A time as nginx writes it, ``10m``, ``1d12h`` or ``600``."""
    units = {"s": 1, "": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 30 * 86_400, "y": 365 * 86_400}
    if not re.fullmatch(r"([0-9]{1,9}[smhdwMy] ?)*[0-9]{1,9}[smhdwMy]?", text):
        fail(f"--inactive {text!r}: must be a time as nginx writes it, such as 10m or 7d", 2)
    return sum(int(number) * units[unit] for number, unit in re.findall(r"([0-9]+)([smhdwMy]?)", text))
