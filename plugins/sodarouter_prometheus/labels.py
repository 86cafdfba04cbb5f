"""Labels whose values come from outside: where each is found in an event, and how many there may be."""

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import repeat
from operator import attrgetter

from prometheus_client import CollectorRegistry, Counter

from sodarouter import Dataset, Event, Result

OTHER = "_other"
"""The label value for all that is beyond the cap."""

MAX_VALUE = 200
"""Characters of a label value: a name from outside may be of any length."""


def _of_datasets(value: Callable[[Dataset], Iterable[str | None]]) -> Callable[[Result], str]:
    """What a result's datasets have of something, with commas between: a result is counted once, however many it has."""
    return lambda result: ",".join(
        dict.fromkeys(text for dataset in result.datasets for text in value(dataset) if text)
    )


OF_EVENT: Mapping[str, Callable[[Event], str | None]] = {
    "source": lambda event: event.source,
    "type": lambda event: event.type,
    "severity": lambda event: event.view.incident.severity if event.view.incident else None,
    "status": lambda event: event.view.incident.status if event.view.incident else None,
}
"""What each label that all results of an event have in common says of it."""

OF_RESULT: Mapping[str, Callable[[Result], str | None]] = {
    "outcome": attrgetter("outcome"),
    "dataset": _of_datasets(lambda dataset: [dataset.name or dataset.label or dataset.id]),
    "datasource": _of_datasets(lambda dataset: [dataset.datasource]),
    "owner": _of_datasets(lambda dataset: [owner.email or owner.name or owner.id for owner in dataset.owners]),
    "tag": _of_datasets(lambda dataset: dataset.tags),
    "column": attrgetter("column"),
    "check": attrgetter("name"),
}
"""What each other label that a result can have says of it."""

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


class Capped:
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


class Results:
    """A counter of the results of events.

    Args:
        registry: As for `Capped`, as are the others.
        labels: Of `OF_EVENT` and `OF_RESULT`.
    """

    def __init__(self, registry: CollectorRegistry, name: str, help_: str, labels: Sequence[str], *, cap: int) -> None:
        of_event = [label for label in labels if label in OF_EVENT]
        of_result = [label for label in labels if label in OF_RESULT]
        self._counter = Capped(registry, name, help_, (*of_event, *of_result), cap=cap)
        self._of_event = [OF_EVENT[label] for label in of_event]
        self._of_result = [OF_RESULT[label] for label in of_result]

    def add(self, event: Event) -> None:
        results = event.view.results
        common = tuple([value(event) or "" for value in self._of_event])
        columns = [map(value, results) for value in self._of_result]
        # most of a hundred results have the same labels
        rows: Iterable[tuple[str | None, ...]] = zip(*columns, strict=True) if columns else repeat((), len(results))
        for own, count in Tally(rows).items():
            self._counter.add((*common, *[value or "" for value in own]), count)
