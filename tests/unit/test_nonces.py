"""Each signed request counts once."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.access import burnt
from freshline.access.burnt import ENTRY, STRETCH, Burnt
from freshline.access.nonces import Nonces

WINDOW = 900


def burn(nonces: Nonces, nonce: str, at: float, *, ahead: float = 0, said: float | None = None) -> bool:
    """At a moment, by a wall clock so far ahead, with the time of that moment if none is said."""
    now = at + ahead
    return nonces.burn("k", nonce, said=int(now if said is None else said), now=now, monotonic=at)


def refused(nonces: Nonces, nonce: str, said: float) -> bool:
    return nonces.knows("k", nonce) or said <= nonces.horizon


@given(st.integers(0, 10**6), st.integers(0, 2 * WINDOW))
def test_known_for_as_long_as_it_could_be_used(at: int, later: int) -> None:
    """A nonce from a clock one window fast is good for two windows, and known all that time."""
    nonces = Nonces(WINDOW, 10)
    burn(nonces, "n", at, said=at + WINDOW)
    burn(nonces, "other", at + later)

    assert nonces.knows("k", "n")
    assert not nonces.knows("k2", "n")


def test_forgotten_in_the_end() -> None:
    """After that it takes no memory."""
    nonces = Nonces(WINDOW, 10)
    for at in range(0, 100 * WINDOW, WINDOW):
        assert burn(nonces, f"n{at}", at)

    assert len(nonces) <= 4


def test_full() -> None:
    """When there is no more room nothing is forgotten early; room comes with time."""
    nonces = Nonces(WINDOW, 2)

    assert burn(nonces, "1", 0) and burn(nonces, "2", 0)
    assert not burn(nonces, "3", 0)
    assert nonces.knows("k", "1")
    assert burn(nonces, "3", 4 * WINDOW)


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * WINDOW), st.integers(-5 * WINDOW, 5 * WINDOW), st.integers(-WINDOW, WINDOW)),
        min_size=1,
        max_size=12,
    )
)
def test_a_wall_clock_that_does_what_it_likes(steps: list[tuple[int, int, int]]) -> None:
    """However it jumps, and whatever time calls say, none is let through a second time."""
    nonces, at, used = Nonces(WINDOW, 1000), 10 * WINDOW, dict[str, int]()
    for number, (passes, ahead, slow) in enumerate(steps):
        at += passes
        said = at + ahead + slow
        if said > nonces.horizon:
            burn(nonces, str(number), at, ahead=ahead, said=said)
            used[str(number)] = said

        assert all(refused(nonces, nonce, said) for nonce, said in used.items())


def test_a_clock_that_is_right_is_never_refused() -> None:
    """Nothing is left behind that a caller one window slow could run into."""
    nonces = Nonces(WINDOW, 1000)
    for number in range(200):
        at = 10 * WINDOW + number * 100
        burn(nonces, str(number), at, said=at + (WINDOW if number % 2 else -WINDOW))

        assert nonces.horizon < at - WINDOW


# -- after a restart ------------------------------------------------------------------
def opened(home: Path, at: float, *, known: bool = True) -> tuple[Nonces, Burnt]:
    file = Burnt(home, 2 * WINDOW, now=at, monotonic=at, known=known)
    return Nonces(WINDOW, 1000, file), file


def test_the_next_process_knows(tmp_path: Path) -> None:
    """All that could still be used, also after many turns of the files; and nobody is refused for it."""
    nonces, _ = opened(tmp_path, 10 * WINDOW, known=False)
    for at in range(10 * WINDOW, 20 * WINDOW, 100):
        burn(nonces, str(at), at)
    nonces, _ = opened(tmp_path, 20 * WINDOW)

    assert all(nonces.knows("k", str(at)) for at in range(18 * WINDOW, 20 * WINDOW, 100))
    assert nonces.horizon < 19 * WINDOW
    assert len(nonces) <= 4 * WINDOW / 100
    burn(nonces, "later", 23 * WINDOW)
    assert len(nonces) == 1


def test_what_may_be_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start of the machine, with the files gone, or with one that broke off: what was signed before counts as
    used."""
    nonces, _ = opened(tmp_path, 1000, known=False)
    burn(nonces, "1", 1000)
    monkeypatch.setattr(burnt, "BOOT_ID", tmp_path / "another")
    (tmp_path / "another").write_text("another run of the machine")
    nonces, _ = opened(tmp_path, 1100)
    assert nonces.knows("k", "1") and nonces.horizon == 1099

    nonces, _ = opened(tmp_path, 1200)
    assert nonces.horizon == 1099  # what the machine lost is lost to every process after it
    (tmp_path / "nonces").unlink()
    assert opened(tmp_path, 1300)[0].horizon == 1299

    nonces, file = opened(tmp_path, 1400)
    file._give_up()
    assert opened(tmp_path, 1500)[0].horizon == 1499


