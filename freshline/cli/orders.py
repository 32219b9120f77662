"""``evidence``, ``retry``, ``cancel``, ``audit``: what operators ask of the service itself, on its machine."""

from __future__ import annotations

import json as json_
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from freshline.cli.caller import Flag
from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table

if TYPE_CHECKING:
    from freshline.domain.edge import Edge, Evidence, Gone, Progress
    from freshline.domain.task import Task
    from freshline.log.reading import ReadOnlyLog

ANSWER_SECONDS = 30.0
PROBED = 20  #: rows of a task that --probe asks each gate about
HOURS = 10 * 366 * 24  #: as long as a trail may be kept
SAID = 5  #: pieces of evidence of each edge, unless all are wanted


def evidence(
    task: int, /, *, probe: Flag = False, all: Flag = False, json: AsJson = False, place: Place = HERE
) -> None:
    """Show what each edge was told for a task, when, and what it answered; also edges that were removed since.

    ```
    freshline evidence 24840
    freshline evidence 24840 --probe --json
    ```

    Parameters
    ----------
    task
        Its id.
    probe
        Ask each gate now whether it has the first 20 URLs, and how old they are; only for files and prefetches.
    all
        Every answer, not the last five of each edge.
    """
    from freshline.domain.edge import Progress

    with place.inventory() as inventory:
        topology = inventory.topology
    log = place.log()
    found = log.task(task) if log else None
    if log is None or found is None:
        fail(f"there is no task {task}, or it is no longer kept")
    edges = sorted(topology.taking(found.wish), key=lambda edge: (-topology.tier(edge.name), edge.name))
    rows = []
    for edge in edges:
        progress = log.progress(edge.name) or Progress(cursor=edge.joined)
        said = log.evidence(edge.name, found.id, found.last)
        row = {"edge": edge.name, "tier": f"L{topology.tier(edge.name)}", **_counted(found, edge.joined, progress)}
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
    said = log.evidence_of(edge, task.id, task.last)
    counts = _counted(task, edge.joined, edge.progress)
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


def _counted(task: Task, joined: int, progress: Progress) -> dict[str, int]:
    from freshline.domain.ranges import Ranges

    due = Ranges([(max(task.id, joined + 1), task.last)])
    failed = progress.failures(due)
    settled = (due & progress.done()) - failed
    return {"settled": settled.size(), "failed": failed.size(), "open": (due - settled - failed).size()}


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


def retry(task: int, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Do what edges gave up of a task after all, with a new deadline.

    ```
    freshline retry 24840
    ```

    Parameters
    ----------
    task
        Its id.
    """
    _order("retry", task, json, place)


def cancel(task: int, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Begin no more of a prefetch. What is under way ends by itself; the rest reads Failed, Canceled.

    ```
    freshline cancel 24840
    ```

    Parameters
    ----------
    task
        Its id.
    """
    _order("cancel", task, json, place)


def _order(order: str, task: int, json: bool, place: Place) -> None:
    from freshline.api.control import NAME

    path = Path(place.settings().service.data_dir).absolute() / NAME
    status, said = _post(path, f"/{order}/{task}")
    if status != 200:
        fail(str(said.get("said", said)))
    place.note(f"{order} {task}")
    if json:
        as_json(said)
        return
    table(["EDGE", "ROWS"], list(said["rows"].items()))


def _post(path: Path, target: str) -> tuple[int, dict[str, Any]]:
    import http.client  # brings TLS with it, which takes longer than most commands
    import socket

    connection = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(ANSWER_SECONDS)
    try:
        connection.sock.connect(str(path))
        connection.request("POST", target)
        answer = connection.getresponse()
        return answer.status, json_.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError):
        fail(f"no service is running there: {path}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        fail(f"{path}: {error}")
    finally:
        connection.close()


def audit(
    *,
    hours: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=HOURS))] = 24.0,
    who: str | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Show who asked for what: calls that would change something, and orders from the command line.

    ```
    freshline audit --hours 2
    freshline audit --who anna --json
    ```

    Parameters
    ----------
    hours
        How far back, ten years at most.
    who
        Only those whose name, key or address holds this.
    """
    from freshline.audit import Audit
    from freshline.wiring import AUDIT

    home = Path(place.settings().service.data_dir)
    if not home.is_dir():
        fail(f"there is no data directory at {home}")
    trail = Audit(home / AUDIT)
    try:
        found = list(trail.lines(time.time() - hours * 3600))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    if who:
        found = [each for each in found if any(who in str(each.get(name, "")) for name in ("who", "key", "from"))]
    if json:
        as_json(found)
        return
    columns = ("at", "who", "from", "what", "status", "asked")
    rows = [[_cell(each.get(column, "")) for column in columns] for each in found]
    table([column.upper() for column in columns], rows)


def _cell(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    text = " ".join(f"{name}={inner}" for name, inner in value.items())
    return " ".join(text.split())
