"""For load balancers and monitors: ``/healthz``, ``/readyz``, ``/metrics``. No signature, nothing about any caller.

``/healthz`` answers 200 while the process runs. ``/readyz`` answers 200 when tasks can be taken, and 503 with the
reason when not. ``/metrics`` is Prometheus text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from freshline.api.app import ASGIApp, Receive, Scope, Send

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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


class Metrics:
    """The numbers that are counted as they happen, and those that are looked up when asked."""

    def __init__(self, sight: Sight) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "freshline_api_calls", "Answers by operation and HTTP status.", ["action", "status"], registry=self.registry
        )
        self._latency = Histogram(
            "freshline_api_seconds", "Time to answer.", ["action"], buckets=LATENCY_SECONDS, registry=self.registry
        )
        self._delivery = Histogram(
            "freshline_delivery_seconds",
            "Time from sending a batch to a gate to its answer.",
            ["edge"],
            buckets=LATENCY_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Sighted(sight))

    def answered(self, action: str, status: int, seconds: float) -> None:
        self._calls.labels(action, str(status)).inc()
        self._latency.labels(action).observe(seconds)

    def delivered(self, edge: str, seconds: float) -> None:
        self._delivery.labels(edge).observe(seconds)


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


def routes(sight: Sight, metrics: Metrics) -> dict[str, ASGIApp]:
    """The probes by path."""

    def health() -> tuple[int, str]:
        return 200, "ok\n"

    def readiness() -> tuple[int, str]:
        why = sight.ready()
        return (503, f"{why}\n") if why else (200, "ok\n")

    def numbers() -> tuple[int, str]:
        return 200, generate_latest(metrics.registry).decode()

    return {"/healthz": _plain(health), "/readyz": _plain(readiness), "/metrics": _plain(numbers)}


def _plain(look: Callable[[], tuple[int, str]]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        status, text = look() if scope["method"] in ("GET", "HEAD") else (405, "GET only\n")
        body = text.encode()
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answer
