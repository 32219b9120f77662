"""Each signed request counts once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from freshline.access.nonces import Nonces

WINDOW = 900


@given(st.integers(0, 10**6), st.integers(0, 2 * WINDOW))
def test_known_for_as_long_as_it_could_be_used(at: int, later: int) -> None:
    """A nonce from a clock one window fast is good for two windows, and known all that time."""
    nonces = Nonces(WINDOW, 10)
    nonces.burn("k", "n", at)
    nonces.burn("k", "other", at + later)

    assert nonces.knows("k", "n")
    assert not nonces.knows("k2", "n")


def test_forgotten_in_the_end() -> None:
    """After that it takes no memory."""
    nonces = Nonces(WINDOW, 10)
    for at in range(0, 100 * WINDOW, WINDOW):
        assert nonces.burn("k", f"n{at}", at)

    assert len(nonces) <= 4


def test_full() -> None:
    """When there is no more room nothing is forgotten early; room comes with time."""
    nonces = Nonces(WINDOW, 2)

    assert nonces.burn("k", "1", 0) and nonces.burn("k", "2", 0)
    assert not nonces.burn("k", "3", 0)
    assert nonces.knows("k", "1")
    assert nonces.burn("k", "3", 4 * WINDOW)


def test_a_clock_that_goes_back() -> None:
    """Nothing is forgotten when the clock is set back."""
    nonces = Nonces(WINDOW, 10)
    nonces.burn("k", "1", 10 * WINDOW)
    nonces.burn("k", "2", 0)

    assert nonces.knows("k", "1") and nonces.knows("k", "2")
