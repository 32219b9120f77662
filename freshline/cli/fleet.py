"""``edge``: which cache servers there are."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from freshline.cli.caller import Flag
from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail
from freshline.cli.people import read_secret
from freshline.cli.standing import edges, standing

if TYPE_CHECKING:
    from freshline.domain.edge import Edge
    from freshline.domain.target import Target
    from freshline.inventory.sqlite import SqliteInventory

edge = App(name="edge", help="Cache servers.")
edge.command(edges, name="list")

Parents = Annotated[tuple[str, ...], Parameter(name="--parent", negative="", show_default=False)]
SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")  #: what both nginx and VCL take between quotes


@edge.command
def add(
    name: str,
    /,
    *,
    kind: Literal["nginx", "varnish", "squid", "trafficserver", "plain-purge", "plain-ban"],
    gate: str,
    site: str,
    group: str = "default",
    parent: Parents = (),
    area: Literal["domestic", "overseas"] | None = None,
    secret_file: Path | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Declare a cache server. It answers for tasks accepted from now on.

    ```
    freshline edge add eu1 --kind nginx --gate eu1:9101 --site eu1:80 --group eu
    freshline edge add eu2 --kind squid --gate e2:6180 --site e2:80 --parent eu1
    freshline gate nginx eu1 --to ./eu1
    freshline edge check eu1
    ```

    Parameters
    ----------
    kind
        What runs there. The plain ones are servers without a gate, driven by their own PURGE, and in Varnish BAN: what
        they answer is not proven.
    gate
        Where its gate listens, host:port; an address that only this service reaches. Of a plain one, where it takes a
        PURGE.
    site
        Where visitors reach it, host:port.
    group
        The group it belongs to; domains are served by groups.
    parent
        The edge it fetches through, where it does not ask the origin itself; may be repeated. Whatever group that is
        in, it is refreshed and filled before this one.
    area
        Where its visitors are, for prefetches that are meant for one area. Without it, it takes all.
    secret_file
        A file with the gate's secret, 16 to 256 characters. Without it one is made.
    """
    from freshline.domain.edge import Edge

    secret = _secret(secret_file) if secret_file else secrets.token_urlsafe(32)
    plain = kind.startswith("plain-")
    if not plain:
        _apart(gate, site)
    with place.inventory(new=True) as inventory:
        log = place.log()
        # A new edge owes nothing that was asked for before it was there.
        made = Edge(name, kind, group, gate, site, secret, log.head if log else 0, parent, area or "")
        inventory.roster.add(made)
        notes = [] if json else _odd(inventory, made)
    for note in notes:
        print(f"note: {note}")
    if json:
        as_json(standing(made, log))
    elif plain:
        print(f"{name} is declared; without a gate nothing that it answers is proven (docs/gates.md)")
    else:
        print(f"{name} is declared; `freshline gate {kind} {name}` prints the files that go into it")


