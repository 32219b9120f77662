"""Probes and fetches of a gate that is told by lines (docs/gates.md, "Probe and fetch"), and asks the server itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.domain.run import escape
from freshline.drivers import lines
from freshline.drivers.base import Asked, Fault, Fetched, FetchOutcome, Gate, Lease, Presence, Probed, Trouble
from freshline.drivers.gate import GateDriver, telling, understood
from freshline.drivers.http import Done, Piece, Reply, opening
from freshline.drivers.patience import USUAL, Patience

FETCH = "/freshline/fetch"
REDIRECTS = "redirects to "
OUTCOMES = {
    "stored": FetchOutcome.STORED,
    "origin-timeout": FetchOutcome.ORIGIN_TIMEOUT,
    "origin-status": FetchOutcome.ORIGIN_STATUS,
    "other": FetchOutcome.OTHER,
}


AT_ONCE = 64  #: fetches in one request, at most, whatever the gate says
ANSWER_BYTES = 16_384  #: of one fetch, at most
ALIKE = 64  #: answers, and headers to be sent, that are kept
PLACES = {b"%d" % (at + 1): at for at in range(AT_ONCE)}  #: in a request, by the numbers of its answers


class ErrandDriver(GateDriver):
    """Sends the gate on errands to its server's own front door."""

    fetches_at_once = 1

    def __init__(self, edge: Edge, patience: Patience = USUAL) -> None:
        super().__init__(edge, patience)
        self._fetching = opening("POST", FETCH, self._headers)

    def ask(self, lease: Lease | None, done: Callable[[Gate | Trouble], None]) -> None:
        def stands(gate: Gate | Trouble) -> None:
            if isinstance(gate, Gate):
                most = gate.detail.get("fetches", "1")
                self.fetches_at_once = min(int(most), AT_ONCE) if lines.is_number(most) else 1
            done(gate)

        super().ask(lease, stands)

    async def probe(self, what: Fetch) -> Probed | Trouble:
        reply = await self._ask("POST", "/freshline/probe", _body("probe", what), self._patience.probe_seconds)
        return understood(reply, _probed)

    async def fetch(self, what: Fetch) -> Fetched | Trouble:
        reply = await self._ask("POST", FETCH, _body("fetch", what), self._patience.fetch_seconds)
        return understood(reply, _fetched)

    # -- :class:`freshline.drivers.base.Direct`
    def fetch_then(self, what: Fetch, done: Callable[[Fetched | Trouble], None]) -> Asked:
        return self._send(_body("fetch", what), telling(_fetched, done))

    # -- :class:`freshline.drivers.base.Several`
    def fetch_each_then(
        self,
        whats: Sequence[Fetch],
        ended: Callable[[Sequence[tuple[int, Fetched | Trouble]]], None],
        over: Callable[[Trouble | None], None],
    ) -> Asked:
        answers = Answers(len(whats), ended)
        return self._send(_body("fetch", *whats), telling(answers.end, over), each=answers.take)

    def _send(self, body: bytes, done: Done, each: Piece | None = None) -> Asked:
        head = b"%bcontent-length: %d\r\n\r\n%b" % (self._fetching, len(body), body)
        return self._client.send(head, b"", done, seconds=self._patience.fetch_seconds, each=each)


class Answers:
    """The answers to several fetches as they come in: lines, each with the number of the one that it is of."""

    def __init__(self, count: int, ended: Callable[[Sequence[tuple[int, Fetched | Trouble]]], None]) -> None:
        self._left = set(range(count))
        self._ended = ended
        self._begun = b""  #: of a line whose end is still to come

    def take(self, data: bytes) -> None:
        """
        :raises BadLines: this is no answer; those before it are
        """
        *whole, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > ANSWER_BYTES:
            raise lines.BadLines("a line without an end")
        some: list[tuple[int, Fetched | Trouble]] = []
        try:
            left = self._left
            for line in whole:
                number, _, text = line.partition(b" ")
                if (at := PLACES.get(number)) not in left:
                    raise lines.BadLines(f"an answer to nothing: {lines.spoken(_ascii(text))!r}")
                left.remove(at)
                some.append((at, _alike(text) if len(text) <= lines.SAID_LIMIT else _answer(text)))
        finally:
            if some:
                self._ended(some)

    def end(self, reply: Reply) -> Trouble | None:
        if reply.status != 200:
            return _failure(reply, _said(reply))
        if self._left:
            raise lines.BadLines(f"{len(self._left)} fetches without an answer")
        return None


def _body(verb: str, *whats: Fetch) -> bytes:
    words = [
        f"{verb} {what.scheme} {what.host} {what.target}\n{_headers(what.headers) if what.headers else ''}"
        for what in whats
    ]
    return "".join([*words, "end\n"]).encode("ascii")


@lru_cache(maxsize=ALIKE)
def _headers(headers: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"header {_escaped(name)} {_escaped(value)}\n" for name, value in headers)


def _probed(reply: Reply) -> Probed | Trouble:
    said = _said(reply)
    match said.split(" "):
        case ["stored", stamp] if lines.is_number(stamp):
            return Probed(Presence.STORED, int(stamp), said)
        case ["absent"]:
            return Probed(Presence.ABSENT, None, said)
        case _:
            return _failure(reply, said)


def _fetched(reply: Reply) -> Fetched | Trouble:
    text = _ascii(reply.body).partition("\n")[0]
    return _outcome(text) or _failure(reply, lines.spoken(text))


def _outcome(line: str) -> Fetched | None:
    match line.split(" ", 4):
        case ["fetched", outcome, status, size, why] if (
            outcome in OUTCOMES and lines.is_number(status) and lines.is_number(size)
        ):
            # Whole, however long: half a location would lead elsewhere.
            location = why.removeprefix(REDIRECTS) if why.startswith(REDIRECTS) and why.isprintable() else ""
            return Fetched(OUTCOMES[outcome], int(status), int(size), lines.spoken(why), location)
        case _:
            return None


def _answer(raw: bytes) -> Fetched | Trouble:
    """What stands behind its number."""
    text = _ascii(raw)
    answer = Trouble(Fault.FAILED, lines.spoken(text)) if text.startswith("failed ") else _outcome(text)
    if answer is None:
        raise lines.BadLines(f"not a gate's answer: {lines.spoken(text)!r}")
    return answer


_alike = lru_cache(maxsize=ALIKE)(_answer)  #: thousands of objects come to the same


def _said(reply: Reply) -> str:
    return lines.spoken(_ascii(reply.body))


def _ascii(raw: bytes) -> str:
    return raw.decode("ascii", "replace")


def _failure(reply: Reply, said: str) -> Trouble:
    if reply.status in (400, 500) and said.startswith(("bad ", "failed ")):
        return Trouble(Fault.FAILED, f"{reply.status} {said}")
    raise lines.BadLines(f"not a gate's answer: {said!r}")


def _escaped(text: str) -> str:
    return escape(text.encode()).decode()
