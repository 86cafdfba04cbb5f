"""Facts: what is known of an event and of each of its results, as texts that matchers are held against.

The results that share a text are kept as one whole number, a bit for each: so a condition is asked of all results at once,
and what several conditions leave is their ``&``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Protocol

from sodarouter.decide.memory import Memory, Recalled, recall
from sodarouter.decide.when.document import document
from sodarouter.event import Event
from sodarouter.view import Contract, Dataset, Person, Result, Team, plain_word, word

EVENT_KEYS = frozenset({"event", "scope", "source", "severity", "status", "incident", "author", "contract", "enriched"})
"""The keys that ask the event; all others ask its results."""

FOLDED: Mapping[str, Callable[[str], str]] = {
    "severity": lambda text: word(text) or text,
    "outcome": lambda text: word(text) or text,
    "previous": lambda text: word(text) or text,
    "status": lambda text: plain_word(text) or text,
    "incident": lambda text: plain_word(text) or text,
    "contract": lambda text: plain_word(text) or text,
    "result": lambda text: plain_word(text) or text,
    "owner": str.casefold,
    "author": str.casefold,
}
"""How a pattern is brought into the spelling of the facts it is held against."""

WORDS = frozenset({"severity", "outcome", "previous", "status", "incident", "contract", "result"})
"""The keys whose texts are words of a fixed vocabulary, in lower case."""


class Owners(Protocol):
    """Knows which team owns what: `sodarouter.decide.teams.Teams`, which is built upon this module."""

    def of(self, dataset: Dataset) -> Team | None: ...
    def of_contract(self, contract: Contract) -> Team | None: ...


class Subject:
    """An event as the rules see it. What they ask for is gathered once, when it is first asked for.

    Args:
        event: What is decided.
        memory: What is remembered of what it is about: as `sodarouter.decide.memory.recall` takes it.
        teams: Who owns which dataset.
    """

    def __init__(self, event: Event, memory: Mapping[bytes, Memory], teams: Owners | None = None) -> None:
        self.event = event
        self.count = len(event.view.results)
        """How many results there are."""
        # an event without results has one all the same: its contract's dataset, or nothing
        self.all = (1 << max(1, self.count)) - 1
        """All results, as bits."""
        self._memory = memory
        self._teams = teams
        self._texts: dict[str, Mapping[str, int]] = {}

    def texts(self, key: str) -> Mapping[str, int]:
        """The texts for a key, each with the results that have it; ``attribute.NAME`` for an attribute, and
        ``enriched.PLUGIN.NAME`` for what a plugin has added."""
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = self._gathered(key)
        return found

    def _gathered(self, key: str) -> Mapping[str, int]:
        if key in EVENT_KEYS:
            return dict.fromkeys(_EVENT[key](self), self.all)
        if key.startswith(_ENRICHED):
            found = _within(self.event.enriched, key.removeprefix(_ENRICHED))
            return {text: self.all for value in found for text in texts_of(value) if text}
        view = self.event.view
        results = view.results
        if not results:
            return dict.fromkeys(self._contract_texts(key, view.contract), 1) if view.contract else {}
        of_result = _RESULT.get(key) or partial(_attribute, key.partition(".")[2])
        if len(results) == 1:  # as most events have
            return {text: 1 for text in of_result(self, 0, results[0]) if text}
        gathered: dict[str, int] = {}
        bit = 1
        for index, result in enumerate(results):
            for text in of_result(self, index, result):
                if text:
                    gathered[text] = gathered.get(text, 0) | bit
            bit <<= 1
        return gathered

    @cached_property
    def recalled(self) -> Recalled:
        """What the memory says."""
        return recall(self.event, self._memory)

    @cached_property
    def document(self) -> Mapping[str, object]:
        """What expressions see."""
        known = [
            {"teams": teams, "previous": facts.previous, "became": facts.became, "streak": facts.streak}
            for teams, facts in zip(self.teams, self.recalled.results, strict=True)
        ]
        contract = self.event.view.contract
        of_event = {
            "incident": {"became": sorted(self.recalled.incident)},
            "contract": {
                "changes": sorted(self.recalled.contract),
                "teams": self._contract_texts("team", contract) if contract else [],
            },
        }
        return document(self.event, known, of_event)

    @cached_property
    def teams(self) -> Sequence[list[str]]:
        """The names of the teams that each result's datasets belong to, each once."""
        teams = self._teams
        if not teams:
            return [[] for _ in self.event.view.results]
        found = ([teams.of(dataset) for dataset in result.datasets] for result in self.event.view.results)
        return [list(dict.fromkeys(team.name for team in those if team)) for those in found]

    def _contract_texts(self, key: str, contract: Contract) -> list[str]:
        if key != "team":
            return of_contract(contract, key)
        team = self._teams.of_contract(contract) if self._teams else None
        return [team.name] if team else []