@edge.command(name="set")
def set_edge(
    name: str,
    /,
    *,
    gate: str | None = None,
    site: str | None = None,
    group: str | None = None,
    parent: Parents = (),
    no_parents: Flag = False,
    area: Literal["domestic", "overseas", "any"] | None = None,
    secret_file: Path | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Change what is declared of a cache server. The service takes it up within a second, and goes on where it stood.

    ```
    freshline edge set eu1 --gate 10.0.0.6:9101 --site 10.0.0.6:80
    freshline edge set eu1 --parent shield1 --parent shield2
    freshline edge set eu1 --secret-file new-secret.txt
    ```

    Parameters
    ----------
    gate
        Where its gate listens, host:port.
    site
        Where visitors reach it, host:port.
    group
        The group it belongs to from now on.
    parent
        The edge it fetches through from now on; may be repeated.
    no_parents
        It asks the origin itself from now on.
    area
        Where its visitors are.
    secret_file
        A file with another secret for its gate, 16 to 256 characters.
    """
    if parent and no_parents:
        fail("--parent and --no-parents contradict each other", 2)
    parents = () if no_parents else parent or None
    if not (gate or site or group or secret_file or area) and parents is None:
        fail("nothing to change: give --gate, --site, --group, --parent, --no-parents, --area or --secret-file", 2)
    secret = _secret(secret_file) if secret_file else None
    with place.inventory() as inventory:
        before = inventory.edge(name)
        if before is not None and not before.kind.startswith("plain-"):
            _apart(gate or before.gate, site or before.site)
        where = None if area is None else area.replace("any", "")
        inventory.roster.change(name, gate=gate, site=site, group=group, secret=secret, parents=parents, area=where)
        now = inventory.edge(name)
    assert before and now, f"edge {name} went away"
    if json:
        as_json(standing(now, place.log()))
        return
    if (now.gate, now.site, now.secret) != (before.gate, before.site, before.secret):
        print(f"note: its gate's files name these; `freshline gate {now.kind} {name}` writes them anew")


@edge.command
def pause(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Tell a cache server nothing until it is resumed. Tasks wait for it; with lapse bypass or refuse, for one lease.

    ```
    freshline edge pause eu1
    ```
    """
    _order(name, "paused", place, json)


@edge.command
def drain(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Take a cache server out of rotation: it is kept up to date, but soon nothing waits for it any more.

    Its gate is granted no more leases, so a load balancer that asks /freshline/fresh sends it no visitors once the last
    one is over; until then tasks wait for it. Then nobody answers for what it serves, until it is resumed.

    ```
    freshline edge drain eu1
    ```
    """
    _order(name, "drained", place, json)


@edge.command
def resume(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Put a cache server that was paused or drained back to work.

    One that was drained is fresh again once it has caught up.

    ```
    freshline edge resume eu1
    ```
    """
    _order(name, "active", place, json)


def _order(name: str, duty: str, place: Place, json: bool) -> None:
    from freshline.domain.edge import Duty

    with place.inventory() as inventory:
        inventory.roster.change(name, duty=Duty(duty))
        now = inventory.edge(name)
    assert now is not None, f"edge {name} went away"
    if json:
        as_json(standing(now, place.log()))
    else:
        print(f"{name} is {duty}")


@edge.command
def remove(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Forget a cache server. Open tasks no longer wait for it; `freshline evidence` goes on telling what it did.

    Where visitors may still be sent to it, drain it first, and remove it when it is not fresh any more.

    ```
    freshline edge remove eu1
    ```
    """
    with place.inventory() as inventory:
        inventory.roster.remove(name)
    if json:
        as_json({"removed": name})
    else:
        print(f"note: open tasks no longer wait for {name}; nobody keeps its cache fresh: take its gate out too")


def _target(url: str) -> Target:
    from freshline.domain.target import BadTarget, parse

    try:
        return parse(url)
    except BadTarget as error:
        fail(f"--url {url!r} is no URL: {error}", 2)


def _secret(file: Path) -> str:
    secret = read_secret(file)
    if not SECRET.fullmatch(secret):
        fail(f"{file}: a gate's secret is 16 to 256 letters, digits, '.', '_', '~', '+', '/', '=' or '-'", 2)
    return secret


def _odd(inventory: SqliteInventory, made: Edge) -> list[str]:
    """What may be meant, and mostly is not."""
    notes = [
        f"{other.name} has the gate {made.gate} too; a gate takes orders for one edge"
        for other in inventory.edges()
        if other.name != made.name and other.gate == made.gate
    ]
    parents = {parent for each in inventory.edges() for parent in each.parents}
    used = any(each.group == made.group for account in inventory.accounts() for each in inventory.domains(account.id))
    if not used and made.name not in parents:
        notes.append(
            f"no domain is served by the group {made.group} yet: `freshline domain add … --group {made.group}`"
        )
    return notes


def _apart(gate: str, site: str) -> None:
    if gate == site:
        fail(f"--gate and --site are both {gate!r}: visitors must not reach the gate", 2)


@edge.command
def check(name: str, /, *, url: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """Prove that an edge's gate is installed, wants its secret, is out of visitors' reach, and tells the truth.

    ```
    freshline edge check eu1 --url http://img.example.com/health.png
    ```

    Parameters
    ----------
    url
        An object that may be cached, of a domain that is declared. It is brought into the cache, and the gate has to
        say that it is there, and not to say so of one that nobody asked for. Nothing is refreshed. Without it only
        the door is checked.
    """
    import asyncio

    from freshline.drivers.check import CHOICE, check_edge
    from freshline.wiring import driver

    target = None if url is None else _target(url)
    with place.inventory() as inventory:
        found = inventory.edge(name)
        known = target is None or inventory.domain(target.domain) is not None
    if found is None:
        fail(f"there is no edge {name}", 2)
    if found.kind.startswith("plain-"):
        fail(f"{name} is a {found.kind}: it has no gate that could be checked", 2)
    if target and not known:
        fail(f"--url {url}: {target.domain} is no domain of the inventory", 2)
    findings = asyncio.run(check_edge(found, driver, target))
    if json:
        as_json([{"check": f.check, "ok": f.ok, "said": f.said} for f in findings])
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.said}")
    bad = {finding.check for finding in findings if not finding.ok}
    if bad == {CHOICE}:
        fail(f"{url} cannot show how {name} fetches")
    if bad:
        fail(f"{name} is not to be trusted yet")
