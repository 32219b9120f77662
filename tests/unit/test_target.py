"""Lines that are looked at together are taken as each of them would be."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshline.domain import target

STARTS = st.sampled_from(
    [
        "http://a.test/",
        "https://a.test/",
        "a.test/",
        "a.test",
        "http://a.test:80/",
        "HTTP://A.test/",
        "b.test/",
        "/",
        "*.a.test/",
    ]
)
PIECES = st.sampled_from([*'ax/.?#%*~ é\n\x01\x7f"@:', "\ud800", "\na.test/", "\r", "x" * 600])
LINES = st.lists(
    st.builds(lambda start, pieces: start + "".join(pieces), STARTS, st.lists(PIECES, max_size=3)),
    min_size=1,
    max_size=4,
)


@given(LINES)
@settings(max_examples=2000, deadline=None)
def test_what_many_have_in_common_each_of_them_has(lines: list[str]) -> None:
    """Together they have no domain that any of them has not; what no line may be is nowhere among them."""
    with suppress(target.BadTarget):
        if (common := target.common_domain(lines)) is not None:
            assert [target.domain(line) for line in lines] == [common] * len(lines)


def test_usual_lines_are_looked_at_together() -> None:
    """In any of their spellings."""
    lines = ["http://a.test/x?y=http://b.test/", "https://a.test/", "a.test/~!$%41\"'"]

    assert target.common_domain(lines) == "a.test"
    assert target.common_domain(lines * 400) == "a.test"


@pytest.mark.parametrize("line", ["b.test/", "a.test", "a.test/#", "a.test/é", "a.test/ ", "a.test/" + "x" * 1018])
def test_one_unusual_line_is_looked_at_itself(line: str) -> None:
    """It has another domain, or no slash, or may be none at all."""
    assert target.common_domain(["a.test/", line]) is None


@pytest.mark.parametrize("plain", [True, False])
def test_lines_that_are_looked_at_together_are_asked_for_as_each_alone(plain: bool) -> None:
    """Whatever their scheme, port, capitals, escapes and what may not stand in a request line."""
    lines = ["http://a.test/x?y=1", "https://a.test/", "a.test/a//b/../%61", "a.test?q", "a.test", "HTTP://A.test:80/z"]
    lines += [] if plain else ["http://a.test/ü|", 'a.test/"<>']
    targets = [target.parse(line) for line in lines]

    assert target.asked_for("a.test", lines) == [(it.scheme, it.domain, it.request_target()) for it in targets]
    assert target.asked_for("a.test", []) == []
