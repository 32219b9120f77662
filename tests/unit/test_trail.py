"""The audit trail: what is kept out of it, how fast it may grow, and what a damaged one still says."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freshline.api.trail import REFUSALS_AT_ONCE, Trail
from freshline.audit import LONGEST, Audit
from tests.service import NOON, Service
from tests.unit.test_roles import furnish, taken


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path / "audit")


@pytest.fixture
def service(audit: Audit) -> Service:
    return furnish(Service(trail=Trail(audit)))


def written(audit: Audit) -> str:
    return "".join(path.read_text() for path in audit.directory.iterdir())


@pytest.mark.parametrize("format_", ["JSON", "XML"])
async def test_no_temporary_key_is_in_it(service: Service, audit: Audit, format_: str) -> None:
    """Whatever the answer was written in."""
    answer = await taken(service, Format=format_)
    found = answer.json["Credentials"] if format_ == "JSON" else {each.tag: each.text for each in answer.xml.iter()}

    (line,) = audit.lines()

    assert line["answer"]["AssumedRoleUser"]["AssumedRoleId"] == "3000:ci"
    for name in ("AccessKeySecret", "SecurityToken"):
        assert line["answer"]["Credentials"][name] == "(hidden)"
        assert found[name] and found[name] not in written(audit)


async def test_no_login_of_an_origin_is_in_it(service: Service, audit: Audit) -> None:
    """A prefetch may carry one; its header is named, and nothing of what it says."""
    headers = json.dumps({"Authorization": ["Bearer hunter2"], "Cookie": "session=hunter2"})
    path = "http://img.test/a"

    assert (await service.call("PushObjectCache", ObjectPath=path, WithHeader=headers)).status == 200
    assert (await service.call("PushObjectCache", ObjectPath=path, WithHeader="hunter2: {")).status == 400

    taken_, refused = (line["asked"]["WithHeader"] for line in audit.lines())
    assert json.loads(taken_) == {"Authorization": "(hidden)", "Cookie": "(hidden)"}
    assert refused == "(hidden)" and "hunter2" not in written(audit)


async def test_a_call_is_one_short_line(service: Service, audit: Audit) -> None:
    """However much is sent, and whatever letters are in it: a line is a line."""
    path = "http://img.test/a\r\n{}\u2028\x1b[2J" + "x" * 3 * LONGEST
    more = {f"unknown-{number}": "y" * 1000 for number in range(300)}

    await service.call("RefreshObjectCaches", ObjectPath=path, **more)

    assert written(audit).count("\n") == 1 and len(written(audit)) < 3 * LONGEST
    (line,) = audit.lines()
    assert line["asked"]["ObjectPath"].startswith(path[:LONGEST] + "… (") and list(line["asked"]) == ["ObjectPath"]


async def test_refusals_do_not_fill_the_disk(service: Service, audit: Audit) -> None:
    """Beyond a burst they are counted, and the next line of that account says how many there were."""
    calls = int(REFUSALS_AT_ONCE) + 50
    for _ in range(calls):
        await service.call("RefreshObjectCaches", ObjectPath="nowhere")
    assert len(list(audit.lines())) == REFUSALS_AT_ONCE

    await service.call("RefreshObjectCaches", "otherid", "othersecret", ObjectPath="http://foreign.test/a")
    await service.call("RefreshObjectCaches", ObjectPath="http://img.test/a")
    await service.call("RefreshObjectCaches", ObjectPath="http://img.test/b")

    assert [line.get("left_out") for line in audit.lines()][-3:] == [None, 50, None]


@pytest.fixture
def full_at(tmp_path: Path) -> Iterator[Any]:
    """Files can grow no longer than so much, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_was_full_costs_one_line(audit: Audit, full_at: Any) -> None:
    """The line that did not fit is told to be missing, and the next one does not run into what is left of it."""
    audit.note(NOON, what="one")
    (path,) = audit.directory.iterdir()
    full_at(path.stat().st_size + 20)
    with pytest.raises(OSError, match="No space left"):
        audit.note(NOON, what="two")
    full_at(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    audit.note(NOON, what="three")

    assert [line["what"] for line in audit.lines()] == ["one", "three"]


def test_a_file_that_was_moved_away(audit: Audit) -> None:
    """The next line begins another of the day's name; what somebody else wrote meanwhile is left as it is."""
    audit.note(NOON, what="one")
    (path,) = audit.directory.iterdir()
    Audit(audit.directory).note(NOON, what="somebody else")
    audit.note(NOON, what="two")
    path.rename(path.with_suffix(".gone"))
    audit.note(NOON, what="three")
    path.unlink()
    audit.note(NOON, what="four")
    audit.note(NOON + 86_400, what="five")

    before = path.with_suffix(".gone").read_text()
    assert [json.loads(line)["what"] for line in before.splitlines()] == ["one", "somebody else", "two"]
    assert [line["what"] for line in audit.lines()] == ["four", "five"]


def test_what_is_damaged_is_passed_over(audit: Audit) -> None:
    """The lines around it are shown."""
    audit.note(NOON, what="one")
    (path,) = audit.directory.iterdir()
    with path.open("ab") as file:
        file.write(
            b"\n".join([b"[" * 100_000, b'{"at": 5}', b'{"at": "2026', b"\xff\x00\x9b", b'"\\', b"[]", b"\x00" * 4096])
        )
    audit.note(NOON, what="two", who=os.fsdecode(b"\xff\xfe"))

    assert [line["what"] for line in audit.lines()] == ["one", "two"]
    assert [line["what"] for line in audit.lines(since=-1e12)] == ["one", "two"]
