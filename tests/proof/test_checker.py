"""The checker finds each kind of broken promise in a recording made by hand, and none where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.proof.checker import check
from tests.proof.cover import Page, covers

PAGES = [
    {"host": "a.test", "path": "/d/f", "query": "", "tags": ["red"]},
    {"host": "a.test", "path": "/e", "query": "", "tags": []},
]
UNANSWERED = {"what": "unanswered", "t": 90, "call": 1}


class Recording:
    """Two pages. Page 0 becomes version 1 at 20; a refresh of it is asked for at 30, and seen Complete at 50."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.events: list[dict[str, Any]] = [
            {"what": "begin", "t": 1, "pages": PAGES, "refresh_seconds": 10, "prefetch_seconds": 10},
            {"what": "bump", "t": 2, "version": 0, "pages": [0, 1]},
            {"what": "rotation", "t": 3, "edge": 0, "name": "edge-0"},
            {"what": "bump", "t": 20, "version": 1, "pages": [0]},
            {"what": "asked", "t": 30, "call": 1, "kind": "Directory", "lines": ["http://a.test/d/"],
             "host": "a.test", "force": True},
            {"what": "answered", "t": 40, "call": 1, "ids": ["7"]},
            {"what": "seen", "t": 50, "id": "7", "rows": [["http://a.test/d/", "Complete", ""]]},
            {"what": "audit", "t": 60, "rows": {"7": ["http://a.test/d/"]}},
            {"what": "over", "t": 100},
        ]  # fmt: skip
        self.reads = ["0 0 0 51 52 200 H 1 35", "0 1 0 51 52 200 H 0 10"]

    def check(self) -> Any:
        (self.home / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in self.events))
        (self.home / "reads-0.txt").write_text("".join(f"{read}\n" for read in self.reads))
        return check(self.home)

    def hurts(self, kind: str, target: str) -> None:
        self.events[-1:-1] = [
            {"what": "fault", "t": 82, "kind": kind, "target": target},
            {"what": "mended", "t": 83, "kind": kind, "target": target, "began": 82},
        ]

    def refreshes(self, at: int) -> None:
        """Page 1, and nobody knows whether that was taken."""
        asked = {"kind": "File", "lines": ["http://a.test/e"], "host": "", "force": False}
        self.events[-1:-1] = [
            {"what": "asked", "t": at, "call": 3, **asked},
            {"what": "unanswered", "t": at + 1, "call": 3, "status": None, "why": ""},
        ]

    def event(self, what: str) -> dict[str, Any]:
        return next(event for event in self.events if event["what"] == what)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path)


def test_a_kept_promise_holds(recording: Recording) -> None:
    """Reads of the new version after Complete, and of what the task does not cover, break nothing."""
    verdict = recording.check()

    assert verdict.holds, (verdict.stale, verdict.broken)
    assert (verdict.reads, verdict.after, verdict.tasks) == (2, 1, 1)


@pytest.mark.parametrize("read", ["0 0 0 51 52 200 H 0 10", "0 0 1 99 99 200 M 0 19"])
def test_an_older_version_after_complete_is_stale(recording: Recording, read: str) -> None:
    """Whatever the variant, whatever the cache calls it."""
    recording.reads.append(read)
    verdict = recording.check()

    assert verdict.stale_count == 1 and "task 7 (Directory http://a.test/d/)" in verdict.stale[0]


def test_the_right_version_fetched_too_early_is_stale_where_it_was_forced(recording: Recording) -> None:
    """Version 1, but from before the task was asked for."""
    recording.reads.append("0 0 0 51 52 200 H 1 25")
    assert recording.check().stale_count == 1

    recording.event("asked")["force"] = False
    assert recording.check().holds


@pytest.mark.parametrize(
    "read",
    [
        "0 0 0 50 60 200 H 0 10",  # begun when it was not yet known to be Complete
        "0 0 0 51 60 503 M -1 -1",  # refused
        "0 0 0 51 60 0 M -1 -1",  # no answer
    ],
)
def test_other_reads_are_not_stale(recording: Recording, read: str) -> None:
    """A read is bound by what was known when it began, and one without a page is no read of an old one."""
    recording.reads.append(read)

    assert recording.check().holds


def _failed(recording: Recording, at: int) -> None:
    recording.event("seen").update(t=at, rows=[["http://a.test/d/", "Failed", "Internal Error"]])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda r: r.event("audit").update(rows={}), "is lost"),
        (lambda r: r.event("audit").update(rows={"7": []}), "has the lines"),
        (lambda r: r.events.remove(r.event("seen")), "never a word"),
        (lambda r: r.event("seen").update(rows=[["http://a.test/d/", "Refreshing", ""]]), "never ended"),
        (lambda r: _failed(r, 2_000_000_000), "Failed after 2.0 s"),
        (lambda r: r.events.append({**r.event("seen"), "rows": [["http://a.test/d/", "Failed", ""]]}), "and then"),
        (
            lambda r: r.events.append({"what": "unanswered", "t": 1, "call": 1, "status": 500, "why": "no"}),
            "refused: no",
        ),
        (lambda r: r.events.remove(r.event("over")), "no end"),
        (lambda r: r.reads.append("0 0 0 5 6 200 H -1 -1"), "not a whole page"),
        (lambda r: r.reads.append("0 0 0 5 6 200 H 1 4"), "another version"),
    ],
)
def test_every_other_promise_is_looked_at(recording: Recording, spoil: Callable[[Recording], Any], what: str) -> None:
    """Lost, changed, never ended, given up too early, taken back, refused, cut short; and pages that are not right."""
    spoil(recording)
    verdict = recording.check()

    assert what in verdict.broken[0], verdict.broken


