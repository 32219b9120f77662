"""The gate protocol's lines survive the way there and back, and nothing else passes for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.domain.action import Command, Verb
from freshline.domain.run import escape
from freshline.drivers import lines
from freshline.drivers.base import Adrift, Applied, Batch, Clock, Fault, Gate, Lapse, Lease, Trouble

WORDS = st.text("abcdef0123456789-_.", min_size=1, max_size=40)


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_fit_the_last_field(what):
    """A path, pattern or tag of any bytes arrives as it was sent, on one line without a space."""
    field = escape(what).decode()

    assert lines.unescape(field) == what
    assert all("!" <= ch <= "~" for ch in field)


@given(
    WORDS,
    WORDS,
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.sampled_from(Verb), WORDS, st.binary(min_size=1, max_size=50)), max_size=20),
)
def test_a_batch_comes_back_as_it_went(log, mark, live, rows):
    """A gate reads the batch that a driver wrote."""
    commands = tuple(Command(8 + at, *row) for at, row in enumerate(rows))
    batch = Batch(log, 7, 7 + len(rows), mark, live, commands)

    assert lines.read_batch(lines.batch_body(batch)) == batch


def test_flush_comes_back_as_it_went():
    """A gate reads the flush that a driver wrote."""
    assert lines.read_flush(lines.flush_body("log", 9, "mark")) == ("log", 9, "mark")


@pytest.mark.parametrize(
    "gate",
    [
        Gate(None, 0, None, True),
        Gate("l0", 12, "m", False, None, Lapse.REFUSE, {"rules": "17"}),
        Gate("l0", 12, "m", True, Clock("b0", 1700), Lapse.BYPASS, {"lease": "1300"}),
    ],
)
def test_status_comes_back_as_it_went(gate):
    """A driver reads the status that a gate wrote, with its clock and all it says beside."""
    clock = f"{gate.clock.boot} {gate.clock.milliseconds}" if gate.clock else ""

    assert lines.read_status(lines.status_body("nginx", gate), clock) == gate


def test_a_lease_is_counted_on_the_gates_clock():
    """A lease names the gate's own clock, its length in milliseconds, and where the gate has to stand."""
    assert lines.lease_value(Lease(Clock("b0", 1700), 12.5, 9)) == "b0 1700 12500 9"


@pytest.mark.parametrize("clock", ["b0", "b0 ", "b0 -1", "B0 1", "b0 1 2", "b0 1.5", f"b0 {'9' * 16}", f"{'b' * 65} 1"])
def test_what_is_no_clock_is_refused(clock):
    """A clock that is not of the protocol's form is no gate's."""
    with pytest.raises(lines.BadLines):
        lines.read_clock(clock)


def test_an_unknown_lapse_is_refused():
    """What a gate does without a lease must be known, or nobody may count on it."""
    body = lines.status_body("nginx", Gate(None, 0, None, True)).replace(b"serve", b"shrug")
    with pytest.raises(lines.BadLines):
        lines.read_status(body)


