"""``edges``: how the cache servers stand, by the files and by what their gates say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from freshline.cli.caller import Flag
from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, table

if TYPE_CHECKING:
    from freshline.domain.edge import Edge
    from freshline.drivers.base import Gate, Trouble
    from freshline.log.reading import ReadOnlyLog

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
ASK_SECONDS = 3.0  #: for a gate to say where it stands
ASKED_AT_ONCE = 200  #: gates
SAID = ("unreachable", "timeout", "wrong kind", "garbage", "failed")  #: states that say little without what was said


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
    rows = [standing(each, log) | {"tier": f"L{topology.tier(each.name)}"} for each in found]
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


def standing(each: Edge, log: ReadOnlyLog | None) -> dict[str, Any]:
    """What is declared of an edge, and how far behind the log it is: one row of the list."""
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