def test_a_task_may_fail_when_its_time_is_over(recording: Recording) -> None:
    """Then it promises nothing."""
    _failed(recording, 12_000_000_000)
    recording.reads = ["0 0 0 99 100 200 H 0 10"]

    assert recording.check().holds


def test_what_went_with_an_old_log_is_not_lost_and_what_was_promised_stays_so(recording: Recording) -> None:
    """An old log is put back: tasks since the copy are gone, but nobody who saw them Complete may get an old page."""
    recording.events[-2:-2] = [{"what": "put back", "t": 55, "copied": 35}]
    recording.event("audit")["rows"] = {}
    verdict = recording.check()
    assert verdict.holds and verdict.gone == 1

    recording.event("put back")["copied"] = 45  # after it was answered
    assert "is lost" in recording.check().broken[0]

    recording.reads.append("0 0 0 70 71 200 H 0 10")
    assert recording.check().stale_count == 1


def test_complete_may_begin_anew_with_an_old_log_only(recording: Recording) -> None:
    """What an edge had settled since the copy is not known to be so."""
    seen = recording.event("seen")
    recording.events[-2:-2] = [
        {"what": "put back", "t": 52, "copied": 45},
        {**seen, "t": 53, "rows": [["http://a.test/d/", "Refreshing", ""]]},
        {**seen, "t": 54},
    ]
    assert recording.check().holds

    recording.events.remove(recording.event("put back"))
    assert "and then Refreshing" in recording.check().broken[0]


PREFETCHED = [
    {"what": "asked", "t": 60, "call": 2, "kind": "Prefetch", "lines": ["http://a.test/e"], "host": "", "force": False},
    {"what": "answered", "t": 61, "call": 2, "ids": ["8"]},
    {"what": "seen", "t": 70, "id": "8", "rows": [["http://a.test/e", "Complete", ""]]},
]


@pytest.mark.parametrize(
    ("spoil", "held"),
    [
        (lambda r: None, False),
        (lambda r: r.reads.append("0 1 0 80 90 200 H 0 10"), False),  # one hit does not make up for the other
        (lambda r: r.event("rotation").update(lapse="bypass"), True),  # it may have had no lease
        (lambda r: r.hurts("kill a server", "edge-0"), True),
        (lambda r: r.hurts("kill the service", "service"), True),
        (lambda r: r.hurts("kill a server", "edge-1"), False),
        (lambda r: r.refreshes(75), True),
        (lambda r: r.refreshes(95), False),
    ],
)
def test_a_miss_after_a_prefetch_is_found(recording: Recording, spoil: Callable[[Recording], Any], held: bool) -> None:
    """Where the edge keeps what it has, nothing happened to it, and nobody had it refreshed since."""
    recording.event("rotation")["lapse"] = "serve"
    recording.events[-1:-1] = PREFETCHED
    recording.reads.append("0 1 0 80 90 200 M 0 85")
    spoil(recording)

    assert recording.check().holds is held


def test_what_was_refreshed_before_a_prefetch_is_new_after_it(recording: Recording) -> None:
    """A prefetch waits for the refresh before it on each edge, also where that one is not Complete yet."""
    recording.event("seen").update(rows=[["http://a.test/d/", "Refreshing", ""]])
    page = {**PREFETCHED[0], "lines": ["http://a.test/d/f"]}
    recording.events[-1:-1] = [page, PREFETCHED[1], {**PREFETCHED[2], "rows": [["http://a.test/d/f", "Complete", ""]]}]
    recording.reads = ["0 0 0 69 72 200 H 0 10", "0 0 0 71 72 200 H 0 10"]

    assert recording.check().stale_count == 1


@pytest.mark.parametrize(
    ("kind", "line", "covered"),
    [
        ("File", "http://a.test/d/f", False),
        ("File", "http://A.TEST/x/..//%64/f?n=%41", True),
        ("File", "http://a.test/d/f?n=B", False),
        ("IgnoreParams", "http://a.test/d/f", True),
        ("IgnoreParams", "http://a.test/d", False),
        ("ExQuery", "http://a.test/d/f", True),
        ("Directory", "http://a.test/d/", True),
        ("Directory", "http://a.test/", True),
        ("Directory", "http://a.test/d/f/", False),
        ("Directory", "http://b.test/d/", False),
        ("Regex", "http://a.test/d/f$", True),
        ("Regex", r"http://a.test/d/.\?n=A", True),
        ("Regex", "http://a.test/f", False),
        ("Tag", "red", True),
        ("Tag", "blue", False),
    ],
)
def test_what_a_line_covers(kind: str, line: str, covered: bool) -> None:
    """As docs/gates.md has it, worked out anew."""
    page = Page("a.test", "/d/f", "n=A", {"red"})

    assert covers(kind, "a.test", line, page) is covered
