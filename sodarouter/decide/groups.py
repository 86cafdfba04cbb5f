"""Divides what goes to a destination into parts: one for each result, dataset, owner or team."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from sodarouter.decide.facts import Subject, indices
from sodarouter.view import Dataset

Each = Literal["event", "result", "dataset", "owner", "team"]
"""What a delivery is made for."""

MAX_PARTS = 500
"""Deliveries that one event is divided into for one destination; what is left then travels together in the last."""


def divide(subject: Subject, each: Each, mask: int) -> list[tuple[str | None, int]]:
    """The parts in the order in which they first appear: what each has in common, and its results as bits.

    A result with two owners is in the part of each of them; those without any share a part, for which that is ``None``.
    """
    if each == "event" or not subject.count:
        return [(None, mask)]
    if each == "result":
        parts: list[tuple[str | None, int]] = [(None, 1 << index) for index in indices(mask)]
    else:
        groups: dict[str | None, int] = {}
        spelt: dict[str, str] = {}
        for index in indices(mask):
            # matchers take owners in upper and lower case for the same, and so does this: the first spelling stays
            folded = {spelt.setdefault(_FOLD[each](name), name): None for name in _NAMES[each](subject, index)}
            for name in folded or (None,):
                groups[name] = groups.get(name, 0) | 1 << index
        parts = list(groups.items())
    if len(parts) <= MAX_PARTS:
        return parts
    rest = 0
    for _, those in parts[MAX_PARTS - 1 :]:
        rest |= those
    return [*parts[: MAX_PARTS - 1], (None, rest)]


def dataset_name(dataset: Dataset) -> str | None:
    """What people call a dataset: ``datasource/name``, if it has both."""
    name = dataset.name or dataset.label or dataset.id
    return f"{dataset.datasource}/{name}" if dataset.datasource and name else name


def _datasets(subject: Subject, index: int) -> Iterator[str]:
    datasets = subject.event.view.results[index].datasets
    return (name for dataset in datasets if (name := dataset_name(dataset)))


def _owners(subject: Subject, index: int) -> Iterator[str]:
    for dataset in subject.event.view.results[index].datasets:
        for owner in dataset.owners:
            if name := owner.email or owner.name or owner.id:
                yield name


_NAMES: Mapping[str, Callable[[Subject, int], Iterable[str]]] = {
    "dataset": _datasets,
    "owner": _owners,
    "team": lambda subject, index: subject.teams[index],
}
_FOLD: Mapping[str, Callable[[str], str]] = {"dataset": str, "owner": str.casefold, "team": str}
