"""``evidence``: what edges were told and what they answered, out of the log, on the service's machine."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from freshline.cli.caller import Flag
from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table

if TYPE_CHECKING:
    from freshline.domain.edge import Edge, Evidence, Gone, Progress
    from freshline.domain.ranges import Range, Ranges
    from freshline.domain.task import Task
    from freshline.domain.topology import Topology
    from freshline.log.reading import ReadOnlyLog

PROBED = 20  #: rows of a task that --probe asks each gate about
SAID = 5  #: pieces of evidence of each edge, unless all are wanted
READ_ROWS = 10_000  #: of the log at once
ASKED = re.compile(r"([1-9][0-9]{0,15})(?:-([1-9][0-9]{0,15}))?", re.ASCII)


def evidence(*tasks: str, probe: Flag = False, all: Flag = False, json: AsJson = False, place: Place = HERE) -> None:
    """Show what each edge was told for a task, when, and what it answered; also edges that were removed since.

    Of several tasks together: how far each edge is.

    ```
    freshline evidence 24840
    freshline evidence 24840 --probe --json
    freshline evidence 24840-34740
    ```

    Parameters
    ----------
    tasks
        Its id; or several, or all from one id to another, which are then counted together.
    probe
        Ask each gate now whether it has the first 20 URLs, and how old they are; only for files and prefetches.
    all
        Every answer, not the last five of each edge.
    """
    from freshline.domain.edge import Progress
    from freshline.domain.ranges import Ranges

    wanted = _ids(tasks)
    with place.inventory() as inventory:
        topology = inventory.topology
    log = place.log()
    if len(wanted) > 1 or wanted[0][0] != wanted[0][1]:
        if probe or all:
            fail("--probe and --all are of one task", 2)
        _show_many(wanted, topology, log, json)
        return
    ((task, _),) = wanted
    found = log.task(task) if log else None
    if log is None or found is None:
        fail(f"there is no task {task}, or it is no longer kept")
    edges = sorted(topology.taking(found.wish), key=lambda edge: (-topology.tier(edge.name), edge.name))
    rows = []
    for edge in edges:
        progress = log.progress(edge.name) or Progress(cursor=edge.joined)
        said = log.evidence(edge.name, found.id, found.last)
        row = {
            "edge": edge.name,
            "tier": f"L{topology.tier(edge.name)}",
            **_counted(Ranges([_due(found, edge.joined)]), progress),
        }
        if found.wish.kind.is_prefetch:
            row["bytes"] = log.warmed(found.id).get(edge.name, 0)
        rows.append(row | {"said": [_piece(each) for each in (said if all else said[-SAID:])]})
    gone = [_gone(log, found, each, all) for each in log.gone() if each.went >= found.id and _took(each, found)]
    if probe:
        for row, probed in zip(rows, _probe(found, edges), strict=True):
            row["probed"] = probed
    if json:
        as_json({"task": str(task), "rows": len(found.wish.paths), "edges": rows, "gone": gone})
        return
    _show(found, rows, gone)


def _took(edge: Gone, task: Task) -> bool:
    """The task waited for it, as long as it was there."""
    return task.wish.group in edge.groups and edge.joined < task.last


def _gone(log: ReadOnlyLog, task: Task, edge: Gone, all: bool) -> dict[str, Any]:
    from freshline.domain.ranges import Ranges

    said = log.evidence_of(edge, task.id, task.last)
    counts = _counted(Ranges([_due(task, edge.joined)]), edge.progress)
    pieces = [_piece(each) for each in (said if all else said[-SAID:])]
    return {"edge": edge.name, "removed_at": edge.went, **counts, "said": pieces}


def _show(task: Task, rows: list[dict[str, Any]], gone: list[dict[str, Any]]) -> None:
    wish = task.wish
    what = f"{wish.paths[0]}{f' and {len(wish.paths) - 1} more' if len(wish.paths) > 1 else ''}"
    print(f"task {task.id}, {wish.kind.value} of {wish.domain}, accepted {_time(task.created)}: {what}")
    if not rows and not gone:
        print("no edge takes part in it, so it was Complete at once")
        return
    if rows:
        counts = ("edge", "tier", "settled", "failed", "open", *(["bytes"] if wish.kind.is_prefetch else []))
        table([name.upper() for name in counts], [[row[name] for name in counts] for row in rows])
    else:
        print("every edge that took part in it was removed since")
    if gone:
        print("\nremoved since; it waits for them no more. As they stood then:")
        counts = ("edge", "removed_at", "settled", "failed", "open")
        table([name.upper() for name in counts], [[row[name] for name in counts] for row in gone])
    pieces = [(row["edge"], *each.values()) for row in (*rows, *gone) for each in row["said"]]
    if pieces:
        print()
        table(["EDGE", "ROWS", "SENT", "ANSWERED", "SAID"], pieces)
    probes = [(row["edge"], url, said) for row in rows for url, said in row.get("probed", {}).items()]
    if probes:
        print()
        table(["EDGE", "URL", "NOW"], probes)


def _counted(rows: Ranges, progress: Progress) -> dict[str, int]:
    failed = progress.failures(rows)
    settled = (rows & progress.done()) - failed
    return {"settled": settled.size(), "failed": failed.size(), "open": (rows - settled - failed).size()}


def _due(task: Task, joined: int) -> Range:
    """The rows of a task that are the affair of an edge that joined there."""
    return max(task.id, joined + 1), task.last


def _ids(given: Sequence[str]) -> list[Range]:
    """First and last id of each that was given."""
    if not given:
        fail("name a task", 2)
    out = []
    for each in given:
        found = ASKED.fullmatch(each)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            fail(f"{each!r} is no task id, nor one and a later one", 2)
        out.append((first, last))
    return out


def _show_many(wanted: Sequence[Range], topology: Topology, log: ReadOnlyLog | None, json: bool) -> None:
    """All of them together: which edge has how much of it."""
    from freshline.domain.edge import Progress
    from freshline.domain.ranges import Ranges

    due: dict[Edge, list[Range]] = defaultdict(list)
    stored: Counter[str] = Counter()
    tasks = rows = 0
    for task in _tasks(log, wanted):
        tasks, rows = tasks + 1, rows + len(task.wish.paths)
        for edge in topology.taking(task.wish):
            due[edge].append(_due(task, edge.joined))
        if log is not None and task.wish.kind.is_prefetch:
            stored.update(log.warmed(task.id))
    if log is None or not tasks:
        fail(f"there is no task {' '.join(f'{first}-{last}' for first, last in wanted)}, or none is kept any longer")
    found = []
    for edge in sorted(due, key=lambda edge: (-topology.tier(edge.name), edge.name)):
        progress = log.progress(edge.name) or Progress(cursor=edge.joined)
        counted = _counted(Ranges(due[edge]), progress)
        tier = f"L{topology.tier(edge.name)}"
        found.append({"edge": edge.name, "tier": tier, **counted, "bytes": stored[edge.name]})
    if json:
        as_json({"tasks": tasks, "rows": rows, "edges": found})
        return
    print(f"{tasks} tasks, {rows} rows")
    columns = ("edge", "tier", "settled", "failed", "open", "bytes")
    table([name.upper() for name in columns], [[row[name] for name in columns] for row in found])


def _tasks(log: ReadOnlyLog | None, wanted: Sequence[Range]) -> Iterator[Task]:
    """Those that there are, each once."""
    from freshline.domain.ranges import Ranges

    if log is None:
        return
    for first, last in Ranges(wanted) & Ranges([(log.oldest, log.head)]):
        after = first - 1
        while after < last and (tasks := log.read(after, READ_ROWS)):
            yield from (task for task in tasks if first <= task.id <= last)
            after = tasks[-1].last


def _piece(said: Evidence) -> dict[str, str]:
    rows = str(said.first) if said.first == said.last else f"{said.first}-{said.last}"
    return {"rows": rows, "sent": _time(said.sent), "answered": _time(said.answered), "said": said.said}


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _probe(task: Task, edges: list[Edge]) -> list[dict[str, str]]:
    from freshline.cli.probing import probe
    from freshline.domain.task import Kind

    if task.wish.kind not in (Kind.FILE, Kind.PRELOAD):
        fail(f"--probe: task {task.id} is a {task.wish.kind.value}, and a gate is asked about single URLs", 2)
    found = probe(edges, task.wish.paths[:PROBED], task.wish.headers)
    return [{url: answer.said for url, answer in of_edge.items()} for of_edge in found]
