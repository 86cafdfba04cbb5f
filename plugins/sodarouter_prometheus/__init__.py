"""The plugin ``prometheus``: what the router counts and measures, on a page of the admin listener.

Soda's words become labels, and whoever names a dataset chooses some of them. So every such metric has a cap on its series
and counts the rest under ``_other``.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

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
from prometheus_client.registry import Collector

from sodarouter import (
    Cause,
    Event,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    Plugin,
    Settled,
    SpoolError,
    State,
    Stats,
    hookimpl,
)
from sodarouter_prometheus.labels import Capped, Results
from sodarouter_prometheus.moment import Scrape
from sodarouter_prometheus.options import PrometheusOptions


class Prometheus(Plugin[PrometheusOptions]):
    """Observes the router and serves its metrics, from a registry of its own: two routers in one process do not mix."""

    def __init__(self, options: PrometheusOptions) -> None:
        super().__init__(options)
        self._registry = registry = CollectorRegistry()
        self._thread = trio.CapacityLimiter(1)
        capped = partial(Capped, registry, cap=options.max_series)
        self._received = capped(
            "sodarouter_events_received", "Events that were answered with a 200.", ("source", "type", "duplicate")
        )
        self._results = Results(
            registry,
            "sodarouter_results",
            "Check results in events that were no duplicates.",
            options.result_labels,
            cap=options.max_series,
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
        self._given_up = Counter(
            "sodarouter_deliveries_given_up",
            "Deliveries that became dead letters, by why.",
            ("destination", "cause"),
            registry=registry,
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
        self._results.add(event)

    @hookimpl
    def event_refused(self, source: str | None, status: int, reason: str) -> None:
        self._refused.labels(source or "", status, reason).inc()

    @hookimpl
    def delivery_settled(self, settled: Settled) -> None:
        destination = settled.delivery.destination
        meters = self._by_destination.get(destination) or self._meters(destination)
        meters.ended[settled.state].inc()
        if settled.seconds:
            meters.attempt.observe(settled.seconds)
        if settled.cause is not None:
            meters.given_up[settled.cause].inc()
        if settled.state is State.DELIVERED:
            # a wall clock may be set back
            meters.end_to_end.observe(max(0.0, (datetime.now(UTC) - settled.received).total_seconds()))

    def _expect(self, stats: Stats) -> None:
        for destination, queue in stats.queues.items():
            # those of the configuration: others have no breaker
            if queue.breaker is not None and destination not in self._by_destination:
                self._meters(destination)

    def _meters(self, destination: str) -> "_Meters":
        # all of them at once, so that a first failure is a rise from 0 and not a series out of nowhere
        meters = self._by_destination[destination] = _Meters(
            {state: self._deliveries.labels(destination, outcome) for state, outcome in _OUTCOMES.items()},
            {cause: self._given_up.labels(destination, cause) for cause in Cause},
            self._attempt.labels(destination),
            self._end_to_end.labels(destination),
        )
        return meters

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        stats: Stats | None = None
        # the scrape says that the spool cannot be asked, and has all the rest
        with suppress(SpoolError):
            stats = await request.stats()
            self._expect(stats)
        encode, content_type = _encoder(request.headers.get("accept", ""))
        # a thousand series take 40 ms to write, too long for the intake to stand still
        body = await trio.to_thread.run_sync(encode, Scrape(self._registry, stats), limiter=self._thread)
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
    given_up: Mapping[Cause, Counter]
    attempt: Histogram
    end_to_end: Histogram


_OUTCOMES = {State.DELIVERED: "delivered", State.PENDING: "retried", State.DEAD: "dead"}
