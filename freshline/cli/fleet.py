"""``edges``, ``edge`` and ``gate``: what operators do with their cache servers."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table
from freshline.cli.people import read_secret

if TYPE_CHECKING:
    from freshline.domain.edge import Edge
    from freshline.log.reading import ReadOnlyLog

edge = App(name="edge", help="Cache servers.")
gate = App(name="gate", help="The files that go into a cache server.")

COLUMNS = ("name", "kind", "group", "gate", "site", "settled_to", "lag_entries", "lag_seconds", "failed_rows")
SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")  #: what both nginx and VCL take between quotes


def edges(*, json: AsJson = False, place: Place = HERE) -> None:
    """Show every edge and how far behind it is.

    ```
    freshline edges --data-dir /var/lib/freshline
    ```
    """
    with place.inventory() as inventory:
        rows = [_state(each, place.log()) for each in inventory.edges()]
    if json:
        as_json(rows)
    else:
        table([name.upper() for name in COLUMNS], [[row[name] for name in COLUMNS] for row in rows])


edge.command(edges, name="list")


def _state(each: Edge, log: ReadOnlyLog | None) -> dict[str, Any]:
    from freshline.domain.edge import Progress

    progress = (log.progress(each.name) if log else None) or Progress(cursor=each.joined)
    behind = max(0, log.head - progress.cursor) if log else 0
    oldest = log.read(progress.cursor, 1) if log and behind else []
    return {
        "name": each.name,
        "kind": each.kind,
        "group": each.group,
        "gate": each.gate,
        "site": each.site,
        "settled_to": progress.cursor,
        "lag_entries": behind,
        "lag_seconds": round(max(0.0, time.time() - oldest[0].created), 1) if oldest else 0.0,
        "failed_rows": sum(ranges.size() for _, ranges in progress.failed),
    }


@edge.command
def add(
    name: str,
    /,
    *,
    kind: Literal["nginx", "varnish"],
    gate: str,
    site: str,
    group: str = "default",
    secret_file: Path | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Declare a cache server. It answers for tasks accepted from now on.

    ```
    freshline edge add eu1 --kind nginx --gate 10.0.0.5:9101 --site 10.0.0.5:80 --group eu
    freshline gate nginx eu1 --to ./eu1
    freshline edge check eu1
    ```

    Parameters
    ----------
    kind
        What runs there.
    gate
        Where its gate listens, host:port; an address that only this service reaches.
    site
        Where visitors reach it, host:port.
    group
        The group it belongs to; domains are served by groups.
    secret_file
        A file with the gate's secret, 16 to 256 characters. Without it one is made.
    """
    from freshline.domain.edge import Edge

    secret = read_secret(secret_file) if secret_file else secrets.token_urlsafe(32)
    if not SECRET.fullmatch(secret):
        fail(f"{secret_file}: a gate's secret is 16 to 256 letters, digits, '.', '_', '~', '+', '/', '=' or '-'", 2)
    if gate == site:
        fail(f"--gate and --site are both {gate!r}: visitors must not reach the gate", 2)
    with place.inventory(new=True) as inventory:
        log = place.log()
        # A new edge owes nothing that was asked for before it was there.
        made = Edge(name, kind, group, gate, site, secret, joined=log.head if log else 0)
        inventory.add_edge(made)
    if json:
        as_json(_state(made, log))
    else:
        print(f"{name} is declared; `freshline gate {kind} {name}` prints the files that go into it")


