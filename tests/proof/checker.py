"""Was a promise broken? Says so from a recording alone; shares no code with what is being checked.

    python -m tests.proof.checker DIRECTORY

1. No read that began after a refreshed line was seen ``Complete`` returned a version of a page it covers that is older
   than the one the origin had when the task was asked for.
2. The same by time: what a forced refresh covers was fetched from the origin after it was asked for.
3. Every whole body was the page and variant that was asked for, in the version that the origin had when it was fetched.
4. Every task that was answered is there whenever it was looked for, with all its lines.
5. Every line came to its end: ``Complete``, or ``Failed`` no sooner than its deadline (a prefetch also when the origin
   or a cache would not).
6. No call was refused, but by a service that was stopping, or could not write.
7. No read that began after a prefetch was seen ``Complete`` returned a version older than any refresh that had been
   answered before the prefetch was asked for; and it was a hit where nothing happened to that edge (warm.py).

A read that failed or was refused returned nothing, so it broke no promise. Where the service's log was put back from an
old copy, tasks that were answered since may be gone, and others begin anew; what was seen ``Complete`` stays promised.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proof.cover import Floor, Page, covers
from tests.proof.warm import Warmth, disturbed, is_plain, warmed

SHOWN = 20
EARLY_SECONDS = 1.5  #: the service counts deadlines in whole seconds
NS = 1_000_000_000


@dataclass
class Verdict:
    reads: int = 0
    answered: int = 0  #: reads that got a page
    hits: int = 0
    after: int = 0  #: of these, begun when a refresh that covers the page had been seen Complete
    soon: int = 0  #: of these, begun within a second of that
    tasks: int = 0
    lines: Counter[str] = field(default_factory=Counter)  #: by how they ended
    unanswered: int = 0
    audits: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    by_edge: dict[str, Counter[str]] = field(default_factory=dict)
    lapses: dict[str, str] = field(default_factory=dict)  #: what each edge does without a lease
    seconds_to_complete: dict[str, list[float]] = field(default_factory=dict)
    warm: int = 0  #: reads that had to be hits, by prefetches
    cold: list[str] = field(default_factory=list)  #: and were not
    gone: int = 0  #: tasks that went with an old log
    stale: list[str] = field(default_factory=list)
    stale_count: int = 0
    stale_by_edge: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)  #: other promises

    @property
    def holds(self) -> bool:
        return not self.stale_count and not self.broken and not self.cold

    def found_stale(self, edge: str, what: str) -> None:
        self.stale_count += 1
        self.stale_by_edge[edge] += 1
        if len(self.stale) < SHOWN:
            self.stale.append(what)


@dataclass
class Line:
    """One line of one task."""

    text: str
    complete: int = 0  #: when it was first seen so
    firm: bool = False  #: it may not be anything else any more
    status: str = ""
    said: str = ""
    ended: int = 0


@dataclass
class Task:
    kind: str
    host: str
    force: bool
    lines: list[str]
    asked: int
    answered: int = 0
    ids: list[str] = field(default_factory=list)
    unanswered: int = 0  #: when its caller gave up
    gone: bool = False
    seen: dict[str, Line] = field(default_factory=dict)

    def covers(self, page: Page) -> bool:
        return any(covers(self.kind, self.host, line, page) for line in self.lines)

    def floor(self, page: Page, name: str) -> Floor:
        forced = self.force or self.kind == "File"
        return Floor(page.version_at(self.asked), self.asked if forced else 0, name)


# -- reading the recording --------------------------------------------------------
def check(home: Path) -> Verdict:
    verdict = Verdict()
    events = list(_events(home / "events.jsonl"))
    deadline: dict[str, float] = {}
    pages: list[Page] = []
    calls: dict[int, Task] = {}
    by_id: dict[str, Task] = {}
    edges: dict[int, str] = {}
    keeps: dict[int, bool] = {}  #: what it has, with a lease and without
    over = 0
    for event in events:
        at, what = event["t"], event["what"]
        match what:
            case "begin":
                pages = [
                    Page(one["host"], one["path"], one["query"], set(one["tags"]), is_plain(one))
                    for one in event["pages"]
                ]
                deadline = {"refresh": event["refresh_seconds"], "prefetch": event["prefetch_seconds"]}
            case "bump":
                for id_ in event["pages"]:
                    pages[id_].bumps.append(at)
                    pages[id_].versions.append(event["version"])
            case "asked":
                calls[event["call"]] = Task(event["kind"], event["host"], event["force"], event["lines"], at)
            case "answered":
                task = calls[event["call"]]
                task.answered, task.ids = at, event["ids"]
                verdict.tasks += 1
                for id_ in event["ids"]:
                    by_id[id_] = task
            case "unanswered":
                verdict.unanswered += 1
                calls[event["call"]].unanswered = at
                if event["status"] not in (None, 503):
                    verdict.broken.append(f"refused: {event['why']}")
            case "seen":
                _seen(by_id[event["id"]], event["rows"], at, verdict)
            case "audit":
                verdict.audits += 1
                _audit(event["rows"], by_id, at, verdict)
            case "put back":
                _put_back(by_id, event["copied"], verdict)
            case "fault":
                verdict.faults[event["kind"]] += 1
            case "rotation":
                edges[event["edge"]] = event["name"]
                keeps[event["edge"]] = event.get("lapse") == "serve"
                verdict.lapses[event["name"]] = event.get("lapse", "")
            case "over":
                over = at
    if not over:
        verdict.broken.append("the recording has no end")
    for task in calls.values():
        if task.ids and not task.gone:
            _ended(",".join(task.ids), task, deadline, verdict)
    _floors(pages, list(calls.values()))
    warmth = Warmth(
        [warmed(page, calls.values()) for page in pages],
        {number: disturbed(name, events) for number, name in edges.items() if keeps[number]},
    )
    for file in sorted(home.glob("reads-*.txt")):
        _reads(file, pages, edges, warmth, verdict)
    return verdict


def _events(file: Path) -> Iterator[dict[str, Any]]:
    with file.open() as lines:
        for line in lines:
            yield json.loads(line)


def _seen(task: Task, rows: list[list[str]], at: int, verdict: Verdict) -> None:
    for text, status, said in rows:
        line = task.seen.setdefault(text, Line(text))
        if line.firm and status != "Complete":
            verdict.broken.append(f"{text!r} was Complete, and then {status}")
        line.firm = status == "Complete"
        if status == "Complete" and not line.complete:
            line.complete = at
            verdict.seconds_to_complete.setdefault(task.kind, []).append((at - task.answered) / NS)
        if status in ("Complete", "Failed") and not line.ended:
            line.ended = at
        line.status, line.said = status, said


def _put_back(by_id: dict[str, Task], copied: int, verdict: Verdict) -> None:
    for id_, task in list(by_id.items()):
        if task.answered >= copied:
            task.gone = True
            verdict.gone += 1
            del by_id[id_]
        for line in task.seen.values():
            line.firm = False


def _audit(rows: dict[str, list[str]], by_id: dict[str, Task], at: int, verdict: Verdict) -> None:
    for id_, task in by_id.items():
        if task.answered >= at or id_ != task.ids[0]:
            continue
        if lost := [each for each in task.ids if each not in rows]:
            verdict.broken.append(f"task {','.join(lost)}, answered, is lost")
            continue
        there = [line for each in task.ids for line in rows[each]]
        if sorted(there) != sorted(task.lines):
            verdict.broken.append(f"task {','.join(task.ids)} has the lines {there}, and was asked for {task.lines}")


def _ended(id_: str, task: Task, deadline: dict[str, float], verdict: Verdict) -> None:
    if missing := set(task.lines) - set(task.seen):
        verdict.broken.append(f"task {id_}: never a word of {sorted(missing)}")
    prefetch = task.kind == "Prefetch"
    for line in task.seen.values():
        verdict.lines[f"{'prefetch' if prefetch else 'refresh'} {line.status}"] += 1
        if line.status not in ("Complete", "Failed"):
            verdict.broken.append(f"task {id_}: {line.text!r} never ended: {line.status}")
        if line.status == "Failed" and not prefetch:
            took = (line.ended - task.asked) / NS
            if took < deadline["refresh"] - EARLY_SECONDS:
                verdict.broken.append(f"task {id_}: {line.text!r} Failed after {took:.1f} s: {line.said}")


def _floors(pages: list[Page], tasks: list[Task]) -> None:
    for page in pages:
        due: list[tuple[int, Floor]] = []
        covering = [task for task in tasks if task.kind != "Prefetch" and task.covers(page)]
        for task in covering:
            for line in task.seen.values():
                if line.complete and covers(task.kind, task.host, line.text, page):
                    name = f"{','.join(task.ids)} ({task.kind} {line.text})"
                    due.append((line.complete, task.floor(page, name)))
        for task in tasks:
            warm = task.seen.get(page.url) if task.kind == "Prefetch" else None
            if warm is not None and warm.complete:
                for other in covering:
                    if other.answered and other.answered < task.asked and not other.gone:
                        name = f"{','.join(other.ids)}, that {','.join(task.ids)} ({task.kind} {warm.text}) came after"
                        due.append((warm.complete, other.floor(page, name)))
        so_far = Floor()
        for moment, floor in sorted(due, key=lambda each: each[0]):
            higher = floor.version > so_far.version or floor.fetched > so_far.fetched
            so_far = Floor(
                max(so_far.version, floor.version),
                max(so_far.fetched, floor.fetched),
                floor.task if higher else so_far.task,
            )
            page.moments.append(moment)
            page.floors.append(so_far)


def _reads(file: Path, pages: list[Page], edges: dict[int, str], warmth: Warmth, verdict: Verdict) -> None:
    consistent: dict[tuple[int, int], bool] = {}
    counts = {number: [0, 0, 0, 0] for number in edges}  # reads, pages, hits, after
    soon = 0
    with file.open() as lines:
        for text in lines:
            if not text.endswith("\n"):
                break  # it was being written when the process ended
            edge, number, variant, begin, end, status, cache, version, fetched = text.split()
            count = counts[int(edge)]
            count[0] += 1
            if status != "200":
                continue
            page, began, got, since = pages[int(number)], int(begin), int(version), int(fetched)
            name = edges[int(edge)]
            if got < 0:
                verdict.broken.append(f"{name}: not a whole page {number} in variant {variant}: {text.strip()}")
                continue
            count[1] += 1
            count[2] += cache == "H"
            known = consistent.get((int(number), since))
            if known is None:
                known = consistent[int(number), since] = page.version_at(since) == got and since <= int(end)
            if not known:
                verdict.broken.append(f"{name}: the origin had another version then: {text.strip()}")
            if page.plain and warmth.due(int(edge), int(number), began, int(end)):
                verdict.warm += 1
                if cache != "H":
                    verdict.cold.append(f"{name} had to have {page.url}, and fetched it: {text.strip()}")
            at = bisect_right(page.moments, began - 1) - 1
            if at < 0:
                continue
            count[3] += 1
            soon += began - page.moments[at] < NS
            floor = page.floors[at]
            if got < floor.version or since < floor.fetched:
                verdict.found_stale(
                    name,
                    f"{name} returned {page.url}"
                    f" (variant {variant}) in version {got}, fetched at {since}; read from {begin} to {end}; due was"
                    f" version {floor.version}, fetched at {floor.fetched} or later, since task {floor.task} was seen"
                    f" Complete, the last that covers it at {page.moments[at]}",
                )
    verdict.soon += soon
    for number_, (reads, answered, hits, after) in counts.items():
        mine = verdict.by_edge.setdefault(edges[number_], Counter())
        mine.update(reads=reads, answered=answered, hits=hits, after=after)
        verdict.reads += reads
        verdict.answered += answered
        verdict.hits += hits
        verdict.after += after


def told(verdict: Verdict) -> str:
    """The verdict in words."""
    lines = [
        f"{verdict.reads:,} reads, {verdict.answered:,} of them answered with a page, {verdict.hits:,} from a cache",
        f"{verdict.after:,} begun after a refresh of the page was seen Complete, {verdict.soon:,} in the next second",
        f"{verdict.tasks:,} tasks answered, {verdict.unanswered:,} calls without an answer, {verdict.audits} audits; "
        + ", ".join(f"{count:,} {how}" for how, count in sorted(verdict.lines.items())),
        f"{sum(verdict.faults.values())} faults: "
        + ", ".join(f"{count} {kind}" for kind, count in verdict.faults.most_common()),
        f"STALE {verdict.stale_count:,}" + "".join(f"\n  {name} {n}" for name, n in verdict.stale_by_edge.items()),
        *(f"  {what}" for what in verdict.stale),
        f"{verdict.warm:,} reads had to be hits after a prefetch; COLD {len(verdict.cold):,}",
        *(f"  {what}" for what in verdict.cold[:SHOWN]),
        f"BROKEN {len(verdict.broken):,}",
        *(f"  {what}" for what in verdict.broken[:SHOWN]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    found = check(Path(sys.argv[1]))
    print(told(found))
    sys.exit(not found.holds)
