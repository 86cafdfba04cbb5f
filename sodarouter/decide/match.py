"""Matchers: what a route can ask of an event, compiled once when the configuration is loaded.

Every fact about an event is a set of strings, so that one rule serves all keys: a condition holds when one of its
patterns fits one of the strings. A result is matched by itself: all conditions on results must hold on the same one.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from sodarouter.event import Event
from sodarouter.options import Options
from sodarouter.view import Contract, Dataset, Person, Result, plain_word, word


def _as_list(value: object) -> object:
    if not isinstance(value, str | list):
        raise ValueError("a pattern is text, or a list of texts")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    return [value] if isinstance(value, str) else value


Patterns = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]
"""A pattern or a list of patterns, of which one must fit. ``*``, ``?`` and ``[…]`` are as in file names."""


class Conditions(Options):
    """What an event, or one of its results, can be asked. All that are given must hold."""

    event: Patterns | None = None
    """Soda's event type: `checkEvaluation`, `incident*` …"""
    scope: Patterns | None = None
    """`alert_notification`, `incidents`, `contracts` or `agreements`."""
    source: Patterns | None = None
    """The name of the source that took it in."""
    severity: Patterns | None = None
    """An incident's severity: `low`, `medium`, `high`, `critical`; Soda's `minor` and `major` will do too."""
    status: Patterns | None = None
    """An incident's status: `reported`, `in_progress`, `resolved`, or one of Soda's own words, such as `fixing`."""
    author: Patterns | None = None
    """Who published the contract: e-mail address, name or id."""
    outcome: Patterns | None = None
    """A result's outcome: `pass`, `warn`, `fail`, `error`, `not_evaluated`, `excluded`."""
    dataset: Patterns | None = None
    """A dataset's name, its label, its id, or `datasource/name`; a contract's full dataset name."""
    datasource: Patterns | None = None
    """The name of a dataset's data source."""
    owner: Patterns | None = None
    """A dataset's owner: e-mail address, name or id; upper and lower case are the same."""
    tag: Patterns | None = None
    """One of a dataset's tags."""
    attribute: dict[str, Patterns] | None = None
    """Attributes of a dataset or a check by name, such as `{ data_domain = "Product" }`."""
    column: Patterns | None = None
    """The column a check is about."""
    check: Patterns | None = None
    """A check's name or id."""


class Match(Conditions):
    """Conditions, and under `not` those of which none may hold."""

    not_: Conditions | None = Field(default=None, alias="not")
    """What must not be: an event or result that any of these fits is left out."""


@dataclass(frozen=True)
class Facts:
    """What is known of an event or of one result, by the key that asks for it."""

    plain: Mapping[str, frozenset[str]]
    attributes: Mapping[str, frozenset[str]]

    def of(self, key: str) -> frozenset[str]:
        """The strings for a key; ``attribute.NAME`` for an attribute."""
        name, _, attribute = key.partition(".")
        return (self.attributes.get(attribute) if attribute else self.plain.get(name)) or frozenset()


@dataclass(frozen=True)
class Condition:
    """One compiled condition. ``key`` is as in `Facts.of`."""

    key: str
    patterns: tuple[str, ...]
    negated: bool
    _literals: frozenset[str]
    _glob: Callable[[str], object] | None

    @property
    def on_result(self) -> bool:
        return self.key.partition(".")[0] not in EVENT_KEYS

    def holds(self, facts: Facts) -> bool:
        return self._fits(facts.of(self.key)) != self.negated

    def _fits(self, found: frozenset[str]) -> bool:
        if not self._literals.isdisjoint(found):
            return True
        return self._glob is not None and any(map(self._glob, found))


EVENT_KEYS = frozenset({"event", "scope", "source", "severity", "status", "author"})
"""The keys that ask the event; all others ask its results."""

_FOLDED: Mapping[str, Callable[[str], str]] = {
    "severity": lambda text: word(text) or text,
    "outcome": lambda text: word(text) or text,
    "status": lambda text: plain_word(text) or text,
    "owner": str.casefold,
    "author": str.casefold,
}
"""How a pattern is brought into the spelling of the facts it is held against."""

_WORDS = frozenset({"severity", "outcome", "status"})
_MAGIC = re.compile(r"[*?\[]")


