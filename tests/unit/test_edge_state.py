"""The word that ``freshline edges`` has for an edge."""

from __future__ import annotations

import pytest

from freshline.cli.standing import stands
from freshline.drivers.base import Clock, Fault, Gate, Trouble


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        (Gate("a", 7, "m", True), "fresh", "at 7 of 7"),
        (Gate("a", 7, "m", True, Clock("b", 1), detail={"lease": "12"}), "fresh", "at 7 of 7"),
        (Gate("a", 7, "m", True, Clock("b", 1), detail={"lease": "0"}), "no lease", "out of rotation"),
        (Gate("a", 8, "m", True), "fresh", "at 8 of 7"),  # accepted since we looked
        (Gate("a", 6, "m", True), "catching up", "at 6 of 7"),
        (Gate("a", 7, "m", False), "starting", "old cache out of use"),
        (Gate(None, 0, None, True), "unbound", "bound to no log"),
        (Gate("b", 7, "m", True), "another log", "bound to b"),
        (Trouble(Fault.UNREACHABLE, "Connection refused"), "unreachable", "Connection refused"),
        (Trouble(Fault.DENIED, "403"), "wrong secret", "403"),
        (Trouble(Fault.FAILED, "500 failed x"), "failed", "500 failed x"),
    ],
)
def test_a_state_is_told_in_a_word(answer: Gate | Trouble, state: str, said: str) -> None:
    """Fresh is only what has our log, stands at its head or past it, and uses its cache."""
    found = stands(answer, "a", 7)

    assert found[0] == state
    assert said in found[1]


def test_before_the_first_start_no_log_is_ours() -> None:
    """A gate that is bound is bound to another."""
    assert stands(Gate("a", 0, "m", True), None, 0)[0] == "another log"
