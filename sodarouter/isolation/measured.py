"""What a destination counts and measures in its process, carried over to the router."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from sodarouter.metrics import MetricKind, Metrics

MOST = 1000
"""How many measurements wait to be told; what is beyond is left out."""


@dataclass(frozen=True)
class Measured:
    """One call of a method of `Metrics`, or several that come to the same."""

    kind: MetricKind
    name: str
    value: float
    labels: dict[str, str]


class Measuring(Metrics):
    """As `Metrics`, and remembers what is to be told."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[object, Measured] = {}
        self._told = threading.Lock()

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        super().count(name, amount, **labels)
        self._remember(MetricKind.COUNTER, name, amount, labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        super().gauge(name, value, **labels)
        self._remember(MetricKind.GAUGE, name, value, labels)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        super().observe(name, value, **labels)
        self._remember(MetricKind.SUMMARY, name, value, labels)

    def taken(self) -> list[Measured]:
        """What was measured since this was last asked."""
        with self._told:
            waiting, self._waiting = self._waiting, {}
        return list(waiting.values())

    def _remember(self, kind: MetricKind, name: str, value: float, labels: dict[str, str]) -> None:
        with self._told:
            # every observation counts by itself
            key = (kind, name, *sorted(labels.items()), *([len(self._waiting)] if kind is MetricKind.SUMMARY else []))
            before = self._waiting.get(key)
            if before is None and len(self._waiting) >= MOST:
                return
            total = before.value + value if before and kind is MetricKind.COUNTER else value
            self._waiting[key] = Measured(kind, name, total, labels)


def tell(measured: Iterable[Measured], metrics: Metrics) -> None:
    """Measures it here too. What cannot be is left out: the process has told its plugin so, or says what it likes."""
    for one in measured:
        with suppress(ValueError):
            match one.kind:
                case MetricKind.COUNTER:
                    metrics.count(one.name, one.value, **one.labels)
                case MetricKind.GAUGE:
                    metrics.gauge(one.name, one.value, **one.labels)
                case MetricKind.SUMMARY:
                    metrics.observe(one.name, one.value, **one.labels)
