"""What destinations and plugins count and measure of their own, as it was at one moment."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family

from sodarouter import Metric, MetricKind, Stats


def health(stats: Stats) -> Family:
    family = Family("sodarouter_healthy", "Whether a destination or a plugin is well: 1 or 0.", "gauge")
    for label, conditions in (("destination", stats.destinations), ("plugin", stats.plugins)):
        for name, condition in conditions.items():
            if condition.health is not None:
                family.add_sample("sodarouter_healthy", {label: name}, not condition.health)
    return family


def own_metrics(stats: Stats) -> Iterator[Family]:
    """A family for each name. Where two give different kinds one name, the kind stands behind that of the later kinds."""
    families: dict[tuple[str, MetricKind], Family] = {}
    kinds: dict[str, MetricKind] = {}
    for kind in MetricKind:
        for owner, metric in _of(stats):
            if metric.kind is not kind:
                continue
            first = kinds.setdefault(metric.name, kind)
            name = f"sodarouter_plugin_{metric.name}" + (f"_{kind}" if first is not kind else "")
            if (metric.name, kind) not in families:
                help_ = f"The {kind} {metric.name} of destinations and plugins."
                families[metric.name, kind] = Family(name, help_, kind.value)
            _add(families[metric.name, kind], owner, metric)
    yield from families.values()


def _of(stats: Stats) -> Iterator[tuple[dict[str, str], Metric]]:
    for label, conditions in (("destination", stats.destinations), ("plugin", stats.plugins)):
        for name, condition in conditions.items():
            for metric in condition.metrics:
                yield {label: name}, metric


def _add(family: Family, owner: dict[str, str], metric: Metric) -> None:
    for sample in metric.samples:
        labels = owner | dict(zip(metric.labels, sample.labels, strict=True))
        if metric.kind is MetricKind.SUMMARY:
            family.add_sample(f"{family.name}_count", labels, sample.count)
            family.add_sample(f"{family.name}_sum", labels, sample.value)
        else:
            total = "_total" if metric.kind is MetricKind.COUNTER else ""
            family.add_sample(f"{family.name}{total}", labels, sample.value)