@edge.command
def remove(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Forget a cache server. Open tasks no longer wait for it.

    ```
    freshline edge remove eu1
    ```
    """
    with place.inventory() as inventory:
        inventory.remove_edge(name)
    if json:
        as_json({"removed": name})


@edge.command
def check(name: str, /, *, url: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """Prove that an edge's gate is installed, wants its secret, is out of visitors' reach, and tells the truth.

    ```
    freshline edge check eu1 --url http://img.example.com/health.png
    ```

    Parameters
    ----------
    url
        An object that may be cached. It is fetched, refreshed and fetched again, and the gate's word is held against
        what a visitor gets. Without it only the door is checked, not the honesty.
    """
    import asyncio

    from freshline.drivers.check import check_edge
    from freshline.wiring import driver

    with place.inventory() as inventory:
        found = inventory.edge(name)
    if found is None:
        fail(f"there is no edge {name}", 2)
    findings = asyncio.run(check_edge(found, driver, url))
    if json:
        as_json([{"check": f.check, "ok": f.ok, "said": f.said} for f in findings])
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.said}")
    if not all(finding.ok for finding in findings):
        fail(f"{name} is not to be trusted yet")


@gate.command
def nginx(
    name: str,
    /,
    *,
    cache_path: str = "/var/cache/nginx/site",
    levels: str = "1:2",
    journal: str = "/var/lib/freshline/gate.journal",
    site_tls: str | None = None,
    inactive: str = "10m",
    to: Path | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Print, or write with --to, what goes into an nginx.

    ```
    freshline gate nginx eu1 --cache-path /var/cache/nginx/site --inactive 7d --to /etc/nginx/freshline
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
    to
        A directory for the files. Those with the secret are for their owner alone.
    """
    from freshline.gates import nginx as gates

    each = _edge(name, "nginx", place)
    try:
        files = gates.render(
            gates.Settings(
                secret=each.secret,
                gate=each.gate,
                site=each.site,
                cache_path=cache_path,
                journal=journal,
                levels=levels,
                site_tls=site_tls,
                ttl_seconds=max(21 * 86_400, 3 * _seconds(inactive)),
            )
        )
    except ValueError as error:
        fail(str(error), 2)
    where = to.absolute() if to else Path("/etc/nginx/freshline")
    note = f"""
# needs: apt install nginx libnginx-mod-http-lua
# in http {{}}:                 include "{where}/http.conf"; include "{where}/gate.conf";
# in each server {{}} that caches: include "{where}/site.conf";   (it sets proxy_cache_key)
# then: install -d -o www-data {Path(journal).parent}; nginx -t && systemctl restart nginx
#       freshline edge check {name}"""
    _deliver(files, each.secret, to, note, json)


@gate.command
def varnish(name: str, /, *, to: Path | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """Build and print, or write with --to, what goes into a Varnish. Run it on the Varnish machine.

    ```
    freshline gate varnish eu2 --to /etc/varnish/freshline
    ```

    Parameters
    ----------
    to
        A directory for the library and the VCL. The VCL has the secret; where the group varnish exists it may read it.
    """
    from freshline.gates import varnish as gates

    each = _edge(name, "varnish", place)
    where = (to or Path("/etc/varnish/freshline")).absolute()
    try:
        library = gates.build(where if to else Path.cwd() / "freshline-gate")
        text = gates.render(library, each.secret)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    except (gates.CannotBuild, ValueError) as error:
        fail(str(error))
    note = f"""
# at the top of your VCL, after `vcl 4.1;`:   include "{where}/freshline.vcl";
# its compiler, of group varnish, reads it:   chgrp varnish {where}/freshline.vcl; chmod 640 {where}/freshline.vcl
# beside the site's listener:                 varnishd -a :80 -a freshline={each.gate},HTTP ...
# then: varnishreload (or restart varnish); freshline edge check {name}"""
    _deliver({"freshline.vcl": text}, each.secret, to, note, json, readers="varnish")


def _edge(name: str, kind: str, place: Place) -> Edge:
    with place.inventory() as inventory:
        found = inventory.edge(name)
    if found is None:
        fail(f"there is no edge {name}; declare it with `freshline edge add {name} --kind {kind} …`", 2)
    if found.kind != kind:
        fail(f"{name} is declared as {found.kind}, not {kind}", 2)
    return found


def _deliver(
    files: Mapping[str, str], secret: str, to: Path | None, note: str, json: bool, readers: str | None = None
) -> None:
    if to is None:
        if json:
            as_json({"files": files, "next": note.strip()})
            return
        for name, text in files.items():
            print(f"# ---- {name}\n{text}")
    else:
        try:
            to.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                _write(to / name, text, readers if secret in text else None, private=secret in text)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")
        if json:
            as_json({"wrote": [str(to / name) for name in files], "next": note.strip()})
            return
        print("\n".join(f"wrote {to / name}" for name in files))
    print(note)


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


def _seconds(text: str) -> int:
    """A time as nginx writes it, ``10m``, ``1d12h`` or ``600``."""
    units = {"s": 1, "": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 30 * 86_400, "y": 365 * 86_400}
    if not re.fullmatch(r"([0-9]{1,9}[smhdwMy] ?)*[0-9]{1,9}[smhdwMy]?", text):
        fail(f"--inactive {text!r}: must be a time as nginx writes it, such as 10m or 7d", 2)
    return sum(int(number) * units[unit] for number, unit in re.findall(r"([0-9]+)([smhdwMy]?)", text))