def indices(mask: int) -> tuple[int, ...]:
    """The results that a number stands for."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return tuple(found)


def _optional(*texts: str | None) -> Iterator[str]:
    return (text for text in texts if text)


def _author(subject: Subject) -> Iterable[str]:
    contract = subject.event.view.contract
    return people([contract.author] if contract and contract.author else [])


def _severity(subject: Subject) -> Iterable[str]:
    incident = subject.event.view.incident
    return _optional(incident.severity if incident else None)


def _status(subject: Subject) -> Iterable[str]:
    incident = subject.event.view.incident
    return incident.status_words if incident else ()


_EVENT: Mapping[str, Callable[[Subject], Iterable[str]]] = {
    "event": lambda subject: (subject.event.type,),
    "scope": lambda subject: _optional(subject.event.scope),
    "source": lambda subject: (subject.event.source,),
    "severity": _severity,
    "status": _status,
    "incident": lambda subject: subject.recalled.incident,
    "author": _author,
    "contract": lambda subject: subject.recalled.contract,
}


# lists, not generators: these are asked of every result


def names(dataset: Dataset) -> list[str | None]:
    """What a dataset may be called."""
    qualified = f"{dataset.datasource}/{dataset.name}" if dataset.datasource and dataset.name else None
    return [dataset.id, dataset.name, dataset.label, qualified]


def people(found: Iterable[Person]) -> list[str]:
    """What people may be called."""
    return [text.casefold() for person in found for text in (person.email, person.name, person.id) if text]


def of_contract(contract: Contract, key: str) -> list[str]:
    """What a contract says of its dataset, which has no more than a name."""
    if contract.dataset is None:
        return []
    if key == "dataset":
        return [contract.dataset, contract.dataset.rpartition("/")[2]]
    if key == "datasource":
        return [contract.datasource or contract.dataset.partition("/")[0]]
    return []


_RESULT: Mapping[str, Callable[[Subject, int, Result], Iterable[str | None]]] = {
    "outcome": lambda _, __, result: (result.outcome,),
    "previous": lambda subject, index, _: (subject.recalled.results[index].previous,),
    "result": lambda subject, index, _: (subject.recalled.results[index].became,),
    "streak": lambda subject, index, _: (subject.recalled.results[index].streak_text,),
    "dataset": lambda _, __, result: [name for dataset in result.datasets for name in names(dataset)],
    "datasource": lambda _, __, result: [dataset.datasource for dataset in result.datasets],
    "owner": lambda _, __, result: [text for dataset in result.datasets for text in people(dataset.owners)],
    "team": lambda subject, index, _: subject.teams[index],
    "tag": lambda _, __, result: [tag for dataset in result.datasets for tag in dataset.tags],
    "column": lambda _, __, result: (result.column,),
    "check": lambda _, __, result: (result.name, result.id),
}


def _attribute(name: str, _: Subject, __: int, result: Result) -> list[str]:
    found: list[str] = []
    for dataset in result.datasets:
        if name in dataset.attributes:
            found += texts_of(dataset.attributes[name])
    if name in result.attributes:
        found += texts_of(result.attributes[name])
    return found


_ENRICHED = "enriched."


def _within(value: object, path: str) -> Iterator[object]:
    """What stands under names joined with dots, of which a name may have some too."""
    if not isinstance(value, Mapping):
        return
    for name, entry in value.items():
        if name == path:
            yield entry
        elif path.startswith(f"{name}."):
            yield from _within(entry, path[len(name) + 1 :])


def texts_of(value: object) -> list[str]:
    """An attribute's value as texts: each entry of a list; ``true`` and ``false`` as TOML and JSON spell them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for entry in value for text in texts_of(entry)]
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, int | float):
        with suppress(ValueError):  # an integer of more digits than Python writes
            return [str(value)]
    return []