def compile_match(match: Match) -> tuple[Condition, ...]:
    """The conditions of a ``match`` table, those on the event first: they cost least."""
    conditions = [*_conditions(match, negated=False), *(_conditions(match.not_, negated=True) if match.not_ else ())]
    return tuple(sorted(conditions, key=lambda condition: condition.on_result))


def _conditions(asked: Conditions, *, negated: bool) -> Iterator[Condition]:
    for key in Conditions.model_fields:
        value = getattr(asked, key)
        if isinstance(value, dict):
            for name, patterns in value.items():
                yield _condition(f"{key}.{name}", patterns, negated=negated)
        elif value is not None:
            yield _condition(key, value, negated=negated)


def _condition(key: str, patterns: Iterable[str], *, negated: bool) -> Condition:
    fold = _FOLDED.get(key, str)
    # a glob is no word, and `[a-m]*` must stay what it is
    folded = tuple(
        pattern.lower() if key in _WORDS and _MAGIC.search(pattern) else fold(pattern) for pattern in patterns
    )
    globs = [fnmatch.translate(pattern) for pattern in folded if _MAGIC.search(pattern)]
    return Condition(
        key,
        folded,
        negated,
        frozenset(pattern for pattern in folded if not _MAGIC.search(pattern)),
        re.compile("|".join(globs)).match if globs else None,
    )


class Subject:
    """An event's facts and its results', each gathered once, when first asked for."""

    def __init__(self, event: Event) -> None:
        self._event = event

    @cached_property
    def event(self) -> Facts:
        event, incident, contract = self._event, self._event.view.incident, self._event.view.contract
        return Facts(
            {
                "event": _set(event.type),
                "scope": _set(event.scope),
                "source": _set(event.source),
                "severity": _set(incident.severity if incident else None),
                "status": incident.status_words if incident else frozenset(),
                "author": _people([contract.author] if contract and contract.author else []),
            },
            {},
        )

    @cached_property
    def results(self) -> list[Facts]:
        """One for each result. An event without results has one all the same: its contract's dataset, or nothing."""
        view = self._event.view
        return [_result_facts(result) for result in view.results] or [_contract_facts(view.contract)]


def _result_facts(result: Result) -> Facts:
    datasets = result.datasets
    attributes: dict[str, frozenset[str]] = {}
    for source in (*(dataset.attributes for dataset in datasets), result.attributes):
        for name, value in source.items():
            attributes[name] = attributes.get(name, frozenset()) | _texts(value)
    return Facts(
        {
            "outcome": _set(result.outcome),
            "dataset": frozenset(name for dataset in datasets for name in _names(dataset)),
            "datasource": _set(*(dataset.datasource for dataset in datasets)),
            "owner": _people(owner for dataset in datasets for owner in dataset.owners),
            "tag": frozenset(tag for dataset in datasets for tag in dataset.tags),
            "column": _set(result.column),
            "check": _set(result.name, result.id),
        },
        attributes,
    )


def _contract_facts(contract: Contract | None) -> Facts:
    if contract is None or contract.dataset is None:
        return Facts({}, {})
    return Facts(
        {
            "dataset": _set(contract.dataset, contract.dataset.rpartition("/")[2]),
            "datasource": _set(contract.datasource or contract.dataset.partition("/")[0]),
        },
        {},
    )


def _names(dataset: Dataset) -> Iterator[str]:
    yield from _set(dataset.id, dataset.name, dataset.label)
    if dataset.datasource and dataset.name:
        yield f"{dataset.datasource}/{dataset.name}"


def _people(people: Iterable[Person]) -> frozenset[str]:
    return frozenset(text.casefold() for person in people for text in _set(person.email, person.name, person.id))


def _set(*texts: str | None) -> frozenset[str]:
    return frozenset(text for text in texts if text)


def _texts(value: object) -> frozenset[str]:
    """An attribute's value as strings: each entry of a list; ``true`` and ``false`` as TOML and JSON spell them."""
    if isinstance(value, list):
        return frozenset().union(*map(_texts, value))
    if isinstance(value, bool):
        return _set(str(value).lower())
    return _set(str(value)) if isinstance(value, str | int | float) else frozenset()
