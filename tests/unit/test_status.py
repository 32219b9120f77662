"""What a gate says of where it stands, read again only where it says something new."""

from __future__ import annotations

import pytest

from freshline.drivers.base import Fault, Trouble
from freshline.drivers.http import Reply
from freshline.drivers.lines import BadLines
from freshline.drivers.status import StatusReader

STATUS = b"gate nginx 1\nlog L\nposition 7\nmark m7\nsynced 1\nlapse bypass\nlease 14210\nrules 17\n"


def said(body: bytes, clock: str = "b 5", status: int = 200) -> Reply:
    return Reply(status, {"freshline-clock": clock}, body)


@pytest.mark.parametrize(
    "later",
    [
        STATUS,
        STATUS.replace(b"14210", b"0"),
        STATUS.replace(b"14210", b"9" * 5000),
        STATUS.replace(b"14210", b"soon"),
        STATUS.replace(b"position 7", b"position 8"),
        STATUS.replace(b"synced 1", b"synced 0"),
        STATUS.replace(b"rules 17", b"rules 18"),
        STATUS.replace(b"rules 17", b"lease 3"),
        STATUS.replace(b"\nlease 14210", b""),
        STATUS + b"position 9\n",
    ],
)
def test_what_changed_is_seen(later: bytes) -> None:
    """A reader that has read other answers reads one like a reader that has read none."""
    reader = StatusReader("nginx")
    for each in (STATUS, later, STATUS, later):
        assert reader.read(said(each)) == StatusReader("nginx").read(said(each))


@pytest.mark.parametrize(
    "broken", [b"", b"gate nginx 1\n", STATUS.replace(b"7", b"x"), STATUS + b"\xff", STATUS.replace(b"1421", b"\xff")]
)
def test_what_is_no_answer_is_none_after_one_that_was(broken: bytes) -> None:
    """Nothing that was said before vouches for it."""
    reader = StatusReader("nginx")
    reader.read(said(STATUS))

    with pytest.raises(BadLines):
        reader.read(said(broken))


def test_clock_kind_and_status_are_looked_at_each_time() -> None:
    """They are not part of what stays the same."""
    reader = StatusReader("nginx")
    first, second = reader.read(said(STATUS, "b 5")), reader.read(said(STATUS, "c 6"))

    assert not isinstance(first, Trouble) and not isinstance(second, Trouble)
    assert (first.clock, second.clock) != (first.clock, first.clock)
    with pytest.raises(BadLines):
        reader.read(said(STATUS, "no clock"))
    with pytest.raises(BadLines):
        reader.read(said(STATUS, status=204))
    other = reader.read(said(STATUS.replace(b"gate nginx", b"gate squid")))
    assert isinstance(other, Trouble) and other.fault is Fault.WRONG_KIND
