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
from typing import Any

from pydantic import SecretStr

from sodarouter import soda
from sodarouter.frozen import maker
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


Json = dict[str, Any]

# an event may have hundreds of these
_made_person, _made_dataset, _made_result = maker(Person), maker(Dataset), maker(Result)


def normalise(body: Json) -> View:
    """The view of a body that `sodarouter.soda.validate` accepts, as JSON types. What cannot be read is left out.

    It is made of plain JSON and not of the models, which would take longer to make than all the rest: a body that comes
    from the spool was validated when it came in.
    """
    event = body["event"]
    match soda.SCOPES.get(event):
        case "alert_notification":
            return View(event, results=_results(body.get("checkResults")))
        case "incidents" if (incident := body.get("incident")) is not None:
            callback = _text(body.get("incidentLinkCallbackUrl")) or _text(incident.get("incidentLinkCallbackUrl"))
            return View(event, results=_results(incident.get("checkResults")), incident=_incident(incident, callback))
        case "contracts" if (contract := body.get("contract")) is not None:
            return View(event, contract=_contract(contract))
        case "agreements" if (agreement := body.get("agreement")) is not None:
            return View(event, agreement=_agreement(agreement))
    return View(event, sent=_time(body.get("sentAt")) if event == "validate" else None)


def word(value: object) -> str | None:
    """A word of Soda's in this router's spelling: ``notEvaluated`` gives ``not_evaluated``, ``major`` gives ``high``."""
    text = _text(value)
    return _word(text) if text else None


@lru_cache(maxsize=256)
def _word(text: str) -> str | None:
    plain = _snake(text)
    return _SAME.get(plain, plain) or None


def plain_word(value: object) -> str | None:
    """A word of Soda's own in lower case and with underscores: ``notEvaluated`` gives ``not_evaluated``."""
    text = _text(value)
    return _snake(text) if text else None


@lru_cache(maxsize=256)
def _snake(text: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", text.strip()).lower()


def _text(value: object) -> str | None:
    if value is None:  # as often as not, and to be told that it is no text takes twice as long
        return None
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # an integer of more than 4,300 digits
            return None
    return None


def _time(value: object) -> datetime | None:
    """A time in UTC. Soda writes up to nine fraction digits; Python keeps six."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is UTC:
            return parsed
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _person(owner: Json) -> Person:
    kind = owner.get("type")
    return _made_person(
        _text(owner.get("id")),
        _text(owner.get("email")),
        _text(owner.get("name")),
        "user" if kind == "user" else word(kind) or "user",
    )


def _people(owners: Iterable[Json | None]) -> tuple[Person, ...]:
    people = [_person(owner) for owner in owners if owner is not None]
    return tuple(dict.fromkeys(people) if len(people) > 1 else people)


def _one(owner: Json | None) -> Person | None:
    return None if owner is None else _person(owner)


def _datasource(value: object) -> str | None:
    return (_text(value.get("name")) or _text(value.get("label"))) if isinstance(value, dict) else _text(value)


def _attributes(value: list[Json | None] | Json | None) -> Mapping[str, object]:
    if not value:
        return {}
    if isinstance(value, dict):
        return value
    return {
        name: one.get("value")
        for one in value
        if one is not None and (name := _text(one.get("name")) or _text(one.get("label")))
    }


def _dataset(dataset: Json) -> Dataset:
    tags = dataset.get("tags")
    return _made_dataset(
        _text(dataset.get("id")),
        _text(dataset.get("name")),
        _text(dataset.get("label")),
        _text(dataset.get("sodaCloudUrl")),
        _datasource(dataset.get("datasource")),
        _people([*(dataset.get("owners") or ()), dataset.get("owner")]),
        tuple([tag for value in tags if (tag := _tag(value))]) if tags else (),
        _attributes(dataset.get("attributes")),
        None,
    )


def _tag(value: object) -> str | None:
    """Tags are strings in Soda's REST API; what the webhook sends is not documented, so an object's name will do too."""
    return _text(value.get("name") or value.get("label")) if isinstance(value, dict) else _text(value)


def _results(results: list[Json | None] | None) -> tuple[Result, ...]:
    # a null keeps its place: routes and deliveries name results by their index
    return tuple([_result(result or {}) for result in results or ()])


def _result(result: Json) -> Result:
    definition = _text(result.get("definition"))
    value, diagnostics = result.get("value"), result.get("diagnostics")
    if value is None and isinstance(diagnostics, dict):
        value = diagnostics.get("value")
    return _made_result(
        _text(result.get("id")),
        _text(result.get("name")) or _summary(definition),
        _text(result.get("sodaCloudUrl")),
        definition,
        _text(result.get("column")),
        word(result.get("evaluationStatus") or result.get("outcome")),
        value,
        _time(result.get("dataTimestamp")),
        tuple([_dataset(dataset) for dataset in result.get("datasets") or () if dataset is not None]),
        _attributes(result.get("attributes")),
    )


def _summary(definition: str | None) -> str | None:
    """The first line of a SodaCL definition that says something: not its ``checks for …:`` heading."""
    lines = [line.strip(" -") for line in (definition or "").splitlines() if line.strip(" -")]
    return next((line for line in lines if not line.startswith("checks")), lines[0] if lines else None)


def _incident(incident: Json, callback: str | None) -> Incident:
    number, status = incident.get("number"), incident.get("status")
    return Incident(
        id=_text(incident.get("id")),
        number=number if isinstance(number, int) and not isinstance(number, bool) else None,
        title=_text(incident.get("title")),
        description=_text(incident.get("description")),
        url=_text(incident.get("sodaCloudUrl")),
        severity=word(incident.get("severity")),
        status=word(status),
        created=_time(incident.get("created")) or _time(incident.get("createdTimestamp")),
        updated=_time(incident.get("lastUpdated")) or _time(incident.get("lastUpdatedTimestamp")),
        resolved=_time(incident.get("resolutionTimestamp")),
        resolution_notes=_text(incident.get("resolutionNotes")),
        links=tuple(
            [
                Link(_text(link.get("url")), _text(link.get("name")), _text(link.get("integrationType")))
                for link in incident.get("links") or ()
                if link is not None
            ]
        ),
        lead=_one(incident.get("lead")),
        reporter=_one(incident.get("reporter")),
        # a spool whose key is lost gives what stands in its place
        callback_url=SecretStr(callback) if callback and callback != REDACTED else None,
        status_words=frozenset([w for w in (plain_word(status), word(status)) if w]),
    )


def _contract(contract: Json) -> Contract:
    return Contract(
        dataset=_text(contract.get("dataset")),
        datasource=_datasource(contract.get("datasource")),
        author=_one(contract.get("author")),
        contents=_text(contract.get("contents")),
    )


def _agreement(agreement: Json) -> Agreement:
    file = agreement.get("testsFile") or {}
    return Agreement(
        id=_text(agreement.get("id")),
        label=_text(agreement.get("label")),
        url=_text(agreement.get("sodaCloudUrl")),
        path=_text(file.get("path")),
        contents=_text(file.get("contents")),
        author=next(
            (person for key in ("createdBy", "updatedBy", "deletedBy") if (person := _one(agreement.get(key)))), None
        ),
    )
