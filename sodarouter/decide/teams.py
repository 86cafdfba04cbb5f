"""Teams: who owns a dataset, as the configuration says it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, Field

from sodarouter.decide.facts import names, of_contract, people, texts_of
from sodarouter.decide.index import Index
from sodarouter.decide.match import DatasetConditions, compile_match
from sodarouter.options import LISTED, LISTED_SCHEMA, Options
from sodarouter.view import Contract, Dataset, Team, View


class Owns(DatasetConditions):
    """What a team's datasets are like."""

    not_: DatasetConditions | None = Field(default=None, alias="not")
    """What must not be: a dataset that any of these fits is not the team's."""


def _address(text: str) -> str:
    name, at, domain = text.rpartition("@")
    if not (name and at and domain) or not text.isprintable():
        raise ValueError(f"{text[:100]!r} is not a mail address such as sales@example.org")
    return text


class TeamTable(Options):
    """A `[[team]]` table: which datasets a team owns, and how it is reached."""

    name: str = Field(min_length=1)
    """What `match` and templates call it. Several tables may have one name: then the team owns what any of them says, and
    what one of them leaves out is that of the first which says it."""
    match: Owns = Owns()
    """Which datasets are the team's."""
    channel: str | None = None
    """Where the team talks, for templates: `#sales-data`."""
    recipients: Annotated[list[Annotated[str, AfterValidator(_address)]], LISTED, LISTED_SCHEMA] = Field(default=[])
    """Mail addresses, for `$team` in an email destination and for templates."""
    runbook: str | None = None
    """The URL of what to do, for templates."""


_SAID = ("channel", "recipients", "runbook")


class Teams:
    """Finds the team of a dataset: that of the first table that fits it."""

    def __init__(self, tables: Sequence[TeamTable]) -> None:
        self.tables = tuple(tables)
        """What they were made of: with the same tables, teams are the same."""
        said = [Team(table.name, table.channel, tuple(table.recipients), table.runbook) for table in tables]
        first: dict[str, Team] = {}
        for team in said:
            first[team.name] = _completed(first.get(team.name, team), team)
        self._teams = [_completed(team, first[team.name]) for team in said]
        self._conditions = [compile_match(table.match, table.match.not_) for table in tables]
        self._index = Index(self._conditions)

    def __bool__(self) -> bool:
        return bool(self._teams)

    def __reduce__(self) -> tuple[type["Teams"], tuple[Sequence[TeamTable]]]:
        # destinations in processes of their own make them once more
        return Teams, (self.tables,)

    def of(self, dataset: Dataset) -> Team | None:
        return self._find(lambda key: _of_dataset(dataset, key))

    def of_contract(self, contract: Contract) -> Team | None:
        return self._find(lambda key: of_contract(contract, key))

    def enrich(self, view: View) -> View:
        """The view with the teams of its datasets in it."""
        if not self._teams:
            return view
        results = tuple(
            replace(result, datasets=tuple(replace(dataset, team=self.of(dataset)) for dataset in result.datasets))
            for result in view.results
        )
        contract = replace(view.contract, team=self.of_contract(view.contract)) if view.contract else None
        return replace(view, results=results, contract=contract)

    def _find(self, texts: Callable[[str], Iterable[str | None]]) -> Team | None:
        known: dict[str, Mapping[str, int]] = {}

        def gathered(key: str) -> Mapping[str, int]:
            if key not in known:
                known[key] = {text: 1 for text in texts(key) if text}
            return known[key]

        for number in self._index.candidates(gathered):
            if all(bool(c.mask(gathered(c.key))) != c.negated for c in self._conditions[number]):
                return self._teams[number]
        return None


def _completed(team: Team, other: Team) -> Team:
    """The team, with what it leaves out as the other says it."""
    return replace(team, **{name: getattr(other, name) for name in _SAID if not getattr(team, name)})


def _of_dataset(dataset: Dataset, key: str) -> Iterable[str | None]:
    name, _, attribute = key.partition(".")
    match name:
        case "dataset":
            return names(dataset)
        case "datasource":
            return [dataset.datasource]
        case "owner":
            return people(dataset.owners)
        case "tag":
            return dataset.tags
        case _:
            return texts_of(dataset.attributes.get(attribute))
