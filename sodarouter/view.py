"""The normalised view of an event: one vocabulary over Soda's v3 and v4.

The raw payload stays beside it untouched. What is normalised:

===========  ================================================================  =======================================
word         values                                                            from
===========  ================================================================  =======================================
severity     low, medium, high, critical                                       v3 minor and major are low and high
status       reported, in_progress, resolved                                   opened; investigating, fixing
outcome      pass, warn, fail, error, not_evaluated, excluded                  ``evaluationStatus``, else ``outcome``
===========  ================================================================  =======================================

A word that is in none of these lists is kept, in lower case and with underscores.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from pydantic import SecretStr

from sodarouter import soda
from sodarouter.redact import REDACTED

SEVERITIES = ("low", "medium", "high", "critical")
STATUSES = ("reported", "in_progress", "resolved")
OUTCOMES = ("pass", "warn", "fail", "error", "not_evaluated", "excluded")

_SAME = {
    "minor": "low",
    "major": "high",
    "opened": "reported",
    "open": "reported",
    "investigating": "in_progress",
    "fixing": "in_progress",
    "passed": "pass",
    "warning": "warn",
    "failed": "fail",
    "unevaluated": "not_evaluated",
}


@dataclass(frozen=True, slots=True)
class Person:
    """A user or a group. ``kind`` is ``user`` or ``user_group``."""

    id: str | None = None
    email: str | None = None
    name: str | None = None
    kind: str = "user"


@dataclass(frozen=True, slots=True)
class Team:
    """Who a dataset belongs to, as the configuration says: Soda does not."""

    name: str
    channel: str | None = None
    """Where the team talks, such as ``#sales-data``."""
    recipients: tuple[str, ...] = ()
    """Mail addresses."""
    runbook: str | None = None
    """The URL of what to do."""


@dataclass(frozen=True, slots=True)
class Dataset:
    id: str | None = None
    name: str | None = None
    label: str | None = None
    url: str | None = None
    datasource: str | None = None
    owners: tuple[Person, ...] = ()
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    team: Team | None = None
    """From the configuration's teams, for what is delivered."""


