"""``--wait``: follow tasks to their end, with a progress bar on standard error.

A service that is away for a moment is waited for: its tasks go on when it is back.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from freshline.cli.caller import Caller, Flag
from freshline.cli.local import Place
from freshline.cli.output import fail
from freshline.cli.urls import parts

POLL_SECONDS = 0.2
CALL_SECONDS = 0.05  #: between polls, for each call a poll takes: the service allows 30 a second
IDS_PER_CALL = 10  # CONTRACT 2
SILENCE_SECONDS = 30.0  #: no answer for so long ends the waiting
SHOWN = 20

Rows = list[dict[str, Any]]


@Parameter(name="*", group="Waiting")
@dataclass(frozen=True)
class Waiting:
    """Whether to stay until the tasks have ended."""

    wait: Flag = False
    """Stay until every row is Complete, with a progress bar; exit 1 if one is not."""

    timeout: Annotated[float | None, Parameter(show_default=False)] = None
    """Seconds to wait at most; the tasks go on all the same."""

    def check(self) -> None:
        if self.timeout is not None and not self.wait:
            fail("--timeout goes with --wait", 2)
        if self.timeout is not None and not 0 <= self.timeout < math.inf:
            fail(f"--timeout {self.timeout:g}: must be a number of seconds, 0 or more", 2)


AT_ONCE = Waiting()


def by_id(caller: Caller, ids: Sequence[str]) -> Rows:
    """
    :raises ApiError: refused
    :raises NoService: nobody answers
    """
    rows: Rows = []
    for part in parts(ids, IDS_PER_CALL):
        rows += caller.ask("DescribeRefreshTaskById", {"TaskId": ",".join(part)})["Tasks"]
    return rows


def follow(caller: Caller, ids: Sequence[str], seconds: float, place: Place | None = None) -> dict[str, Rows]:
    """The rows of each task, once every one has ended or the time is up.

    :param place: of prefetches: where the log may be, which knows how much of them is stored
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    until = time.monotonic() + seconds
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    stored = Stored(place) if place is not None and console.is_terminal else None
    seen: dict[str, Rows] = {id_: [] for id_ in ids}
    left, calls = list(seen), math.ceil(len(seen) / IDS_PER_CALL)
    try:
        with bar:
            shown = bar.add_task(f"{len(seen)} task{'s' * (len(seen) != 1)}", total=len(seen), rows="")
            while True:
                seen |= _look(caller, left)
                left = [id_ for id_ in left if any(row["Status"] in ("Pending", "Refreshing") for row in seen[id_])]
                rows = " ".join([_rows(seen.values()), *([stored.said(seen, set(left))] if stored is not None else [])])
                bar.update(shown, completed=sum(map(_fraction, seen.values())), rows=rows)
                if not left or time.monotonic() >= until:
                    return seen
                pause = max(POLL_SECONDS, CALL_SECONDS * calls)
                time.sleep(max(0.0, min(pause, until - time.monotonic())))
    except KeyboardInterrupt:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        print(f"freshline: waiting ends, the tasks go on: {' '.join(left[:SHOWN])}{more}", file=sys.stderr)
        raise


class Stored:
    """Bytes that edges have stored of prefetches: no answer of the API has them, but the log has, if it is here."""

    def __init__(self, place: Place) -> None:
        self._log = place.log_here()
        self._ours: bool | None = None  #: the log is that of the service that was asked
        self._ended: dict[str, int] = {}

    def said(self, seen: Mapping[str, Rows], left: Container[str]) -> str:
        """As ``3.2 MB``, of all edges together; nothing where the log is elsewhere.

        :param left: tasks that have not ended; of the others the sum stays what it is
        """
        if self._log is None or self._ours is False:
            return ""
        total = 0
        for id_, rows in seen.items():
            if not rows:
                continue
            if self._ours is None:
                self._ours = self._holds(rows[0])
                if not self._ours:
                    return ""
            stored = self._ended.get(id_)
            if stored is None:
                stored = sum(self._log.warmed(int(id_)).values())
                if id_ not in left:
                    self._ended[id_] = stored
            total += stored
        from rich.filesize import decimal

        return decimal(total)

    def _holds(self, row: Mapping[str, str]) -> bool:
        """Another service's task of the same id was asked for something else, or at another time."""
        from freshline.wire.times import write

        assert self._log is not None
        task = self._log.task(int(row["TaskId"]))
        if task is None:
            return False
        return (write(task.created), task.wish.paths[0]) == (row["CreationTime"], row["ObjectPath"])


def _look(caller: Caller, ids: Sequence[str]) -> dict[str, Rows]:
    from freshline.cli.client import ApiError, NoService

    silent_since = time.monotonic()
    while True:
        try:
            rows = by_id(caller, ids)
            break
        except (ApiError, NoService) as error:
            refused = isinstance(error, ApiError) and error.status < 500
            if refused or time.monotonic() - silent_since > SILENCE_SECONDS:
                fail(f"{error}; the tasks go on: {' '.join(ids[:SHOWN])}")
            time.sleep(POLL_SECONDS)
    found: dict[str, Rows] = {id_: [] for id_ in ids}
    for row in rows:
        found[row["TaskId"]].append(row)
    return found


def _rows(tasks: Iterable[Rows]) -> str:
    """Objects that are done, of those there are."""
    ends = [row["Status"] in ("Complete", "Failed") for rows in tasks for row in rows]
    return f"{sum(ends)}/{len(ends)}"


def _fraction(rows: Sequence[Mapping[str, str]]) -> float:
    """How far a task is. One that is Failed is at its end, too."""
    done = [float(row["Process"].rstrip("%")) / 100 if row["Status"] != "Failed" else 1.0 for row in rows]
    return sum(done) / len(done) if done else 0.0
