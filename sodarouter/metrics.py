"""What plugins and destinations count and measure of their own: bounded, whatever they put into labels."""

import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from sodarouter.failures import is_a, plain, storable

MOST_METRICS = 100
"""Names that one plugin, or one destination, may use."""
MOST_SERIES = 100
"""Sets of label values that a metric has; what is beyond goes to one of `OTHER` alone."""
MOST_LABELS = 8
MAX_VALUE = 128
"""Characters of a label's value."""
OTHER = "_other"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ENDINGS = ("_total", "_sum", "_count", "_bucket", "_created", "_info", "_counter", "_gauge", "_summary")
"""What those who show metrics put behind names."""
_TAKEN = ("plugin", "destination", "le", "quantile")
"""Labels that those who show metrics put beside others."""


class MetricKind(StrEnum):
    """How the values of a metric are to be read."""

    COUNTER = "counter"
    """It only grows."""
    GAUGE = "gauge"
    """It is what it is at the moment."""
    SUMMARY = "summary"
    """The sum of what was observed, and how often."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric."""

    labels: tuple[str, ...]
    """The values of the metric's labels, in their order."""
    value: float
    """Of a summary: the sum."""
    count: int = 0
    """Of a summary: how many were observed."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a plugin's or a destination's own, as it is at one moment."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    """Their names, in the order of the alphabet."""
    samples: tuple[Sample, ...]


@dataclass(slots=True)
class _Cell:
    value: float = 0.0
    count: int = 0


@dataclass(slots=True)
class _Family:
    kind: MetricKind
    labels: tuple[str, ...]
    cells: dict[tuple[str, ...], _Cell] = field(default_factory=dict)
    known: dict[tuple[tuple[str, str], ...], _Cell] = field(default_factory=dict)
    """The same cells, by the labels as they were given."""


class Metrics:
    """Counts and measures. Any thread may call it, and each call is cheap.

    A metric is made when it is first used. Its kind and the names of its labels stay what they are then. Label values are
    stored without known secrets, and end after `MAX_VALUE` characters.

    Args:
        redact: Takes secrets out of label values.

    Raises:
        ValueError: From each method: a name, a label or a value that cannot be.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        # an RLock: the collector may run a plugin's ``__del__`` in the middle of a call, and that may count too
        self._lock = threading.RLock()
        self._families: dict[str, _Family] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Adds to a counter."""
        number = _number(amount)
        if not 0 <= number < math.inf:
            raise ValueError(f"{name}: a count is a number that is not negative, not {amount!r}")
        labels = _plain(name, labels)
        with self._lock:
            self._cell(MetricKind.COUNTER, name, labels).value += number

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Says what something is now."""
        number = _number(value)
        if not math.isfinite(number):
            raise ValueError(f"{name}: a gauge is a number, not {value!r}")
        labels = _plain(name, labels)
        with self._lock:
            self._cell(MetricKind.GAUGE, name, labels).value = number

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Adds one observation to a summary, such as how many seconds something took."""
        number = _number(value)
        if not math.isfinite(number):
            raise ValueError(f"{name}: what is observed is a number, not {value!r}")
        labels = _plain(name, labels)
        with self._lock:
            cell = self._cell(MetricKind.SUMMARY, name, labels)
            cell.value += number
            cell.count += 1

    def now(self) -> tuple[Metric, ...]:
        """All of them, in the order of their names."""
        with self._lock:
            return tuple(
                Metric(
                    name,
                    family.kind,
                    family.labels,
                    tuple(Sample(values, cell.value, cell.count) for values, cell in family.cells.items()),
                )
                for name, family in sorted(self._families.items())
            )

    def _cell(self, kind: MetricKind, name: str, labels: dict[str, str]) -> _Cell:
        given = tuple(labels.items())
        family = self._families.get(name)
        if family is None or family.kind is not kind or given not in family.known:
            return self._found(kind, name, labels)
        return family.known[given]

    def _found(self, kind: MetricKind, name: str, labels: dict[str, str]) -> _Cell:
        family = self._families.get(name)
        names = tuple(sorted(labels))
        if family is None:
            self._check(name, names)
            family = _Family(kind, names)
        if family.kind is not kind:
            raise ValueError(f"{name}: it is a {family.kind} already, and cannot be a {kind} too")
        if family.labels != names:
            has = ", ".join(family.labels) or "none"
            raise ValueError(f"{name}: its labels are {has}, and it was given {', '.join(names) or 'none'}")
        self._families[name] = family
        if len(family.known) >= MOST_SERIES:
            # a plugin that puts what is new each time into a label does so for each event: not even looked at for secrets
            return family.cells.setdefault((OTHER,) * len(names), _Cell())
        values = tuple(storable(self._redact(labels[label]))[:MAX_VALUE] for label in names)
        if values not in family.cells and len(family.cells) >= MOST_SERIES:
            values = (OTHER,) * len(names)
        cell = family.cells.setdefault(values, _Cell())
        if len(family.known) < MOST_SERIES and all(len(value) <= MAX_VALUE for value in labels.values()):
            family.known[tuple(labels.items())] = cell
        return cell

    def _check(self, name: str, labels: tuple[str, ...]) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a metric: lower-case letters, digits and _, 64 of them at most")
        if name.endswith(_ENDINGS):
            raise ValueError(f"{name}: leave the ending _{name.rpartition('_')[2]} out; it is added where it belongs")
        for label in labels:
            if label in _TAKEN or not _NAME.fullmatch(label):
                raise ValueError(f"{name}: {label!r} cannot be a label's name")
        if len(labels) > MOST_LABELS:
            raise ValueError(f"{name}: it has more than {MOST_LABELS} labels")
        if len(self._families) >= MOST_METRICS:
            raise ValueError(f"{name}: there are {MOST_METRICS} metrics already; put what varies into a label")


# What is kept here is shown together with what all others count: so nothing of a class of the plugin's own is, and none of
# its code runs while the lock is held.


def _number(value: float) -> float:
    """Not a number, for whatever is none."""
    try:
        return float(value) if is_a(value, float) or is_a(value, int) else math.nan
    except OverflowError:
        return math.nan


def _plain(name: str, labels: dict[str, str]) -> dict[str, str]:
    """The labels, with ``str`` for any text of a class of its own.

    Raises:
        ValueError: A label, or the name, is no text.
    """
    if type(name) is not str:
        raise ValueError(f"{name!r} is no name of a metric: it must be text")
    for label, value in labels.items():
        if type(value) is not str or type(label) is not str:
            if not is_a(value, str):
                raise ValueError(f"{name}: the label {label} must be text, not {value!r}")
            return {plain(label): plain(value) for label, value in labels.items() if is_a(value, str)}
    return labels
