"""The plugin ``prometheus``: what the router counts and measures, on a page of the admin listener.

Soda's words become labels, and whoever names a dataset chooses some of them. So every such metric has a cap on its series
and counts the rest under ``_other``.
"""

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import trio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import AfterValidator, Field

from sodarouter import (
    Dataset,
    Duration,
    Event,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    Options,
    Plugin,
    Result,
    Settled,
    State,
    Stats,
    hookimpl,
)

OTHER = "_other"
"""The label value for all that is beyond the cap."""

MAX_VALUE = 200
"""Characters of a label value: a name from outside may be of any length."""

ResultLabel = Literal[
    "source", "type", "outcome", "severity", "status", "dataset", "datasource", "owner", "tag", "column", "check"
]


def _distinct(labels: list[ResultLabel]) -> list[ResultLabel]:
    if len(set(labels)) < len(labels):
        raise ValueError("a label is named twice")
    return labels


def _rising(bounds: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(bounds)):
        raise ValueError("buckets go from small to large")
    return bounds


Buckets = Annotated[list[Annotated[Duration, Field(gt=0)]], Field(min_length=1), AfterValidator(_rising)]


class PrometheusOptions(Options):
    """The ``[plugin.prometheus]`` table."""

    path: str = Field(default="/metrics", pattern="^/")
    """Where the admin listener serves the metrics."""
    result_labels: Annotated[list[ResultLabel], AfterValidator(_distinct)] = Field(
        default=["type", "outcome", "severity"], min_length=1
    )
    """The labels of `sodarouter_results_total`."""
    max_series: int = Field(default=1000, ge=1)
    """How many series a metric may have whose labels come from outside; what is beyond is counted under `_other`."""
    attempt_buckets: Buckets = Field(
        default=[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
    )
    """The upper bounds of the buckets of `sodarouter_attempt_seconds`, as durations."""
    end_to_end_buckets: Buckets = Field(
        default=[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0]
    )
    """The upper bounds of the buckets of `sodarouter_end_to_end_seconds`, as durations."""


class Prometheus(Plugin[PrometheusOptions]):
    """Observes the router and serves its metrics, from a registry of its own: two routers in one process do not mix."""

    def __init__(self, options: PrometheusOptions) -> None:
        super().__init__(options)
        self._registry = registry = CollectorRegistry()
        capped = partial(_Capped, registry, cap=options.max_series)
        self._received = capped(
            "sodarouter_events_received", "Events that were answered with a 200.", ("source", "type", "duplicate")
        )
        self._results = capped(
            "sodarouter_results", "Check results in events that were no duplicates.", options.result_labels
        )
        self._incidents = capped(
            "sodarouter_incidents", "Events about incidents that were no duplicates.", ("type", "severity", "status")
        )
        self._refused = Counter(
            "sodarouter_events_refused",
            "Requests that were answered with an error.",
            ("source", "status", "reason"),
            registry=registry,
        )
        self._by_destination: dict[str, _Meters] = {}
        self._deliveries = Counter(
            "sodarouter_deliveries", "Attempts, by how they ended.", ("destination", "outcome"), registry=registry
        )
        self._attempt = Histogram(
            "sodarouter_attempt_seconds",
            "How long attempts took.",
            ("destination",),
            unit="seconds",
            buckets=options.attempt_buckets,
            registry=registry,
        )
        self._end_to_end = Histogram(
            "sodarouter_end_to_end_seconds",
            "From taking an event in to its delivery.",
            ("destination",),
            unit="seconds",
            buckets=options.end_to_end_buckets,
            registry=registry,
        )
        Info("sodarouter_build", "The router that runs.", registry=registry).info({"version": version("sodarouter")})
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._values = [_RESULT_LABELS[label] for label in options.result_labels]

    @hookimpl
    def http_routes(self) -> list[HttpRoute]:
        return [HttpRoute(self.options.path, self._serve)]

    @hookimpl
    def event_accepted(self, event: Event, duplicate: bool) -> None:
        self._received.add((event.source, event.type, "true" if duplicate else "false"))
        if duplicate:
            return
        view = event.view
        if view.incident is not None:
            self._incidents.add((event.type, view.incident.severity or "", view.incident.status or ""))
        tally = Tally(tuple([value(event, result) or "" for value in self._values]) for result in view.results)
        for values, count in tally.items():
            self._results.add(values, count)

    @hookimpl
    def event_refused(self, source: str | None, status: int, reason: str) -> None:
        self._refused.labels(source or "", status, reason).inc()

    @hookimpl
    def delivery_settled(self, settled: Settled) -> None:
        destination = settled.delivery.destination
        meters = self._by_destination.get(destination) or self._meters(destination)
        meters.ended[settled.state].inc()
        meters.attempt.observe(settled.seconds)
        if settled.state is State.DELIVERED:
            # a wall clock may be set back
            meters.end_to_end.observe(max(0.0, (datetime.now(UTC) - settled.received).total_seconds()))

    def _meters(self, destination: str) -> "_Meters":
        # all of them at once, so that a first failure is a rise from 0 and not a series out of nowhere
        meters = self._by_destination[destination] = _Meters(
            {state: self._deliveries.labels(destination, outcome) for state, outcome in _OUTCOMES.items()},
            self._attempt.labels(destination),
            self._end_to_end.labels(destination),
        )
        return meters

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        stats = await request.stats()
        encode, content_type = _encoder(request.headers.get("accept", ""))
        # a thousand series take 40 ms to write, too long for the intake to stand still
        body = await trio.to_thread.run_sync(encode, _Scrape(self._registry, stats))
        return HttpResponse(body, content_type=content_type)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """OpenMetrics or Prometheus' own text, whichever the header asks for, and its content type."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        return choose_encoder("")


class _Meters(NamedTuple):
    """What is counted and measured of one destination."""

    ended: Mapping[State, Counter]
    attempt: Histogram
    end_to_end: Histogram


_OUTCOMES = {State.DELIVERED: "delivered", State.PENDING: "retried", State.DEAD: "dead"}


def _of_datasets(value: Callable[[Dataset], Iterable[str | None]]) -> Callable[[Event, Result], str]:
    """What a result's datasets have of something, with commas between: a result is counted once, however many it has."""
    return lambda _, result: ",".join(
        dict.fromkeys(text for dataset in result.datasets for text in value(dataset) if text)
    )


_RESULT_LABELS: Mapping[str, Callable[[Event, Result], str | None]] = {
    "source": lambda event, _: event.source,
    "type": lambda event, _: event.type,
    "outcome": lambda _, result: result.outcome,
    "severity": lambda event, _: event.view.incident.severity if event.view.incident else None,
    "status": lambda event, _: event.view.incident.status if event.view.incident else None,
    "dataset": _of_datasets(lambda dataset: [dataset.name or dataset.label or dataset.id]),
    "datasource": _of_datasets(lambda dataset: [dataset.datasource]),
    "owner": _of_datasets(lambda dataset: [owner.email or owner.name or owner.id for owner in dataset.owners]),
    "tag": _of_datasets(lambda dataset: dataset.tags),
    "column": lambda _, result: result.column,
    "check": lambda _, result: result.name,
}

_WORDS: Mapping[str, Collection[str]] = {
    "type": (
        "validate",
        "checkEvaluation",
        "incidentCreated",
        "incidentUpdated",
        "contractPublished",
        "agreementCreated",
        "agreementContentsUpdated",
        "agreementDeleted",
    ),
    "outcome": ("", "pass", "warn", "fail", "error", "not_evaluated", "excluded"),
    "severity": ("", "low", "medium", "high", "critical"),
    "status": ("", "reported", "in_progress", "resolved"),
    **dict.fromkeys(("dataset", "datasource", "owner", "tag", "column", "check"), ()),
}
"""What a label from outside keeps beyond the cap, so that counts by outcome stay right when there are too many datasets."""


class _Capped:
    """A counter with labels from outside: ``cap`` series, and beyond them those that `_WORDS` leaves."""

    def __init__(self, registry: CollectorRegistry, name: str, help_: str, labels: Sequence[str], *, cap: int) -> None:
        self._counter = Counter(name, help_, labels, registry=registry)
        self._labels = labels
        self._cap = cap
        self._children: dict[tuple[str, ...], Counter] = {}

    def add(self, values: tuple[str, ...], amount: int = 1) -> None:
        child = self._children.get(values) or self._child(tuple(value[:MAX_VALUE] for value in values))
        child.inc(amount)

    def _child(self, values: tuple[str, ...]) -> Counter:
        if values not in self._children and len(self._children) >= self._cap:
            pairs = zip(self._labels, values, strict=True)
            values = tuple(value if value in _WORDS.get(label, (value,)) else OTHER for label, value in pairs)
        if values not in self._children:
            self._children[values] = self._counter.labels(*values)
        return self._children[values]


class _Scrape(Collector):
    """What was counted, and what the spool holds at this moment.

    Made anew for each scrape, so two at once do not share a gauge, and nothing is left of a destination that is gone.
    """

    def __init__(self, registry: CollectorRegistry, stats: Stats) -> None:
        self._registry = registry
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        yield from _gauges(self._stats, datetime.now(UTC))


def _gauges(stats: Stats, now: datetime) -> Iterator[Metric]:
    depth = GaugeMetricFamily(
        "sodarouter_queue_depth", "Undelivered deliveries, waiting or under way.", labels=("destination", "state")
    )
    age = GaugeMetricFamily(
        "sodarouter_oldest_undelivered_age_seconds",
        "How long ago the oldest undelivered delivery was planned; 0 if there is none.",
        labels=("destination",),
        unit="seconds",
    )
    dead = GaugeMetricFamily("sodarouter_dead_letters", "Deliveries given up.", labels=("destination",))
    for destination, queue in stats.queues.items():
        depth.add_metric((destination, "pending"), queue.pending)
        depth.add_metric((destination, "leased"), queue.leased)
        age.add_metric((destination,), max(0.0, (now - queue.oldest).total_seconds()) if queue.oldest else 0.0)
        dead.add_metric((destination,), queue.dead)
    yield from (depth, age, dead)
    yield GaugeMetricFamily("sodarouter_quarantined", "Bodies in quarantine.", value=stats.quarantined)
    yield GaugeMetricFamily("sodarouter_spool_bytes", "Size of the spool.", value=stats.spool_bytes, unit="bytes")