NO_BATCHES = (
    b"",
    b"end\n",
    b"batch l 0 2 m 1\nrun 1 2 1 file h\n/a\n/b\n",  # no end
    b"batch l 0 2 m 1\nrun 1 1 1 file h\n/a\nend",  # cut within the last line
    b"batch l 0 2 m 2\nend\n",
    b"batch l 2 0 m 1\nend\n",
    b"batch l -1 2 m 1\nend\n",
    b"batch l 0 2 m 1\nrun 0 1 1 file h\n/a\nend\n",  # not after 0
    b"batch l 0 2 m 1\nrun 3 1 1 file h\n/a\nend\n",  # beyond 2
    b"batch l 0 2 m 1\nrun 2 2 1 file h\n/a\n/b\nend\n",  # ends beyond 2
    b"batch l 0 2 m 1\nrun 2 1 1 file h\n/a\nrun 1 1 1 file h\n/b\nend\n",  # falls
    b"batch l 0 3 m 1\nrun 1 2 1 file h\n/a\n/b\nrun 2 1 1 file h\n/c\nend\n",  # overlaps
    b"batch l 0 2 m 1\nrun 1 0 1 file h\nend\n",  # no rows
    b"batch l 0 2 m 1\nrun 1 1 1 file h\nend\n",  # none came
    b"batch l 0 3 m 1\nrun 1 3 1 file h\n/a\n/b\nend\n",  # fewer than it says
    b"batch l 0 3 m 1\nrun 1 1 1 file h\n/a\n/b\nend\n",  # more than it says
    b"batch l 0 2 m 1\nrun 1 2 1 tag h\nred\nend\n",  # cut off after a tag that is called end
    b"batch l 0 2 m 1\nrun 1 1 1 erase h\n/a\nend\n",
    b"batch l 0 2 m 1\nrun 1 1 2 file h\n/a\nend\n",
    b"batch l 0 2 m 1\nrun 1 1 1 file \n/a\nend\n",
    b"batch l 0 2 m 1\nrun 1 1 1 file h x\n/a\nend\n",
    b"batch l 0 2 m 1\nrun 1 1 1 file h\n\nend\n",  # nothing
    b"batch l 0 2 m 1\nrun 1 1 1 file h\n/%4\nend\n",
    b"batch l 0 2 m 1\nrun 1 1 1 file h\n/a b\nend\n",
    b"batch l 0 2 m 1\nrun 1 1 1 file h\n/\xc3\xa9\nend\n",
    b"batch l 0 999999999999999 m 1\nrun 00000000000000001 1 1 file h\n/a\nend\n",  # 17 digits
    b"batch l 0 999999999999999 m 1\nrun 1 99999999999999999 1 file h\n/a\nend\n",
    b"batch l 0 999999999999999 m 1\nrun 1 9007199254740993 1 file h\n/a\nend\n",
    b"batch l 0 999999999999999 m 1\nrun 2 999999999999999 1 file h\n/a\nend\n",
    b"batch l 0 2 m 1\n1 1 file h /a\nend\n",
    b"batch l 0 99999999999999999999 m 1\nend\n",
    b"flush l 0 m\nend\n",
)


@pytest.mark.parametrize("body", NO_BATCHES)
def test_what_is_no_batch_is_refused_whole(body):
    """Of a batch that is cut off or wrong anywhere nothing is read."""
    with pytest.raises(lines.BadLines):
        lines.read_batch(body)


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (200, b"ok 9 m\n", Applied(9, "m", (), "200 ok 9 m")),
        (200, b"ok 9 m\nrefused 8 no such thing\n", Applied(9, "m", ((8, "no such thing"),), "200 ok 9 m")),
        (409, b"behind 3 -\n", Adrift("409 behind 3 -")),
        (409, b"other -\n", Adrift("409 other -")),
        (400, b"bad no end\n", Trouble(Fault.FAILED, "400 bad no end")),
        (500, b"failed disk\n", Trouble(Fault.FAILED, "500 failed disk")),
        (403, b"", Trouble(Fault.DENIED, "403")),
    ],
)
def test_answers_mean_what_the_protocol_says(status, body, means):
    """Each answer of docs/gates.md is read as what it means."""
    assert lines.read_answer(status, body) == means


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b""),
        (404, b"ok 9 m\n"),
        (500, b"<html>"),
        (200, b"ok x m\n"),
        (200, b"\xff"),
    ],
)
def test_a_strangers_answer_is_no_answer(status, body):
    """A web server that happens to sit on the gate's port never passes for a gate."""
    with pytest.raises(lines.BadLines):
        lines.read_answer(status, body)


def test_the_longest_host_there_is_fits() -> None:
    """A row that no line could hold would be sent to its edges for ever."""
    host = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(host) == 253

    batch = Batch("L", 0, 1, "m", True, (Command(1, True, Verb.FILE, host, b"/"),))

    assert lines.read_batch(lines.batch_body(batch)) == batch