@dataclass(frozen=True, slots=True)
class Result:
    """One check's result. ``name`` falls back to the first line of ``definition``, which v3 sends instead."""

    id: str | None = None
    name: str | None = None
    url: str | None = None
    definition: str | None = None
    column: str | None = None
    outcome: str | None = None
    value: object = None
    timestamp: datetime | None = None
    datasets: tuple[Dataset, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    url: str | None = None
    name: str | None = None
    integration: str | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    id: str | None = None
    number: int | None = None
    title: str | None = None
    description: str | None = None
    url: str | None = None
    severity: str | None = None
    status: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    resolved: datetime | None = None
    resolution_notes: str | None = None
    links: tuple[Link, ...] = ()
    lead: Person | None = None
    reporter: Person | None = None
    callback_url: SecretStr | None = None
    status_words: frozenset[str] = frozenset()
    """``status`` and Soda's own word for it: ``fixing`` is also ``in_progress``, and a route may name either."""


@dataclass(frozen=True, slots=True)
class Contract:
    dataset: str | None = None
    datasource: str | None = None
    author: Person | None = None
    contents: str | None = None
    team: Team | None = None
    """As that of a `Dataset`."""


@dataclass(frozen=True, slots=True)
class Agreement:
    id: str | None = None
    label: str | None = None
    url: str | None = None
    path: str | None = None
    contents: str | None = None
    author: Person | None = None
    """Who created, updated or deleted it."""


@dataclass(frozen=True, slots=True)
class View:
    """What matchers and templates see of an event. ``results`` are those of the event or of its incident."""

    type: str
    results: tuple[Result, ...] = ()
    incident: Incident | None = None
    contract: Contract | None = None
    agreement: Agreement | None = None
    sent: datetime | None = None

    @property
    def url(self) -> str | None:
        """The page in Soda Cloud that the event is about, if it is about one."""
        subject = self.incident or self.agreement or (self.results[0] if len(self.results) == 1 else None)
        return subject.url if subject else None

    @property
    def teams(self) -> tuple[Team, ...]:
        """The teams of the datasets of all results, or of the contract, each once."""
        found = [dataset.team for result in self.results for dataset in result.datasets]
        if self.contract:
            found.append(self.contract.team)
        return tuple(dict.fromkeys(team for team in found if team))


def normalise(payload: soda.Payload) -> View:
    """The view of a validated payload. Never fails: what cannot be read is left out."""
    match payload:
        case soda.CheckEvaluation():
            return View(payload.event, results=_results(payload.check_results))
        case soda.IncidentEvent(incident=incident):
            if incident is None:
                return View(payload.event)
            callback = _text(payload.incident_link_callback_url) or _text(incident.incident_link_callback_url)
            return View(payload.event, results=_results(incident.check_results), incident=_incident(incident, callback))
        case soda.ContractPublished(contract=contract):
            return View(payload.event, contract=_contract(contract) if contract else None)
        case soda.AgreementEvent(agreement=agreement):
            return View(payload.event, agreement=_agreement(agreement) if agreement else None)
        case soda.Validate():
            return View(payload.event, sent=_time(payload.sent_at))
        case _:
            return View(payload.event)


def word(value: object) -> str | None:
    """A word of Soda's in this router's spelling: ``notEvaluated`` gives ``not_evaluated``, ``major`` gives ``high``."""
    plain = plain_word(value)
    return _SAME.get(plain, plain) if plain else None


def plain_word(value: object) -> str | None:
    """A word of Soda's own in lower case and with underscores: ``notEvaluated`` gives ``not_evaluated``."""
    text = _text(value)
    return _snake(text) if text else None


@lru_cache(maxsize=256)
def _snake(text: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", text.strip()).lower()


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # an integer of more than 4,300 digits
            return None
    return None


_FRACTION = re.compile(r"(\.\d{6})\d+")


def _time(value: object) -> datetime | None:
    """A time in UTC. Soda writes up to nine fraction digits; Python keeps six."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(_FRACTION.sub(r"\1", value))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _person(owner: soda.Owner | None) -> Person | None:
    if owner is None:
        return None
    return Person(_text(owner.id), _text(owner.email), _text(owner.name), word(owner.type) or "user")


def _people(owners: Iterable[soda.Owner | None]) -> tuple[Person, ...]:
    people = (_person(owner) for owner in owners)
    return tuple(dict.fromkeys(person for person in people if person))


def _datasource(value: soda.Datasource | str | None) -> str | None:
    return (_text(value.name) or _text(value.label)) if isinstance(value, soda.Datasource) else _text(value)


def _attributes(value: list[soda.Attribute | None] | dict[str, object] | None) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    return {name: a.value for a in value or () if a and (name := _text(a.name) or _text(a.label))}


def _dataset(dataset: soda.Dataset) -> Dataset:
    return Dataset(
        id=_text(dataset.id),
        name=_text(dataset.name),
        label=_text(dataset.label),
        url=_text(dataset.soda_cloud_url),
        datasource=_datasource(dataset.datasource),
        owners=_people([*(dataset.owners or ()), dataset.owner]),
        tags=tuple(tag for value in dataset.tags or () if (tag := _tag(value))),
        attributes=_attributes(dataset.attributes),
    )


def _tag(value: object) -> str | None:
    """Tags are strings in Soda's REST API; what the webhook sends is not documented, so an object's name will do too."""
    return _text(value.get("name") or value.get("label")) if isinstance(value, dict) else _text(value)


def _results(results: list[soda.CheckResult | None] | None) -> tuple[Result, ...]:
    # a null keeps its place: routes and deliveries name results by their index
    return tuple(_result(result or soda.CheckResult()) for result in results or ())


def _result(result: soda.CheckResult) -> Result:
    sent = result.evaluation_status or result.outcome
    definition = _text(result.definition)
    value = result.value
    if value is None and isinstance(result.diagnostics, dict):
        value = result.diagnostics.get("value")
    return Result(
        id=_text(result.id),
        name=_text(result.name) or _summary(definition),
        url=_text(result.soda_cloud_url),
        definition=definition,
        column=_text(result.column),
        outcome=word(sent),
        value=value,
        timestamp=_time(result.data_timestamp),
        datasets=tuple(map(_dataset, filter(None, result.datasets or ()))),
        attributes=_attributes(result.attributes),
    )


def _summary(definition: str | None) -> str | None:
    """The first line of a SodaCL definition that says something: not its ``checks for …:`` heading."""
    lines = [line.strip(" -") for line in (definition or "").splitlines() if line.strip(" -")]
    return next((line for line in lines if not line.startswith("checks")), lines[0] if lines else None)


def _incident(incident: soda.Incident, callback: str | None) -> Incident:
    number = incident.number
    return Incident(
        id=_text(incident.id),
        number=number if isinstance(number, int) and not isinstance(number, bool) else None,
        title=_text(incident.title),
        description=_text(incident.description),
        url=_text(incident.soda_cloud_url),
        severity=word(incident.severity),
        status=word(incident.status),
        created=_time(incident.created) or _time(incident.created_timestamp),
        updated=_time(incident.last_updated) or _time(incident.last_updated_timestamp),
        resolved=_time(incident.resolution_timestamp),
        resolution_notes=_text(incident.resolution_notes),
        links=tuple(
            Link(_text(li.url), _text(li.name), _text(li.integration_type)) for li in incident.links or () if li
        ),
        lead=_person(incident.lead),
        reporter=_person(incident.reporter),
        # a spool whose key is lost gives what stands in its place
        callback_url=SecretStr(callback) if callback and callback != REDACTED else None,
        status_words=frozenset(w for w in (plain_word(incident.status), word(incident.status)) if w),
    )


def _contract(contract: soda.Contract) -> Contract:
    return Contract(
        dataset=_text(contract.dataset),
        datasource=_datasource(contract.datasource),
        author=_person(contract.author),
        contents=_text(contract.contents),
    )


def _agreement(agreement: soda.Agreement) -> Agreement:
    file = agreement.tests_file or soda.TestsFile()
    return Agreement(
        id=_text(agreement.id),
        label=_text(agreement.label),
        url=_text(agreement.soda_cloud_url),
        path=_text(file.path),
        contents=_text(file.contents),
        author=_person(agreement.created_by or agreement.updated_by or agreement.deleted_by),
    )
