"""What rows become on their way to a gate: made for many at once, and the same as one by one."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshline.domain import target
from freshline.domain.action import Command, Verb, what
from freshline.domain.run import Commands, Run, escape, lines_of, of_commands, of_rows
from freshline.domain.task import Kind, Rows, Wish

HOST = "a.test"
KINDS = (Kind.FILE, Kind.DIRECTORY, Kind.IGNORE_PARAMS)

STARTS = st.sampled_from(
    [
        f"http://{HOST}/",
        f"https://{HOST}/",
        f"{HOST}/",
        f"http://{HOST}",
        f"http://{HOST}:80/",
        f"HTTP://{HOST.upper()}/",
    ]
)
ESCAPES = ("%2e", "%2F", "%61", "%", "%4", "%zz", "%0a", "%00", "%C3%A9", "%3f")
PIECES = st.sampled_from([*"ab/.?*~\\+é", "//", "..", "end", f"http://{HOST}/", f"{HOST}/", *ESCAPES])


def _taken(line: str) -> bool:
    """Whether a caller's line gets into the log."""
    try:
        return target.parse(line).domain == HOST
    except target.BadTarget:
        return False


ROWS = st.builds(lambda start, pieces: start + "".join(pieces), STARTS, st.lists(PIECES, max_size=6)).filter(_taken)


@pytest.mark.parametrize("kind", KINDS)
@given(paths=st.lists(ROWS, min_size=1, max_size=5))
@settings(max_examples=400, deadline=None)
def test_at_once_as_one_by_one(kind: Kind, paths: list[str]) -> None:
    """Whatever is in them, rows that are written down together are what each of them is alone."""
    told = lines_of(kind, HOST, paths)

    assert told == b"".join(escape(what(kind, path)) + b"\n" for path in paths)
    assert [unquote_to_bytes(line) for line in told.split(b"\n")[:-1]] == [what(kind, path) for path in paths]


@given(raw=st.binary(min_size=1, max_size=60))
def test_any_bytes_of_a_path(raw: bytes) -> None:
    """A path of any bytes, escaped by the caller, is told as those bytes are."""
    path = f"http://{HOST}/x" + "".join(f"%{byte:02x}" for byte in raw)

    assert lines_of(Kind.FILE, HOST, [path]) == escape(what(Kind.FILE, path)) + b"\n"


def test_one_odd_row_among_many() -> None:
    """It is told right, and so are its neighbours."""
    paths = [f"http://{HOST}/{n}" for n in range(100)]
    paths[17], paths[18] = f"http://{HOST}/x/../y//z", f"{HOST}:8080/w"

    wanted = [f"/{n}" for n in range(100)]
    wanted[17], wanted[18] = "/y/z", "/w"
    assert lines_of(Kind.FILE, HOST, paths).decode().split() == wanted


@pytest.mark.parametrize(
    ("kind", "path", "told"), [(Kind.TAG, "red %41", b"red%20%2541\n"), (Kind.REGEX, f"{HOST}/a b%", b"/a%20b%25\n")]
)
def test_what_is_no_url_is_told_as_it_is(kind: Kind, path: str, told: bytes) -> None:
    """In a tag or a pattern nothing is decoded."""
    assert lines_of(kind, HOST, [path]) == told


def _rows(first: int, kind: Kind, rows: int, *, host: str = HOST, force: bool = False) -> Rows:
    paths = tuple(f"http://{host}/{first + at}/" for at in range(rows))
    return Rows(first, Wish("1", host, "g", kind, paths, force))


def test_neighbours_that_are_alike_are_one_run() -> None:
    """Of one kind, force and host; a prefetch in between parts them, and so does what differs."""
    alike = [
        _rows(1, Kind.FILE, 2),
        _rows(3, Kind.FILE, 1, force=True),  # Force has no effect on File
        _rows(4, Kind.PRELOAD, 2),
        _rows(6, Kind.FILE, 1),
        _rows(7, Kind.FILE, 1, host="b.test"),
        _rows(8, Kind.DIRECTORY, 1),
        _rows(9, Kind.DIRECTORY, 3, force=True),
    ]

    found = [(run.first, run.last, run.force, run.verb, run.host) for run in of_rows(alike)]

    assert found == [
        (1, 3, True, Verb.FILE, HOST),
        (6, 6, True, Verb.FILE, HOST),
        (7, 7, True, Verb.FILE, "b.test"),
        (8, 8, False, Verb.DIR, HOST),
        (9, 11, True, Verb.DIR, HOST),
    ]


def test_a_run_is_cut_where_it_is_told() -> None:
    """Its rows keep their positions."""
    (run,) = of_rows([_rows(1, Kind.FILE, 10)])

    assert list(run.within(3, 7).commands()) == [c for c in run.commands() if 3 < c.position <= 7]
    assert run.within(0, 10) is run
    assert Commands([run.within(0, 4), run.within(4, 10)])[4] == Command(5, True, Verb.FILE, HOST, b"/5/")


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.booleans(), st.sampled_from(Verb), st.sampled_from("ab"), st.binary(min_size=1)
        ),
        max_size=20,
    )
)
def test_commands_come_back_from_runs(rows: list[tuple[int, bool, Verb, str, bytes]]) -> None:
    """Whatever lies between their positions."""
    position, commands = 0, []
    for step, *rest in rows:
        position += step
        commands.append(Command(position, *rest))

    runs: list[Run] = list(of_commands(commands))
    assert list(Commands(runs)) == commands
