"""For load balancers and monitors. No signature, nothing about any caller.

``/healthz`` answers 200 while the process runs. ``/readyz`` answers 200 when tasks can be taken, and 503 with the
reason when not. ``/metrics`` is Prometheus text. ``/edges/NAME/fresh`` is what the gate's own ``/freshline/fresh``
says, for balancers that cannot reach the gate: 200 or 503 and nothing else, 404 where there is no such edge.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from freshline.api.app import ASGIApp, Receive, Scope, Send
from freshline.api.asgi import say

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FRESH = {True: (200, "fresh\n"), False: (503, "not fresh\n"), None: (404, "no such edge\n")}


@dataclass(frozen=True, slots=True)
class EdgeLag:
    """How one edge stands, as a monitor wants it."""

    edge: str
    kind: str
    fresh: bool  #: it stands where the log does
    entries: int  #: rows it has not settled
    seconds: float  #: since the oldest of them was accepted


@dataclass(frozen=True, slots=True)
class Sight:
    """What the probes look at, asked anew each time."""

    ready: Callable[[], str]  #: why not, or nothing
    rows: Callable[[], Mapping[str, int]]  #: rows kept, by status
    lags: Callable[[], Iterable[EdgeLag]]
    head: Callable[[], int]
    fresh: Callable[[str], bool | None]  #: whether an edge may be sent visitors; ``None``: there is none of the name


@dataclass(slots=True)
class _Times:
    """A histogram as it is counted. The library's own costs as much as a tenth of a call."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_SECONDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(LATENCY_SECONDS, seconds)] += 1
        self.total += seconds

    def upto(self) -> list[tuple[str, float]]:
        names = [*map(str, LATENCY_SECONDS), "+Inf"]
        return [(name, float(count)) for name, count in zip(names, accumulate(self.buckets), strict=True)]


class Metrics:
    """The numbers that are counted as they happen, and those that are looked up when asked."""

    def __init__(self, sight: Sight) -> None:
        self.registry = CollectorRegistry()
        self._calls: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, _Times] = {}
        self._delivery: dict[str, _Times] = {}
        self.registry.register(_Counted(self._calls, self._seconds, self._delivery))
        self.registry.register(_Sighted(sight))

    def answered(self, action: str, status: int, seconds: float) -> None:
        known = action, status
        self._calls[known] = self._calls.get(known, 0) + 1
        (self._seconds.get(action) or self._seconds.setdefault(action, _Times())).add(seconds)

    def delivered(self, edge: str, seconds: float) -> None:
        (self._delivery.get(edge) or self._delivery.setdefault(edge, _Times())).add(seconds)


class _Counted(Collector):
    def __init__(
        self, calls: Mapping[tuple[str, int], int], seconds: Mapping[str, _Times], delivery: Mapping[str, _Times]
    ) -> None:
        self._calls, self._seconds, self._delivery = calls, seconds, delivery

    def collect(self) -> Iterable[CounterMetricFamily | HistogramMetricFamily]:
        calls = CounterMetricFamily(
            "freshline_api_calls", "Answers by operation and HTTP status.", labels=["action", "status"]
        )
        for (action, status), count in self._calls.items():
            calls.add_metric([action, str(status)], count)
        yield calls
        yield _histogram("freshline_api_seconds", "Time to answer.", "action", self._seconds)
        yield _histogram(
            "freshline_delivery_seconds", "Time from sending a batch to a gate to its answer.", "edge", self._delivery
        )


def _histogram(name: str, what: str, label: str, counted: Mapping[str, _Times]) -> HistogramMetricFamily:
    out = HistogramMetricFamily(name, what, labels=[label])
    for value, times in counted.items():
        out.add_metric([value], times.upto(), times.total)
    return out


class _Sighted(Collector):
    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def collect(self) -> Iterable[GaugeMetricFamily]:
        rows = GaugeMetricFamily("freshline_rows", "Rows of the kept days by status.", labels=["status"])
        for status, count in self._sight.rows().items():
            rows.add_metric([status], count)
        yield rows
        yield GaugeMetricFamily("freshline_log_head", "Last position of the log.", value=self._sight.head())
        entries = GaugeMetricFamily("freshline_edge_lag_entries", "Rows an edge has not settled.", labels=["edge"])
        seconds = GaugeMetricFamily("freshline_edge_lag_seconds", "Age of the oldest of them.", labels=["edge"])
        fresh = GaugeMetricFamily("freshline_edge_fresh", "1 while an edge stands where the log does.", labels=["edge"])
        for lag in self._sight.lags():
            entries.add_metric([lag.edge], lag.entries)
            seconds.add_metric([lag.edge], lag.seconds)
            fresh.add_metric([lag.edge], float(lag.fresh))
        yield from (entries, seconds, fresh)


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes by path."""

    sight: Sight
    metrics: Metrics

    def get(self, path: str, /) -> ASGIApp | None:
        match path.split("/"):
            case ["", "healthz"]:
                return _plain(lambda: (200, "ok\n"))
            case ["", "readyz"]:
                return _plain(self._readiness)
            case ["", "metrics"]:
                return _plain(lambda: (200, generate_latest(self.metrics.registry).decode()))
            case ["", "edges", name, "fresh"]:
                return _plain(lambda: FRESH[self.sight.fresh(name)])
            case _:
                return None

    def _readiness(self) -> tuple[int, str]:
        why = self.sight.ready()
        return (503, f"{why}\n") if why else (200, "ok\n")


def _plain(look: Callable[[], tuple[int, str]]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        status, text = look() if scope["method"] in ("GET", "HEAD") else (405, "GET only\n")
        body = text.encode()
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await say(send, status, headers, b"" if scope["method"] == "HEAD" else body)

    return answer
