"""``edges``, ``edge`` and ``gate``: what operators do with their cache servers."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table

if TYPE_CHECKING:
    from freshline.domain.edge import Edge

edge = App(name="edge", help="Cache servers.")
gate = App(name="gate", help="The files that go into a cache server.")


def edges(*, json: AsJson = False, place: Place = HERE) -> None:
    """Show every edge and how far behind it is."""
    from freshline.domain.edge import Progress
    from freshline.wiring import read_log

    with place.inventory() as inventory:
        known = inventory.edges()
    try:
        log = read_log(place.settings())
    except FileNotFoundError as error:
        fail(f"{error}: the service has not run yet")
    rows = []
    for each in known:
        progress = log.progress(each.name) or Progress(cursor=each.joined)
        behind = max(0, log.head - progress.cursor)
        oldest = log.read(progress.cursor, 1) if behind else []
        rows.append(
            {
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
        )
    if json:
        as_json(rows)
    else:
        table([name.upper() for name in rows[0]] if rows else ["NAME"], [list(row.values()) for row in rows])


@edge.command
def add(
    name: str,
    *,
    kind: Literal["nginx", "varnish"],
    gate: str,
    site: str,
    group: str = "default",
    secret_file: Path | None = None,
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

    try:
        secret = secret_file.read_text().strip() if secret_file else secrets.token_urlsafe(32)
    except OSError as error:
        fail(f"{secret_file}: {error.strerror}", 2)
    with place.inventory() as inventory:
        inventory.add_edge(Edge(name, kind, group, gate, site, secret, joined=_head(place)))
    print(f"{name} is declared; `freshline gate {kind} {name}` prints the files that go into it")


@edge.command
def remove(name: str, *, place: Place = HERE) -> None:
    """Forget a cache server. Open tasks no longer wait for it."""
    with place.inventory() as inventory:
        inventory.remove_edge(name)


@edge.command
def check(name: str, *, url: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
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
    *,
    cache_path: str = "/var/cache/nginx/site",
    levels: str = "1:2",
    journal: str = "/var/lib/freshline/gate.journal",
    site_tls: str | None = None,
    inactive: str = "10m",
    to: Annotated[Path | None, Parameter(name="--to")] = None,
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
    where = to or Path("/etc/nginx/freshline")
    _deliver(files, to)
    print(
        f"""
# needs: apt install nginx libnginx-mod-http-lua
# in http {{}}:                 include {where}/http.conf; include {where}/gate.conf;
# in each server {{}} that caches: include {where}/site.conf;   (it sets proxy_cache_key)
# then: install -d -o www-data {Path(journal).parent}; nginx -t && systemctl restart nginx
#       freshline edge check {name}"""
    )


@gate.command
def varnish(name: str, *, to: Annotated[Path | None, Parameter(name="--to")] = None, place: Place = HERE) -> None:
    """Build and print, or write with --to, what goes into a Varnish. Run it on the Varnish machine.

    ```
    freshline gate varnish eu2 --to /etc/varnish/freshline
    ```
    """
    from freshline.gates import varnish as gates

    each = _edge(name, "varnish", place)
    where = (to or Path("/etc/varnish/freshline")).absolute()
    try:
        library = gates.build(where if to else Path.cwd() / "freshline-gate")
        text = gates.render(library, each.secret)
    except (gates.CannotBuild, ValueError, OSError) as error:
        fail(str(error))
    _deliver({"freshline.vcl": text}, to)
    print(
        f"""
# at the top of your VCL, after `vcl 4.1;`:   include "{where}/freshline.vcl";
# beside the site's listener:                 varnishd -a :80 -a freshline={each.gate},HTTP ...
# then: varnishreload (or restart varnish); freshline edge check {name}"""
    )


def _edge(name: str, kind: str, place: Place) -> Edge:
    with place.inventory() as inventory:
        found = inventory.edge(name)
    if found is None:
        fail(f"there is no edge {name}; declare it with `freshline edge add {name} --kind {kind} …`", 2)
    if found.kind != kind:
        fail(f"{name} is declared as {found.kind}, not {kind}", 2)
    return found


def _deliver(files: dict[str, str], to: Path | None) -> None:
    if to is None:
        for name, text in files.items():
            print(f"# ---- {name}\n{text}")
        return
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (to / name).touch(mode=0o600)
            (to / name).write_text(text)
            print(f"wrote {to / name}")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def _head(place: Place) -> int:
    """A new edge owes nothing that was asked for before it was there."""
    from freshline.wiring import read_log

    try:
        return read_log(place.settings()).head
    except FileNotFoundError:
        return 0


def _seconds(text: str) -> int:
    """A time as nginx writes it, ``10m`` or ``1d12h``."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    parts = re.findall(r"(\d+)([smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        fail(f"--inactive {text!r} is not a time as nginx writes it, such as 10m or 7d", 2)
    return sum(int(number) * units[unit] for number, unit in parts)
