"""``edges`` and ``edge``: which cache servers there are, and how they stand."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from freshline.cli.caller import Flag
from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table
from freshline.cli.people import read_secret

if TYPE_CHECKING:
    from freshline.domain.edge import Edge
    from freshline.domain.target import Target
    from freshline.drivers.base import Gate, Trouble
    from freshline.inventory.sqlite import SqliteInventory
    from freshline.log.reading import ReadOnlyLog

edge = App(name="edge", help="Cache servers.")

COLUMNS = (
    "name",
    "kind",
    "group",
    "tier",
    "duty",
    "gate",
    "site",
    "settled_to",
    "lag_entries",
    "lag_seconds",
    "failed_rows",
)
STATE_AT = 3  #: the state, where it was asked for, stands after the group
Parents = Annotated[tuple[str, ...], Parameter(name="--parent", negative="", show_default=False)]
ASK_SECONDS = 3.0  #: for a gate to say where it stands
ASKED_AT_ONCE = 200  #: gates
SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")  #: what both nginx and VCL take between quotes


def edges(*, offline: Flag = False, json: AsJson = False, place: Place = HERE) -> None:
    """Show every edge, where its gate says that it stands, and how far behind it is.

    ```
    freshline edges --data-dir /var/lib/freshline
    ```

    Parameters
    ----------
    offline
        Ask no gate; only what is in the files is shown.
    """
    with place.inventory() as inventory:
        found = inventory.edges()
        topology = inventory.topology
    log = place.log()
    # Before the gates are asked: they may only be further.
    rows = [_lag(each, log) | {"tier": f"L{topology.tier(each.name)}"} for each in found]
    columns = list(COLUMNS)
    if not offline:
        for row, (state, said) in zip(rows, _ask(found, log.id if log else None, log.head if log else 0), strict=True):
            row |= {"state": state, "said": said}
        columns.insert(STATE_AT, "state")
    if json:
        as_json(rows)
        return
    for row in rows:
        if row.get("said") and row["state"] in SAID:
            row["state"] += f": {row['said']}"
    table([name.upper() for name in columns], [[row[name] for name in columns] for row in rows])


edge.command(edges, name="list")


SAID = ("unreachable", "timeout", "wrong kind", "garbage", "failed")  #: states that say little without what was said


def _ask(edges: Sequence[Edge], log: str | None, head: int) -> list[tuple[str, str]]:
    """Where each gate stands, in a word, and what was said."""
    import asyncio

    from freshline.drivers.base import Fault
    from freshline.wiring import driver

    async def one(edge: Edge, turn: asyncio.Semaphore) -> tuple[str, str]:
        async with turn:
            gate = driver(edge)
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    return stands(await gate.status(), log, head)
            except TimeoutError:
                return str(Fault.TIMEOUT), f"no answer within {ASK_SECONDS:g} s"
            finally:
                await gate.close()

    async def all_of_them() -> list[tuple[str, str]]:
        turn = asyncio.Semaphore(ASKED_AT_ONCE)
        return await asyncio.gather(*(one(edge, turn) for edge in edges))

    return asyncio.run(all_of_them())


def stands(answer: Gate | Trouble, log: str | None, head: int) -> tuple[str, str]:
    """What a gate's answer means to whoever has this log, in a word; and what was said."""
    from freshline.drivers.base import Gate, Trouble

    match answer:
        case Trouble(fault, said):
            return str(fault), said
        case Gate(log=None):
            return "unbound", "bound to no log: new, or it lost its memory"
        case Gate(log=other) if other != log:
            return "another log", f"bound to {other}"
    said = f"at {answer.position} of {head}"
    if not answer.synced:
        return "starting", f"{said}, its old cache out of use until it has caught up"
    if answer.position < head:
        return "catching up", said
    if answer.clock is not None and answer.detail.get("lease") == "0":
        return "no lease", f"{said}, and out of rotation until it is granted one"
    return "fresh", said


def _lag(each: Edge, log: ReadOnlyLog | None) -> dict[str, Any]:
    from freshline.domain.edge import Progress

    progress = (log.progress(each.name) if log else None) or Progress(cursor=each.joined)
    behind = max(0, log.head - progress.cursor) if log else 0
    oldest = log.read(progress.cursor, 1) if log and behind else []
    return {
        "name": each.name,
        "kind": each.kind,
        "group": each.group,
        "parents": list(each.parents),
        "area": each.area,
        "duty": each.duty,
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
        inventory.add_edge(made)
        notes = [] if json else _odd(inventory, made)
    for note in notes:
        print(f"note: {note}")
    if json:
        as_json(_lag(made, log))
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
        inventory.change_edge(name, gate=gate, site=site, group=group, secret=secret, parents=parents, area=where)
        now = inventory.edge(name)
    assert before and now, f"edge {name} went away"
    if json:
        as_json(_lag(now, place.log()))
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
        inventory.change_edge(name, duty=Duty(duty))
        now = inventory.edge(name)
    assert now is not None, f"edge {name} went away"
    if json:
        as_json(_lag(now, place.log()))
    else:
        print(f"{name} is {duty}")


@edge.command
def remove(name: str, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Forget a cache server. Open tasks no longer wait for it.

    Where visitors may still be sent to it, drain it first, and remove it when it is not fresh any more.

    ```
    freshline edge remove eu1
    ```
    """
    with place.inventory() as inventory:
        inventory.remove_edge(name)
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
