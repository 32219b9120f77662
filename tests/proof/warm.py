"""When a read has to be a hit: after a prefetch of its page, on an edge to which nothing happened meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.proof.cover import Page

NS = 1_000_000_000
AFTER_SECONDS = 2.0  #: that a fault is felt when it is over: leases, connections, what was asked for meanwhile
LATE_SECONDS = 20.0  #: in which a call that nobody answered may be taken all the same

EVERYWHERE = ("service", "put", "clock")  #: words of faults that every edge feels


class Line(Protocol):
    complete: int


class Task(Protocol):
    kind: str
    asked: int
    answered: int
    unanswered: int

    @property
    def seen(self) -> dict[str, Any]: ...

    def covers(self, page: Page) -> bool: ...


@dataclass(frozen=True, slots=True)
class Window:
    asked: int  #: nothing may have happened to the edge since
    since: int  #: reads that began later
    until: int  #: and ended before


def is_plain(page: dict[str, Any]) -> bool:
    """It has one spelling, which is what is prefetched, and does not vary.

    In Varnish an answer that may not be stored, a parent's 503, makes every variant of its URL a miss for a while.
    """
    return len(page.get("spellings", "1")) == 1 and not page.get("vary")


def warmed(page: Page, tasks: Iterable[Task]) -> list[Window]:
    """When it has to be in every cache, by what was asked for: from a Complete until somebody asks for a refresh."""
    tasks = list(tasks)
    refreshes = [task for task in tasks if task.kind != "Prefetch" and task.covers(page)]
    found: list[Window] = []
    for task in tasks:
        line = task.seen.get(page.url) if task.kind == "Prefetch" else None
        if line is None or not line.complete:
            continue
        later = [other.asked for other in refreshes if not _before(other, task)]
        found.append(Window(task.asked, line.complete, min(later, default=1 << 62)))
    return sorted((window for window in found if window.since < window.until), key=lambda window: window.since)


def _before(refresh: Task, prefetch: Task) -> bool:
    """It stands before the prefetch in the log, if it was taken at all."""
    if refresh.answered:
        return refresh.answered < prefetch.asked
    return bool(refresh.unanswered) and refresh.unanswered + LATE_SECONDS * NS < prefetch.asked


def disturbed(edge: str, events: Iterable[dict[str, Any]]) -> list[tuple[int, int]]:
    """The stretches in which something was wrong that this edge may have felt."""
    open_: dict[tuple[str, int], int] = {}
    found: list[tuple[int, int]] = []
    for event in events:
        if event["what"] == "fault" and _felt(edge, event):
            open_[event["kind"], event["t"]] = event["t"]
        elif event["what"] == "mended" and (began := open_.pop((event["kind"], event["began"]), None)):
            found.append((began, int(event["t"] + AFTER_SECONDS * NS)))
        elif event["what"] == "rotation" and event["name"] == edge:
            found.append((event["t"], event["t"]))
    return _joined([*found, *((began, 1 << 62) for began in open_.values())])


def _felt(edge: str, fault: dict[str, Any]) -> bool:
    words = f"{fault['kind']} {fault['target']}".split()
    return edge in words or any(word.removesuffix("'s") in EVERYWHERE for word in words)


def _joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for began, ended in sorted(stretches):
        if joined and began <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], ended)
        else:
            joined.append((began, ended))
    return joined


class Warmth:
    def __init__(self, windows: Sequence[Sequence[Window]], disturbed: dict[int, list[tuple[int, int]]]) -> None:
        """
        :param windows: by page
        :param disturbed: by edge; one that is not there never has to have anything
        """
        self._windows, self._disturbed = windows, disturbed
        self._since = [[window.since for window in of_page] for of_page in windows]
        self._began = {edge: [began for began, _ in stretches] for edge, stretches in disturbed.items()}

    def due(self, edge: int, page: int, began: int, ended: int) -> bool:
        """Whether that read has to be a hit."""
        at = bisect_right(self._since[page], began - 1) - 1
        if at < 0 or edge not in self._disturbed:
            return False
        window = self._windows[page][at]
        if ended >= window.until:
            return False
        before = bisect_right(self._began[edge], ended) - 1
        return before < 0 or self._disturbed[edge][before][1] < window.asked
