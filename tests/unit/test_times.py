"""Times as the contract writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.wire import times


@given(st.integers(0, 253_402_300_799))
def test_back_and_forth(seconds: int) -> None:
    """A time written is read again, to the year 9999."""
    assert times.read(times.write(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-11-21T12:00Z", "2026-11-21T12:00:00", "2026-11-21 12:00:00Z", "2026-11-21T12:00:00+08:00",
     "2026-11-21T12:00:00.257Z", "２026-11-21T12:00:00Z", " 2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z\n"],
)  # fmt: skip
def test_malformed(text: str) -> None:
    """Any other spelling is none."""
    with pytest.raises(times.Malformed):
        times.read(text)


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-21T24:00:00Z", "0000-01-01T00:00:00Z"]
)
def test_unreal(text: str) -> None:
    """Well spelled, and yet no time."""
    with pytest.raises(times.Unreal):
        times.read(text)


def test_fractions() -> None:
    """Some clients send milliseconds in Timestamp; they are cut off."""
    assert times.read("1970-01-01T00:00:01.999Z", fractions=True) == 1
