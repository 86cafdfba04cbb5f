"""What is true at the moment of a scrape, as gauges."""

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from sodarouter import Breaker, Halt, Lag, Loaded, Stats
from sodarouter_prometheus.own import health, own_metrics


class Scrape(Collector):
    """What was counted, and what the router holds at this moment.

    Made anew for each scrape, so two at once do not share a gauge, and nothing is left of a destination that is gone.

    Args:
        counted: What the plugin has counted.
        stats: ``None`` if the spool cannot be asked: what was counted is shown all the same.
    """

    def __init__(self, counted: CollectorRegistry, stats: Stats | None) -> None:
        self._counted = counted
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        yield from self._counted.collect()
        works = self._stats is not None and not self._stats.trouble
        yield _gauge("spool_up", "Whether events can be stored: 1 or 0.", works)
        if self._stats is not None:
            yield from _queues(self._stats, datetime.now(UTC))
            yield from _spool(self._stats)
            yield from _config(self._stats.loaded)
            yield from _event_loop(self._stats)
            yield from _workers(self._stats)
            yield health(self._stats)
            yield from own_metrics(self._stats)


def _gauge(name: str, help_: str, value: float, unit: str = "") -> Metric:
    return GaugeMetricFamily(f"sodarouter_{name}", help_, value=value, unit=unit)


def _queues(stats: Stats, now: datetime) -> Iterator[Metric]:
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
    breakers = GaugeMetricFamily(
        "sodarouter_breaker_state",
        "Whether a destination's circuit breaker is in a state: 1 for the one that it is in.",
        labels=("destination", "state"),
    )
    halts = GaugeMetricFamily(
        "sodarouter_destination_halted",
        "Whether an operator has paused or drains a destination: 1 or 0.",
        labels=("destination", "halt"),
    )
    for destination, queue in stats.queues.items():
        depth.add_metric((destination, "pending"), queue.pending)
        depth.add_metric((destination, "leased"), queue.leased)
        age.add_metric((destination,), max(0.0, (now - queue.oldest).total_seconds()) if queue.oldest else 0.0)
        dead.add_metric((destination,), queue.dead)
        for halt in Halt:
            halts.add_metric((destination, halt), queue.halt is halt)
        # one that the configuration does not have has no breaker
        for breaker in Breaker if queue.breaker else ():
            breakers.add_metric((destination, breaker), queue.breaker is breaker)
    yield from (depth, age, dead, breakers, halts)


def _spool(stats: Stats) -> Iterator[Metric]:
    yield _gauge("backlog", "Deliveries that wait, of all destinations and of the deciding.", stats.backlog)
    yield _gauge("quarantined", "Bodies in quarantine.", stats.quarantined)
    yield _gauge("spool_bytes", "Size of the spool.", stats.spool_bytes, unit="bytes")
    # a limit that is not known is no limit of 0
    if stats.max_backlog:
        yield _gauge("max_backlog", "The backlog at which nothing more is taken in.", stats.max_backlog)
    if stats.max_bytes:
        yield _gauge("spool_max_bytes", "The size at which nothing more is taken in.", stats.max_bytes, unit="bytes")
    yield _gauge(
        "spool_writer_lag_seconds", "How long the oldest change has waited for the disk.", stats.writer_lag, "seconds"
    )


def _config(loaded: Loaded) -> Iterator[Metric]:
    yield InfoMetricFamily("sodarouter_config", "The configuration that runs.", value={"config": loaded.config})
    yield _gauge(
        "config_last_reload_successful",
        "Whether the last attempt to load a configuration succeeded: 1 or 0.",
        loaded.failed is None,
    )
    if loaded.since is not None:
        yield _gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration that runs was loaded.",
            loaded.since.timestamp(),
            "seconds",
        )


def _workers(stats: Stats) -> Iterator[Metric]:
    if stats.workers is not None:
        yield _gauge("workers", "Intake processes that serve.", stats.workers.running)
        yield _gauge("workers_wanted", "Intake processes that there are to be.", stats.workers.wanted)
        yield CounterMetricFamily(
            "sodarouter_worker_restarts",
            "Intake processes that have ended by themselves and were replaced.",
            value=stats.workers.restarts,
        )


def _event_loop(stats: Stats) -> Iterator[Metric]:
    lag: Lag = stats.lag
    yield _gauge("event_loop_lag_seconds", "The longest that a step of the last minute took.", lag.longest, "seconds")
    blocked = CounterMetricFamily(
        "sodarouter_event_loop_blocked",
        "How often a step kept all others waiting for a tenth of a second or more, by whose it was.",
        labels=("by",),
    )
    # from 0 on, so that a first time is a rise
    expected = ("router", *(f"destination {name}" for name, queue in stats.queues.items() if queue.breaker))
    for by, times in (dict.fromkeys(expected, 0) | dict(lag.blocked)).items():
        blocked.add_metric((by,), times)
    yield blocked
