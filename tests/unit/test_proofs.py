"""Evidence comes back as it went in, in few bytes, however commits fall."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.edge import Evidence
from freshline.log import proofs
from freshline.log.proofs import Piece, Proofs, decode, encode
from freshline.log.statements import Statements, statements

NOW = 1_795_262_400.0
anything = st.builds(
    Piece,
    st.integers(1, 1 << 50),
    st.integers(1, 1 << 30),
    st.integers(1, 1 << 47),
    st.integers(1, 1 << 47),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.text(max_size=9),
)


@pytest.fixture
def day() -> Iterator[tuple[sqlite3.Connection, Statements]]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    sql = statements(7)
    for statement in sql.create.split(";"):
        db.execute(statement)
    yield db, sql
    db.close()


@given(st.lists(anything, min_size=1, max_size=30))
def test_a_blob_holds_what_was_put_in(pieces: list[Piece]) -> None:
    """To the last bit, wherever clocks stood."""
    assert decode(encode(pieces)) == pieces


@pytest.mark.parametrize("seed", range(5))
def test_every_look_finds_what_a_list_does(
    seed: int, day: tuple[sqlite3.Connection, Statements], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short runs and long ones, in commits of any size, from a writer that is begun anew now and then."""
    monkeypatch.setattr(proofs, "FAN", 3)
    monkeypatch.setattr(proofs, "OPEN_CELLS", 4)
    db, sql = day
    dice = random.Random(seed)
    kept: list[tuple[int, Evidence]] = []
    writer = Proofs(db, sql)
    for commit in range(120):
        if dice.random() < 0.1:
            writer = Proofs(db, sql)
        some = []
        for _ in range(dice.randrange(1, 6)):
            first = dice.randrange(1, 300)
            last = first + dice.choice([0, 0, 0, 3, 40, 300])
            some.append((dice.randrange(3), Evidence("", first, last, NOW + commit, NOW + dice.random(), f"ok {last}")))
        writer.add(some)
        kept += some

    for _ in range(300):
        edge, first = dice.randrange(3), dice.randrange(1, 620)
        last = first + dice.choice([0, 1, 50])
        found = [(it.first, it.last, it.sent, it.answered, it.said) for it in proofs.find(db, sql, edge, first, last)]
        assert found == [
            (it.first, it.last, it.sent, it.answered, it.said)
            for one, it in kept
            if one == edge and it.first <= last and it.last >= first
        ]


def test_a_trickle_on_a_hundred_edges_is_small(day: tuple[sqlite3.Connection, Statements]) -> None:
    """Single refreshes, each answered by a hundred gates over ten commits: less than 16 bytes a piece, not 68."""
    db, sql = day
    dice = random.Random(1)
    writer = Proofs(db, sql)
    for row in range(1, 201):
        sent = NOW + row
        for commit in range(10):
            said = f"200 ok {row} 9ab1{row:04x}"
            heard = [(edge, sent + dice.random() / 1e4, sent + dice.random() / 50) for edge in range(commit, 100, 10)]
            writer.add((edge, Evidence("", row, row, began, ended, said)) for edge, began, ended in heard)

    (stored,) = db.execute("SELECT sum(length(pieces)) FROM proof_7").fetchone()
    assert stored / 20_000 < 16