def test_a_disk_that_takes_nothing_at_all(tmp_path: Path) -> None:
    """Where the file cannot even be emptied, that it is gone tells the next process as much."""
    _, file = opened(tmp_path, 1000)
    os.dup2(os.open(tmp_path / "nonces", os.O_RDONLY), file._file)  # nothing can be truncated by it

    file._give_up()

    assert opened(tmp_path, 1500)[0].horizon == 1499


def test_a_disk_that_takes_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Calls go on, the operator is told once, and the next process knows that something is missing."""
    nonces, _ = opened(tmp_path, 1000, known=False)
    (tmp_path / "nonces").unlink()
    assert burn(nonces, "1", 1000 + 2 * WINDOW)  # the files change places, and one is gone
    assert burn(nonces, "2", 1000 + 2 * WINDOW)

    assert [record.message.partition(",")[0] for record in caplog.records] == ["nonces are no longer kept"]
    assert nonces.knows("k", "2")
    assert opened(tmp_path, 5000)[0].horizon == 4999


@pytest.mark.parametrize("takes_more", [True, False])
def test_a_process_that_is_killed(tmp_path: Path, takes_more: bool) -> None:
    """All it has burnt is burnt, however much that was; unless the disk took no more, which the next process knows."""
    most = STRETCH // ENTRY.size + 100
    if (child := os.fork()) == 0:
        file = Burnt(tmp_path, 2 * WINDOW, now=1000, monotonic=1000, known=False)
        nonces = Nonces(WINDOW, most, file)
        if not takes_more:
            resource.setrlimit(resource.RLIMIT_FSIZE, (STRETCH, STRETCH))
        for number in range(most):
            burn(nonces, str(number), 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    nonces, _ = opened(tmp_path, 1100)

    assert all(refused(nonces, str(number), 1000) for number in range(most))
    assert nonces.horizon == (0 if takes_more else 1099)


def test_a_start_that_is_killed_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the one before left is there until it stands in the new file."""
    nonces, _ = opened(tmp_path, 1000, known=False)
    burn(nonces, "1", 1000)
    with monkeypatch.context() as killed:
        killed.setattr(Burnt, "add", lambda *_: os._exit(0))
        killed.setattr(Path, "unlink", lambda *_, **__: os._exit(0))
        if (child := os.fork()) == 0:
            opened(tmp_path, 1100)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0

    assert opened(tmp_path, 1200)[0].knows("k", "1")


@pytest.mark.parametrize("turns", [False, True])
def test_clocks_that_are_set_while_it_starts(tmp_path: Path, turns: bool) -> None:
    """A start under a clock that is a day ahead forgets what looks old; a clock that is put right frees none of it."""
    nonces, _ = opened(tmp_path, 1000, known=False)
    burn(nonces, "1", 1000)
    day = Burnt(tmp_path, 2 * WINDOW, now=1000 + 86_400, monotonic=1000, known=True)
    nonces = Nonces(WINDOW, 1000, day)
    for at in range(1, 5) if turns else ():
        burn(nonces, str(at), 1000 + at * 3 * WINDOW, said=0)

    assert refused(opened(tmp_path, 1100)[0], "1", 1000)


def test_a_wall_clock_set_back_while_the_files_turn(tmp_path: Path) -> None:
    """Until it is as late as the nonces again they are of no use to anybody, and then neither."""
    nonces, _ = opened(tmp_path, 100 * WINDOW, known=False)
    burn(nonces, "1", 100 * WINDOW)
    for at in range(101, 110):
        burn(nonces, str(at), at * WINDOW, ahead=-20 * WINDOW)

    assert refused(opened(tmp_path, 110 * WINDOW)[0], "1", 100 * WINDOW)


def test_one_from_the_future_keeps_no_other(tmp_path: Path) -> None:
    """A clock that ran a year ahead for a second does not fill the memory for a year."""
    nonces, _ = opened(tmp_path, 0, known=False)
    burn(nonces, "ahead", 0, ahead=365 * 86_400)
    for at in range(0, 100 * WINDOW, WINDOW):
        assert burn(nonces, f"n{at}", at)

    assert nonces.knows("k", "ahead") and len(nonces) <= 6


@pytest.mark.parametrize("damage", [b"", b"\xff" * 48, b"\0" * 4096, bytes(range(48))])
def test_a_damaged_file(tmp_path: Path, damage: bytes) -> None:
    """Nothing of it stops the service or stays for ever; what cannot be read counts as used."""
    nonces, _ = opened(tmp_path, 1000, known=False)
    burn(nonces, "1", 1000)
    path = tmp_path / "nonces"
    path.write_bytes(damage if not damage else path.read_bytes()[:16] + damage)

    nonces, _ = opened(tmp_path, 1100)

    assert refused(nonces, "1", 1000) or damage == b"\0" * 4096  # whole, and empty
    assert nonces.horizon < 1100 and burn(nonces, "2", 1100)
    assert burn(nonces, "3", 20 * WINDOW) and len(nonces) == 1
